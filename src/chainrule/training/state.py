"""Where training stands: everything that an epoch changes, copied, and put back."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.graph import Array
from chainrule.nn import Module
from chainrule.tensors.memory import overwrite
from chainrule.tensors.tensor import Tensor
from chainrule.training.best import Best
from chainrule.training.rows import is_finite

if TYPE_CHECKING:
    from chainrule.training.trainer import Trainer

Weights = dict[str, Array]


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """Training as it stood between two epochs.

    ``epochs``      how many are done
    ``weights``     the model's parameters and buffers
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
    scheduler = trainer.scheduler
    return Standing(
        epochs=len(trainer.history),
        weights=weights_of(trainer.model),
        optimizer=copied(trainer.optimizer.state_dict()),
        schedule=None if scheduler is None else copied(scheduler.state_dict()),
        generators=[generator.get_state() for generator in trainer.generators()],
        best=copy.copy(trainer.best),
    )


def put_back(trainer: Trainer, kept: Standing) -> None:
    """Let training stand where it stood; epochs of the history after that are dropped."""
    trainer.optimizer.load_state_dict(kept.optimizer)  # raises, before anything is changed, if it does not fit
    set_weights(trainer.model, kept.weights)
    if trainer.scheduler is not None and kept.schedule is not None:
        trainer.scheduler.load_state_dict(copied(kept.schedule))
    for generator, state in zip(trainer.generators(), kept.generators, strict=False):
        generator.set_state(state)
    trainer.best = copy.copy(kept.best)
    trainer.history.cut(kept.epochs, None if kept.best is None else kept.best.epoch)


def copied(value: Any) -> Any:
    """Return a copy of nested dicts, lists and tuples in which arrays and tensors are copies too."""
    if isinstance(value, Tensor):
        return Tensor(value._value.copy())
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, dict):
        return {key: copied(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)([copied(part) for part in value])
    return value


# -- a model's tensors -----------------------------------------------------------------------------------------------


def tensors_of(model: Module) -> dict[str, Tensor]:
    """Return parameters and buffers by path, each once, also the buffers that a state dict leaves out."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def weights_of(model: Module) -> Weights:
    """Return copies of a model's tensors."""
    return {name: tensor._value.copy() for name, tensor in tensors_of(model).items()}


def set_weights(model: Module, weights: Weights) -> None:
    """Write what ``weights_of`` returned into the model's tensors."""
    for name, tensor in tensors_of(model).items():
        overwrite(tensor, weights[name])


def same_weights(model: Module, weights: Weights) -> bool:
    """Return whether the model's tensors hold these bits."""
    tensors = tensors_of(model)
    return tensors.keys() == weights.keys() and all(
        tensor._value.tobytes() == weights[name].tobytes() for name, tensor in tensors.items()
    )


def first_nonfinite(model: Module) -> str:
    """Return which parameter or buffer holds a NaN or an infinity, in words; "" if none does."""
    for name, tensor in tensors_of(model).items():
        array = tensor._value
        if not is_finite(array):
            kind = "parameter" if tensor.requires_grad or name in dict(model.named_parameters()) else "buffer"
            return f"the {kind} {name}, which holds {array[~np.isfinite(array)][0]}"
    return ""
