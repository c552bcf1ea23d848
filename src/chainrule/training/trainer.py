"""Training a model on rows: epochs of batches until accurate enough, with the best weights kept."""

from __future__ import annotations

import copy
import math
import signal
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from types import FrameType
from typing import Any

import numpy as np

from chainrule.errors import ArgumentError, ArgumentTypeError, NotFiniteError, TraceError, nearest
from chainrule.nn import Module
from chainrule.nn.utils import l1_penalty, l2_penalty
from chainrule.optim import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop
from chainrule.optim import lr_scheduler as schedules
from chainrule.tensors.autograd import no_grad
from chainrule.tensors.compile import compile
from chainrule.tensors.generator import Generator, drawing_from
from chainrule.tensors.tensor import Tensor
from chainrule.training import state
from chainrule.training.batches import Rows, batch_indices
from chainrule.training.callbacks import Callback, as_callback
from chainrule.training.history import History
from chainrule.training.metrics import Metric, metric_named
from chainrule.training.nonfinite import find_nonfinite
from chainrule.training.objective import Objective, check_targets, class_weights, default_loss, tensor_like
from chainrule.training.progress import Progress
from chainrule.training.step import training_step, validation_step

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "sgd": SGD, "adam": Adam, "adamw": AdamW, "rmsprop": RMSprop, "adagrad": Adagrad,
}  # fmt: skip
SCHEDULES = ("constant", "cosine", "one_cycle", "step", "exponential", "plateau")
Monitor = tuple[str, bool]


class Trainer:
    """Trains one model. Every argument has a value that can be read back from the object.

    ``loss``          a name, a loss module or a function (output, y); None: by the targets
    ``optimizer``     a name or an Optimizer; ``lr`` and ``weight_decay`` are for the name
    ``batch_size``    rows per update; None takes all rows at once
    ``epochs``        at most this many
    ``metrics``       names or functions (targets, outputs) computed on the validation rows each epoch
    ``monitor``       what says which epoch is best: "val_loss" (with validation rows), else "train_loss", or a metric
    ``patience``      stop when the monitor has not improved for this many epochs (None: never)
    ``target``        stop when the monitored value is at least this good
    ``time_limit``    stop after this many seconds
    ``schedule``      the learning rate over time: a name, or a function from the optimizer to a scheduler (per epoch)
    ``clip_norm``     the gradient's norm is limited to this
    ``l1, l2``        penalties on the weights added to the error
    ``class_weight``  "balanced", or a dict from class to weight
    ``seed``          of batch order and dropout; the same seed gives the same bits
    ``compile``       trace the step into one graph
    """

    def __init__(
        self,
        model: Module,
        *,
        loss: str | Callable[..., Tensor] | None = None,
        optimizer: str | Optimizer = "adam",
        lr: float | None = None,
        weight_decay: float = 0.0,
        batch_size: int | None = 32,
        epochs: int = 20,
        metrics: Sequence[str | Metric | Callable[..., float]] = (),
        monitor: str | None = None,
        patience: int | None = None,
        min_delta: float = 0.0,
        target: float | None = None,
        time_limit: float | None = None,
        schedule: str | Callable[[Optimizer], Any] = "constant",
        clip_norm: float | None = None,
        l1: float = 0.0,
        l2: float = 0.0,
        class_weight: Any = None,
        seed: int = 0,
        callbacks: Iterable[Any] = (),
        progress: bool | None = None,
        compile: bool = True,
        keep_best: bool = True,
    ) -> None:
        if not isinstance(model, Module):
            raise ArgumentTypeError(f"Trainer: got a model of type {type(model).__name__}", expected="an nn.Module")
        _check_whole("epochs", epochs, 1)
        if batch_size is not None:
            _check_whole("batch_size", batch_size, 1)
        if patience is not None:
            _check_whole("patience", patience, 1)
        if isinstance(schedule, str) and schedule not in SCHEDULES:
            fix = nearest(schedule, SCHEDULES)
            raise ArgumentError(f"schedule={schedule!r}", expected=f"one of {', '.join(SCHEDULES)}", fix=fix)
        self.model = model
        self.loss = loss
        self.optimizer = make_optimizer(model, optimizer, lr, weight_decay)
        self.batch_size, self.epochs = batch_size, epochs
        self.metrics = [metric_named(metric) for metric in metrics]
        self.monitor, self.patience, self.min_delta = monitor, patience, min_delta
        self.target, self.time_limit = target, time_limit
        self.schedule, self.clip_norm, self.l1, self.l2 = schedule, clip_norm, l1, l2
        self.class_weight, self.seed = class_weight, seed
        self.callbacks: list[Callback] = [as_callback(callback) for callback in callbacks]
        self.progress, self.compile, self.keep_best = progress, compile, keep_best
        self.generator = Generator().manual_seed(seed)
        self.history = History()
        self.objective: Objective | None = None
        self.scheduler: Any = None
        self.best_state: dict[str, Any] | None = None
        self.best_value = math.nan
        self.since_best = 0
        self._why_stop = ""
        self._interrupted = False
        self._fingerprint = ""
        self._resumed: dict[str, Any] | None = None
        self._step: Callable[..., Any] | None = None
        self._look: Callable[..., Any] | None = None

    # -- the user's verbs -----------------------------------------------------------------------------------------

    def fit(self, data: Any, val: Any = None) -> History:
        """Train on ``data`` = (X, y) or (X, y, row weights); ``val`` = (X, y) is looked at after each epoch.

        Ctrl-C ends training after the batch at hand, with the best weights kept. Called again (or after ``resume``), it
        goes on where it was, up to ``epochs``.
        """
        rows = _rows(data, "the training data")
        if self.class_weight is not None:
            weights = class_weights(rows.y, self.class_weight)
            rows.weight = weights if rows.weight is None else rows.weight * weights
        val_rows = None if val is None else _rows(val, "the validation data")
        self._prepare(rows, val_rows)
        began = time.monotonic() - self.history.seconds
        progress = Progress(self.epochs, wanted=self.progress)
        self._why_stop, self._interrupted = "", False
        self._tell("on_train_begin")
        try:
            with _until_interrupted(self), drawing_from(self.generator):
                while len(self.history) < self.epochs and not self._why_stop:
                    self._epoch(rows, val_rows, began, progress)
        finally:
            progress.close()
            self.history.seconds = time.monotonic() - began
        self.history.stopped = self._why_stop or "epochs"
        if self.keep_best and self.best_state is not None and self.history.best_epoch != len(self.history):
            self.model.load_state_dict(self.best_state)
        self.model.eval()
        self._tell("on_train_end")
        return self.history

    def stop(self, why: str = "callback") -> None:
        """End training after the batch at hand."""
        self._why_stop = self._why_stop or why

    def predict(self, X: Any, batch_size: int | None = None) -> Any:  # noqa: N803 - a matrix
        """Return the model's outputs for rows, as an array, in eval mode."""
        outputs: list[Any] = []
        was_training = self.model.training
        self.model.eval()
        try:
            array = np.asarray(X.detach() if isinstance(X, Tensor) else X)
            size = batch_size or max(self.batch_size or 0, 1024)
            with no_grad(), np.errstate(all="ignore"):
                for start in range(0, max(len(array), 1), size):
                    outputs.append(self.model(self._input(array[start : start + size]))._value)
        finally:
            self.model.train(was_training)
        return np.concatenate(outputs)

    def evaluate(self, data: Any) -> dict[str, float]:
        """Return loss and metrics on rows (X, y)."""
        rows = _rows(data, "the evaluation data")
        self._resolve_loss(rows)
        self.model.eval()
        return self._evaluate(rows, "")

    def save(self, path: Any) -> None:
        """Write everything that training needs to go on to the same bits."""
        state.save(self, path)

    def resume(self, path: Any) -> None:
        """Go on from what ``save`` wrote: call ``fit`` with the same data afterwards."""
        state.resume(self, path)

    # -- one epoch ------------------------------------------------------------------------------------------------

    def _epoch(self, rows: Rows, val: Rows | None, began: float, progress: Progress) -> None:
        epoch = len(self.history) + 1
        self._tell("on_epoch_begin", epoch)
        before = state.snapshot(self)
        self.model.train()
        total = weights = 0.0
        for batch, index in enumerate(batch_indices(len(rows), self.batch_size, self.generator), 1):
            X, y, weight = self._batch(rows, index)  # noqa: N806 - a matrix
            error, outputs = self._learn(X, y, weight)
            loss = float(error._value)
            if not math.isfinite(loss):
                self._explain(rows, before, epoch, batch, loss)
            size = float(weight._value.sum()) if weight is not None else float(len(index))
            total, weights = total + loss * size, weights + size
            for callback in self.callbacks:
                callback.on_batch_end(self, epoch, batch, loss, outputs)
            if self.scheduler is not None and isinstance(self.scheduler, schedules.OneCycleLR):
                self.scheduler.step()
            if self.time_limit is not None and time.monotonic() - began > self.time_limit:
                self.stop("time")
            if self._why_stop:
                break
        row: dict[str, float] = {"epoch": epoch, "train_loss": total / weights}
        if val is not None:
            self.model.eval()
            row.update(self._evaluate(val, "val_"))
        row["lr"] = float(self.optimizer.param_groups[0]["lr"])
        row["seconds"] = round(time.monotonic() - began, 3)
        self.history.append(row)
        best = self._keep_if_best(row)
        self._step_schedule(row)
        progress.epoch(epoch, row, best=best)
        for callback in self.callbacks:
            callback.on_epoch_end(self, epoch, row)
        self._check_end()

    def _learn(self, X: Tensor, y: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:  # noqa: N803
        assert self._step is not None
        try:
            found: tuple[Tensor, Tensor] = self._step(X, y, weight)
        except TraceError as error:
            if not self.compile:
                raise
            self.compile = False
            self.history.notes.append(f"the step is not compiled: {error}")
            self._make_steps()
            found = self._step(X, y, weight)
        return found

    def _evaluate(self, rows: Rows, prefix: str) -> dict[str, float]:
        assert self._look is not None
        total = weights = 0.0
        outputs = []
        for index in batch_indices(len(rows), max(self.batch_size or len(rows), 1024), None):
            X, y, weight = self._batch(rows, index)  # noqa: N806 - a matrix
            error, output = self._look(X, y, weight)
            size = float(weight._value.sum()) if weight is not None else float(len(index))
            total, weights = total + float(error._value) * size, weights + size
            outputs.append(output._value)
        values = {f"{prefix}loss": total / weights}
        joined = np.concatenate(outputs)
        for metric in self.metrics:
            values[f"{prefix}{metric.name}"] = float(metric.compute(rows.y, joined))
        return values

    def _batch(self, rows: Rows, index: Any) -> tuple[Tensor, Tensor, Tensor | None]:
        whole = len(index) == len(rows)
        X = rows.X if whole else rows.X[index]  # noqa: N806 - a matrix
        y = rows.y if whole else rows.y[index]
        weight = None if rows.weight is None else tensor_like(rows.weight[index], self._dtype)
        return self._input(X), self._target(y), weight

    def _input(self, array: Any) -> Tensor:
        if array.dtype.kind in "biu" and not self._takes_integers:
            array = array.astype(self._dtype)
        return tensor_like(array, self._dtype)

    def _target(self, array: Any) -> Tensor:
        if self.objective is not None and self.objective.classes:
            return tensor_like(array.astype(np.int64) if array.dtype.kind in "biu" else array, self._dtype)
        return tensor_like(array.astype(self._dtype), self._dtype)

    # -- best epoch, schedule, end ----------------------------------------------------------------------------------

    def _monitored(self) -> Monitor:
        """Return the name of what is monitored, and whether more of it is better."""
        name = self.monitor or ("val_loss" if "val_loss" in self.history else "train_loss")
        better = {f"val_{metric.name}": metric.higher_is_better for metric in self.metrics}
        return name, better.get(name, False)

    def _keep_if_best(self, row: dict[str, float]) -> bool:
        name, higher = self._monitored()
        if name not in row:
            known = [n for n in row if n not in ("epoch", "seconds", "lr")]
            raise ArgumentError(f"monitor={name!r}", expected=f"one of {', '.join(known)}", fix=nearest(name, known))
        value = row[name] if higher else -row[name]
        first = self.best_state is None
        if first or value > self.best_value + self.min_delta or math.isnan(self.best_value):
            self.best_value, self.since_best = value, 0
            self.history.best_epoch = len(self.history)
            self.best_state = {key: tensor.detach().clone() for key, tensor in self.model.state_dict().items()}
            return True
        self.since_best += 1
        return False

    def _step_schedule(self, row: dict[str, float]) -> None:
        if self.scheduler is None or isinstance(self.scheduler, schedules.OneCycleLR):
            return
        if isinstance(self.scheduler, schedules.ReduceLROnPlateau):
            name, higher = self._monitored()
            self.scheduler.step(-row[name] if higher else row[name])
        else:
            self.scheduler.step()

    def _check_end(self) -> None:
        if self._why_stop:
            return
        name, higher = self._monitored()
        value = self.history.rows[-1][name]
        if self.target is not None and (value >= self.target if higher else value <= self.target):
            self._why_stop = "target"
        elif self.patience is not None and self.since_best >= self.patience:
            self._why_stop = "early stopping"

    # -- preparation ------------------------------------------------------------------------------------------------

    def _prepare(self, rows: Rows, val: Rows | None) -> None:
        self._resolve_loss(rows)
        if val is not None and val.X.shape[1:] != rows.X.shape[1:]:
            raise ArgumentError(
                f"the validation rows have shape {val.X.shape[1:]}",
                expected=f"that of the training rows, {rows.X.shape[1:]}",
            )
        if self.scheduler is None:
            self.scheduler = self._make_schedule(len(rows))
        self._fingerprint = state.fingerprint(rows)
        state.check_same_data(self)

    def _resolve_loss(self, rows: Rows) -> None:
        parameter = next(iter(self.model.parameters()), None)
        self._dtype = np.dtype(np.float32) if parameter is None else parameter._value.dtype
        self._takes_integers = any(type(module).__name__.startswith("Embedding") for module in self.model.modules())
        was_training = self.model.training
        self.model.eval()
        with no_grad(), np.errstate(all="ignore"):
            output = self.model(self._input(rows.X[: min(len(rows), 2)]))
        self.model.train(was_training)
        if self.objective is None:
            self.objective = Objective(self.loss if self.loss is not None else default_loss(rows.y, output))
        check_targets(rows.y, output, self.objective)
        if self._step is None:
            self._make_steps()

    def _make_steps(self) -> None:
        assert self.objective is not None
        step = training_step(
            self.model, self.objective, self.optimizer, clip_norm=self.clip_norm, penalty=self._penalty()
        )
        look = validation_step(self.model, self.objective)
        self._step, self._look = (compile(step), compile(look)) if self.compile else (step, look)

    def _penalty(self) -> Callable[[Module], Tensor] | None:
        l1, l2 = self.l1, self.l2
        if not l1 and not l2:
            return None

        def penalty(model: Module) -> Tensor:
            parts = [weight * part(model) for weight, part in ((l1, l1_penalty), (l2, l2_penalty)) if weight]
            return parts[0] if len(parts) == 1 else parts[0] + parts[1]

        return penalty

    def _make_schedule(self, num_rows: int) -> Any:
        if not isinstance(self.schedule, str):
            return self.schedule(self.optimizer)
        batches = 1 if self.batch_size is None else math.ceil(num_rows / self.batch_size)
        lr = self.optimizer.param_groups[0]["lr"]
        if self.schedule == "cosine":
            return schedules.CosineAnnealingLR(self.optimizer, T_max=self.epochs)
        if self.schedule == "one_cycle":
            return schedules.OneCycleLR(self.optimizer, max_lr=lr, total_steps=self.epochs * batches + 1)
        if self.schedule == "step":
            return schedules.StepLR(self.optimizer, step_size=max(1, self.epochs // 3), gamma=0.1)
        if self.schedule == "exponential":
            return schedules.ExponentialLR(self.optimizer, gamma=0.01 ** (1 / self.epochs))
        if self.schedule == "plateau":
            return schedules.ReduceLROnPlateau(self.optimizer, factor=0.5, patience=3)
        return None

    # -- trouble ------------------------------------------------------------------------------------------------------

    def _explain(self, rows: Rows, before: dict[str, Any], epoch: int, batch: int, loss: float) -> None:
        """Go back to the beginning of the epoch, repeat it up to the batch before, and see where the NaN appears."""
        assert self.objective is not None
        state.restore(self, before)
        step = training_step(
            self.model, self.objective, self.optimizer, clip_norm=self.clip_norm, penalty=self._penalty()
        )
        self.model.train()
        where, at = "", batch
        for number, index in enumerate(batch_indices(len(rows), self.batch_size, self.generator), 1):
            X, y, weight = self._batch(rows, index)  # noqa: N806 - a matrix
            if number >= batch - 1:
                draws = self.generator.get_state()
                where = find_nonfinite(self.model, self.objective, X, y, weight)
                self.generator.set_state(draws)
                at = number
                if number == batch or not where.startswith("the update"):
                    break
            step(X, y, weight)
        state.restore(self, before)
        raise NotFiniteError(
            f"epoch {epoch}, batch {batch}: the loss is {loss}. The first value that is not finite is {where}"
            + (f" (batch {at})" if at != batch else ""),
            expected="finite numbers",
            fix="lower the learning rate, limit the gradient (clip_norm=1.0), scale the inputs, or use a loss on logits. "
            "The model is as it was when the epoch began",
        )

    def _tell(self, event: str, *args: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(self, *args)


def make_optimizer(model: Module, optimizer: str | Optimizer, lr: float | None, weight_decay: float) -> Optimizer:
    """Return the optimizer for a name, over the model's parameters that require grad."""
    if isinstance(optimizer, Optimizer):
        if lr is not None or weight_decay:
            raise ArgumentError("lr or weight_decay beside an Optimizer", fix="set them when creating the optimizer")
        return optimizer
    if optimizer not in OPTIMIZERS:
        fix = nearest(str(optimizer), OPTIMIZERS)
        raise ArgumentError(f"optimizer={optimizer!r}", expected=f"one of {', '.join(OPTIMIZERS)}", fix=fix)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    rate = lr if lr is not None else (1e-2 if optimizer in ("sgd", "adagrad") else 1e-3)
    return OPTIMIZERS[optimizer](parameters, lr=rate, weight_decay=weight_decay)


def _check_whole(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ArgumentError(f"{name}={value!r}", expected=f"a whole number of at least {least}")


def _rows(data: Any, name: str) -> Rows:
    if isinstance(data, Rows):
        return copy.copy(data)
    if isinstance(data, (tuple, list)) and len(data) in (2, 3):
        return Rows(*data, name=name)
    tensors = getattr(data, "tensors", None)
    if isinstance(tensors, tuple) and len(tensors) in (2, 3):
        return Rows(*tensors, name=name)
    raise ArgumentTypeError(
        f"{name}: got {type(data).__name__}", expected="(X, y), (X, y, row weights) or a TensorDataset"
    )


class _until_interrupted:  # noqa: N801 - a context
    """Turn Ctrl-C into a stop after the batch at hand; a second one interrupts at once. Main thread only."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.before: Any = None

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            self.before = signal.signal(signal.SIGINT, self.heard)

    def heard(self, number: int, frame: FrameType | None) -> None:
        if self.trainer._interrupted:
            raise KeyboardInterrupt
        self.trainer._interrupted = True
        self.trainer.stop("interrupted")

    def __exit__(self, *_: object) -> None:
        if self.before is not None:
            signal.signal(signal.SIGINT, self.before)
