"""From a graph to fields: each node by the ``lower`` rule of its primitive; equal fields are one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.compiler.fields import (
    Assemble,
    Field,
    Fixed,
    Fold,
    Gather,
    Map,
    Move,
    Number,
    Order,
    Place,
    Product,
    Scatter,
    Source,
    Sweep,
)
from chainrule.compiler.interface import Unlowered
from chainrule.compiler.lowering import Lowering
from chainrule.compiler.products import contraction
from chainrule.compiler.value import LANES
from chainrule.errors import RuleMissing
from chainrule.graph import Graph, Node, Primitive, primitive
from chainrule.graph.primitive import Absent
from chainrule.graph.sizes import Dim, Shape, Size, surely_same_shape


class Lowered:
    """The fields of a graph's inputs and outputs."""

    def __init__(self, graph: Graph, nodes: Sequence[Node]) -> None:
        self.e = Unique()
        self.sources: list[Source] = []
        self._fields: dict[Node, Any] = {}
        for k, node in enumerate(graph.inputs):
            source = Source(k, str(node.attributes.get("name", k)), node.shape, node.dtype)
            self.sources.append(source)
            self._fields[node] = source
        for node in nodes:
            self._fields[node] = self._lower(node)
        self.outputs: list[Field] = [self._fields[node] for node in graph.outputs]

    def distinct_outputs(self) -> list[Field]:
        """Return one field of its own for each output: what an input, a constant or another output is, is copied."""
        seen: set[Field] = set()
        found: list[Field] = []
        for field in self.outputs:
            if field in seen or isinstance(field, (Source, Fixed, Number)) or not is_computed(field):
                field = Map(primitive("stop"), (field,), {}, field.shape, field.dtype)
            seen.add(field)
            found.append(field)
        return found

    def _lower(self, node: Node) -> Any:
        made_by = node.primitive
        if made_by is None:
            raise Unlowered("a leaf of eager mode")
        name = made_by.name
        if name == "constant":
            return self._constant(node.value)
        inputs = [self._fields[x] for x in node.inputs or ()]
        if name == "get":
            return inputs[0][node.attributes["index"]]
        if name == "call":
            return self._call(inputs, node.attributes["body"], node.shape)
        return self._apply(made_by, inputs, node.attributes, node.shape, node.dtype, node.label)

    def _constant(self, value: Any) -> Field:
        return (
            self.e.number(value.item() if value.dtype != np.bool_ else bool(value), value.dtype)
            if not value.shape
            else Fixed(value)
        )

    def _apply(
        self, made_by: Primitive, inputs: list[Field], attributes: dict[str, Any], shape: Shape, dtype: Any, label: str
    ) -> Field:
        if isinstance(made_by.lower, Absent):
            raise Unlowered(f"primitive {made_by.name!r}: {made_by.lower.reason}")
        if made_by.name == "stop":
            return inputs[0]
        if made_by.name == "set_value" and surely_same_shape(inputs[1].shape, shape):
            return inputs[1]
        if made_by.elementwise:
            field: Field = self.e.unique_map(made_by, inputs, attributes, shape, dtype)
        else:
            field = self._by_rule(made_by, inputs, attributes)
        if not field.label and field not in inputs:
            field.label = label
        return field

    def _by_rule(self, made_by: Primitive, inputs: list[Field], attributes: dict[str, Any]) -> Field:
        if made_by.ours:
            found: Field = made_by.lower(self.e, *inputs, **attributes)
            return found
        try:
            written = made_by.lower(self.e, *inputs, **attributes)
        except (TypeError, AttributeError) as error:
            raise _unusable(made_by, f"it raised {type(error).__name__}: {error}") from error
        if not isinstance(written, Field):
            raise _unusable(made_by, f"it returned {type(written).__name__}")
        return written

    def _call(self, inputs: list[Field], body: Graph, shapes: Any) -> list[Field]:
        """Return the outputs of a body of elementwise operations, written out."""
        common = next((x.shape for x, taken in zip(inputs, body.inputs, strict=True) if taken.shape), ())
        fields: dict[Node, Field] = dict(zip(body.inputs, inputs, strict=True))
        for node in body.nodes:
            made_by = node.primitive
            if made_by is None:
                raise Unlowered("a leaf of eager mode")
            if made_by.name == "constant":
                fields[node] = self._constant(node.value)
                continue
            shape = common if node.shape else ()
            parts = [fields[x] for x in node.inputs or ()]
            fields[node] = self._apply(made_by, parts, node.attributes, shape, node.dtype, body.name)
        return [fields[node] for node in body.outputs]


def _unusable(made_by: Primitive, what: str) -> RuleMissing:
    return RuleMissing(
        f"primitive {made_by.name!r}: its rule lower cannot be used: {what}",
        expected="lower(e, *inputs, **attributes), which makes a field of fields by the methods of e",
        fix="say elementwise = True if each element of the result comes from the elements at its place alone: "
        "lower then gets numbers, which can be added and multiplied; or lower = no_lowering(why)",
    )


def _moved_from(x: Field) -> Field:
    return x.inputs[0] if isinstance(x, Move) else x


def _is_largest(x: Field, of: Field) -> bool:
    """Say whether x is the largest element of a field, along some axes."""
    fold = _moved_from(x)
    return isinstance(fold, Fold) and fold.kind == "max" and _moved_from(fold.inputs[0]) is of


def _is_short(size: Dim) -> bool:
    return not isinstance(size, Size) and 0 < size <= LANES


def is_computed(field: Field) -> bool:
    """Say whether a field is computed for itself: what only shows another one is not."""
    return isinstance(field, (Map, Fold, Place, Product, Gather, Scatter, Assemble, Sweep, Order))


class Unique(Lowering):
    """A lowering in which what is computed from the same fields in the same way is one field."""

    def __init__(self) -> None:
        self._known: dict[Any, Field] = {}

    def number(self, value: Any, dtype: Any) -> Field:
        """Return a constant number."""
        key = (str(value), str(dtype))
        return self._known.setdefault(key, Number(value, np.dtype(dtype)))

    def size(self, size: Any, dtype: Any) -> Field:
        """Return a size as a number."""
        key = ("size", str(size), str(dtype))
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = super().size(size, dtype)
        return found

    def map(self, name: str, *inputs: Field, dtype: Any = None, **attributes: Any) -> Field:
        """Return an elementwise primitive of fields."""
        found = super().map(name, *inputs, dtype=dtype, **attributes)
        assert isinstance(found, Map)
        if dtype is not None and name == "cast":
            attributes = {"dtype": np.dtype(dtype)}
        return self.unique_map(found.primitive, inputs, attributes, found.shape, found.dtype)

    def unique_map(
        self, rule: Primitive, inputs: Sequence[Field], attributes: dict[str, Any], shape: Shape, dtype: Any
    ) -> Field:
        """Return the one field of this primitive, these inputs and attributes."""
        if rule.name == "exp" and (share := self._share_of(inputs[0])) is not None:
            return share
        key = (rule.name, *[id(x) for x in inputs], str(attributes), str(shape))
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = Map(rule, inputs, attributes, shape, dtype)
        return found

    def _share_of(self, x: Field) -> Field | None:
        """Return exp(u) / Σ exp(u) for x = u - log Σ exp(u), where u is at most 0: the powers are there already.

        Only of rows so short that they are still at hand then: in the gradient of a softmax, one exp less per element.
        """
        if not (
            isinstance(x, Map)
            and x.primitive.name == "sub"
            and x.ndim
            and surely_same_shape(x.shape, x.inputs[0].shape)
        ):
            return None
        u, shown = x.inputs
        log = _moved_from(shown)
        total = log.inputs[0] if isinstance(log, Map) and log.primitive.name == "log" else None
        if not isinstance(total, Fold) or total.kind != "add" or not _is_short(x.shape[-1]):
            return None
        powers = _moved_from(total.inputs[0])
        is_shifted = isinstance(u, Map) and u.primitive.name == "sub" and _is_largest(u.inputs[1], u.inputs[0])
        if not (isinstance(powers, Map) and powers.primitive.name == "exp" and powers.inputs[0] is u and is_shifted):
            return None
        divisor = self.move(total, shown.places, shown.shape) if isinstance(shown, Move) else total
        return self.map("div", powers, divisor, dtype=x.dtype)

    def product(self, a: Field, b: Field, batch: Any, contracted: Any, shape: Shape) -> Field:
        """Return Σ a b over the contracted axes."""
        return contraction(self, a, b, batch, contracted, shape)

    def fold(self, kind: str, x: Field, axes: Sequence[int]) -> Field:
        """Return x combined along axes."""
        key = ("fold", kind, id(x), tuple(sorted(axes)))
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = super().fold(kind, x, axes)
        return found
