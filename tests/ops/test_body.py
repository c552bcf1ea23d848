"""A body run block by block in place gives the bits of its operations one by one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule.errors import DtypeError, ShapeError, VerifyError
from chainrule.graph import Graph, Node, graph_input, op, primitive, recording, verify
from chainrule.graph.sizes import symbol
from chainrule.ops import body as body_module
from chainrule.ops.body import BodyRecording, run_body, scalar_input, vector_input

CALL = primitive("call")
F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
UNARY = ("neg", "abs", "sqrt", "relu", "sigmoid", "sign")
BINARY = ("add", "sub", "mul", "div", "maximum", "minimum")


def one_by_one(body: Graph, inputs: list[Any]) -> list[Any]:
    """What the body means: each operation on whole arrays."""
    values: dict[Node, Any] = {node: np.asarray(x, node.dtype) for node, x in zip(body.inputs, inputs, strict=True)}
    for node in body.nodes:
        name = node.primitive.name  # type: ignore[union-attr]  # no leaf
        reads = [values[x] for x in node.inputs or ()]
        values[node] = node.value if name == "constant" else node.primitive.evaluate(*reads, **node.attributes)  # type: ignore[union-attr]  # no leaf
    shape = next((values[x].shape for x in body.inputs if x.shape), ())
    return [np.array(np.broadcast_to(values[node], shape if node.shape else ())) for node in body.outputs]


@st.composite
def bodies(draw: st.DrawFn) -> Graph:
    """Random elementwise graphs over arrays, float64 numbers and constants."""
    dtype = draw(st.sampled_from([F32, F64]))
    arrays = [vector_input(f"x{k}", dtype) for k in range(draw(st.integers(1, 4)))]
    numbers = [scalar_input(f"s{k}", F64) for k in range(draw(st.integers(0, 3)))]
    with recording(BodyRecording()):
        nodes: list[Any] = [*arrays, *numbers]
        for _ in range(draw(st.integers(1, 14))):
            pick = st.sampled_from([*nodes, 0.5, 2])
            a = draw(st.sampled_from(nodes))
            kind = draw(st.integers(0, 3))
            if kind == 0:
                node = getattr(op, draw(st.sampled_from(UNARY)))(a)
            elif kind == 1:
                b = draw(pick)
                node = op.where(op.gt(a, b), a, b)
            else:
                node = getattr(op, draw(st.sampled_from(BINARY)))(*draw(st.permutations([a, draw(pick)])))
            nodes.append(node)
    outputs = draw(st.lists(st.sampled_from(nodes), min_size=1, max_size=4))
    return Graph([*arrays, *numbers], outputs, "random")


def laid_out(x: Any, layout: str) -> Any:
    """The same values in another order of memory."""
    if layout == "transposed" and x.ndim:
        return np.asfortranarray(x)
    if layout == "strided" and x.ndim:
        wide = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)
        wide[..., ::2] = x
        return wide[..., ::2]
    if layout == "reversed" and x.ndim:
        return x[::-1].copy()[::-1]
    return np.array(x)


shapes = st.sampled_from([(), (0,), (1,), (7,), (50,), (3, 5), (4, 0), (2, 3, 7)])
layouts = st.sampled_from(["plain", "plain", "transposed", "strided", "reversed"])


@given(data=st.data(), body=bodies(), shape=shapes)
def test_blocks_in_place_have_the_bits_of_whole_arrays(data: st.DataObject, body: Graph, shape: Any) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    arrays = [laid_out(rng.standard_normal(shape).astype(n.dtype), data.draw(layouts)) for n in body.inputs if n.shape]
    numbers = [float(rng.standard_normal()) for n in body.inputs if not n.shape]
    inputs = [*arrays, *numbers]
    outputs = []
    free = list(arrays)
    for node in body.outputs:
        fitting = [x for x in free if node.shape and x.dtype == node.dtype]
        if fitting and data.draw(st.booleans()):
            outputs.append(data.draw(st.sampled_from(fitting)))
            free = [x for x in free if x is not outputs[-1]]
        else:
            empty = np.full(shape if node.shape else (), 77, node.dtype)
            outputs.append(laid_out(empty, data.draw(layouts)))
    with pytest.MonkeyPatch.context() as patch, np.errstate(all="ignore"):
        patch.setattr(body_module, "BLOCK_BYTES", 128)
        expected = one_by_one(body, inputs)
        run_body(body, inputs, outputs)
    for y, want in zip(outputs, expected, strict=True):
        assert y.dtype == want.dtype
        assert y.shape == want.shape
        assert y.tobytes() == want.tobytes()


def moments(dtype: Any = F32) -> Graph:
    """m, v and p of a small Adam: three arrays written in place, numbers in float64."""
    p, g, m, v = (vector_input(name, dtype) for name in ("p", "g", "m", "v"))
    rate, beta = scalar_input("rate", F64), scalar_input("beta", F64)
    with recording(BodyRecording()):
        new_m = beta * m + (1 - beta) * g
        new_v = beta * v + (1 - beta) * (g * g)
        new_p = p - rate * (new_m / (op.sqrt(new_v) + 1e-8))
    return Graph([p, g, m, v, rate, beta], [new_p, new_m, new_v], "moments")


def random_arrays(shape: tuple[int, ...], count: int = 4, dtype: Any = F32) -> list[Any]:
    rng = np.random.default_rng(0)
    return [np.abs(rng.standard_normal(shape)).astype(dtype) for _ in range(count)]


def test_many_blocks_and_a_last_smaller_one_are_all_written() -> None:
    arrays = random_arrays((3, 30_001))
    expected = one_by_one(moments(), [*arrays, 0.1, 0.9])
    run_body(moments(), [*arrays, 0.1, 0.9], [arrays[0], arrays[2], arrays[3]])
    for k, want in zip((0, 2, 3), expected, strict=True):
        assert arrays[k].tobytes() == want.tobytes()


def test_one_scratch_block_is_enough_for_an_update_in_place() -> None:
    body = moments()
    arrays = random_arrays((10,))
    run_body(body, [*arrays, 0.1, 0.9], [arrays[0], arrays[2], arrays[3]])
    (program,) = vars(body)["programs"]._known.values()
    assert program._scratch == [F32]


def test_numbers_are_computed_in_float64_and_rounded_once() -> None:
    x, a = vector_input("x", F32), scalar_input("a", F64)
    with recording(BodyRecording()):
        body = Graph([x, a], [x * (1 - a)], "scale")
    out = np.empty(1, F32)
    run_body(body, [np.ones(1, F32), 0.999], [out])
    assert out[0] == np.float32(1 - 0.999)
    assert out[0] != np.float32(1) - np.float32(0.999)


def test_numbers_that_change_one_by_one_give_the_bits_of_a_first_call() -> None:
    body = moments()
    for rate, beta in [(0.1, 0.9), (0.2, 0.9), (0.2, 0.9), (0.2, 0.5), (0.0, 0.5), (-0.0, 0.5), (0.3, 0.99)]:
        arrays, others = random_arrays((5,)), random_arrays((5,))
        run_body(body, [*arrays, rate, beta], [arrays[0], arrays[2], arrays[3]])
        run_body(moments(), [*others, rate, beta], [others[0], others[2], others[3]])
        assert [x.tobytes() for x in arrays] == [x.tobytes() for x in others]


def test_only_the_numbers_below_a_changed_one_are_computed_again() -> None:
    body = moments()
    arrays = random_arrays((5,))
    run_body(body, [*arrays, 0.1, 0.9], [arrays[0], arrays[2], arrays[3]])
    numbers = vars(body)["programs"].numbers
    before = numbers.compute([*arrays, 0.1, 0.9])
    after = numbers.compute([*arrays, 0.2, 0.9])
    new = {place for place, (x, y) in enumerate(zip(before, after, strict=True)) if x is not y}
    rate = body.inputs[4]
    assert new == {
        numbers.place[node]
        for node in (rate, *body.nodes)
        if node is rate or rate in (node.inputs or ())
        if not node.shape
    }


def test_the_meeting_of_two_numbers_is_computed_in_the_wider_dtype() -> None:
    step, rate = scalar_input("step", F32), scalar_input("rate", F64)
    with recording(BodyRecording()):
        assert (rate**step).dtype == F64
        assert (step + 1).dtype == F32
        assert op.where(op.gt(step, 5), rate, 0).dtype == F64


def test_a_number_that_changed_only_its_sign_bit_is_a_new_number() -> None:
    x, a = vector_input("x", F32), scalar_input("a", F64)
    with recording(BodyRecording()):
        body = Graph([x, a], [x * a, a * 2], "scale")
    ones, y, twice = np.ones(3, F32), np.empty(3, F32), np.empty((), F64)
    for number in (0.0, -0.0, 3.0, np.nan, 3.0):
        run_body(body, [ones, number], [y, twice])
        assert y.tobytes() == (ones * np.float32(number)).tobytes()
        assert twice.tobytes() == np.float64(number * 2).tobytes()


def test_an_array_given_twice_is_read_before_it_is_written() -> None:
    x, g = vector_input("x", F32), vector_input("g", F32)
    with recording(BodyRecording()):
        body = Graph([x, g], [x + g, (x + g) * g], "twice")
    a = np.arange(5, dtype=F32)
    other = np.empty(5, F32)
    run_body(body, [a, a], [a, other])
    assert a.tolist() == [0, 2, 4, 6, 8]
    assert other.tolist() == [0, 2, 8, 18, 32]


def test_two_arrays_can_be_exchanged() -> None:
    x, y = vector_input("x", F32), vector_input("y", F32)
    body = Graph([x, y], [y, x], "exchange")
    a, b = np.arange(5, dtype=F32), np.ones(5, F32)
    run_body(body, [a, b], [a, b])
    assert a.tolist() == [1, 1, 1, 1, 1]
    assert b.tolist() == [0, 1, 2, 3, 4]


def test_threads_share_a_body() -> None:
    body = moments()
    expected = [x.tobytes() for x in one_by_one(body, [*random_arrays((70_000,)), 0.1, 0.9])]

    def run(_: int) -> list[bytes]:
        arrays = random_arrays((70_000,))
        run_body(body, [*arrays, 0.1, 0.9], [arrays[0], arrays[2], arrays[3]])
        return [arrays[k].tobytes() for k in (0, 2, 3)]

    with ThreadPoolExecutor(4) as pool:
        assert all(found == expected for found in pool.map(run, range(16)))


def test_a_call_evaluates_its_body_into_new_arrays() -> None:
    body = moments()
    arrays = random_arrays((3, 4))
    before = [x.copy() for x in arrays]
    out = CALL.evaluate(*arrays, 0.1, 0.9, body=body)
    for y, want in zip(out, one_by_one(body, [*arrays, 0.1, 0.9]), strict=True):
        assert y.tobytes() == want.tobytes()
    assert all(np.array_equal(x, y) for x, y in zip(arrays, before, strict=True))


def test_a_call_keeps_the_order_of_memory_of_its_first_array() -> None:
    arrays = [np.asfortranarray(x) for x in random_arrays((3, 4))]
    assert all(y.flags.f_contiguous for y in CALL.evaluate(*arrays, 0.1, 0.9, body=moments()))


def test_the_shape_rule_takes_the_shape_of_the_arrays_also_if_it_is_a_symbol() -> None:
    n = symbol("rows")
    operands = [graph_input(name, (n, 3), F32) for name in "pgmv"] + [graph_input(name, (), F64) for name in "rb"]
    specs = CALL.shape(*operands, body=moments())
    assert [spec.shape for spec in specs] == [(n, 3)] * 3
    assert [spec.dtype for spec in specs] == [F32] * 3


def test_a_graph_with_a_call_is_verified() -> None:
    operands = [graph_input(name, (2, 3), F32) for name in "pgmv"] + [graph_input(name, (), F64) for name in "rb"]
    recorder = BodyRecording()
    call = super(BodyRecording, recorder).apply(CALL, tuple(operands), {"body": moments()})
    out = super(BodyRecording, recorder).apply(primitive("get"), (call,), {"index": 1})
    verify(Graph(operands, [out]))
    assert out.shape == (2, 3)


def test_operands_that_do_not_fit_are_named() -> None:
    good = [graph_input(name, (2,), F32) for name in "pgmv"] + [graph_input(name, (), F64) for name in "rb"]
    with pytest.raises(ShapeError, match="got 2 operands; expected 6, as moments takes"):
        CALL.shape(*good[:2], body=moments())
    with pytest.raises(ShapeError, match=r"'g' of moments has shape \(3,\); expected \(2,\)"):
        CALL.shape(good[0], graph_input("g", (3,), F32), *good[2:], body=moments())
    with pytest.raises(ShapeError, match=r"'rate' of moments has shape \(2,\); expected \(\)"):
        CALL.shape(*good[:4], graph_input("r", (2,), F64), good[5], body=moments())
    with pytest.raises(DtypeError, match="'p' of moments is float64; expected float32"):
        CALL.shape(graph_input("p", (2,), F64), *good[1:], body=moments())


def test_a_body_takes_elementwise_operations_only() -> None:
    x = graph_input("x", (4,), F32)
    with recording(BodyRecording()):
        body = Graph([x], [op.cumsum(x, axis=0, reverse=False)], "sums")
    with pytest.raises(VerifyError, match=r"body sums: .*cumsum.*expected elementwise operations"):
        run_body(body, [np.ones(4, F32)], [np.ones(4, F32)])


def test_a_body_takes_arrays_of_one_shape() -> None:
    x, y = graph_input("x", (4,), F32), graph_input("y", (1,), F32)
    with recording(BodyRecording()):
        body = Graph([x, y], [x + y], "mixed")
    with pytest.raises(VerifyError, match="expected one shape"):
        run_body(body, [np.ones(4, F32), np.ones(1, F32)], [np.ones(4, F32)])


def test_a_call_has_no_gradient_and_says_why() -> None:
    assert not CALL.differentiable
    assert "optimizer's update" in CALL.vjp.reason
