"""The contract: what an operation must say of itself to be computed, checked and differentiated.

A primitive is one block with four rules (``shape``, ``evaluate``, ``vjp``, ``lower``); ``reads`` says which values the
gradients need. Everything else in the house asks these rules and knows operations by name only: the registry below starts
empty, ``chainrule.ops`` fills it, and users may add to it.

    class Mul(Primitive):
        "y = a b, of one shape"
        name = "mul"
        reads = ("b", "a")                                   # da reads b, db reads a

        def shape(self, a, b): ...                           # shapes and dtypes; sizes may be symbols
        def evaluate(self, a, b): ...                        # NumPy arrays: the meaning
        def vjp(self, g, y, a, b, *, need):                  # d(ab) = b da + a db
            return g * b if need[0] else None, g * a if need[1] else None
        def lower(self, e, a, b):                            # native code, or no_lowering("why there is none")
            return a * b

Inputs are positional (``x``, or ``a, b, …``), attributes such as ``axis`` keyword-only, in every rule. ``evaluate`` returns
memory of its own (or says ``view = True``) and does not write to what it is given.
``vjp`` gets the gradient ``g`` that arrives at the output, the output's node ``y``, the nodes of the inputs, and ``need``:
for each input whether its gradient is wanted. It returns a gradient in the shape and dtype of each input (None where none
is needed or there is none), a tuple unless there is one input; None alone is a forgotten ``return``, and refused. With
several outputs, ``g`` is a list, None where no gradient arrived, and ``op.get(y, index=k)`` is the output k.
``lower`` of an elementwise primitive gets an emitter ``e`` and one value of each input (or 16 side by side), and returns
that of the result: ``a * b``, ``e.select(a < b, a, b)`` or ``e.math("exp", x)`` write instructions (compiler/emit.py). Of
other primitives ``e`` builds loops from fields: ``e.fold("add", x, axes)`` (compiler/lowering.py).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from chainrule.errors import NameUnknown, RuleMissing, nearest
from chainrule.graph.sizes import Shape

if TYPE_CHECKING:
    from chainrule.graph.node import Node

Array = np.ndarray[Any, np.dtype[Any]]
Dtype = np.dtype[Any]
Gradients = tuple["Node | None", ...]


class Spec(NamedTuple):
    """What is known of a value before it is computed: its shape (sizes may be symbols) and its dtype."""

    shape: Shape
    dtype: Dtype


class Absent:
    """A rule that does not exist, and why: said, never left out."""

    def __init__(self, kind: str, reason: str) -> None:
        if not reason or not reason.strip():
            raise RuleMissing(f"no_{kind}({reason!r})", expected="the reason why there is none")
        self.kind = kind
        self.reason = reason

    def __repr__(self) -> str:
        return f"no_{self.kind}({self.reason!r})"


def no_gradient(reason: str) -> Any:
    """Say that a primitive has no gradient: assign the result to ``vjp``."""
    return Absent("gradient", reason)


def no_lowering(reason: str) -> Any:
    """Say that a primitive has no native code: assign the result to ``lower``."""
    return Absent("lowering", reason)


class Primitive:
    """One operation. A subclass registers itself under ``name``; one with a rule missing cannot be created.

    ``outputs``      how many values ``evaluate`` returns: a tuple if more than one; then ``shape`` returns a tuple too, the
                     node has one shape and one dtype for each, and ``get`` takes one out
    ``reads``        per input, which values the gradient for that input reads, in one string: letters ``x`` (or ``a b c
                     d`` by position), ``y`` for the output, ``*`` for all inputs, as ``("b", "a")`` for a product. Values
                     that no wanted gradient reads are not kept. What letters cannot say, ``saves`` does.
    ``variadic``     True if it takes any number of inputs; then the one string of ``reads`` holds for every input
    ``view``         True if ``evaluate`` returns a view of its input's memory
    ``elementwise``  True if it computes one output element per input element, with broadcasting

    A base class of several primitives says ``class Comparison(Primitive, abstract=True)``, and is not registered.
    """

    name: ClassVar[str]
    outputs: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ()
    variadic: ClassVar[bool] = False
    view: ClassVar[bool] = False
    elementwise: ClassVar[bool] = False

    shape: Callable[..., Any]
    evaluate: Callable[..., Any]
    vjp: Callable[..., Any]
    lower: Any = no_lowering("it has no rule for native code")

    def __init__(self) -> None:
        self.ours = type(self).__module__.startswith("chainrule.")  # there, tests hold the rules together
        self._kept: dict[tuple[bool, ...], tuple[tuple[int, ...], bool]] = {}

    def __init_subclass__(cls, *, abstract: bool = False) -> None:
        super().__init_subclass__()
        if not abstract:
            register(cls())

    def __repr__(self) -> str:
        return f"<primitive {self.name}>"

    @cached_property
    def differentiable(self) -> bool:
        """Whether there is a ``vjp`` rule."""
        return not isinstance(self.vjp, Absent)

    def kept(self, need: tuple[bool, ...]) -> tuple[tuple[int, ...], bool]:
        """Return ``saves(need)``, remembered."""
        found = self._kept.get(need)
        if found is None:
            found = self._kept[need] = self.saves(need)
        return found

    def saves(self, need: tuple[bool, ...]) -> tuple[tuple[int, ...], bool]:
        """Return which inputs' values, and whether the output's, the wanted gradients read.

        ``need`` says per input whether its gradient is wanted. ``kept`` remembers the answer: it must depend on nothing
        else.
        """
        letters: set[str] = set()
        if self.reads and not self.variadic and len(self.reads) > len(need):
            raise RuleMissing(
                f"primitive {self.name!r}: `reads` has {len(self.reads)} entries, and the operation {len(need)} inputs",
                expected="one string for each input, with the letters of all values that its gradient reads",
                fix='for one input whose gradient reads input and output write reads = ("x y",)',
            )
        for index, wanted in enumerate(need):
            if wanted and self.reads:
                letters.update(self._reads_for(0 if self.variadic else index, len(need)))
        if "*" in letters:
            return tuple(range(len(need))), "y" in letters
        inputs = sorted({PLACES[letter] for letter in letters - {"y", " "}})
        if inputs and inputs[-1] >= len(need):
            raise RuleMissing(
                f"primitive {self.name!r}: `reads` names input {inputs[-1]}, but it was given {len(need)}",
                expected="letters of its inputs: x, or a b c d by position",
            )
        return tuple(inputs), "y" in letters

    def _reads_for(self, index: int, count: int) -> str:
        if index >= len(self.reads):
            raise RuleMissing(
                f"primitive {self.name!r}: `reads` has {len(self.reads)} entries, and the operation {count} inputs",
                expected='a string for each input, "" if its gradient reads no value',
            )
        return self.reads[index]


PLACES = {"x": 0, "a": 0, "b": 1, "c": 2, "d": 3}  # of the inputs that the letters of ``reads`` name
RULES = ("shape", "evaluate", "vjp", "lower")
ABSENCES = {"vjp": "gradient", "lower": "lowering"}  # the rules that may be absent, with a reason

_registry: dict[str, Primitive] = {}


def register(primitive: Primitive) -> None:
    """Check that ``primitive`` has all its rules, and make its name known.

    Raises RuleMissing with the name of the missing rule.
    """
    kind = type(primitive)
    name = getattr(kind, "name", None)
    if not isinstance(name, str) or not name.isidentifier():
        raise RuleMissing(
            f"primitive class {kind.__name__}: its name is {name!r}", expected="an identifier", fix='set name = "…"'
        )
    for rule in RULES:
        found = getattr(kind, rule, None)
        if callable(found) or (isinstance(found, Absent) and ABSENCES.get(rule) == found.kind):
            continue
        what = "is missing" if found is None else f"is {found!r}"
        without = f', or say {rule} = no_{ABSENCES[rule]}("why")' if rule in ABSENCES else ""
        raise RuleMissing(
            f"primitive {name!r} ({kind.__name__}): the rule {rule!r} {what}",
            expected=f"all of {', '.join(RULES)}",
            fix=f"write def {rule}(self, …){without}",
        )
    _check_reads(kind)
    known = _registry.get(name)
    if known is not None and type(known).__qualname__ != kind.__qualname__:
        raise RuleMissing(
            f"primitive {name!r} ({kind.__name__}): the name is taken by {type(known).__name__}",
            expected="a new name",
        )
    _registry[name] = primitive


def _check_reads(kind: type[Primitive]) -> None:
    """Raise unless ``reads`` is a tuple of strings of the letters that have a meaning."""
    reads: Any = kind.reads
    known = {*PLACES, "y", "*", " "}
    if type(reads) is not tuple or not all(type(part) is str and known.issuperset(part) for part in reads):
        raise RuleMissing(
            f"primitive {kind.name!r} ({kind.__name__}): reads = {reads!r}",
            expected="a tuple with a string for each input, of the letters x or a b c d (inputs), y (the output), * (all)",
        )


def primitive(name: str) -> Primitive:
    """Return the primitive of that name."""
    try:
        return _registry[name]
    except KeyError:
        raise NameUnknown(f"there is no primitive {name!r}", fix=nearest(name, _registry)) from None


def primitives() -> dict[str, Primitive]:
    """Return every registered primitive by name."""
    return dict(_registry)
