"""Compiled methods: one compiled function for each object and method, kept with the object, and not copied with it."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from chainrule.errors import warn
from chainrule.tensors.facts import METHODS

if TYPE_CHECKING:
    from chainrule.tensors.compile import Compiled

MOST_KEPT = 512  # objects without a ``__dict__``, and classes, whose methods are kept


class Methods:
    """The compiled methods of one object, by the functions in its class: another object that gets it (a copy) makes its own."""

    __slots__ = ("_owner", "found")

    def __init__(self, owner: Any = None) -> None:
        try:
            self._owner: Callable[[], Any] = weakref.ref(owner)
        except TypeError:  # it takes no weak references
            self._owner = lambda: owner
        self.found: dict[int, tuple[Compiled, Compiled]] = {}

    def are_of(self, instance: Any) -> bool:
        """Say whether they are those of this object."""
        return self._owner() is instance

    def __deepcopy__(self, memo: dict[int, Any]) -> Methods:
        return Methods()

    def __reduce__(self) -> tuple[type[Methods], tuple[()]]:
        return Methods, ()


class MethodsApart:
    """The same of a compiled function for objects that have no ``__dict__``: those that were used last."""

    def __init__(self) -> None:
        self._found: OrderedDict[int, tuple[Any, Compiled]] = OrderedDict()
        self._told = False

    def get(self, instance: Any, make: Callable[[], Compiled]) -> Compiled:
        """Return the method of an object, made if it is not known."""
        known = self._found.get(id(instance))
        if known is None or known[0] is not instance:
            known = self._found[id(instance)] = instance, make()
            if len(self._found) > MOST_KEPT:
                self._found.popitem(last=False)
                self._tell(instance, known[1].name)
        else:
            self._found.move_to_end(id(instance))
        return known[1]

    def _tell(self, instance: Any, name: str) -> None:
        """Warn once that methods go, which are traced anew if they are called again."""
        if self._told:
            return
        self._told = True
        kind, advice = "classes", ""
        if not isinstance(instance, type):
            kind = f"objects of {type(instance).__name__}, which have no __dict__"
            advice = ". With '__dict__' among the __slots__ of their class, each object keeps its own, and takes it along when it goes"
        warn(
            f"the compiled method {name} was called on more than {MOST_KEPT} {kind}: that of the object that was used least lately "
            f"goes each time, and would be traced again{advice}"
        )


def method_of(function: Compiled, instance: Any, make: Callable[[], Compiled]) -> Compiled | None:
    """Return the method of ``instance`` that ``function`` in its class is, made if it is new; None if the object keeps nothing."""
    own = None if isinstance(instance, type) else getattr(instance, "__dict__", None)
    if own is None:
        return None
    methods = own.get(METHODS)
    if methods is None or not methods.are_of(instance):
        methods = own[METHODS] = Methods(instance)
    known = methods.found.get(id(function))
    if known is None or known[0] is not function:
        known = methods.found[id(function)] = function, make()
    found: Compiled = known[1]
    return found
