"""A target written as text: a column's name, or a comparison of a column with a value; and labels renamed by text.

>>> parse_target("num > 0", ["age", "num"])
Comparison(column='num', operator='>', value='0')
>>> parse_target("age", ["age", "num"])
'age'
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chainrule.data.columns import Codes, category_name, parse_number
from chainrule.data.table import Table
from chainrule.errors import ArgumentError, nearest

_OPERATORS: dict[str, Callable[..., npt.NDArray[np.bool_]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}
_OPERATOR = re.compile(r">=|<=|==|!=|>|<|=")
FALSE_TRUE = ("False", "True")


@dataclass(frozen=True, slots=True)
class Comparison:
    """A yes-or-no target: whether a column's cell compares so with a value."""

    column: str
    operator: str
    value: str

    def __str__(self) -> str:
        return f"{self.column} {self.operator} {self.value}"

    def categories(self, table: Table) -> tuple[Codes, tuple[str, ...]]:
        """Return per row 1 where it holds, 0 where not, -1 where the cell is missing; and the two names.

        Numbers are compared with numbers. Texts can only be equal or not.
        """
        missing = table[self.column].missing
        number = parse_number(self.value)
        if number is not None and (self.operator not in ("==", "!=") or _all_numbers(table, self.column)):
            holds = _OPERATORS[self.operator](table.numbers(self.column), number)
        elif self.operator in ("==", "!="):
            codes, names = table.categories(self.column)
            wanted = category_name(self.value)
            is_it = codes == (names.index(wanted) if wanted in names else len(names))
            holds = is_it if self.operator == "==" else ~is_it
        else:
            raise ArgumentError(
                f"target {str(self)!r}: {self.value!r} is not a number", expected=f"a number after {self.operator}"
            )
        return np.where(missing, -1, holds).astype(np.int32), FALSE_TRUE


def _all_numbers(table: Table, column: str) -> bool:
    return all(parse_number(name) is not None for name in table.categories(column)[1])


def parse_target(text: str, names: Collection[str]) -> str | Comparison:
    """Read a target: the name of a column, or ``column operator value`` with > >= < <= == !=.

    A column that has the whole text as its name comes first. Quotes around the value are left out.
    """
    if text in names:
        return text
    candidates = [(text[: found.start()].strip(), found) for found in _OPERATOR.finditer(text)]
    chosen = next((pair for pair in candidates if pair[0] in names), None)
    if chosen is None:
        if not candidates or not candidates[0][0] or nearest(text, names):
            return text.strip()  # the table says which columns there are
        chosen = candidates[0]
    column, found = chosen
    value = text[found.end() :].strip()
    if found.group() == "=":
        raise ArgumentError(f"target {text!r} has '='", expected="== to compare", fix=f"write {column} == {value}")
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        value = value[1:-1]
    if not value:
        raise ArgumentError(f"target {text!r} compares with nothing", expected="a value after the operator")
    return Comparison(column, found.group(), value)


def parse_label_map(text: str, labels: Collection[str] = ()) -> dict[str, str]:
    """Read which labels are renamed: ``"a=b,c=d"``, or ``"a->b"`` where a label has an equals sign itself.

    ``labels`` are the labels known; they decide where several equals signs leave the cut open.

    >>> parse_label_map("<=50K.=<=50K, >50K.=>50K", labels=["<=50K.", ">50K."])
    {'<=50K.': '<=50K', '>50K.': '>50K'}
    """
    renamed: dict[str, str] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        old, new = _cut(item, labels)
        if renamed.get(old, new) != new:
            raise ArgumentError(f"labels: {old!r} is renamed twice, to {renamed[old]!r} and {new!r}", expected="once")
        renamed[old] = new
    return renamed


def check_label_map(text: str) -> None:
    """Raise for a text that cannot be read as renamed labels, whatever the labels are."""
    for item in filter(None, (part.strip() for part in text.split(","))):
        if not _cuts(item):
            raise _no_pair(item, 0)


def _cuts(item: str) -> list[tuple[str, str]]:
    """Return every way to read "old=new"."""
    sign = "->" if "->" in item else "="
    cuts = [
        (item[: found.start()].strip(), item[found.end() :].strip()) for found in re.finditer(re.escape(sign), item)
    ]
    return [(old, new) for old, new in cuts if old and new]


def _cut(item: str, labels: Collection[str]) -> tuple[str, str]:
    cuts = _cuts(item)
    known = [cut for cut in cuts if cut[0] in labels] or [cut for cut in cuts if cut[1] in labels]
    if len(known) == 1 or len(cuts) == 1:
        return (known or cuts)[0]
    raise _no_pair(item, len(cuts))


def _no_pair(item: str, num_ways: int) -> ArgumentError:
    what = f"labels: {item!r} " + (f"can be read in {num_ways} ways" if num_ways else "renames nothing")
    return ArgumentError(what, expected="old=new", fix="write old->new, and commas between several")


def rename(codes: Codes, names: tuple[str, ...], renamed: Mapping[str, str]) -> tuple[Codes, tuple[str, ...]]:
    """Rename categories, and join those that then have the same name."""
    new_names = [renamed.get(name, name) for name in names]
    different = tuple(sorted(set(new_names)))
    place = {name: code for code, name in enumerate(different)}
    table = np.array([place[name] for name in new_names] + [-1], dtype=np.int32)
    return table[codes], different
