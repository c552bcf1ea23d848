"""A network as a table: what each layer makes of its input, how much it learns, how much memory it takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from chainrule.errors import ArgumentError, ArgumentTypeError
from chainrule.graph.numeric import as_number
from chainrule.nn.module import Module
from chainrule.tensors.autograd import no_grad
from chainrule.tensors.creation import zeros
from chainrule.tensors.tensor import Tensor


class Row(NamedTuple):
    """One layer: its path, type, output shape, parameters (all, learned) and bytes of output and of parameters."""

    path: str
    kind: str
    output_shape: tuple[int, ...]
    num_parameters: int
    num_learned: int
    output_bytes: int
    parameter_bytes: int


class Summary:
    """What ``summary`` returns: rows and totals; ``print`` shows the table."""

    def __init__(self, name: str, rows: Sequence[Row], totals: dict[str, int]) -> None:
        self.name = name
        self.rows = tuple(rows)
        self.num_parameters = totals["parameters"]
        self.num_learned = totals["learned"]
        self.parameter_bytes = totals["parameter_bytes"]
        self.buffer_bytes = totals["buffer_bytes"]
        self.output_bytes = totals["output_bytes"]

    def __str__(self) -> str:
        head = ("layer", "type", "output shape", "parameters", "learned", "memory")
        lines = [head, *[_cells(row) for row in self.rows]]
        widths = [max(len(line[k]) for line in lines) for k in range(len(head))]
        texts = ["  ".join(_fit(cell, width, k) for k, (cell, width) in enumerate(zip(line, widths, strict=True))).rstrip()
                 for line in lines]  # fmt: skip
        rule = "-" * max(len(text) for text in texts)
        fixed = self.num_parameters - self.num_learned
        memory = (
            f"memory: parameters {in_bytes(self.parameter_bytes)}",
            f"buffers {in_bytes(self.buffer_bytes)}",
            f"outputs of the layers {in_bytes(self.output_bytes)}",
        )
        return "\n".join(
            [
                self.name,
                texts[0],
                rule,
                *texts[1:],
                rule,
                f"parameters: {self.num_parameters:,} ({self.num_learned:,} learned, {fixed:,} fixed)",
                ", ".join(memory),
            ]
        )

    __repr__ = __str__


def _cells(row: Row) -> tuple[str, ...]:
    shape = "(" + ", ".join(map(str, row.output_shape)) + ("," if len(row.output_shape) == 1 else "") + ")"
    counts = (f"{row.num_parameters:,}", f"{row.num_learned:,}")
    return (row.path, row.kind, shape, *counts, in_bytes(row.output_bytes + row.parameter_bytes))


def _fit(cell: str, width: int, column: int) -> str:
    return cell.ljust(width) if column < 3 else cell.rjust(width)


def in_bytes(count: int) -> str:
    """Return a number of bytes as text.

    >>> in_bytes(100), in_bytes(2048), in_bytes(3_500_000)
    ('100 B', '2.0 KiB', '3.3 MiB')
    """
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def summary(model: Module, input: Any) -> Summary:
    """Return a table of the layers that a forward pass goes through, in the order in which they finish.

    ``input`` is an example (a tensor, or a tuple of the arguments of ``forward``), or the shape of one, with its batch
    axis. The pass runs in eval mode, without a tape; the model's mode is restored. A layer that is used twice has two
    rows, its parameters counted in the first.

    >>> import chainrule as cr
    >>> print(summary(cr.nn.Sequential(cr.nn.Linear(4, 3), cr.nn.ReLU(), cr.nn.Linear(3, 2)), (8, 4)))
    Sequential
    layer  type    output shape  parameters  learned  memory
    --------------------------------------------------------
    0      Linear  (8, 3)                15       15   156 B
    1      ReLU    (8, 3)                 0        0    96 B
    2      Linear  (8, 2)                 8        8    96 B
    --------------------------------------------------------
    parameters: 23 (23 learned, 0 fixed)
    memory: parameters 92 B, buffers 0 B, outputs of the layers 256 B
    """
    if not isinstance(model, Module):
        raise ArgumentTypeError(f"summary: got {type(model).__name__}", expected="a Module")
    rows = _rows(model, _arguments(input))
    parameters = list(model.parameters())
    totals = {
        "parameters": sum(p.numel() for p in parameters),
        "learned": sum(p.numel() for p in parameters if p.requires_grad),
        "parameter_bytes": sum(_bytes(p) for p in parameters),
        "buffer_bytes": sum(_bytes(b) for b in model.buffers()),
        "output_bytes": sum(row.output_bytes for row in rows),
    }
    return Summary(type(model).__name__, rows, totals)


def _arguments(input: Any) -> tuple[Any, ...]:
    if isinstance(input, Tensor):
        return (input,)
    if isinstance(input, (tuple, list)) and input:
        if all(isinstance(as_number(n), int) for n in input):
            return (zeros(*input),)
        if any(isinstance(x, Tensor) for x in input):
            return tuple(input)
    raise ArgumentError(
        f"summary: got {input!r} as input", expected="a tensor, a tuple of arguments, or a shape (8, 4)"
    )


def _rows(model: Module, arguments: tuple[Any, ...]) -> list[Row]:
    """Run the model and note what each of its innermost layers, and any with parameters of its own, gives."""
    paths = {module: path for path, module in model.named_modules()}
    rows: list[Row] = []
    counted: set[int] = set()

    def note(module: Module, args: Any, output: Any) -> None:
        own = [p for p in module.parameters(recurse=False) if id(p) not in counted]
        counted.update(id(p) for p in own)
        shapes = [tuple(y.shape) for y in _tensors(output)]
        rows.append(
            Row(
                paths[module] or "(the model)",
                type(module).__name__,
                shapes[0] if shapes else (),
                sum(p.numel() for p in own),
                sum(p.numel() for p in own if p.requires_grad),
                sum(_bytes(y) for y in _tensors(output)),
                sum(_bytes(p) for p in own),
            )
        )

    shown = [m for m in paths if not any(True for _ in m.children()) or any(True for _ in m.parameters(recurse=False))]
    handles = [module.register_forward_hook(note) for module in shown]
    modes = {module: module.training for module in paths}
    try:
        model.eval()
        with no_grad():
            model(*arguments)
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes.items():
            if module.training is not mode:
                module.training = mode
    return rows


def _tensors(output: Any) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output]
    if isinstance(output, dict):
        output = list(output.values())
    return [y for part in output for y in _tensors(part)] if isinstance(output, (tuple, list)) else []


def _bytes(x: Tensor) -> int:
    return int(x.numel() * x.element_size())
