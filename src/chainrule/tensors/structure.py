"""Hooks and parts of modules that code changes while it is traced: Python would do so once, and never again.

What is registered and removed again within the call (a hook that captures activations) leaves no difference, and is no matter.
Nor is what is done to modules that the code itself makes.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

from chainrule.tensors.changes import CHANGES
from chainrule.tensors.facts import MISSING
from chainrule.tensors.guards import label_of
from chainrule.tensors.tensor import Tensor

BUFFERS, NOT_SAVED = "_buffers", "_non_persistent_buffers_set"
NOUNS = {
    "_parameters": "the parameter {!r}",
    BUFFERS: "the buffer {!r}",
    "_modules": "the module {!r}",
    "_forward_hooks": "a forward hook",
    "_forward_pre_hooks": "a forward pre-hook",
    "_backward_hooks": "a backward hook",
    "_backward_pre_hooks": "a backward pre-hook",
}
FIX_OF_HOOKS = "do it outside of the compiled function; a hook for one call alone is registered and removed within it"
FIX = "do it outside of the compiled function"


class Structure:
    """What the dicts of modules held before the traced code wrote into them: parts, parameters, buffers, hooks."""

    def __init__(self) -> None:
        self._before: dict[int, tuple[Any, Any]] = {}  # by id: the container, and what was in it
        self._born: dict[int, weakref.ref[Any]] = {}  # those of modules that the code makes

    def note_born(self, held: Any) -> None:
        """Note a dict that the code makes, with its module."""
        self._born[id(held)] = weakref.ref(held)

    def note(self, held: Any, *others: set[str]) -> None:
        """Note what is in a dict, and in what goes with it, before it is written into."""
        born = self._born.get(id(held))
        if born is not None and born() is held:
            return
        if id(held) not in self._before:
            self._before[id(held)] = (held, dict(held))
        for other in others:
            if id(other) not in self._before:
                self._before[id(other)] = (other, dict.fromkeys(other))

    def difference(self, modules: Iterable[Any], put: Mapping[tuple[int, str], Any]) -> tuple[str, str]:
        """Say what became of which module, and what to do about it; "" if all is as it was.

        ``put`` are the attributes, by the id of the object and name, into which each run puts a tensor, with what was there before.
        """
        owners = self._owners(modules)
        for held, before in self._before.values():
            owner, kind = owners.get(id(held), (None, ""))
            now = dict(held) if isinstance(held, dict) else dict.fromkeys(held)
            if kind in (BUFFERS, NOT_SAVED):
                known = before if kind == BUFFERS else self._before[id(vars(owner)[BUFFERS])][1]
                for name in [name for key, name in put if key == id(owner)]:
                    is_new = name not in known and put[id(owner), name] is MISSING
                    if is_new or (kind == BUFFERS and name in known and isinstance(now.get(name), Tensor)):
                        now.pop(name, None)
                        before = {key: x for key, x in before.items() if key != name}
            found = _difference(before, now, is_ordered=_is_ordered(owner, kind))
            if found is not None:
                key, what = found
                place = "a module" if owner is None else label_of(owner)
                if kind == NOT_SAVED:
                    return f"whether {place} saves the buffer {key!r} was changed", FIX
                noun = NOUNS.get(kind, "the hooks" if "hooks" in kind else "a part").format(key)
                return f"{noun} of {place} was {what}", FIX_OF_HOOKS if "hook" in kind else FIX
        return "", ""

    def put_back(self, modules: Iterable[Any]) -> None:
        """Let be in all of them what was, in its order."""
        owners = self._owners(modules)
        for held, before in self._before.values():
            owner, kind = owners.get(id(held), (None, ""))
            if isinstance(held, set):
                held.clear()
                held.update(before)
            elif _difference(before, held, is_ordered=_is_ordered(owner, kind)) is not None:
                refill(held, before)
                if owner is not None:
                    set_hooked(owner)
        if self._before:
            CHANGES.bump()

    def _owners(self, modules: Iterable[Any]) -> dict[int, tuple[Any, str]]:
        """Return whose the containers are, by their ids, and which of that module's."""
        if not self._before:
            return {}
        return {id(held): (module, kind) for module in modules for kind, held in vars(module).items()}


def _is_ordered(owner: Any, kind: str) -> bool:
    """Say whether the order of what is in a dict matters: that of the parameters of a layer, which it has by name, does not."""
    return kind not in ("_parameters", BUFFERS, NOT_SAVED) or hasattr(type(owner), "__iter__")


def _difference(before: Mapping[Any, Any], now: Mapping[Any, Any], *, is_ordered: bool) -> tuple[Any, str] | None:
    """Return a key of a dict and what became of it; None if all is as it was."""
    for key in now:
        if key not in before:
            return key, "added"
    for key, value in before.items():
        if key not in now:
            return key, "taken away"
        if now[key] is not value:
            return key, "replaced"
    moved = ((key, "moved") for key, old in zip(now, before, strict=True) if key != old)
    return next(moved, None) if is_ordered else None


def refill(held: Any, before: dict[Any, Any]) -> None:
    """Let be in a dict what was, past methods of a subclass: an ordered one has a list of its keys beside."""
    base: Any = OrderedDict if isinstance(held, OrderedDict) else dict
    base.clear(held)
    for key, value in before.items():
        base.__setitem__(held, key, value)


def set_hooked(module: Any) -> None:
    """Let a module know whether it has hooks."""
    own = vars(module)
    own["_hooked"] = any(own.get(kind) for kind in NOUNS if "hook" in kind)
