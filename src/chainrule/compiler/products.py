"""Contractions: brought into the form of a product of matrices, or written as loops where nothing is used twice."""

from __future__ import annotations

from collections.abc import Sequence

from chainrule.compiler.fields import Field, Product, Where, is_one
from chainrule.compiler.lowering import Lowering
from chainrule.graph.sizes import Dim, Shape, numel

Axes = Sequence[int]
Groups = tuple[Axes, Axes, Axes]  # of a factor: the batch axes, the free ones, the contracted ones


def contraction(
    e: Lowering, a: Field, b: Field, batch: tuple[Axes, Axes], contracted: tuple[Axes, Axes], shape: Shape
) -> Field:
    """Return Σ a b over the contracted axes, as a fold of loops or as a product of matrices."""
    of_a: Groups = (batch[0], free(a, batch[0], contracted[0]), contracted[0])
    of_b: Groups = (batch[1], free(b, batch[1], contracted[1]), contracted[1])
    loops = as_loops(e, a, b, of_a, of_b, shape)
    if loops is not None:
        return loops
    a, of_a = grouped(e, a, of_a)
    b, of_b = grouped(e, b, of_b)
    sizes: list[Dim] = []
    if of_a[0]:
        sizes.append(a.shape[of_a[0][0]])
    sizes += [a.shape[of_a[1][0]], b.shape[of_b[1][0]]]
    y = Product(a, b, (tuple(of_a[0]), tuple(of_b[0])), (tuple(of_a[2]), tuple(of_b[2])), tuple(sizes))
    return e.reshape(y, shape)


def free(x: Field, batch: Axes, contracted: Axes) -> Axes:
    """Return the axes that are neither batch nor contracted."""
    return [k for k in range(x.ndim) if k not in batch and k not in contracted]


def as_loops(e: Lowering, a: Field, b: Field, of_a: Groups, of_b: Groups, shape: Shape) -> Field | None:
    """Return a contraction of vectors, or of integers, as a fold of a product of elements; None if it is one of matrices.

    Where rows, columns or the contracted axes have one element only, nothing is used twice, and the loops fuse with what
    surrounds them.
    """
    single = [all(is_one(x.shape[k]) for k in axes) for x, axes in ((a, of_a[1]), (b, of_b[1]), (a, of_a[2]))]
    if not any(single) and a.dtype.kind == "f":
        return None
    whole = (*shape, *[a.shape[k] for k in of_a[2]])
    inner, n = len(shape), len(of_a[0])

    def spread(x: Field, axes: Groups, free_at: int) -> Field:
        """Move one factor into the space of the result and the contracted axes."""
        where = {
            axis: start + k
            for group, start in zip(axes, (0, free_at, inner), strict=True)
            for k, axis in enumerate(group)
        }
        places = [
            Where(None) if is_one(m) and not is_one(whole[where[k]]) else Where(where[k]) for k, m in enumerate(x.shape)
        ]
        return e.move(x, places, whole)

    y = e.map("mul", spread(a, of_a, n), spread(b, of_b, n + len(of_a[1])))
    if single[2]:
        return e.reshape(y, shape)
    return e.fold("add", y, range(inner, len(whole)))


def grouped(e: Lowering, x: Field, groups: Groups) -> tuple[Field, Groups]:
    """Return a factor with at most one axis in each group: axes that stand together are walked as one, others moved."""
    if all(len(group) == 1 for group in groups[1:]) and len(groups[0]) <= 1:
        return x, groups
    order = sorted([k for k in range(3) if groups[k]], key=lambda k: groups[k][0])
    flat = [axis for k in order for axis in groups[k]]
    if flat != list(range(x.ndim)):
        order = [k for k in range(3) if groups[k]]
        x = e.permute(x, [axis for k in order for axis in groups[k]])
        groups = _renumbered(groups, order)
    sizes = tuple([numel([x.shape[axis] for axis in groups[k]]) for k in order])
    result: list[Axes] = [(), (), ()]
    for place, k in enumerate(order):
        result[k] = (place,)
    return e.reshape(x, sizes), (result[0], result[1], result[2])


def _renumbered(groups: Groups, order: Sequence[int]) -> Groups:
    result: list[Axes] = [(), (), ()]
    at = 0
    for k in order:
        result[k] = range(at, at + len(groups[k]))
        at += len(groups[k])
    return result[0], result[1], result[2]
