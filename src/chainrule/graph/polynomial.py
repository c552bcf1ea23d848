"""Sizes that are polynomials: the batch axis of a graph that is traced once and serves every batch.

A `Size` is a polynomial with integer coefficients over symbols, each an integer of at least 2, and over quotients
rounded down, ``p // q``, that stay as they are (atoms). It calculates like an int. What is decided is decided for every
value of the symbols; a question whose answer depends on the value raises `UndecidedSize`, and the tracer may trace
again with the size fixed.

>>> n = symbol("n")
>>> (2 * n + 4) * n - n // 2, 2 * n // n, n - n, n == 1, max(n, 1)
(2*n**2 + 4*n - n//2, 2, 0, False, n)
>>> n == 32
Traceback (most recent call last):
    ...
chainrule.graph.polynomial.UndecidedSize: is n equal to 32? The size n is not known while tracing; ...

Sizes are equal if they are the same polynomial, so equal sizes have equal hashes. What is constant is an int, never a
Size. True division, float() and int() need the number: they raise `UndecidedSize` too, and the tensor layer gives a
quotient of sizes its meaning before it comes here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import chain
from numbers import Complex, Integral, Real
from typing import Any, NoReturn, TypeAlias, overload

from chainrule.errors import ArgumentError, TraceError

Monomial: TypeAlias = tuple[str, ...]  # atoms in order, one repeated for its powers; the text of an atom identifies it
Terms: TypeAlias = dict[Monomial, int]  # no coefficient is 0
Floors: TypeAlias = dict[str, "tuple[Dim, Dim]"]  # what the atoms p // q stand for: (p, q), q always positive

SMALLEST = 2  # sizes 0 and 1 get their own graph: that is what makes n == 1 and broadcasting decidable


class UndecidedSize(TraceError):
    """A question about a size that has different answers for different values of its symbols. ``line``: who asked, if known."""

    def __init__(self, question: str, symbols: tuple[str, ...], line: str = "") -> None:
        self.question = question
        self.symbols = symbols
        self.line = line
        names = " and ".join(symbols)
        unknown = f"size {names} is" if len(symbols) == 1 else f"sizes {names} are"
        super().__init__(
            f"{question}? The {unknown} not known while tracing",
            expected="code that does the same for every size",
            fix=f"let the code not depend on the value, or trace it with {names} fixed",
        )


class Size:
    """An integer polynomial over symbols and floor quotients. Immutable; made by `symbol` and by arithmetic."""

    __slots__ = ("_floors", "_hash", "_terms")
    __array_ufunc__ = None  # NumPy's numbers leave arithmetic with a Size to the Size

    def __init__(self, terms: Terms, floors: Floors) -> None:
        self._terms = terms
        self._floors = floors
        self._hash: int | None = None

    def __reduce__(self) -> tuple[type[Size], tuple[Terms, Floors]]:
        return Size, (self._terms, self._floors)  # without the hash: that of a str differs between processes

    @property
    def symbols(self) -> tuple[str, ...]:
        """The names of the symbols, in order."""
        names = {atom for monomial in self._terms for atom in monomial if atom not in self._floors}
        for parts in self._floors.values():
            names.update(name for part in parts if isinstance(part, Size) for name in part.symbols)
        return tuple(sorted(names))

    # Arithmetic. What is neither an int nor a float is given the chance to answer (a tensor has its own meaning of it).

    def __add__(self, other: Any) -> Any:
        b = _operand(self, other, "+")
        return b if b is NotImplemented else _combine(self, b, 1)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        b = _operand(self, other, "-")
        return b if b is NotImplemented else _combine(self, b, -1)

    def __rsub__(self, other: Any) -> Any:
        b = _operand(self, other, "-")
        return b if b is NotImplemented else _combine(-self, b, 1)

    def __mul__(self, other: Any) -> Any:
        b = _operand(self, other, "*")
        return b if b is NotImplemented else _multiply(self, b)

    __rmul__ = __mul__

    def __floordiv__(self, other: Any) -> Any:
        b = _operand(self, other, "//")
        return b if b is NotImplemented else _floor_divide(self, b)

    def __rfloordiv__(self, other: Any) -> Any:
        b = _operand(self, other, "//")
        return b if b is NotImplemented else _floor_divide(b, self)

    def __mod__(self, other: Any) -> Any:
        b = _operand(self, other, "%")
        return b if b is NotImplemented else self - b * _floor_divide(self, b)

    def __rmod__(self, other: Any) -> Any:
        b = _operand(self, other, "%")
        return b if b is NotImplemented else b - self * _floor_divide(b, self)

    def __divmod__(self, other: Any) -> Any:
        b = _operand(self, other, "//")
        return b if b is NotImplemented else (self // b, self % b)

    def __rdivmod__(self, other: Any) -> Any:
        b = _operand(self, other, "//")
        return b if b is NotImplemented else (b // self, b % self)

    def __pow__(self, other: Any) -> Any:
        b = _operand(self, other, "**")
        if b is NotImplemented:
            return b
        if isinstance(b, Size) or b < 0:
            self._undecided(f"what is {self} ** {b}", b)
        power: Dim = 1
        for _ in range(b):
            power = _multiply(power, self)
        return power

    def __rpow__(self, other: Any) -> Any:
        b = _operand(self, other, "**")
        return b if b is NotImplemented else self._undecided(f"what is {other} ** {self}")

    def __truediv__(self, other: Any) -> Any:
        b = _operand(self, other, "/")
        return b if b is NotImplemented else self._undecided(f"what is {_grouped(self)} / {_grouped(b)}", b)

    def __rtruediv__(self, other: Any) -> Any:
        b = _operand(self, other, "/")
        return b if b is NotImplemented else self._undecided(f"what is {b} / {_grouped(self)}")

    def _bits(self, other: Any) -> Any:
        b = _operand(self, other, "&")
        return b if b is NotImplemented else self._undecided(f"what are the bits of {self}")

    __and__ = __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = _bits
    __lshift__ = __rlshift__ = __rshift__ = __rrshift__ = _bits

    def __neg__(self) -> Size:
        return Size({monomial: -coefficient for monomial, coefficient in self._terms.items()}, self._floors)

    def __pos__(self) -> Size:
        return self

    def __invert__(self) -> Any:
        return -1 - self

    def __abs__(self) -> Size:
        return self if self >= 0 else -self

    def __round__(self, digits: int | None = None) -> Size:
        return self

    __trunc__ = __floor__ = __ceil__ = __pos__

    # Decisions

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if isinstance(other, Size):
            if is_same(self, other):
                return True
            difference = _combine(self, other, -1)
        elif isinstance(other, Integral):
            difference = _combine(self, -int(other), 1)
        elif isinstance(other, Real):
            number = float(other)
            return number.is_integer() and self == int(number)
        else:
            return NotImplemented
        return False if is_never_zero(difference) else self._undecided(f"is {self} equal to {other}", other)

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash(frozenset(self._terms.items()))
        return self._hash

    def __lt__(self, other: Any) -> Any:
        return self._ordered(other, math.ceil, -1, "is {} less than {}")

    def __ge__(self, other: Any) -> Any:
        below = self._ordered(other, math.ceil, -1, "is {} at least {}")
        return below if below is NotImplemented else not below

    def __gt__(self, other: Any) -> Any:
        return self._ordered(other, math.floor, 1, "is {} greater than {}")

    def __le__(self, other: Any) -> Any:
        above = self._ordered(other, math.floor, 1, "is {} at most {}")
        return above if above is NotImplemented else not above

    def _ordered(self, other: Any, whole: Any, sign: int, question: str) -> Any:
        """Say whether self lies beyond other in the direction of the sign: then the distance is at least 1."""
        if isinstance(other, Size):
            b: Dim = other
        elif isinstance(other, Integral):
            b = int(other)
        elif isinstance(other, Real):
            number = float(other)
            if not math.isfinite(number):
                return sign * number < 0
            b = whole(number)  # an integer lies beyond 2.5 if it lies beyond 2 (from below: 3)
        else:
            return NotImplemented
        distance = sign * (self - b)
        if is_never_negative(distance - 1):
            return True
        return False if is_never_negative(-distance) else self._undecided(question.format(self, other), other)

    def __bool__(self) -> bool:
        return True if is_never_zero(self) else self._undecided(f"is {self} equal to 0")

    def _needs_number(self) -> NoReturn:
        self._undecided(f"which number is {self}")

    __int__ = __index__ = __float__ = __complex__ = _needs_number

    def _undecided(self, question: str, other: object = 0) -> NoReturn:
        names = set(self.symbols).union(other.symbols if isinstance(other, Size) else ())
        raise UndecidedSize(question, tuple(sorted(names)))

    # Text

    def __repr__(self) -> str:
        return _remainder_text(self) or _polynomial_text(self)

    def __format__(self, specification: str) -> str:
        return format(repr(self), specification.removesuffix("d"))


Dim: TypeAlias = int | Size


def symbol(name: str) -> Size:
    """Return the size of that name, an integer of at least 2.

    >>> symbol("n") * 4 + 1
    4*n + 1
    """
    if not name.isidentifier():
        raise ArgumentError(f"symbol: got the name {name!r}", expected="an identifier such as n")
    return Size({(name,): 1}, {})


@overload
def evaluate(value: Dim, bindings: Mapping[str, int]) -> int: ...
@overload
def evaluate(value: tuple[Any, ...], bindings: Mapping[str, int]) -> tuple[Any, ...]: ...
def evaluate(value: Any, bindings: Mapping[str, int]) -> Any:
    """Put numbers for the symbols in a size, or in all sizes of a nested tuple; anything else stays as it is.

    >>> evaluate((symbol("n") * 2, 3, (symbol("n") // 2,)), {"n": 5})
    (10, 3, (2,))
    """
    if isinstance(value, tuple):
        return tuple(evaluate(item, bindings) for item in value)
    if not isinstance(value, Size):
        return value
    total = 0
    for monomial, coefficient in value._terms.items():
        for atom in monomial:
            if atom in value._floors:
                p, q = value._floors[atom]
                coefficient *= evaluate(p, bindings) // evaluate(q, bindings)
            else:
                coefficient *= _bound(atom, bindings)
        total += coefficient
    return total


def _bound(name: str, bindings: Mapping[str, int]) -> int:
    number = bindings.get(name)
    if number is None:
        raise ArgumentError(
            f"the size {name} has no value; there are values for {', '.join(bindings) or 'nothing'}",
            expected="a value for every symbol",
        )
    if number < SMALLEST:
        raise ArgumentError(
            f"the size {name} is {number}",
            expected=f"{SMALLEST} or more: the graph was made on this condition",
            fix="trace it again for this size",
        )
    return number


# ---------------------------------------------------------------------------------------------------------- arithmetic


def _operand(size: Size, other: object, sign: str) -> Any:
    """Return an int or a Size, or NotImplemented; arithmetic with a float needs the number."""
    if type(other) is int or isinstance(other, Size):
        return other
    if isinstance(other, Integral):  # bool and NumPy's integers
        return int(other)
    if isinstance(other, Complex) or type(other).__module__ == "numpy":  # an array of the number's multiples
        size._undecided(f"what is {_grouped(size)} {sign} {other}")
    return NotImplemented


def _simplest(terms: Terms, floors: Floors) -> Dim:
    """Return an int if nothing but a constant is left; forget the quotients that have cancelled."""
    if not terms:
        return 0
    if len(terms) == 1 and () in terms:
        return terms[()]
    if floors:
        used = set(chain.from_iterable(terms))
        floors = {text: parts for text, parts in floors.items() if text in used}
    return Size(terms, floors)


def _combine(a: Size, b: Dim, sign: int) -> Dim:
    """Return a + sign * b."""
    terms = a._terms.copy()
    if not isinstance(b, Size):
        constant = terms.pop((), 0) + sign * b
        if constant:
            terms[()] = constant
        return Size(terms, a._floors)
    for monomial, coefficient in b._terms.items():
        total = terms.pop(monomial, 0) + sign * coefficient
        if total:
            terms[monomial] = total
    return _simplest(terms, a._floors | b._floors if b._floors else a._floors)


def _sum(a: Dim, b: Dim) -> Dim:
    total: Dim = a + b
    return total


def _multiply(a: Dim, b: Dim) -> Dim:
    if not isinstance(a, Size):
        a, b = b, a
    if not isinstance(a, Size):
        return a * b
    if not isinstance(b, Size):
        return Size({monomial: c * b for monomial, c in a._terms.items()}, a._floors) if b else 0
    terms: Terms = {}
    for left, c in a._terms.items():
        for right, d in b._terms.items():
            monomial = tuple(sorted(left + right)) if left and right else left or right
            terms[monomial] = terms.get(monomial, 0) + c * d
    return _simplest({m: c for m, c in terms.items() if c}, a._floors | b._floors)


def _terms_of(value: Dim) -> tuple[Terms, Floors]:
    if isinstance(value, Size):
        return value._terms, value._floors
    return ({(): value} if value else {}), {}


def _without(monomial: Monomial, factor: Monomial) -> Monomial | None:
    """Return monomial / factor, or None."""
    rest = list(monomial)
    for atom in factor:
        if atom not in rest:
            return None
        rest.remove(atom)
    return tuple(rest)


def _order(monomial: Monomial) -> tuple[int, Monomial]:
    return len(monomial), monomial  # by degree, then by name: kept by multiplication, as division needs it


def divide(p: Dim, q: Dim) -> tuple[Dim, Dim]:
    """Return (a, r) with p = a q + r: the polynomial quotient, as far as it has integer coefficients.

    Each coefficient is divided rounding down, so that an int q leaves coefficients from 0 to q - 1.
    """
    terms, floors = _terms_of(p)
    divisor, more_floors = _terms_of(q)
    lead = max(divisor, key=_order)
    left, quotient, remainder = dict(terms), dict[Monomial, int](), dict[Monomial, int]()
    while left:
        monomial = max(left, key=_order)
        coefficient = left[monomial]
        factor = _without(monomial, lead)
        whole = 0 if factor is None else coefficient // divisor[lead]
        if factor is not None and whole:
            quotient[factor] = whole
            for other, c in divisor.items():
                product = tuple(sorted(other + factor))
                total = left.pop(product, 0) - whole * c
                if total:
                    left[product] = total
        if monomial in left:
            remainder[monomial] = left.pop(monomial)
    floors = floors | more_floors
    return _simplest(quotient, floors), _simplest(remainder, floors)


def _floor_divide(p: Dim, q: Dim) -> Dim:
    """Return floor(p / q) in the simplest form known; equal quotients should get equal forms."""
    if not isinstance(p, Size) and not isinstance(q, Size):
        return p // q
    if not isinstance(q, Size) and q == 0:
        raise ZeroDivisionError(f"{p} // 0")
    if not is_never_negative(q - 1):
        if not is_never_negative(-q - 1):
            assert isinstance(q, Size)
            q._undecided(f"is {q} greater than 0")
        p, q = -p, -q
    whole, rest = divide(p, q)
    rest, q = _reduced(rest, q)
    if not isinstance(q, Size) and q == 1:
        return _sum(whole, rest)
    if is_never_negative(rest) and is_never_negative(q - 1 - rest):
        return whole
    if is_never_negative(-rest - 1) and is_never_negative(q + rest):
        return _sum(whole, -1)
    if isinstance(rest, Size):
        if not isinstance(q, Size) and q == 2 and rest._terms.get(()) == 1:
            half = rest - 1  # floor((x + 1) / 2) = x - floor(x / 2): so the two halves of n add up to n
            return _sum(whole + half, -_floor_divide(half, 2))
        inner = [atom for monomial in rest._terms for atom in monomial if atom in rest._floors]
        if len(inner) == 1 and rest._terms.get((inner[0],)) == 1:
            a, b = rest._floors[inner[0]]  # floor((floor(a / b) + x) / q) = floor((a + x b) / (b q))
            x = rest - Size({(inner[0],): 1}, rest._floors)
            return _sum(whole, _floor_divide(a + x * b, b * q))
    elif not isinstance(q, Size):
        return _sum(whole, rest // q)
    text = f"({_grouped(rest)}//{_grouped(q)})"
    return _sum(whole, Size({(text,): 1}, {text: (rest, q)}))


def _reduced(p: Dim, q: Dim) -> tuple[Dim, Dim]:
    """Cancel common factors of p / q under a floor: floor((g x + c) / (g y)) = floor((x + floor(c / g)) / y)."""
    terms, floors = _terms_of(p)
    divisor, more_floors = _terms_of(q)
    common = math.gcd(*divisor.values(), *(c for monomial, c in terms.items() if monomial))
    if common > 1:
        divided = ((monomial, c // common) for monomial, c in terms.items())
        terms = {monomial: c for monomial, c in divided if c}
        divisor = {monomial: c // common for monomial, c in divisor.items()}
    first = next(iter(divisor))
    for atom in first:
        if atom in more_floors:  # it may be 0 or negative
            continue
        smaller = [_without(monomial, (atom,)) for monomial in chain(terms, divisor)]
        if None not in smaller:
            renamed = [monomial for monomial in smaller if monomial is not None]
            terms = dict(zip(renamed, terms.values(), strict=False))
            divisor = dict(zip(renamed[len(terms) :], divisor.values(), strict=True))
    return _simplest(terms, floors), _simplest(divisor, more_floors)


# -------------------------------------------------------------------------------------------------------------- proofs


def is_same(a: Dim, b: Dim) -> bool:
    """Say whether two sizes are the same polynomial, without asking: not the same may still be equal."""
    return a._terms == b._terms if isinstance(a, Size) and isinstance(b, Size) else a is b


def is_never_zero(size: Dim) -> bool:
    """Say whether the size is proved to differ from 0: by its sign, or as 2 n + 1 does."""
    if not isinstance(size, Size):
        return size != 0
    common = math.gcd(*(c for monomial, c in size._terms.items() if monomial))
    if size._terms.get((), 0) % common:
        return True
    return is_never_negative(size - 1) or is_never_negative(-size - 1)


def is_never_negative(size: Dim) -> bool:
    """Say whether the size is proved to be 0 or more for all values of its symbols.

    Either it is so when every atom has its least value and grows with every atom; or a quotient f = floor(p / q) in
    A f + B gives way to a bound, as p - q + 1 <= q f <= p with q > 0: the size is not negative if A >= 0 and
    A (p - q + 1) + q B is not, or if A <= 0 and A p + q B is not.
    """
    least = _least(size)
    if least is not None and least >= 0:
        return True
    if not isinstance(size, Size):
        return False
    for atom in sorted(size._floors, key=len, reverse=True):
        with_it = {monomial: c for monomial, c in size._terms.items() if atom in monomial}
        if any(monomial.count(atom) > 1 for monomial in with_it):
            continue
        a = _simplest({_without(monomial, (atom,)) or (): c for monomial, c in with_it.items()}, size._floors)
        b = _simplest({monomial: c for monomial, c in size._terms.items() if monomial not in with_it}, size._floors)
        p, q = size._floors[atom]
        if is_never_negative(a) and is_never_negative(a * (p - q + 1) + b * q):
            return True
        if is_never_negative(-a) and is_never_negative(a * p + b * q):
            return True
    return False


def _least(size: Dim) -> int | None:
    """Return the least value of a size that grows with every atom, or a number below it; None if it may not grow.

    With every atom written as its least value plus something, no coefficient may be negative.
    """
    if not isinstance(size, Size):
        return size
    if not size._floors and all(len(monomial) < 2 for monomial in size._terms):  # most sizes are linear
        slopes = sum(size._terms.values()) - (constant := size._terms.get((), 0))
        grows = all(coefficient > 0 for monomial, coefficient in size._terms.items() if monomial)
        return constant + SMALLEST * slopes if grows else None
    total: Terms = {}
    for monomial, coefficient in size._terms.items():
        expanded: Terms = {(): coefficient}
        for atom in monomial:
            least = _least_quotient(*size._floors[atom]) if atom in size._floors else SMALLEST
            if least is None:
                return None
            longer = {(*term, atom): c for term, c in expanded.items()}
            for term, c in expanded.items():
                longer[term] = longer.get(term, 0) + c * least
            expanded = longer
        for term, c in expanded.items():
            total[term] = total.get(term, 0) + c
    constant = total.pop((), 0)
    return constant if all(c >= 0 for c in total.values()) else None


def _least_quotient(p: Dim, q: Dim) -> int | None:
    least = _least(p)
    if least is None or isinstance(q, Size):
        return 0 if is_never_negative(p) else None
    return least // q


# ---------------------------------------------------------------------------------------------------------------- text


def _polynomial_text(size: Size) -> str:
    """Write the polynomial as Python would read it, highest degree first."""
    text = ""
    symbols_first = sorted((sorted(monomial, key=_is_floor), c) for monomial, c in size._terms.items())
    for monomial, coefficient in sorted(symbols_first, key=lambda term: (-len(term[0]), [*map(_is_floor, term[0])])):
        powers = [(atom, monomial.count(atom)) for atom in dict.fromkeys(monomial)]
        factors = [atom if power == 1 else f"{atom}**{power}" for atom, power in powers]
        if abs(coefficient) != 1 or not factors:
            factors.insert(0, str(abs(coefficient)))
        elif len(monomial) == 1 and (text or coefficient > 0):
            factors[0] = factors[0][1:-1] if _is_floor(factors[0]) else factors[0]
        sign = "-" if coefficient < 0 else "+"
        text += f" {sign} " if text else sign.removeprefix("+")
        text += "*".join(factors)
    return text


def _is_floor(atom: str) -> bool:
    return atom.startswith("(")


def _remainder_text(size: Size) -> str:
    """Return ``p % q`` for a size p - q (p // q), else nothing."""
    for atom, (p, q) in size._floors.items():
        rest = size - p + q * Size({(atom,): 1}, size._floors)
        if not isinstance(rest, Size) and rest == 0:
            return f"{_grouped(p)} % {_grouped(q)}"
    return ""


def _grouped(value: Dim) -> str:
    text = _polynomial_text(value) if isinstance(value, Size) else str(value)
    return text if text.isidentifier() or text.isdigit() else f"({text})"
