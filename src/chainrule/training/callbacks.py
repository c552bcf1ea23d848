"""What happens beside training: a callback is told of each batch and epoch, and may stop it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from chainrule.errors import ArgumentTypeError, NameUnknown, nearest
from chainrule.tensors.tensor import Tensor

if TYPE_CHECKING:
    from chainrule.training.trainer import Trainer


class Callback:
    """Override what you need. ``trainer`` has the model, optimizer, history; ``trainer.stop("why")`` ends training.

    The learning rate is ``trainer.optimizer.param_groups[0]["lr"]``, and may be set.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        events = [name for name in vars(Callback) if name.startswith("on_")]
        for name in vars(cls):
            if name.startswith("on_") and name not in events:
                raise NameUnknown(
                    f"{cls.__name__}: a callback is never told {name!r}",
                    expected=f"one of {', '.join(events)}",
                    fix=nearest(name, events),
                )

    def on_train_begin(self, trainer: Trainer) -> None:
        """Called once before the first epoch."""

    def on_epoch_begin(self, trainer: Trainer, epoch: int) -> None:
        """Called before epoch ``epoch`` (from 1)."""

    def on_batch_end(self, trainer: Trainer, epoch: int, batch: int, loss: float, outputs: Tensor) -> None:
        """Called after batch ``batch`` (from 1) with its error and the model's outputs."""

    def on_epoch_end(self, trainer: Trainer, epoch: int, row: dict[str, float]) -> None:
        """Called after an epoch with its row of the history."""

    def on_train_end(self, trainer: Trainer) -> None:
        """Called once at the end, the best weights restored, also after an interruption; not after an error."""


class OnEpochEnd(Callback):
    """A function ``f(trainer, epoch, row)`` as a callback."""

    def __init__(self, function: Callable[[Trainer, int, dict[str, float]], object]) -> None:
        self.function = function

    def on_epoch_end(self, trainer: Trainer, epoch: int, row: dict[str, float]) -> None:
        """Call the function."""
        self.function(trainer, epoch, row)


def as_callbacks(callbacks: Any) -> list[Callback]:
    """Return a list of callbacks; raise for one that is in no list."""
    if isinstance(callbacks, (Callback, type, str)) or not isinstance(callbacks, Iterable):
        raise ArgumentTypeError(
            f"callbacks: got {callbacks!r}",
            expected="a list of Callback objects, or of functions f(trainer, epoch, row)",
            fix="write callbacks=[…], also around one alone",
        )
    return [as_callback(callback) for callback in callbacks]


def as_callback(callback: Any) -> Callback:
    """Return a callback: itself, or a function called at the end of each epoch."""
    if isinstance(callback, Callback):
        return callback
    if callable(callback) and not isinstance(callback, type):
        return OnEpochEnd(callback)
    raise ArgumentTypeError(
        f"callbacks: got {callback!r}",
        expected="Callback objects, or functions f(trainer, epoch, row)",
        fix=f"write {callback.__name__}()" if isinstance(callback, type) else "",
    )
