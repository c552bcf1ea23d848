"""Regions whose kernels are the same but for the memory that they read and write: written once.

A region's form says everything that its kernels are written by: what is computed of what, along which loops, in which shapes,
and what is stored. Its fields are numbered as they are come upon, so that two layers of the same size have the same form, and
the records of the one are those of the other with the fields of the same numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from chainrule.compiler.fields import (
    Field,
    Fixed,
    Fold,
    Iota,
    Map,
    Move,
    Number,
    Place,
    Product,
    Random,
    Reshape,
    SizeOf,
    Source,
)
from chainrule.compiler.zeros import zeros_from

if TYPE_CHECKING:
    from chainrule.compiler.plan import Record, Targets
    from chainrule.compiler.region import Region


class Form(NamedTuple):
    """``key`` tells forms apart; ``fields`` are those of the region, by number."""

    key: str
    fields: tuple[Field, ...]


class Made(NamedTuple):
    """What was made of a region of some form: its fields, its records, and memory that they need for themselves."""

    fields: tuple[Field, ...]
    records: tuple[Record, ...]
    scratch: tuple[Field, ...]


def form_of(targets: Targets, region: Region) -> Form | None:
    """Return the form of a region; None if it has a field of a kind that is not known here."""
    number: dict[Field, int] = {}
    parts: list[Any] = []
    stack: list[Field] = list(reversed(region.members))
    while stack:
        x = stack.pop()
        if x in number:
            continue
        number[x] = len(number)
        is_member = x in region.axes
        if not is_member and (isinstance(x, (Source, Fixed)) or x in targets.regions.reads.computed):
            parts.append(("memory", type(x) is Fixed, zeros_from(x) is not None, x.dtype.str, _shape(x)))
            continue
        about = _about(x)
        if about is None:
            return None
        parts.append((type(x).__name__, about, x.dtype.str, _shape(x)))
        stack.extend(reversed(x.inputs))
    reads = [[number[y] for y in x.inputs] if x in region.axes or _is_inner(targets, x) else [] for x in number]
    stored = set(region.stored)
    members = [
        (number[x], region.axes[x], targets.regions.fold_axes.get(x), x in stored, _over(targets, number, x))
        for x in region.members
    ]
    dims = [str(n) for n in region.dims]
    return Form(repr((parts, reads, members, dims, sorted(region.inner))), tuple(number))


def _is_inner(targets: Targets, x: Field) -> bool:
    return not isinstance(x, (Source, Fixed)) and x not in targets.regions.reads.computed


def _over(targets: Targets, number: dict[Field, int], x: Field) -> int | None:
    """Return the number of the input that a field is written over, -1 if the region does not read it, None if there is none."""
    source = targets.over.get(x)
    return None if source is None else number.get(source, -1)


def _shape(x: Field) -> str:
    return ",".join([str(n) for n in x.shape])


def _about(x: Field) -> Any:
    """Return what a field is beside its kind, shape, dtype and inputs."""
    if isinstance(x, Map):
        return x.primitive.name, sorted([(name, repr(value)) for name, value in x.attributes.items()])
    if isinstance(x, Move):
        return [(place.axis, str(place.offset), place.step) for place in x.places]
    if isinstance(x, Fold):
        return x.kind, x.axes
    if isinstance(x, Place):
        return x.kind, x.axis
    if isinstance(x, Product):
        return x.batch, x.contracted
    if isinstance(x, Random):
        return x.kind, x.offset, sorted([(name, repr(value)) for name, value in x.attributes.items()])
    if isinstance(x, Number):
        return repr(x.value)
    if isinstance(x, SizeOf):
        return str(x.size)
    return "" if isinstance(x, (Reshape, Iota)) else None


def records_like(made: Made, form: Form, place: int) -> tuple[list[Record], list[Field]]:
    """Return the records of a region of the form that ``made`` was made of, and the memory that they need."""
    scratch = [Field(x.shape, x.dtype) for x in made.scratch]
    now = dict(zip((*made.fields, *made.scratch), (*form.fields, *scratch), strict=True))
    records = []
    for record in made.records:
        entries = tuple(
            [entry if entry.field is None else entry._replace(field=now[entry.field]) for entry in record.entries]
        )
        touched = tuple([(now[x], size) for x, size in record.work.touched])
        records.append(record._replace(entries=entries, region=place, work=record.work._replace(touched=touched)))
    return records, scratch
