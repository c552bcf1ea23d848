"""What holds for every primitive, from its samples: shapes, memory, gradients of both orders, what gradients read."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest

from chainrule.backward import chain_rule
from chainrule.graph import Graph, Node, Primitive, Recording, Spec, graph_input, op, primitives, recording, verify
from chainrule.run import Evaluating, evaluate, value_node
from tests.ops.samples import FLOATS, SAMPLES, STRUCTURE, Sample, with_dtype
from tests.tolerances import DIFFERENCES_OF_GRADIENTS, DIFFERENCES_OF_VALUES, assert_close

OURS = {name: p for name, p in primitives().items() if type(p).__module__.startswith("chainrule.ops.")}
CONSTANT = {"set_value": (1,)}  # inputs that have no gradient although they are floats
STEP = 6e-6  # about the cube root of float64's rounding

each_primitive = pytest.mark.parametrize("name", SAMPLES)
each_differentiable = pytest.mark.parametrize("name", [name for name in SAMPLES if OURS[name].differentiable])


def in_all_dtypes(name: str) -> Iterator[Sample]:
    for sample in SAMPLES[name].samples:
        yield sample
        for dtype in SAMPLES[name].dtypes:
            if dtype != "float64":
                yield with_dtype(sample, dtype)


def spec(x: Any) -> Spec:
    return Spec(x.shape, x.dtype)


def is_floating(x: Any) -> bool:
    return bool(x.dtype.kind == "f")


def wanted_masks(sample: Sample) -> Iterator[tuple[bool, ...]]:
    """Return every choice of floating inputs whose gradients may be wanted, one at least."""
    for mask in product(*[(False, True) if is_floating(x) else (False,) for x in sample.inputs]):
        if any(mask):
            yield mask


def leaf(value: Any) -> Node:
    node = value_node(np.asarray(value))
    node.requires_grad = is_floating(node.value)
    return node


def numbers_like(x: Any, seed: int) -> Any:
    return np.asarray(np.random.default_rng(seed).normal(size=x.shape), dtype=x.dtype)


def test_every_primitive_has_samples() -> None:
    assert set(SAMPLES) | set(STRUCTURE) == set(OURS)
    assert not set(SAMPLES) & set(STRUCTURE)


@each_primitive
def test_the_result_is_an_array_of_the_shape_and_dtype_that_the_rule_says(name: str) -> None:
    for sample in in_all_dtypes(name):
        y = evaluate(OURS[name], sample.inputs, sample.attributes)
        assert type(y) is np.ndarray
        said = OURS[name].shape(*[spec(x) for x in sample.inputs], **sample.attributes)
        assert (y.shape, y.dtype) == (said.shape, said.dtype), sample


@each_primitive
def test_the_result_shares_memory_with_no_input_unless_it_is_a_view_and_no_input_is_written(name: str) -> None:
    for sample in in_all_dtypes(name):
        before = [x.copy() for x in sample.inputs]
        y = evaluate(OURS[name], sample.inputs, sample.attributes)
        for x, was in zip(sample.inputs, before, strict=True):
            np.testing.assert_array_equal(x, was)
            if not OURS[name].view:
                assert not np.shares_memory(y, x)
            elif y.size and name != "reshape":
                assert np.shares_memory(y, x)
        if OURS[name].view and all(x.flags.c_contiguous for x in sample.inputs) and y.size:
            assert np.shares_memory(y, sample.inputs[0])


@each_primitive
def test_single_precision_gives_what_double_precision_gives(name: str) -> None:
    for sample in SAMPLES[name].samples if "float32" in SAMPLES[name].dtypes else ():
        single = with_dtype(sample, "float32")
        y = evaluate(OURS[name], single.inputs, sample.attributes)
        widened = tuple(x.astype(np.float64) if is_floating(x) else x for x in single.inputs)
        expected = evaluate(OURS[name], widened, sample.attributes)
        assert_close(y, expected.astype(y.dtype), length=max([x.size for x in sample.inputs], default=1))


def gradients(
    name: str, inputs: tuple[Any, ...], attributes: dict[str, Any], seed: Any, *, record: bool = False
) -> tuple[Node, list[Node], list[Node | None]]:
    """Return the nodes of seed and inputs, and of the gradients (with ``record``, of a kind that has gradients)."""
    leaves = [leaf(x) for x in inputs]
    at_seed = leaf(seed)
    with recording(Evaluating(record=True)):
        y = getattr(op, name)(*leaves, **attributes)
    with recording(Evaluating(record=record)):
        found = chain_rule([y], [at_seed], leaves)
    return at_seed, leaves, [found.get(x) for x in leaves]


def moved(inputs: tuple[Any, ...], which: int, at: tuple[int, ...], by: float) -> tuple[Any, ...]:
    """Return the inputs with one element moved."""
    copy = np.array(inputs[which])
    copy[at] += by
    return (*inputs[:which], copy, *inputs[which + 1 :])


def differences(function: Any, inputs: tuple[Any, ...], which: int) -> Any:
    """Return the central differences of a scalar function with respect to each element of one input."""
    x = inputs[which]
    slopes = np.zeros(x.shape)
    for at in np.ndindex(x.shape):
        up, down = function(*moved(inputs, which, at, STEP)), function(*moved(inputs, which, at, -STEP))
        slopes[at] = (up - down) / (2 * STEP)
    return slopes


@each_differentiable
def test_gradients_are_those_of_central_differences(name: str) -> None:
    primitive = OURS[name]
    for sample in SAMPLES[name].samples:
        y = evaluate(primitive, sample.inputs, sample.attributes)
        if not sample.smooth or not is_floating(y):
            continue
        seed = numbers_like(y, 1)
        _, leaves, found = gradients(name, sample.inputs, sample.attributes, seed)

        def value(*inputs: Any, seed: Any = seed, sample: Sample = sample) -> float:
            wide = [x.astype(np.float64) if is_floating(x) else x for x in inputs]
            return float((seed * evaluate(primitive, tuple(wide), sample.attributes)).sum())

        for k, x in enumerate(leaves):
            if not x.requires_grad:
                continue
            g = found[k]
            assert g is not None
            assert (g.shape, g.dtype) == (x.shape, x.dtype)
            if x.dtype == np.float64 and y.dtype == np.float64:
                expected = differences(value, sample.inputs, k)
                assert_close(g.value, expected, tolerance=DIFFERENCES_OF_VALUES)


@each_differentiable
def test_gradients_of_gradients_are_those_of_central_differences(name: str) -> None:
    primitive = OURS[name]
    for sample in SAMPLES[name].samples:
        y = evaluate(primitive, sample.inputs, sample.attributes)
        if not sample.smooth or y.dtype != np.float64 or y.size == 0:
            continue
        weights = [numbers_like(x, 2 + k) for k, x in enumerate(sample.inputs)]

        def weighted(*inputs: Any, sample: Sample = sample, weights: list[Any] = weights) -> tuple[float, list[Any]]:
            """Return Σ weight · gradient, and its own gradients with respect to the inputs and the seed (the last)."""
            *arguments, seed = inputs
            at_seed, leaves, found = gradients(name, tuple(arguments), sample.attributes, seed, record=True)
            parts = [(g, w) for g, w in zip(found, weights, strict=True) if g is not None]
            total = sum(float((g.value * w).sum()) for g, w in parts)
            roots = [(g, value_node(w)) for g, w in parts if g.requires_grad]
            with recording(Evaluating(record=False)):
                again = chain_rule([g for g, _ in roots], [w for _, w in roots], [*leaves, at_seed])
            return total, [again.get(x) for x in (*leaves, at_seed)]

        inputs = (*sample.inputs, numbers_like(y, 1))
        _, found = weighted(*inputs)
        for k, x in enumerate(inputs):
            if is_floating(x):
                expected = differences(lambda *moved: weighted(*moved)[0], inputs, k)
                actual = np.zeros(x.shape) if found[k] is None else found[k].value
                assert_close(actual, expected, tolerance=DIFFERENCES_OF_GRADIENTS)


class Listening(Recording):
    """A recorder that notes which nodes were read."""

    def __init__(self) -> None:
        super().__init__()
        self.read: set[Node] = set()

    def apply(self, primitive: Primitive, operands: tuple[Any, ...], attributes: dict[str, Any]) -> Node:
        self.read.update(operand for operand in operands if isinstance(operand, Node))
        return super().apply(primitive, operands, attributes)


def recorded_rule(
    primitive: Primitive, sample: Sample, need: tuple[bool, ...]
) -> tuple[Listening, list[Node], list[Node | None]]:
    """Return the recorder, the placeholders for g, y and the inputs, and the gradients that the rule gave."""
    said = primitive.shape(*[spec(x) for x in sample.inputs], **sample.attributes)
    g, y = graph_input("g", said.shape, said.dtype), graph_input("y", said.shape, said.dtype)
    xs = [graph_input(f"x{k}", x.shape, x.dtype) for k, x in enumerate(sample.inputs)]
    listening = Listening()
    with recording(listening):
        parts = primitive.vjp(g, y, *xs, need=need, **sample.attributes)
    return listening, [g, y, *xs], list(parts) if isinstance(parts, tuple) else [parts]


@each_differentiable
def test_a_rule_gives_the_wanted_gradients_only(name: str) -> None:
    for sample in SAMPLES[name].samples:
        for need in wanted_masks(sample):
            _, _, parts = recorded_rule(OURS[name], sample, need)
            assert [part is not None for part in parts] == [
                wanted and k not in CONSTANT.get(name, ()) for k, wanted in enumerate(need)
            ]


@each_differentiable
def test_exactly_the_values_are_kept_that_the_wanted_gradients_read(name: str) -> None:
    read: dict[tuple[bool, ...], set[int]] = {}
    for sample in SAMPLES[name].samples:
        for need in wanted_masks(sample):
            listening, (_, *placeholders), _ = recorded_rule(OURS[name], sample, need)
            read.setdefault(need, set()).update(k - 1 for k, x in enumerate(placeholders) if x in listening.read)
    assert read
    for need, values in read.items():
        inputs, output = OURS[name].saves(need)
        assert values == {*inputs, *([-1] if output else [])}, f"wanted {need}; -1 is the output"


@each_differentiable
def test_a_recorded_rule_is_a_sound_graph_that_evaluates_to_the_same_bits(name: str) -> None:
    for sample in SAMPLES[name].samples:
        y = evaluate(OURS[name], sample.inputs, sample.attributes)
        if not is_floating(y):
            continue
        seed = numbers_like(y, 1)
        need = tuple(is_floating(x) for x in sample.inputs)
        _, placeholders, parts = recorded_rule(OURS[name], sample, need)
        graph = Graph(placeholders, [part for part in parts if part is not None])
        verify(graph)
        values: dict[Node, Any] = dict(zip(placeholders, (seed, y, *sample.inputs), strict=True))
        for node in graph:
            values[node] = node.value
            if node.primitive is not None and node.primitive.name != "constant":
                values[node] = evaluate(node.primitive, tuple(values[x] for x in node.inputs or ()), node.attributes)
        with recording(Evaluating(record=False)):
            nodes = [value_node(np.asarray(v)) for v in (seed, y, *sample.inputs)]
            eager = OURS[name].vjp(*nodes, need=need, **sample.attributes)
        expected = [part for part in (eager if isinstance(eager, tuple) else (eager,)) if part is not None]
        for node, now in zip(graph.outputs, expected, strict=True):
            np.testing.assert_array_equal(values[node], now.value)
            assert values[node].dtype == now.value.dtype


@each_differentiable
def test_gradients_in_single_precision_have_its_dtype(name: str) -> None:
    for sample in SAMPLES[name].samples:
        single = with_dtype(sample, "float32")
        y = evaluate(OURS[name], single.inputs, sample.attributes)
        _, leaves, found = gradients(name, single.inputs, sample.attributes, numbers_like(y, 1))
        for x, g in zip(leaves, found, strict=True):
            if g is not None:
                assert g.value.dtype == x.dtype


def test_floating_primitives_have_samples_of_both_precisions() -> None:
    for name, samples in SAMPLES.items():
        if OURS[name].differentiable and any(is_floating(x) for s in samples.samples for x in s.inputs):
            assert set(FLOATS) <= set(samples.dtypes), name
