"""What the compiler made of a graph, as text that can be read: one paragraph per kernel."""

from __future__ import annotations

from collections.abc import Sequence

from chainrule.compiler.fields import (
    Assemble,
    Field,
    Fixed,
    Fold,
    Gather,
    Iota,
    Map,
    Move,
    Number,
    Order,
    Place,
    Product,
    Random,
    Reshape,
    Scatter,
    SizeOf,
    Source,
    Sweep,
)
from chainrule.compiler.plan import Record, Targets
from chainrule.compiler.region import Region

FOLDS = {"add": "sum", "mul": "product", "max": "max", "min": "min", "or": "any", "and": "all", "pick": "the one"}


def show_loops(targets: Targets) -> str:
    """Return the kernels in the order in which they run: their loops, what each computes, and where it goes."""
    shown = _Shown(targets)
    return "\n\n".join(shown.region(region, k) for k, region in enumerate(targets.order))


def show_records(targets: Targets, records: Sequence[Record]) -> list[str]:
    """Return what each record does, in a few words, and where in the network."""
    shown = _Shown(targets)
    words = []
    for record in records:
        what = record.work.part
        if record.region < len(targets.order):
            region = targets.order[record.region]
            label = next((field.label for field in region.members if field.label), "")
            what += shown.loops(region) + (f"  # {label}" if label else "")
        words.append(what)
    return words


class _Shown:
    def __init__(self, targets: Targets) -> None:
        self.targets = targets
        self.names: dict[Field, str] = {}
        for region in targets.order:
            for field in region.members:
                self.names[field] = f"v{len(self.names)}"

    def region(self, region: Region, number: int) -> str:
        """Return one kernel."""
        lines = [f"kernel {number}: {self.loops(region)}{self._factors(region)}"]
        for field in region.members:
            line = f"  {self.names[field]} {field.dtype}{self._shape(field)} = {self.computed(field)}"
            goes = self._goes(field) if field in region.stored else ""
            place = f"  # {field.label}" if field.label else ""
            lines.append(f"{line}{goes}{place}")
        return "\n".join(lines)

    def loops(self, region: Region) -> str:
        """Return the loops of one kernel."""
        if region.product is not None:
            terms = region.product.inputs[0].shape[region.product.contracted[0][0]]
            return f"product of {self._size(region.product)} with {terms} terms"
        if region.special is not None:
            return type(region.special).__name__.lower()
        if not region.dims:
            return "numbers"
        outer = " × ".join(str(region.dims[d]) for d in region.outer) or "once"
        inner = " × ".join(str(region.dims[d]) for d in sorted(region.inner))
        return f"for {outer}, folding {inner}" if inner else f"for {outer}"

    def _factors(self, region: Region) -> str:
        if region.product is None:
            return ""
        a, b = region.product.inputs
        return f", {self.operand(a)} by {self.operand(b)}"

    def _size(self, field: Field) -> str:
        return " × ".join(str(n) for n in field.shape)

    def _shape(self, field: Field) -> str:
        return f"[{', '.join(str(n) for n in field.shape)}]"

    def _goes(self, field: Field) -> str:
        over = self.targets.over.get(field)
        if over is not None:
            return f"  → over {over.name}"
        later = next((source for copied, source in self.targets.copied if copied is field), None)
        if later is not None:
            return f"  → memory, and at the end over {later.name}"
        if field in self.targets.slot:
            return "  → result"
        return "  → memory"

    def operand(self, x: Field) -> str:
        """Return how an operand is written: a name, or the expression that readers compute themselves."""
        if x in self.names:
            return self.names[x]
        if isinstance(x, Source):
            return f"‹{x.name}›"
        return self.computed(x)

    def computed(self, x: Field) -> str:
        """Return the expression of a field."""
        if isinstance(x, Number):
            return str(x.value)
        if isinstance(x, SizeOf):
            return f"size({x.size})"
        if isinstance(x, Fixed):
            return "constant"
        if isinstance(x, Iota):
            return "iota"
        parts = ", ".join(self.operand(y) for y in x.inputs)
        if isinstance(x, Map):
            return f"{x.primitive.name}({parts})"
        if isinstance(x, (Move, Reshape)):
            return parts
        if isinstance(x, Fold):
            return f"{FOLDS[x.kind]}({parts})"
        if isinstance(x, Place):
            return f"place of {x.kind}({parts})"
        if isinstance(x, Product):
            return "Σ"
        if isinstance(x, Random):
            return f"{x.kind}(draw + {x.offset})"
        if isinstance(x, Gather):
            return f"gather({parts})"
        if isinstance(x, Scatter):
            return f"scatter({parts})"
        if isinstance(x, Assemble):
            return f"assemble({parts})"
        assert isinstance(x, (Sweep, Order))
        return f"{type(x).__name__.lower()}({parts})"
