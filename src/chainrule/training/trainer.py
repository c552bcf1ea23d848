"""Training a model on rows: epochs of batches until accurate enough, with the best weights kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from chainrule.errors import ArgumentError, ArgumentTypeError, DataError, ShapeError, warn
from chainrule.graph import Array
from chainrule.graph.numeric import as_int
from chainrule.nn import Module, Sigmoid
from chainrule.optim import Optimizer
from chainrule.optim.lr_scheduler import LRScheduler
from chainrule.run import Origin
from chainrule.tensors.autograd import no_grad
from chainrule.tensors.generator import Generator, drawing_from
from chainrule.tensors.not_kept import note_learned_by_fit
from chainrule.tensors.state import STATE
from chainrule.tensors.tensor import Tensor
from chainrule.training import checkpoint as files
from chainrule.training.arguments import (
    check_by,
    check_model,
    check_normalize,
    check_place,
    checked_number,
    checked_switch,
    checked_whole,
    with_known_names,
)
from chainrule.training.batches import ArrayBatches, Batch, Batches, Source, batches_of, rows_of
from chainrule.training.best import Best, best_by
from chainrule.training.callbacks import Callback, as_callbacks
from chainrule.training.engine import LOOKING, NOT_COMPILED, Engine, Several
from chainrule.training.form import Form
from chainrule.training.history import History
from chainrule.training.loop import Loop
from chainrule.training.metrics import Metric, metric_named
from chainrule.training.objective import Objective, check_loss, check_loss_is_learned, check_targets, objective_for
from chainrule.training.optimizers import (
    MakeOptimizer,
    MakeSchedule,
    check_schedule,
    make_optimizer,
    make_schedule,
    steps_by_batch,
)
from chainrule.training.rows import as_array, check_finite, columns_of
from chainrule.training.settings import check_again, check_penalties, in_step, make_step
from chainrule.training.state import (
    Left,
    ModelTensors,
    Standing,
    Weights,
    put_back,
    set_weights,
    standing,
)
from chainrule.training.step import validation_step
from chainrule.training.stretches import told_row
from chainrule.training.trial import ROWS, trial

LOOKED_AT = 256  # rows per batch, at least, where nothing is learned: what a layer makes of them stays in a near cache


class Trainer:
    """Trains one model. Every argument has a value that can be read back from the object.

    ``loss``          a name, a loss module or a function (output, y); None: by the targets
    ``optimizer``     a name, an Optimizer, or its class; ``lr`` and ``weight_decay`` are for names and classes, None for their own defaults
    ``batch_size``    rows per update; None takes all rows at once; a single row left over joins the batch before it
    ``epochs``        at most this many
    ``metrics``       names or functions (targets, outputs), computed after each epoch on the validation rows (without
                      any: during the epoch, on the training rows)
    ``monitor``       what says which epoch is best: "val_loss" (with validation rows), else "train_loss", or a metric
    ``patience``      stop when the monitor has not improved for this many epochs (None: never)
    ``min_delta``     an improvement must be larger than this
    ``target``        stop when the monitored value is at least this good
    ``time_limit``    stop after this many seconds
    ``schedule``      the learning rate over time: a name, or a function from the optimizer to a scheduler; None: "constant"
    ``schedule_by``   whether it takes a step after each "epoch" or each "batch" (None: as the schedule is meant)
    ``clip_norm``     the gradient's norm is limited to this
    ``l1, l2``        penalties on the weights, added to the error
    ``class_weight``  "balanced", or a dict from class to weight: the training rows of a class count that much
    ``normalize``     (mean, std): inputs are (X - mean) / std wherever the trainer reads them, training, validation and
                      prediction alike; images in bytes stay bytes in memory. (0, 255): from 0 to 1
    ``seed``          of batch order and dropout; the same seed gives the same bits
    ``callbacks``     Callback objects, or functions (trainer, epoch, row) called after each epoch
    ``progress``      False: show nothing; where the step cannot be compiled, a warning says so
    ``compile``       trace the step into one graph
    ``keep_best``     end with the weights of the best epoch, not of the last
    ``checkpoint``    a file for the state of training, written after every ``checkpoint_every``-th epoch and at the end

    An epoch is done whole or not at all: after an error the model, the optimizer and the random numbers are as they were
    when the epoch began. ``save`` writes training as it stood at the end of the last whole epoch, so that an interrupted
    run that is resumed gives the bits of one that was not interrupted.
    """

    @with_known_names
    def __init__(
        self,
        model: Module,
        *,
        loss: str | Callable[..., Tensor] | None = None,
        optimizer: str | Optimizer | MakeOptimizer = "adam",
        lr: float | None = None,
        weight_decay: float | None = None,
        batch_size: int | None = 32,
        epochs: int = 20,
        metrics: Sequence[str | Metric | Callable[..., float]] = (),
        monitor: str | None = None,
        patience: int | None = None,
        min_delta: float = 0.0,
        target: float | None = None,
        time_limit: float | None = None,
        schedule: str | LRScheduler | MakeSchedule | None = "constant",
        schedule_by: str | None = None,
        clip_norm: float | None = None,
        l1: float = 0.0,
        l2: float = 0.0,
        class_weight: str | Mapping[int, float] | None = None,
        normalize: tuple[float, float] | None = None,
        seed: int = 0,
        callbacks: Iterable[Any] = (),
        progress: bool | None = None,
        compile: bool = True,
        keep_best: bool = True,
        checkpoint: Any = None,
        checkpoint_every: int = 1,
    ) -> None:
        check_model(model)
        batch_size = checked_whole("batch_size", batch_size, 1, optional=True)
        epochs = checked_whole("epochs", epochs, 1)
        patience = checked_whole("patience", patience, 1, optional=True)
        min_delta = checked_number("min_delta", min_delta, least=0.0)
        target = checked_number("target", target)
        time_limit = checked_number("time_limit", time_limit, above=0.0)
        clip_norm = checked_number("clip_norm", clip_norm, above=0.0)
        l1, l2 = checked_number("l1", l1, least=0.0), checked_number("l2", l2, least=0.0)
        checkpoint_every = checked_whole("checkpoint_every", checkpoint_every, 1)
        compile, keep_best = checked_switch("compile", compile), checked_switch("keep_best", keep_best)
        progress = checked_switch("progress", progress, optional=True)
        check_place(checkpoint)
        check_by(schedule_by)
        check_normalize(normalize)
        schedule = "constant" if schedule is None else schedule
        check_schedule(schedule)
        if loss is not None:
            check_loss(loss)
        self.model = model
        self.loss = loss
        self.optimizer = make_optimizer(model, optimizer, lr, weight_decay)
        check_loss_is_learned(loss, model, [p for group in self.optimizer.param_groups for p in group["params"]])
        self.batch_size, self.epochs = batch_size, epochs
        self.metrics = [metric_named(metric) for metric in ([metrics] if isinstance(metrics, str) else metrics)]
        self.monitor, self.patience, self.min_delta = monitor, patience, min_delta
        self.target, self.time_limit = target, time_limit
        self.schedule, self.schedule_by = schedule, schedule_by
        self.clip_norm, self.l1, self.l2 = clip_norm, l1, l2
        self.class_weight, self.seed = class_weight, as_int(seed)
        self.normalize = None if normalize is None else (float(normalize[0]), float(normalize[1]))
        self.callbacks: list[Callback] = as_callbacks(callbacks)
        self.progress, self.compile, self.keep_best = progress, compile, keep_best
        self.checkpoint, self.checkpoint_every = checkpoint, checkpoint_every
        self.history = History()
        self.generator = Generator().manual_seed(seed)
        # Known from the first fit on.
        self.objective: Objective | None = None
        self.scheduler: LRScheduler | None = None
        self.best: Best | None = None
        self.planned_epochs = 0  # those that the schedule was made for
        self.fingerprint = ""  # of the training data
        self.expected_data = ""  # the fingerprint of those that a resumed run must see
        # Where training stands, while the model is elsewhere: amid an epoch, or back at the best weights.
        self.kept: Standing | None = None
        self.left: Left | None = None  # what the last fit, or resume, left in the model and the optimizer
        self.why_stop = ""
        # What is called once before the first step of a fit, with what compiles that step.
        self.before_learning: Callable[[Callable[[], None]], None] | None = None
        self.tensors = ModelTensors(model)
        self._form = Form.of(model, self.normalize)
        self._engine: Engine | None = None
        self._in_step: tuple[Any, ...] = ()  # the settings that its step was made with
        self.seconds_of_step = 0.0  # of one of many in a call, as measured last
        self._batches: Batches | None = None
        self.steps_by_batch = False

    # -- the user's verbs -----------------------------------------------------------------------------------------

    def fit(self, data: Any, val: Any = None) -> History:
        """Train on ``data`` and return the history; the model ends with the best weights, in eval mode.

        ``data``  (X, y) or (X, y, row weights), a TensorDataset, or an iterable of such batches (a DataLoader)
        ``val``   the same, looked at after each epoch

        Ctrl-C ends training after the batch at hand (a long look at ``val`` is given up, with its epoch); a second one
        interrupts at once. Called again (or after ``resume``),
        it goes on from the end of the last whole epoch, up to ``epochs``.
        """
        batches = batches_of(data, self.batch_size, self.class_weight, "the training data")
        val_batches = None if val is None else self._batches_to_look_at(val, "the validation data")
        mode, generator = STATE.mode, STATE.generator
        try:
            with drawing_from(self.generator), np.errstate(all="ignore"):
                changed = (None, []) if self.left is None else self.left.changed(self)
                best = self._prepare(batches, val_batches)
                self._take_up(*changed)
                if self.best is None or self.best.name != best.name:
                    self.best = best
                Loop(self, batches, val_batches).run()
        finally:  # an interrupt may come in the moment in which a context ends
            STATE.mode, STATE.generator = mode, generator
        return self.history

    def stop(self, why: str = "callback") -> None:
        """End training after the batch at hand."""
        self.why_stop = self.why_stop or why

    def predict(self, X: Any, batch_size: int | None = None) -> Array:
        """Return the model's outputs for rows, as an array, in eval mode."""
        array = as_array(X, "X")
        check_finite(array, "X", columns_of(X))
        size = batch_size or max(self.batch_size or 0, LOOKED_AT)
        with self._in_use():
            parts = [self._outputs(array[k : k + size])._value for k in range(0, max(len(array), 1), size)]
        return np.concatenate(parts)

    def evaluate(self, data: Any) -> dict[str, float]:
        """Return loss and metrics on rows (X, y)."""
        batches = self._batches_to_look_at(data, "the evaluation data")
        self._resolve(batches)
        return self.look(batches, "")

    def save(self, path: Any) -> None:
        """Write training as it stood at the end of the last whole epoch: all that is needed to go on to the same bits."""
        files.save(self, path)

    def resume(self, path: Any) -> None:
        """Go on from what ``save`` wrote: call ``fit`` with the same data afterwards.

        Raises FileError for a damaged file, and says so where model, optimizer or (in ``fit``) data are not the same.
        Warns where the environment, which the bits depend on, or the settings differ.
        """
        self.kept = files.load(self, path)
        self.left = Left.by(self, self.kept.weights)
        if not self.kept.epochs and self.kept.schedule is None and self.scheduler is None:
            put_back(self, self.kept)  # of a training that had not begun: a schedule will set the rate it begins with
            self.kept = self.left = None

    # -- what the loop calls ----------------------------------------------------------------------------------------

    def learn(self, batch: Batch) -> tuple[float, Tensor]:
        """Improve the model by a batch; return the loss and the outputs before the improvement."""
        assert self._engine is not None  # fit made it
        self._compile_for(batch)
        error, outputs = self._engine.learn(batch)
        if self.steps_by_batch and self.scheduler is not None:
            self.scheduler.step()
        return float(error._value), outputs

    def _compile_for(self, like: Batch) -> None:
        """Compile the step before the first one of a fit, for batches like this one."""
        assert self._engine is not None  # fit made it
        assert self.objective is not None
        if (now := in_step(self)) != self._in_step:
            check_again(self, self._in_step[0])
            self._in_step = now
            self._engine.learn_by(make_step(self, self.objective))
        if self.before_learning is not None:
            before, self.before_learning = self.before_learning, None
            before(partial(self._engine.prepare, like))

    def engine(self) -> str:
        """Say in a line what runs the training steps: native code and the memory it takes, or why that is not so; "" if nobody asked for it."""
        return "" if self._engine is None else self._engine.told()

    def origin(self, batch: Batch, layer: str, *, looking: bool = False) -> Origin | None:
        """Return the first operation that gives a NaN or an infinity in learning from a batch (or looking).

        ``layer``  the path of the layer that it is in, if its output is not finite, else ""; None if it is not found
        """
        assert self._engine is not None  # fit made it
        self._engine.forget()  # a trace holds on to an optimizer's state that was replaced
        return self._engine.origin(batch, layer, looking=looking)

    @property
    def rate(self) -> float:
        """The learning rate now."""
        return float(self.optimizer.param_groups[0]["lr"])

    def learn_from(
        self, like: Batch, source: Source, order: Array, steps: int, *, outputs: bool
    ) -> tuple[int, Array, Array | None, float] | None:
        """Improve the model by several batches in one native call (see ``Engine.learn_from``); None where that cannot be.

        Returns how many, their losses and outputs, and the learning rate of the last one.
        """
        assert self._engine is not None  # fit made it
        self._compile_for(like)
        rates = [self.rate]
        scheduler = self.scheduler if self.steps_by_batch else None

        def between(step: int) -> None:
            rates[0] = self.rate
            if scheduler is not None:
                scheduler.step()

        found = self._engine.learn_from(
            like, source, order, steps, outputs=outputs, between=None if scheduler is None else between
        )
        return None if found is None else (*found, rates[0])

    def learn_again(self, batch: Batch, times: int, rates: list[float]) -> Array | None:
        """Improve the model by the same batch several times in one native call, an epoch each; None where that cannot be.

        Returns their losses; the learning rate of each epoch is added to ``rates`` if it follows a schedule.
        """
        assert self._engine is not None  # fit made it
        self._compile_for(batch)
        scheduler = self.scheduler

        def between(step: int) -> None:
            assert scheduler is not None  # else nobody calls this
            rates.append(self.rate)
            scheduler.step()

        order = np.zeros(0, np.int64)
        found = self._engine.learn_from(
            batch, None, order, times, outputs=False, between=None if scheduler is None else between
        )
        return None if found is None or found[0] < times else found[1]

    def look_at(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return error and outputs of a batch; nothing is learned."""
        assert self._engine is not None  # fit or evaluate made it
        return self._engine.look(batch)

    def look_from(self, like: Batch, source: Source, order: Array, steps: int) -> Several | None:
        """Return the same of several batches in one native call (see ``Engine.look_from``); None where that cannot be."""
        assert self._engine is not None  # fit or evaluate made it
        return self._engine.look_from(like, source, order, steps)

    def look(
        self, batches: ArrayBatches, prefix: str, is_given_up: Callable[[], bool] = lambda: False
    ) -> dict[str, float]:
        """Return loss and metrics on rows, in eval mode, by names that begin with ``prefix``; {} if it is given up."""
        total = size = 0.0
        outputs: list[Array] = []
        with self._in_use():
            for seen in told_row(self, batches, lambda: sum(map(len, outputs))):
                if is_given_up():
                    return {}
                for loss, weight in zip(seen.losses.tolist(), seen.sizes.tolist(), strict=True):
                    if weight:
                        total, size = total + loss * weight, size + weight
                outputs.append(seen.outputs)
        return {f"{prefix}loss": total / size, **self.measured(batches.rows.y, np.concatenate(outputs), prefix)}

    def measured(self, targets: Array, outputs: Array, prefix: str) -> dict[str, float]:
        """Return the metrics, by names that begin with ``prefix``."""
        threshold = 0.0 if self.objective is None else self.objective.threshold
        return {f"{prefix}{metric.name}": metric.measure(targets, outputs, threshold) for metric in self.metrics}

    def standing(self) -> Standing:
        """Return training as it stood at the end of the last whole epoch."""
        return self.kept or standing(self)

    def go_back(self) -> None:
        """Let model, optimizer, schedule, random numbers and history be where training stands."""
        if self.kept is not None and not put_back(self, self.kept) and self._engine is not None:
            self._engine.forget()

    def tell(self, event: str, *args: Any) -> None:
        """Tell the callbacks."""
        for callback in self.callbacks:
            getattr(callback, event)(self, *args)

    def generators(self) -> list[Generator]:
        """Return the generators that the order of rows and dropout depend on."""
        return [self.generator, *([] if self._batches is None else self._batches.generators())]

    # -- preparation ------------------------------------------------------------------------------------------------

    def _prepare(self, batches: Batches, val: ArrayBatches | None) -> Best:
        """Find out what the data ask for, and see whether all fits together; return what is monitored, still unseen."""
        check_penalties(self)
        self._resolve(batches)
        if val is not None:
            given, wanted = val.first()[0].shape[1:], batches.first()[0].shape[1:]
            if given != wanted:
                raise ShapeError(
                    f"{val.name}: X has rows of shape {given}", expected=f"that of the training rows, {wanted}"
                )
            self._resolve(val)
        best = best_by(self.monitor, self.metrics, with_val=val is not None, min_delta=self.min_delta)
        if self.scheduler is None:
            self.scheduler = make_schedule(
                self.schedule, self.optimizer, epochs=self.epochs, batches=batches.count, higher=best.higher
            )
            self.steps_by_batch = steps_by_batch(self.scheduler, self.schedule_by)
            self.planned_epochs = self.planned_epochs or self.epochs
        if self.schedule == "one_cycle" and self.epochs > self.planned_epochs:
            raise ArgumentError(
                f"epochs={self.epochs}, and the schedule 'one_cycle' was planned for {self.planned_epochs}",
                expected="no more than that",
                fix="begin anew with a new Trainer, or use another schedule",
            )
        fingerprint = batches.fingerprint()
        if self.expected_data and fingerprint and fingerprint != self.expected_data:
            raise DataError(
                "the training data differ from those of the run that is to go on",
                expected="the same rows",
                fix="give the same data, or begin with a new Trainer",
            )
        self.fingerprint, self.expected_data = fingerprint, ""
        self._batches = batches
        return best

    def _take_up(self, weights: Weights | None, options: list[dict[str, Any]]) -> None:
        """Go on from where training stands, with the weights and the optimizer's options that the user changed since."""
        if self.kept is None:
            return
        if self.tensors().keys() != self.kept.weights.keys():
            raise ArgumentError("the model has other parameters than when it was trained", fix="make a new Trainer")
        self.go_back()
        self.kept = self.left = None
        epoch = len(self.history)
        if weights is not None:
            set_weights(self.tensors(), weights)
            self.history.note(f"the weights were changed from outside after epoch {epoch}")
        for group, changed in zip(self.optimizer.param_groups, options, strict=False):
            group.update(changed)
            for name, value in changed.items():
                self.history.note(f"{name} was set to {value} from outside after epoch {epoch}")

    def _batches_to_look_at(self, data: Any, name: str) -> ArrayBatches:
        rows = rows_of(data, name)
        return ArrayBatches(rows, max(self.batch_size or len(rows), LOOKED_AT))

    def _resolve(self, batches: Batches) -> None:
        """Look at a few rows' outputs: what loss fits, whether the targets do, and in which dtypes the model takes them."""
        X, y = batches.first()
        with trial(self.model), self._in_use():
            output = self._outputs(X[:ROWS])
        if self.objective is None:
            self.objective = objective_for(self.loss, y, output)
            if not self.objective.kind and isinstance([*self.model.modules()][-1], Sigmoid):
                self.objective.threshold = 0.5
            self._in_step = in_step(self)
            self._engine = Engine(
                make_step(self, self.objective),
                validation_step(self.model, self.objective),
                compiled=self.compile,
                note=self._not_compiled,
            )
            if self.compile:
                note_learned_by_fit(p for group in self.optimizer.param_groups for p in group["params"])
        objective = self.objective
        form = self._form._replace(classes=objective.classes)
        batches.prepare(form, lambda y, name: check_targets(y, output, objective, name))

    def _not_compiled(self, why: str) -> None:
        """Take note that training is slower than it could be; where nothing is shown, a warning says so once."""
        known = [note for note in self.history.notes if NOT_COMPILED in note]
        if why.removeprefix(LOOKING) in known:
            return  # of the step, too
        if self.progress is False and not known:
            warn(why)
        self.history.note(why)

    def _outputs(self, X: Array) -> Tensor:
        """Return the model's outputs for a few rows."""
        inputs = self._form.inputs(X)
        output = self.model(Tensor(X.copy() if inputs is X else inputs))  # a model may write into its input
        if not isinstance(output, Tensor):
            raise ArgumentTypeError(f"the model returned {type(output).__name__}", expected="one tensor")
        if output.ndim == 0 or output.shape[0] != len(X):
            raise ShapeError(
                f"the model's outputs have shape {tuple(output.shape)} for {len(X)} rows of shape {X.shape[1:]}",
                expected=f"({len(X)}, …)",
            )
        return output

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        """Let the model be in eval mode, and random numbers not depend on, nor change, those of training."""
        modes = [(module, module.training) for module in self.model.modules()]
        self.model.eval()
        try:
            with no_grad(), np.errstate(all="ignore"), drawing_from(Generator().manual_seed(self.seed)):
                yield
        finally:
            for module, mode in modes:
                if module.training is not mode:
                    module.training = mode
