"""The trial: the model runs on two rows before training, which shows the shape of its outputs, and leaves nothing behind."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from chainrule.errors import ChainruleError
from chainrule.nn import Module
from chainrule.tensors.changes import CHANGES
from chainrule.tensors.facts import METHODS
from chainrule.tensors.memory import overwrite
from chainrule.tensors.tensor import Tensor

ROWS = 2
TOLD = (
    "this was the trial on two rows that fit makes first, to see the shape of the outputs: "
    "a model takes any number of rows"
)
CONTAINERS: tuple[Any, ...] = (list, deque, set, OrderedDict, dict)


@contextmanager
def trial(model: Module) -> Iterator[None]:
    """Let attributes, hooks, parts and states of all modules be what they were; say of an error that it came up here."""
    attributes = [(vars(module), dict(vars(module))) for module in model.modules()]
    held = [value for _, before in attributes for value in before.values() if isinstance(value, CONTAINERS)]
    contents = [(value, _contents(value)) for value in held]
    states = [(x, x.detach().numpy().copy()) for x in _states(model, held)]
    try:
        yield
    except ChainruleError as error:
        str(error)  # what it advises may be made only now
        end = "" if error.fix.endswith((".", "?", "!")) else "."
        error.fix = f"{error.fix}{end} {TOLD[0].upper()}{TOLD[1:]}" if error.fix else TOLD
        raise
    except Exception as error:
        error.add_note(TOLD)
        raise
    finally:
        for value, parts in contents:
            now = _contents(value)
            if len(now) != len(parts) or any(x is not y for x, y in zip(now, parts, strict=True)):
                _fill(value, parts)
        for own, before in attributes:
            kept = {METHODS: own[METHODS]} if METHODS in own else {}  # to be used again
            own.clear()
            own.update(before | kept)
        for x, numbers in states:
            if x.detach().numpy().tobytes() != numbers.tobytes():
                overwrite(x, numbers)
        CHANGES.bump()


def _states(model: Module, held: list[Any]) -> list[Tensor]:
    """Return the tensors that a model keeps beside its parameters: buffers, and those in attributes."""
    found = [*model.buffers(), *[x for module in model.modules() for x in vars(module).values()]]
    found += [x for value in held for x in _contents(value)]
    parameters = {id(p) for p in model.parameters()}
    return [x for x in found if isinstance(x, Tensor) and id(x) not in parameters]


def _base(value: Any) -> Any:
    return next(kind for kind in CONTAINERS if isinstance(value, kind))


def _contents(value: Any) -> list[Any]:
    """Return what is in a container: of a dict, keys and values in turn. Past methods of a subclass, which may count."""
    base = _base(value)
    return [x for item in base.items(value) for x in item] if issubclass(base, dict) else list(base.__iter__(value))


def _fill(value: Any, parts: list[Any]) -> None:
    """Let be in a container what ``_contents`` returned."""
    base = _base(value)
    base.clear(value)
    if issubclass(base, dict):
        for key, part in zip(parts[::2], parts[1::2], strict=True):
            base.__setitem__(value, key, part)
    else:
        (base.update if base is set else base.extend)(value, parts)
