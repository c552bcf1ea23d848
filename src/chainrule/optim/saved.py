"""An optimizer's state in PyTorch's form, and back."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from itertools import count
from typing import Any, TypeGuard

import numpy as np

from chainrule.errors import ArgumentError, ArgumentTypeError
from chainrule.tensors.tensor import Tensor

Group = dict[str, Any]
_numbers = count()


class Handle:
    """What registering a hook returns; ``remove()`` takes the hook away."""

    def __init__(self, hooks: dict[int, Callable[..., Any]], hook: Callable[..., Any]) -> None:
        self.id = next(_numbers)
        self._hooks = hooks
        hooks[self.id] = hook

    def remove(self) -> None:
        """Take the hook away; once is enough."""
        self._hooks.pop(self.id, None)


def save(state: Mapping[Any, Any], groups: Iterable[Group]) -> dict[str, Any]:
    """Return ``{"state": {number: …}, "param_groups": […]}``: parameters are numbered in the order of the groups."""
    number: dict[int, int] = {}
    packed = []
    for group in groups:
        for p in group["params"]:
            number.setdefault(id(p), len(number))
        packed.append({**{k: v for k, v in group.items() if k != "params"}})
        packed[-1]["params"] = [number[id(p)] for p in group["params"]]
    states = {number[id(p)] if isinstance(p, Tensor) else p: dict(held) for p, held in state.items() if held}
    return {"state": states, "param_groups": packed}


class Loaded:
    """A state that was read and found to fit: what to assign."""

    def __init__(self) -> None:
        self.groups: list[tuple[Group, Group]] = []
        self.states: list[tuple[Any, dict[str, Any]]] = []

    def apply(self, state: dict[Any, Any]) -> None:
        """Assign it. Groups and tensors stay the same objects: a compiled step reads them."""
        for group, options in self.groups:
            for name, value in options.items():  # a tuple that went through JSON is a list
                group[name] = tuple(value) if isinstance(value, list) and isinstance(group.get(name), tuple) else value
        before = dict(state)
        state.clear()
        for p, held in self.states:
            old = before.get(p, {})
            state[p] = {name: _into(old.get(name), value) for name, value in held.items()}


def _into(old: Any, new: Any) -> Any:
    if isinstance(new, np.ndarray):
        if _fits(old, new):
            np.copyto(old._value, new)
            if old._storage is not None:
                old._storage.version += 1
            return old
        return Tensor(new)
    return copy.deepcopy(new)


def _fits(old: Any, new: Any) -> TypeGuard[Tensor]:
    """Say whether an array can be written into what was there."""
    return isinstance(old, Tensor) and old._value.shape == new.shape and old._value.dtype == new.dtype


def load(
    owner: str,
    state_dict: Any,
    groups: list[Group],
    scalars: frozenset[str],
    kept: tuple[str, ...],
    state: Mapping[Any, Mapping[str, Any]],
) -> Loaded:
    """Read ``state_dict`` for these groups; options in ``kept`` stay as they are. Raises ArgumentError if it does not fit.

    ``state``  what will be written over. An array that can be written into it is copied then, others now
    """
    if not isinstance(state_dict, Mapping) or not {"state", "param_groups"} <= set(state_dict):
        got = list(state_dict) if isinstance(state_dict, Mapping) else type(state_dict).__name__
        raise ArgumentTypeError(
            f"{owner}.load_state_dict: got {got}", expected="a dict with 'state' and 'param_groups'"
        )
    given = state_dict["param_groups"]
    if len(given) != len(groups):
        raise ArgumentError(f"{owner}.load_state_dict: got {len(given)} parameter groups", expected=f"{len(groups)}")
    loaded = Loaded()
    parameter: dict[Any, Tensor] = {}
    for k, (group, new) in enumerate(zip(groups, given, strict=True)):
        if len(new["params"]) != len(group["params"]):
            raise ArgumentError(
                f"{owner}.load_state_dict: group {k} has {len(new['params'])} parameters",
                expected=f"{len(group['params'])}",
            )
        parameter.update(zip(new["params"], group["params"], strict=True))
        options = {name: _option(value) for name, value in new.items() if name not in ("params", *kept)}
        loaded.groups.append((group, options))
    overwritten = {
        id(_owner(old._value)) for held in state.values() for old in held.values() if isinstance(old, Tensor)
    }
    for key, held in state_dict["state"].items():
        if key not in parameter:
            raise ArgumentError(
                f"{owner}.load_state_dict: a state for parameter {key!r}",
                expected="numbers that the groups' params name",
            )
        p = parameter[key]
        read = {
            name: _array(owner, f"state {key}, {name!r}", name in scalars, value, p) for name, value in held.items()
        }
        before = state.get(p, {})
        for name, value in read.items():
            if isinstance(value, np.ndarray) and (
                id(_owner(value)) in overwritten or not _fits(before.get(name), value)
            ):
                read[name] = value.copy()
        loaded.states.append((p, read))
    return loaded


def _option(value: Any) -> Any:
    """Return a copy of an option; a rate that is PyTorch's tensor, or an array, as a tensor of ours."""
    if hasattr(value, "__array__") and not isinstance(value, Tensor):
        return Tensor(np.array(np.asarray(value.detach() if hasattr(value, "detach") else value)))
    return copy.deepcopy(value)


def _array(owner: str, place: str, is_scalar: bool, value: Any, p: Tensor) -> Any:
    """Return a tensor (ours, NumPy's, PyTorch's) as an array, itself where it can be; anything else as it is."""
    if is_scalar and isinstance(value, (int, float)):
        value = np.array(value, np.float32)
    if not hasattr(value, "__array__"):
        return value
    array: Any = np.asarray(value.detach() if hasattr(value, "detach") else value)
    expected = () if is_scalar else p._value.shape
    if array.shape != expected:
        raise ArgumentError(f"{owner}.load_state_dict: {place} has shape {array.shape}", expected=f"{expected}")
    if place.endswith("'step'"):
        return array if array.dtype.kind == "f" and array.dtype.itemsize >= 4 else array.astype(np.float32)
    if p._value.dtype.kind == "f" and array.dtype != p._value.dtype:
        array = array.astype(p._value.dtype)
    return array


def _owner(array: Any) -> Any:
    """Return the array that the memory belongs to."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array
