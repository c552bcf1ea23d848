"""A symbolic size as the code sees it that is being traced: it calculates like any other, and asks to be taken for an int.

The graph, its rules and the compiler have sizes that are polynomials, and keys of their dicts: equal polynomials, equal
hashes. In the user's code a size is a number. Where only the number will do (as a key, in a set, in a text), the answer
holds for this number alone, so the trace must be one for it. `Asked` is what the sizes of one trace tell that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from chainrule.graph.polynomial import Size, UndecidedSize, evaluate

MAY_HOLD = (tuple, list, Size)  # sizes, among attributes
OF_NUMBERS = frozenset(name for name in dir(int) if not name.startswith("_"))  # bit_length and others: of the number


class Asked:
    """What the sizes of one trace are this time, by symbol, and what was asked first that has no answer for all.

    ``where`` gives the line that asks.
    """

    def __init__(self, sizes: Mapping[str, int], where: Callable[[], str]) -> None:
        self.sizes = dict(sizes)
        self._where = where
        self._known: dict[int, SizeInCode] = {}  # by identity of the size, which they keep
        self._first: tuple[str, tuple[str, ...], str] | None = None

    def note(self, undecided: UndecidedSize) -> None:
        """Keep the first question: code may catch what is raised, and go on."""
        if self._first is None and self.sizes:
            self._first = undecided.question, undecided.symbols, self._where()

    def note_left(self, size: Any, place: str) -> None:
        """Keep the question that is a size, or a shape, which the code put where others read it."""
        if self._first is None:
            self._first = f"which number is {size} in {place}", tuple(self.sizes), ""

    def in_code(self, value: Any) -> Any:
        """Return a size, or what a method of one returned, as the code is to see it."""
        kind = type(value)
        if kind is Size and self.sizes:
            found = self._known.get(id(value))
            if found is None:
                found = self._known[id(value)] = SizeInCode(value, self)
            return found
        if kind is tuple:
            for part in value:
                if type(part) is not int:
                    return tuple([self.in_code(part) for part in value])
        return value

    def close(self) -> None:
        """Let the sizes be symbols like all others: the code is through."""
        self.sizes, self._known = {}, {}

    def check(self) -> None:
        """Raise the question that did not end the trace."""
        if self._first is not None:
            question, symbols, line = self._first
            raise UndecidedSize(question, symbols, line)


class SizeInCode(Size):
    """A size in code that is being traced. What it decides is noted; as a text it is the number that it is this time."""

    __slots__ = ("_asked", "_plain")

    def __init__(self, plain: Size, asked: Asked) -> None:
        Size.__init__(self, plain._terms, plain._floors)
        self._plain = plain
        self._asked = asked

    @property  # type: ignore[misc]  # nobody sets it
    def __class__(self) -> type:
        """``int`` for isinstance(); what asks for the type itself, as C code does, gets no int and asks for the number."""
        return int if self._asked.sizes else SizeInCode

    def __getattr__(self, name: str) -> Any:
        if name in OF_NUMBERS:
            self._decide()
        raise AttributeError(f"a size has no attribute {name!r}")

    def __copy__(self) -> SizeInCode:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> SizeInCode:
        return self

    def __reduce__(self) -> Any:
        return self._decide() if self._asked.sizes else self._plain.__reduce__()

    def __hash__(self) -> int:
        return self._decide() if self._asked.sizes else hash(self._plain)

    def __repr__(self) -> str:
        return format(self, "")

    def __format__(self, specification: str) -> str:
        # nothing is raised: texts are made in messages, logs and debuggers, which have no use for an error
        if not self._asked.sizes:
            return format(self._plain, specification)
        self._note_number()
        return format(evaluate(self._plain, self._asked.sizes), specification)

    def _note_number(self) -> UndecidedSize:
        undecided = UndecidedSize(f"which number is {self._plain}", self._plain.symbols)
        self._asked.note(undecided)
        return undecided

    def _decide(self) -> NoReturn:
        raise self._note_number()


def _forward(name: str) -> Callable[..., Any]:
    method = getattr(Size, name)

    def forward(self: SizeInCode, *others: Any) -> Any:
        try:
            found = method(self._plain, *[plain(other) for other in others])
        except UndecidedSize as undecided:
            self._asked.note(undecided)
            raise
        return found if found is NotImplemented else self._asked.in_code(found)

    forward.__name__ = name
    return forward


OWN = (
    "__class__",
    "__copy__",
    "__deepcopy__",
    "__format__",
    "__getattr__",
    "__hash__",
    "__init__",
    "__reduce__",
    "__repr__",
)
for _name, _member in vars(Size).items():
    if _name.startswith("__") and callable(_member) and _name not in OWN:
        setattr(SizeInCode, _name, _forward(_name))


def plain(value: Any) -> Any:
    """Return a size, or the sizes in nested tuples and lists, as the graph has them; anything else as it is."""
    kind = type(value)
    if kind is SizeInCode:
        return value._plain
    if isinstance(value, (tuple, list)):
        for part in value:
            if type(part) is not int and plain(part) is not part:
                parts = [plain(part) for part in value]
                return parts if kind is list else tuple.__new__(kind, parts)
    return value


def plain_attributes(attributes: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes of an operation with sizes as the graph has them; the same dict if they are."""
    for value in attributes.values():
        if isinstance(value, MAY_HOLD) and plain(value) is not value:
            return {name: plain(other) for name, other in attributes.items()}
    return attributes
