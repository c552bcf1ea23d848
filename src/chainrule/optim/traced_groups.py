"""Parameter groups as code sees them while it is traced: what it reads of them is compared at each call, nothing is set.

What a rule of ``init`` and ``update`` reads is an input of the graph. Other code gets Python numbers, which are constants in
the graph: so each one that it reads is asked for again before each run, and a number that became another one is traced anew.
A number that such code sets would be set once, while tracing, and never again: that is refused where it stands.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterator, KeysView
from typing import Any

from chainrule.errors import TraceError
from chainrule.optim.rule import Group
from chainrule.tensors.guarded_names import Name
from chainrule.tensors.named import is_own
from chainrule.tensors.state import STATE, TRACE
from chainrule.tensors.trace import Trace

MISSING = object()


class TracedGroup(dict[str, Any]):
    """One parameter group of an optimizer. After the trace it is as good as the group itself."""

    def __init__(self, optimizer: Any, k: int, group: Group) -> None:
        super().__init__(group)
        self._find, self._k, self._group = weakref.ref(optimizer), k, group
        self._owner = type(optimizer).__name__

    # -- reading ----------------------------------------------------------------------------------------------------

    def _read(self, name: Any) -> None:
        trace = _open_trace()
        if trace is not None:
            text = f"param_groups[{self._k}][{name!r}] of {self._owner}"
            find = functools.partial(_option, self._find, self._k, name)
            trace.read_option((id(self._group), name), text, find, is_rate=name not in ("params", "param_names"))

    def __getitem__(self, name: str) -> Any:
        self._read(name)
        return self._group[name]

    def get(self, name: str, default: Any = None) -> Any:
        self._read(name)
        return self._group.get(name, default)

    def __contains__(self, name: object) -> bool:
        self._read(name)
        return name in self._group

    def __iter__(self) -> Iterator[str]:
        trace = _open_trace()
        if trace is not None:
            text, find = f"the options of {self._owner}", functools.partial(_names, self._find, self._k)
            trace.read_option((id(self._group), _names), text, find, is_rate=False)
        return iter(self._group)

    def keys(self) -> Any:
        return KeysView(self)

    def values(self) -> Any:
        return [self[name] for name in self]

    def items(self) -> Any:
        return [(name, self[name]) for name in self]

    def copy(self) -> Group:
        return dict(self.items())

    def __eq__(self, other: object) -> bool:
        return self.copy() == other

    __hash__ = None  # as of every dict

    def __or__(self, other: Any) -> Any:
        return self.copy() | other

    def __ror__(self, other: Any) -> Any:
        return other | self.copy()

    def __repr__(self) -> str:
        return repr(self._group)

    def __reduce__(self) -> Any:
        return dict, (self.copy(),)

    # -- writing ----------------------------------------------------------------------------------------------------

    def __setitem__(self, name: str, value: Any) -> None:
        _refuse_in_trace(f"sets {name!r} of a parameter group of {self._owner}")
        self._group[name] = value

    def setdefault(self, name: str, default: Any = None) -> Any:
        if name not in self:
            self[name] = default
        return self[name]

    def _written(self, write: str, *args: Any, **kwargs: Any) -> Any:
        _refuse_in_trace(f"changes a parameter group of {self._owner}")
        return getattr(self._group, write)(*args, **kwargs)


class TracedGroups(list[Group]):
    """All groups of an optimizer."""

    def __init__(self, optimizer: Any, groups: list[Group]) -> None:
        super().__init__([TracedGroup(optimizer, k, group) for k, group in enumerate(groups)])
        self._groups, self._owner = groups, type(optimizer).__name__

    def _written(self, write: str, *args: Any, **kwargs: Any) -> Any:
        _refuse_in_trace(f"changes the parameter groups of {self._owner}")
        return getattr(self._groups, write)(*args, **kwargs)


def _writing(write: str) -> Callable[..., Any]:
    def written(self: Any, *args: Any, **kwargs: Any) -> Any:
        return self._written(write, *args, **kwargs)

    return written


for _write in ("__delitem__", "__ior__", "clear", "pop", "popitem", "update"):
    setattr(TracedGroup, _write, _writing(_write))
for _write in (
    "__setitem__", "__delitem__", "__iadd__", "__imul__", "append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort",
):  # fmt: skip
    setattr(TracedGroups, _write, _writing(_write))


def note_optimizer(trace: Trace, optimizer: Any) -> None:
    """Let it matter what a step of the user's reads and changes, also where the traced code does not name the optimizer."""
    trace.reached.note_optimizer(type(optimizer).__name__, optimizer)
    if not is_own(type(optimizer).step):
        trace.reached.note(optimizer.step)


class Places(Name):
    """Which parameters are in which group, and their order. Ids say it, as long as all of these parameters exist."""

    __slots__ = ("_finds", "_gone", "_optimizer")

    def __init__(self, optimizer: Any) -> None:
        self._optimizer = weakref.ref(optimizer)
        self._gone: list[Any] = []
        groups = vars(optimizer)["param_groups"]
        self._finds = [weakref.ref(p, self._gone.append) for group in groups for p in group["params"]]
        super().__init__(id(optimizer), type(optimizer).__name__, _nothing)

    def _fact(self) -> Any:
        optimizer = self._optimizer()
        if optimizer is None or self._gone:
            return None
        found = []
        for group in optimizer.__dict__["param_groups"]:  # at every call: a comprehension takes longer
            found.append([*map(id, group["params"])])
        return found

    def holds(self) -> bool:
        return bool(self.known == self._fact())

    def difference(self) -> str:
        return f"the parameters in the groups of {self.text}, or their order, changed"


def _nothing() -> None:
    """Stand for what is looked at in another way."""


def note_groups(trace: Trace, optimizer: Any) -> None:
    """Let it matter which parameters are in which group, and in which order; once is enough."""
    if trace.is_first((id(optimizer), Places)):
        trace.reached.names.append(Places(optimizer))


def traced_groups(trace: Trace, optimizer: Any, groups: list[Group]) -> list[Group]:
    """Return the groups as code sees them in ``trace``."""
    note_optimizer(trace, optimizer)
    find = functools.partial(_count, weakref.ref(optimizer))
    text = f"the number of parameter groups of {type(optimizer).__name__}"
    trace.read_option((id(groups), len), text, find, is_rate=False)
    return TracedGroups(optimizer, groups)


def refused(trace: Trace, what: str) -> TraceError:
    """Return the error for code that would change rates, or a schedule, once: while it is traced."""
    return TraceError(
        f"the compiled function '{trace.name}' {what}: Python would do so once, while tracing, and never again",
        expected="rates that are changed outside of the compiled function: each call reads them anew",
        fix="call the scheduler outside of the compiled step, or set the rate there; a scheduler of "
        "cr.optim.lr_scheduler may be stepped inside",
    )


def _refuse_in_trace(what: str) -> None:
    trace = _open_trace()
    if trace is not None:
        raise refused(trace, what)


def _open_trace() -> Trace | None:
    return STATE.trace if STATE.mode == TRACE else None


def _option(find: Callable[[], Any], k: int, name: str) -> Any:
    groups = _groups_of(find)
    return groups[k].get(name, MISSING) if k < len(groups) else MISSING


def _names(find: Callable[[], Any], k: int) -> Any:
    groups = _groups_of(find)
    return tuple(groups[k]) if k < len(groups) else MISSING


def _count(find: Callable[[], Any]) -> int:
    return len(_groups_of(find))


def _groups_of(find: Callable[[], Any]) -> list[Group]:
    groups: list[Group] = getattr(find(), "__dict__", {}).get("param_groups", [])
    return groups
