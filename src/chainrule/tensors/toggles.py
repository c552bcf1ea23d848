"""What traced code changes for a while and puts back: which leaves want gradients, and numbers in attributes of modules.

Python runs while it traces, so what it does in between is in the graph: ``for p in D.parameters(): p.requires_grad_(False)``
around the generator's loss, ``model.eval()`` around a teacher's forward. What is not at the end what it was at first would be
done once and never again: it is refused, at the line that did it last, and put back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chainrule.errors import TraceError
from chainrule.graph import Node
from chainrule.tensors.attributes import holds_tensors
from chainrule.tensors.changes import CHANGES
from chainrule.tensors.facts import MISSING, SIMPLE_KINDS, fact
from chainrule.tensors.tensor import Tensor
from chainrule.tensors.user_line import Line, line_of_caller, raise_at

if TYPE_CHECKING:
    from chainrule.tensors.trace import Trace

ONCE = "Python would do it once and never again"


class Flag:
    """Whether a leaf wanted a gradient before traced code first changed that, its node then, and where it was changed last."""

    __slots__ = ("at", "first", "tensor", "wanted")

    def __init__(self, tensor: Tensor, first: Node, *, wanted: bool) -> None:
        self.tensor = tensor
        self.first = first
        self.wanted = wanted
        self.at: Line | None = None


class Flags:
    """Which leaves traced code has told to want gradients, or no more."""

    def __init__(self) -> None:
        self._of: dict[int, Flag] = {}
        self._same: dict[Node, Node] = {}  # the node of a leaf, by the one that came after it for its flag alone

    def note(self, x: Tensor, old: Node, new: Node) -> None:
        """Note that the node of ``x`` is ``new`` now, with the value of ``old`` and the other flag."""
        flag = self._of.setdefault(id(x), Flag(x, old, wanted=old.requires_grad))
        flag.at = line_of_caller()
        self._same[new] = old

    def count(self, x: Tensor) -> int:
        """Return a number that is another one after each change of a flag, if that of ``x`` was ever changed."""
        return len(self._same) if id(x) in self._of else 0

    def wanting(self, trace: Trace, leaves: dict[Node, Tensor]) -> dict[Node, Tensor]:
        """Return those leaves that want a gradient at this point of the function, by all nodes that they had."""
        frozen = {key for key, flag in self._of.items() if not trace.node_now(flag.tensor).requires_grad}
        return {node: x for node, x in leaves.items() if id(x) not in frozen} if frozen else leaves

    def check(self, trace: Trace) -> None:
        """Raise if a leaf from outside wants a gradient that did not at first, or the other way round."""
        for flag in self._of.values():
            x = flag.tensor
            if not trace.is_from_outside(x):
                continue
            node = trace.node_now(x)
            if not trace.is_leaf(x):
                error = TraceError(
                    f"a tensor from outside (shape {tuple(x.shape)}) of the compiled function '{trace.name}' was written into "
                    "with a tape while it was frozen, and is no leaf any more",
                    expected="leaves from outside that are leaves at its end",
                    fix="write under `with chainrule.no_grad():`",
                )
                raise_at(error, flag.at)
            if node.requires_grad is not flag.wanted:
                if x._value is None and not flag.wanted:
                    continue  # what stands for an argument
                error = TraceError(
                    f"requires_grad_({not flag.wanted}) on a tensor from outside (shape {tuple(x.shape)}) of the compiled "
                    f"function '{trace.name}', which leaves it so: {ONCE}",
                    expected="tensors that want gradients, at its end, if they did before",
                    fix=f"call requires_grad_({flag.wanted}) on it again within the function, or call "
                    f"requires_grad_({not flag.wanted}) before it",
                )
                raise_at(error, flag.at)
            while node is not flag.first and node in self._same:
                node = self._same[node]
            if node is flag.first:
                trace.set_node(x, node)

    def forget(self) -> None:
        """Let all tensors go."""
        self._of, self._same = {}, {}


class Setting:
    """An attribute of a module: what it held before traced code set it, and what was set, and where, the last time."""

    __slots__ = ("at", "before", "module", "name", "value")

    def __init__(self, module: Any, name: str) -> None:
        self.module, self.name = module, name
        self.before = self._own()
        self.value: Any = MISSING
        self.at: Line | None = None

    def _own(self) -> Any:
        return vars(self.module).get(self.name, MISSING)

    def is_as_before(self) -> bool:
        """Say whether the attribute holds what it held at first, perhaps by its class."""
        before, now = (
            getattr(type(self.module), self.name, MISSING) if value is MISSING else value
            for value in (self.before, self._own())
        )
        return (
            now is before
            or (may_be_set(before) and bool(fact(now) == fact(before)))
            or (is_empty(before) and now == before)
        )

    def is_kept(self) -> bool:
        """Say whether it holds tensors now: each run puts them there."""
        return holds_tensors(self._own())

    def put_back(self) -> None:
        """Let it hold what it held."""
        if self.before is MISSING:
            vars(self.module).pop(self.name, None)
        else:
            vars(self.module)[self.name] = self.before
        CHANGES.bump()


class Settings:
    """The attributes of modules from outside that traced code set, or deleted."""

    def __init__(self) -> None:
        self._of: dict[tuple[int, str], Setting] = {}

    def note(self, module: Any, name: str, value: Any) -> None:
        """Note that an attribute of a module is about to be set; ``MISSING``: deleted."""
        setting = self._of.get((id(module), name))
        if setting is None:
            setting = self._of[id(module), name] = Setting(module, name)
        setting.value = value if value is MISSING or may_be_set(value) else ...
        setting.at = line_of_caller()

    def is_at_first(self, module: Any, name: str, value: Any) -> bool:
        """Say whether a value is what an attribute, set since, held at first."""
        setting = self._of.get((id(module), name))
        return setting is not None and setting.before is value

    def check(self) -> None:
        """Raise if an attribute does not hold what it held at first, nor tensors; else there is nothing to put back."""
        for setting in self._of.values():
            if not (setting.is_as_before() or setting.is_kept()):
                raise_at(refused_to_set(setting.module, setting.name, setting.value), setting.at)
        self.forget()

    def put_back(self) -> None:
        """Let all of them hold what they did."""
        for setting in self._of.values():
            setting.put_back()
        self.forget()

    def forget(self) -> None:
        """Let all modules go."""
        self._of = {}


def refused_to_set(module: Any, name: str, value: Any) -> TraceError:
    """Return what is raised where an attribute of a module is set for good; ``MISSING``: deleted."""
    kind = type(module).__name__
    if name == "training" and isinstance(value, bool):
        mode = "train" if value else "eval"
        return TraceError(
            f"{mode}() on {module._get_name()} inside a compiled function, which leaves it so: {ONCE}",
            expected="modules that are, at its end, in the mode in which they were",
            fix=f"call model.{mode}() before the compiled function, or model.train(was) at its end",
        )
    is_short = type(value) in SIMPLE_KINDS and len(repr(value)) < 30
    what = f"{kind}.{name} = {value!r}" if is_short else f"{'del' if value is MISSING else 'assigning'} {kind}.{name}"
    return TraceError(
        f"{what} inside a compiled function: the function runs as a graph, so Python would assign once and never again",
        fix=f"keep what changes in a buffer, self.register_buffer({name!r}, chainrule.tensor(…)), and change that, "
        "let it be, at the end of the function, what it was at first, or assign outside of the compiled function",
    )


def may_be_set(value: Any) -> bool:
    """Say whether a value is a number, a flag, a text or None, or several in a tuple, or an empty list or dict.

    The first can be told from another by themselves; the last may be filled with tensors.
    """
    return (
        type(value) in SIMPLE_KINDS or (type(value) is tuple and {*map(type, value)} <= SIMPLE_KINDS) or is_empty(value)
    )


def is_empty(value: Any) -> bool:
    """Say whether a value is an empty list or dict."""
    return type(value) in (list, dict) and not value
