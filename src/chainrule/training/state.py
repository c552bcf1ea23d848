"""Where training stands: everything that an epoch changes, copied, and put back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.graph import Array
from chainrule.nn import Module
from chainrule.optim import Optimizer
from chainrule.tensors.changes import CHANGES
from chainrule.tensors.memory import overwrite
from chainrule.tensors.tensor import Tensor
from chainrule.training.best import Best

if TYPE_CHECKING:
    from chainrule.training.trainer import Trainer

Weights = dict[str, Array]
Tensors = dict[str, Tensor]
PIECE = 1 << 16  # bytes that are compared at a time: what a comparison gives is as large
PLAIN = frozenset({float, int, bool, str, type(None)})  # types of values that need no copy


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """Training as it stood between two epochs.

    ``epochs``      how many are done
    ``weights``     the model's parameters and buffers; the best epoch's themselves where they are the same
    ``optimizer``   its state and groups
    ``schedule``    its state; None without one
    ``generators``  seed and draw number of the trainer's generator, and of those that the data bring along
    ``best``        the best epoch so far
    """

    epochs: int
    weights: Weights
    optimizer: dict[str, Any]
    schedule: dict[str, Any] | None
    generators: list[dict[str, int]]
    best: Best | None


def standing(trainer: Trainer) -> Standing:
    """Return training as it stands now."""
    scheduler, best, epochs = trainer.scheduler, trainer.best, len(trainer.history)
    weights = None if best is None or best.epoch != epochs else best.weights
    if weights is None or not same_weights(trainer.tensors(), weights):
        weights = weights_of(trainer.tensors())
    return Standing(
        epochs=epochs,
        weights=weights,
        optimizer=copied(trainer.optimizer.state_dict()),
        schedule=None if scheduler is None else copied(scheduler.state_dict()),
        generators=[generator.get_state() for generator in trainer.generators()],
        best=None if best is None else best.copy(),
    )


def put_back(trainer: Trainer, kept: Standing) -> bool:
    """Let training stand where it stood; epochs of the history after that are dropped.

    Returns whether the optimizer's state is in the same tensors as before: a trace that holds on to them goes on to hold.
    """
    before = state_tensors(trainer.optimizer)
    trainer.optimizer.load_state_dict(kept.optimizer)  # raises, before anything is changed, if it does not fit
    after = state_tensors(trainer.optimizer)
    set_weights(trainer.tensors(), kept.weights)
    if trainer.scheduler is not None and kept.schedule is not None:
        trainer.scheduler.load_state_dict(copied(kept.schedule))
    for generator, state in zip(trainer.generators(), kept.generators, strict=False):
        generator.set_state(state)
    trainer.best = None if kept.best is None else kept.best.copy()
    trainer.history.cut(kept.epochs, None if kept.best is None else kept.best.epoch)
    return len(before) == len(after) and all(a is b for a, b in zip(before, after, strict=True))


def state_tensors(optimizer: Optimizer) -> list[Tensor]:
    """Return the tensors that an optimizer keeps, and those that its options are."""
    places = [*optimizer.state.values(), *optimizer.param_groups]
    return [
        value for place in places for name, value in place.items() if isinstance(value, Tensor) and name != "params"
    ]


@dataclass(frozen=True, slots=True, eq=False)
class Left:
    """What a fit, or ``resume``, left in the model and the optimizer: what differs later was changed by the user."""

    weights: Weights
    options: list[dict[str, Any]]  # of each group of parameters

    @classmethod
    def by(cls, trainer: Trainer, weights: Weights) -> Left:
        """Return what is left now."""
        return cls(weights, [options_of(group) for group in trainer.optimizer.param_groups])

    def changed(self, trainer: Trainer) -> tuple[Weights | None, list[dict[str, Any]]]:
        """Return the weights, if they were changed since (else None), and the options that were, for each group."""
        weights = None if same_weights(trainer.tensors(), self.weights) else weights_of(trainer.tensors())
        groups = zip(trainer.optimizer.param_groups, self.options, strict=False)
        return weights, [
            {name: value for name, value in options_of(now).items() if not _same(value, before.get(name))}
            for now, before in groups
        ]


def options_of(group: dict[str, Any]) -> dict[str, Any]:
    """Return copies of what a group of parameters says beside the parameters: rate, weight decay, …"""
    return {name: copied(value) for name, value in group.items() if name != "params"}


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return np.array_equal(a._value, b._value)
    return type(a) is type(b) and bool(a == b)


def copied(value: Any) -> Any:
    """Return a copy of nested dicts, lists and tuples in which arrays and tensors are copies too."""
    kind = type(value)
    if kind in PLAIN:
        return value
    if isinstance(value, Tensor):
        return Tensor(value._value.copy())
    if isinstance(value, dict):
        return {key: part if type(part) in PLAIN else copied(part) for key, part in value.items()}
    if kind is list or kind is tuple:
        return kind([part if type(part) in PLAIN else copied(part) for part in value])
    return value.copy() if isinstance(value, np.ndarray) else value


# -- a model's tensors -----------------------------------------------------------------------------------------------


class ModelTensors:
    """The parameters and buffers of a model by path, each once, also the buffers that a state dict leaves out."""

    def __init__(self, model: Module) -> None:
        self.model = model
        self.changes = -1
        self.found: Tensors = {}

    def __call__(self) -> Tensors:
        """Return them; looked for again only if some module has changed since."""
        if self.changes != CHANGES.count:
            self.found = {**dict(self.model.named_parameters()), **dict(self.model.named_buffers())}
            self.changes = CHANGES.count
        return self.found


def weights_of(tensors: Tensors) -> Weights:
    """Return copies of the tensors' arrays."""
    return {name: tensor._value.copy() for name, tensor in tensors.items()}


def set_weights(tensors: Tensors, weights: Weights) -> None:
    """Write what ``weights_of`` returned into the tensors; a buffer that came up since stays as it is."""
    for name, tensor in tensors.items():
        if name in weights:
            overwrite(tensor, weights[name])


def same_weights(tensors: Tensors, weights: Weights) -> bool:
    """Return whether the tensors hold these bits."""
    return tensors.keys() == weights.keys() and all(
        _same_bits(tensor._value, weights[name]) for name, tensor in tensors.items()
    )


def _same_bits(a: Array, b: Array) -> bool:
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if a.nbytes <= PIECE or not (a.flags.c_contiguous and b.flags.c_contiguous):
        return a.tobytes() == b.tobytes()
    x, y = (array.reshape(-1).view(np.uint8) for array in (a, b))
    return all(np.array_equal(x[k : k + PIECE], y[k : k + PIECE]) for k in range(0, len(x), PIECE))


def first_nonfinite(tensors: Tensors, optimizer: Optimizer | None = None) -> str:
    """Return which parameter, buffer or state of ``optimizer`` holds a NaN or an infinity, in words; "" if none does."""
    for name, tensor in tensors.items():
        if found := _bad_number(tensor):
            return f"the {'parameter' if tensor.requires_grad else 'tensor'} {name}, which holds {found}"
    if optimizer is not None:
        names = {id(tensor): name for name, tensor in tensors.items()}
        for p, held in optimizer.state.items():
            for key, value in held.items():
                if isinstance(value, Tensor) and (found := _bad_number(value)):
                    return f"the optimizer's {key} of {names.get(id(p), 'a parameter')}, which holds {found}"
    return ""


def _bad_number(tensor: Tensor) -> str:
    array = tensor._value
    if array.dtype.kind != "f" or math.isfinite(np.vdot(array, array)):  # the cheapest question
        return ""
    bad = ~np.isfinite(array)
    return str(array[bad][0]) if bad.any() else ""
