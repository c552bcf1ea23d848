"""One call of a compiled function: what the choice of a trace depends on, and which size in it is the batch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from chainrule.errors import ArgumentError
from chainrule.graph.sizes import Shape, symbol
from chainrule.tensors.arguments import Arguments, with_types_only
from chainrule.tensors.dtypes import default_float
from chainrule.tensors.state import STATE

N = symbol("n")
NAME = re.compile(r"[.\[]")  # what ends the name of an argument in that of a tensor in it
BatchAxis = int | Mapping[str, int]


class Call:
    """One call: its arguments, and what the choice of a trace depends on.

    ``kind``    form and kinds of the arguments, and the state of the thread
    ``shapes``  of the tensors, with "n" for the batch, whose size is in ``sizes``
    """

    def __init__(self, given: Arguments, batch_axis: BatchAxis) -> None:
        self.given = given
        tensors = given.tensors
        kinds = tuple([(x._value.dtype, x._node is not None, x._value.ndim) for x in tensors])
        self.kind = (given.form, kinds, STATE.mode, default_float())
        self.batch_axis = batch_axis
        self.concrete: tuple[Any, ...] = tuple([x._value.shape for x in tensors])
        self.shapes = self.concrete
        self.sizes: dict[str, int] = {}
        self.decided = ""
        if isinstance(batch_axis, int):
            axes: list[int | None] = [batch_axis] * len(tensors)
        else:
            axes = [batch_axis.get(NAME.split(name, maxsplit=1)[0]) for name in given.names]
        batch = 0  # the first size of such an axis
        for shape, axis in zip(self.concrete, axes, strict=True):
            if axis is not None and len(shape) > axis:
                batch = shape[axis]
                break
        if batch >= 2:
            self.sizes = {"n": batch}
            self.shapes = tuple(
                [
                    (*shape[:axis], "n", *shape[axis + 1 :])
                    if axis is not None and len(shape) > axis and shape[axis] == batch
                    else shape
                    for shape, axis in zip(self.concrete, axes, strict=True)
                ]
            )

    @property
    def key(self) -> Any:
        """What a trace must have been made for to serve this call."""
        return self.kind, self.shapes

    @property
    def family(self) -> Any:
        """What it has in common with calls that differ in values and sizes alone: the traces of a family are counted."""
        return (with_types_only(self.given.form), *self.kind[1:])

    def check_batch_axis(self) -> None:
        """Raise if no tensor, or none in an argument that is named, has the axis that the batch is to be."""
        shapes = [(NAME.split(name, maxsplit=1)[0], x) for name, x in zip(self.given.names, self.concrete, strict=True)]
        if isinstance(self.batch_axis, int):
            axis, wrong = self.batch_axis, shapes if self.batch_axis else []  # 0: there need be no batch
            if wrong and all(len(shape) <= axis for _, shape in wrong):
                got = ", ".join([f"{name} of shape {shape}" for name, shape in wrong])
                raise ArgumentError(f"compile: got batch_axis={axis} for {got}", expected="an axis of an argument")
            return
        for name, axis in self.batch_axis.items():
            found = [shape for other, shape in shapes if other == name]
            if found and all(len(shape) <= axis for shape in found):
                raise ArgumentError(
                    f"compile: got batch_axis={{{name!r}: {axis}}} for {name} of shape {found[0]}",
                    expected="one of its axes, counted from 0",
                )

    def fix_sizes(self, decided: str) -> None:
        """Let the batch be a number like all other sizes, because of what the code decides."""
        self.shapes, self.decided = self.concrete, f"{decided}: now {self.sizes.get('n')}"
        self.sizes = {}

    def symbolic_shapes(self) -> list[Shape]:
        """Return the shapes with a symbol for the batch."""
        return [tuple([N if size == "n" else size for size in shape]) for shape in self.shapes]

    def batch(self) -> str:
        """Say which axis of which argument the batch is."""
        name, shape = next((n, s) for n, s in zip(self.given.names, self.shapes, strict=True) if "n" in s)
        return f"axis {shape.index('n')} of {name}"

    def text(self) -> str:
        """Return names, dtypes and shapes of the arguments."""
        parts = [
            f"{name} {x._value.dtype}[{', '.join(map(str, shape))}]"
            for name, x, shape in zip(self.given.names, self.given.tensors, self.shapes, strict=True)
        ]
        return ", ".join(parts) or "no tensors"
