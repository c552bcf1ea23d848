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
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any

from chainrule.tensors.attributes import PlacedName
from chainrule.tensors.changes import CHANGES
from chainrule.tensors.facts import OWN_NAMES, PARTS, Same, changed, fact, is_still, member_of, value_of
from chainrule.tensors.guarded_names import Name, ReadName
from chainrule.tensors.named import is_own
from chainrule.tensors.reads import Reads, found_facts
from chainrule.tensors.tensor import Tensor


class Facts(ABC):
    """What was so of one object (a module, a tensor), by name."""

    __slots__ = ("_find", "known", "text")

    def __init__(self, text: str, value: Any) -> None:
        self.text = text
        self._find = weakref.ref(value)
        self.known = self._read(value)

    @abstractmethod
    def _read(self, value: Any) -> dict[str, Any]:
        """Return what is so of an object, now."""

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
                return self._told(name, before, after)
        return ""

    def _told(self, name: str, before: Any, after: Any) -> str:
        return changed(f"{self.text}.{name}", before, after)


class TensorFacts(Facts):
    """Whether a leaf wants a gradient, its shape and its dtype."""

    __slots__ = ()

    def _read(self, value: Any) -> dict[str, Any]:
        array = value._value
        dense = array.flags.c_contiguous  # decides whether a reshape is a view
        return {
            "requires_grad": (bool, value._node is not None),
            "shape": array.shape,
            "dtype": array.dtype,
            "dense": dense,
        }


class ModuleFacts(Facts):
    """The attributes of a module that were read; all of them, beside what tracing itself writes, where nobody told which."""

    __slots__ = ("_names",)

    def __init__(self, text: str, module: Any, names: frozenset[str] | None) -> None:
        if names is not None:
            kind = type(module)
            self._names: tuple[str, ...] | None = tuple(
                sorted(name for name in names if not _is_own_member(kind, name))
            )
        else:
            self._names = None
        super().__init__(text, module)

    def _read(self, value: Any) -> dict[str, Any]:
        names = [name for name in vars(value) if name not in OWN_NAMES] if self._names is None else self._names
        found = {name: _fact_of_module(name, value_of(value, name)) for name in names}
        return {**found, "__class__": Same(type(value))}

    def hold(self) -> bool:
        module = self._find()
        if module is None or self._names is None:
            return super().hold()
        if not self.known["__class__"].is_about(type(module)):
            return False
        for name in self._names:
            known, value = self.known[name], value_of(module, name)
            if not (_are_still(known, value) if name in PARTS else is_still(known, value)):
                return False
        return True

    def _told(self, name: str, before: Any, after: Any) -> str:
        if name == "_hooked":
            return f"{self.text} has {'hooks that it had not' if after[1] else 'no hooks any more'}"
        return super()._told(name, before, after)


def _fact_of_module(name: str, value: Any) -> Any:
    if name in PARTS:  # however many these are
        return (dict, [(key, fact(part)) for key, part in value.items()])
    return fact(value)


def _are_still(known: Any, parts: Any) -> bool:
    """Return whether a module has the same parts, by the same names."""
    before = known[1]
    if not isinstance(parts, dict) or len(parts) != len(before):
        return False
    return all(
        name == key and is_still(was, part) for (name, was), (key, part) in zip(before, parts.items(), strict=True)
    )


def _is_own_member(kind: type, name: str) -> bool:
    """Say whether a name is that of a method of chainrule's that nobody replaces, or of what tracing itself writes."""
    member = member_of(kind, name)
    function = member.fget if isinstance(member, property) else member
    return name in OWN_NAMES or (name != "forward" and isinstance(function, FunctionType) and is_own(function))


def label_of(module: Any) -> str:
    """Return how a module is called in messages: its path in the model and its class."""
    path, kind = module.__dict__.get("_label", ""), type(module).__name__
    return kind if path in ("", kind) else f"{path} ({kind})"


def _as_read(names: list[Name], reads: Reads) -> list[Name]:
    """Let names compare what was read of the objects in them; add those for what was read of others, and for what was set."""
    found = {id(owner): of for owner, of in reads.others()}
    apart = reads.apart()
    names = [name for name in names if isinstance(name, PlacedName) or _attribute(name) not in apart]
    by_name = set(map(_attribute, names))
    compared: dict[int, frozenset[str]] = {}

    def choose(value: Any, attributes: frozenset[str], depth: int) -> frozenset[str]:
        key = id(value)
        chosen = reads.compared(value, attributes)
        if depth > 1:  # else what is in it is not looked at
            compared[key] = compared.get(key, frozenset()) | chosen
        return chosen

    for name in names:
        name.narrow(choose)
    added: list[Name] = []
    for key, of in found.items():
        owner, covered = of.find(), compared.get(key, frozenset()) | of.set_first | of.apart
        known = {name: was for name, was in of.known.items() if name not in covered and (key, name) not in by_name}
        left = {
            name: found_facts(value_of(owner, name), name)
            for name in of.set
            if name in of.known and name not in of.apart
        }
        added += [ReadName(owner, facts, found_facts) for facts in (known, left) if facts]
    return [*names, *added]


def _attribute(name: Name) -> tuple[int, str]:
    """Return whose attribute a name is, by id, and which one."""
    return name.place, name.text.rpartition(".")[2]


class Guards:
    """All that one trace took for granted."""

    def __init__(
        self,
        names: list[Name],
        modules: Mapping[int, Any],
        answers: list[tuple[str, Callable[[], Any], Any]],
        named: Mapping[int, tuple[str, Any]],
        reads: Reads,
        left: list[Name],
    ) -> None:
        """``modules`` ran, others were ``named`` (both by their ids); ``left`` is what the code set, as it left it."""
        self.names = [*_as_read(names, reads), *left]
        self.answers = answers
        self.facts: list[Facts] = []
        for module in {
            **{key: module for key, (_, module) in named.items()},
            **modules,
            **{id(m): m for m in reads.modules()},
        }.values():
            text = named[id(module)][0] if id(module) in named and id(module) not in modules else label_of(module)
            read = reads.names_of(module)
            if read is None or read:
                self.facts.append(ModuleFacts(text, module, read))
        self.held_at = CHANGES.count
        self._failed_at = -1

    def watch(self, x: Tensor, name: str) -> None:
        """Let it matter what ``x`` is like."""
        self.facts.append(TensorFacts(name, x))

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

    def lost_tensors_alone(self) -> bool:
        """Return whether some tensors do not exist any more, but all modules do."""
        gone = [facts for facts in self.facts if not facts.exist()]
        return bool(gone) and all(isinstance(facts, TensorFacts) for facts in gone)

    def difference(self) -> str:
        """Say in words what is not so any more."""
        for name in self.names:
            if not name.holds():
                return name.difference()
        for text, ask, answer in self.answers:
            if ask() != answer:
                return f"{text} changed"
        return next((text for facts in self.facts if (text := facts.difference())), "")
