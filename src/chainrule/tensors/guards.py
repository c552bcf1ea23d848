"""What a trace took for granted beside its arguments, and whether it is still so.

Names    what the function's own code reads from outside by name (globals and variables of enclosing functions, the object
         whose method it is): the model, the optimizer, a number; of other objects the attributes that the code names
Modules  everything of a module that ran but the numbers in its tensors: settings, parts, hooks; train or eval; of others
         that code names the parts, and the attributes that the code names
Tensors  whether they want gradients, their shapes and dtypes
Answers  of whoever was asked while tracing (an optimizer: which rule do your flags select?)

Names and answers are compared at every call. Modules and tensors are only looked at when the count of changes moved.
What a guard remembers, it remembers weakly: a trace keeps no replaced layer alive, and does not hold once one is gone.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from chainrule.tensors.changes import CHANGES
from chainrule.tensors.facts import OWN_NAMES, PARTS, STRUCTURE, TAKE_ANY, Same, changed, fact
from chainrule.tensors.guarded_names import Name
from chainrule.tensors.tensor import Tensor


class Facts:
    """What was so of one object (a module, a tensor), by name."""

    __slots__ = ("_find", "_read", "known", "text")

    def __init__(self, text: str, value: Any, read: Callable[[Any], dict[str, Any]]) -> None:
        self.text = text
        self._find = weakref.ref(value)
        self._read = read
        self.known = read(value)

    def exist(self) -> bool:
        """Return whether the object still exists."""
        return self._find() is not None

    def hold(self) -> bool:
        """Return whether all of it is still so."""
        value = self._find()
        return value is not None and bool(self._read(value) == self.known)

    def difference(self) -> str:
        """Say what is not."""
        value = self._find()
        if value is None:
            return f"{self.text} was replaced"
        now = self._read(value)
        for name in {**self.known, **now}:
            before, after = self.known.get(name), now.get(name)
            if before != after:
                return changed(f"{self.text}.{name}", before, after)
        return ""


def facts_of_module(module: Any) -> dict[str, Any]:
    """Return everything of a module that a trace depends on beside the numbers in its tensors."""
    facts = {name: _fact_of_module(name, value) for name, value in vars(module).items() if name not in OWN_NAMES}
    return {**facts, "__class__": Same(type(module))}


def _fact_of_module(name: str, value: Any) -> Any:
    if name in PARTS:  # however many these are
        return (dict, [(key, fact(part)) for key, part in value.items()])
    return fact(value)


def facts_read_of_module(named: frozenset[str]) -> Callable[[Any], dict[str, Any]]:
    """Return what gives the facts of a module that code names, but that need not run: its parts, and the attributes of these names.

    All attributes matter where the code takes some by names that it makes, and of chainrule's layers, whose code nobody looks at.
    """

    def facts(module: Any) -> dict[str, Any]:
        own = vars(module)
        if not named.isdisjoint(TAKE_ANY) or _is_layer(type(module)):
            return facts_of_module(module)
        found = {name: _fact_of_module(name, own[name]) for name in own if name in STRUCTURE or name in named}
        return {**found, "__class__": Same(type(module))}

    return facts


def _is_layer(kind: type) -> bool:
    return any(x.__module__.startswith("chainrule.") and x.__name__ != "Module" for x in kind.__mro__)


def facts_of_tensor(x: Tensor) -> dict[str, Any]:
    """Return whether a leaf wants a gradient, its shape and its dtype."""
    value = x._value
    dense = value.flags.c_contiguous  # decides whether a reshape is a view
    return {"requires_grad": (bool, x._node is not None), "shape": value.shape, "dtype": value.dtype, "dense": dense}


def label_of(module: Any) -> str:
    """Return how a module is called in messages: its path in the model and its class."""
    path, kind = module.__dict__.get("_label", ""), type(module).__name__
    return kind if path in ("", kind) else f"{path} ({kind})"


class Guards:
    """All that one trace took for granted."""

    def __init__(
        self,
        names: list[Name],
        modules: Mapping[int, Any],
        answers: list[tuple[str, Callable[[], Any], Any]],
        named: Mapping[int, tuple[str, Any]],
        attributes: Iterable[str],
    ) -> None:
        """``modules`` ran; those ``named`` need not have, and of them these attributes matter (both by their ids)."""
        self.names = names
        self.answers = answers
        self.facts = [Facts(label_of(module), module, facts_of_module) for module in modules.values()]
        read = facts_read_of_module(frozenset(attributes))
        self.facts += [Facts(text, module, read) for key, (text, module) in named.items() if key not in modules]
        self.held_at = CHANGES.count
        self._failed_at = -1

    def watch(self, x: Tensor, name: str) -> None:
        """Let it matter what ``x`` is like."""
        self.facts.append(Facts(name, x, facts_of_tensor))

    def forget_gone(self) -> None:
        """Forget the modules that the function itself made and dropped."""
        self.facts = [facts for facts in self.facts if facts.exist()]

    def hold(self) -> bool:
        """Return whether everything is still so."""
        for name in self.names:
            if not name.holds():
                return False
        for _, ask, answer in self.answers:
            if ask() != answer:
                return False
        count = CHANGES.count
        if count == self.held_at:
            return True
        if count == self._failed_at:
            return False
        if all(facts.hold() for facts in self.facts):
            self.held_at = count
            return True
        self._failed_at = count
        return False

    def can_hold_again(self) -> bool:
        """Return whether every module and tensor still exists."""
        return all(facts.exist() for facts in self.facts)

    def difference(self) -> str:
        """Say in words what is not so any more."""
        for name in self.names:
            if not name.holds():
                return name.difference()
        for text, ask, answer in self.answers:
            if ask() != answer:
                return f"{text} changed"
        return next((text for facts in self.facts if (text := facts.difference())), "")
