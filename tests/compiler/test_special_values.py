"""What lies at the edge: NaN and infinities, zeros of both signs, limits of integers, no elements, wrong places."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.errors import ArgumentError, ChainruleError
from chainrule.graph import Graph, Node, Recording, graph_input, op, recording
from chainrule.nn import functional as F
from chainrule.run.native import NativeProgram
from chainrule.run.program import Program
from tests.tolerances import assert_close

from .native import assert_native
from .random_graphs import bits
from .test_small_graphs import N, beside, numbers

I64 = np.dtype(np.int64)
SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 1e38, -1e38, 2.5, -2.5, 0.5], np.float32)


@pytest.fixture(autouse=True)
def native(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", "1")
    monkeypatch.setenv("CHAINRULE_CACHE", "off")


def both(function: Callable[..., Any], *values: Any, dtypes: Any = None) -> Iterator[tuple[Any, Any]]:
    """Yield what native code and the interpreter give."""
    inputs = [graph_input(f"x{k}", x.shape, x.dtype) for k, x in enumerate(values)]
    with recording(Recording()):
        graph = Graph(inputs, function(*inputs))
    yield from zip(NativeProgram(graph).run(values), Program(graph).run(values), strict=True)


def same_bits(function: Callable[..., Any], *values: Any) -> None:
    for k, (a, b) in enumerate(both(function, *values)):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        far = bits(a) != bits(b)
        assert not far.any(), f"output {k}: {a.ravel()[far][:3]} instead of {b.ravel()[far][:3]}"


# -- floats --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arithmetic_of_special_values_has_the_bits_of_the_interpreter(dtype: str) -> None:
    a, b = [np.array(x, dtype) for x in zip(*itertools.product(SPECIAL, SPECIAL), strict=True)]

    tiny = np.float32(np.finfo(np.float32).tiny)
    if dtype == "float32":  # no denormals: native code takes them for zeros
        a, b = np.where(np.abs(a) > 1e37, a / 4, a), np.where(np.abs(b) > 1e37, np.float32(1e18), b)
        assert tiny < 1 / np.abs(a[np.isfinite(a)]).max()

    def function(a: Node, b: Node) -> list[Node]:
        compared = [getattr(op, name)(a, b) for name in ("eq", "ne", "lt", "le", "gt", "ge")]
        tested = [op.isnan(a), op.isinf(a), op.isfinite(a), op.cast(a, dtype=np.dtype(bool))]
        chosen = [op.where(op.lt(a, b), a, b), op.stop(a), op.abs(a), -a, op.floor(a), op.sqrt(a)]
        other = np.dtype("float64" if a.dtype == np.float32 else "float32")
        return [a + b, a - b, a * b, a / b, *compared, *tested, *chosen, op.cast(a, dtype=other)]

    same_bits(function, a, b)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_extremes_of_special_values_are_those_of_the_interpreter(dtype: str) -> None:
    a, b = [np.array(x, dtype) for x in zip(*itertools.product(SPECIAL, SPECIAL), strict=True)]
    for x, y in both(lambda a, b: [op.maximum(a, b), op.minimum(a, b), op.relu(a), op.round(a)], a, b):
        np.testing.assert_array_equal(x, y)
    random = np.random.default_rng(0)
    for shape in ((17,), (3, 40), (40, 3), (2, 1100)):
        for special in (0.0, 0.02, 0.5):
            x = random.standard_normal(shape).astype(dtype)
            x = np.where(random.random(shape) < special, random.choice(SPECIAL[:7], shape), x).astype(dtype)

            def function(x: Node) -> list[Node]:
                axes = range(x.ndim)
                folded = [f(x, axes=(k,)) for k in axes for f in (op.amax, op.amin, op.sum, op.any, op.all)]
                placed = [f(x, axis=k) for k in axes for f in (op.argmax, op.argmin, op.cumargmax, op.cumargmin)]
                ordered = [op.argsort(x, axis=k, descending=d) for k in axes for d in (False, True)]
                return [*placed, *ordered, *folded, op.amax(x, axes=tuple(axes))]

            for a, b in both(function, x):
                assert_close(a, b, length=2000)


def test_softmax_of_infinities_is_that_of_the_interpreter() -> None:
    x = numbers(6, 20)
    x[0, 3], x[1, :], x[2, 5], x[3, 4:7], x[4, 0] = np.inf, -np.inf, np.nan, -np.inf, 1e30
    for a, b in both(lambda x: [op.softmax(x, axis=1), op.log_softmax(x, axis=1), op.softmax(x, axis=0)], x):
        assert_close(a, b, length=20)


def test_moved_elements_keep_every_bit() -> None:
    x = np.resize(SPECIAL, (5, 18))

    def function(x: Node) -> list[Node]:
        none = (0, 0)
        padded = op.pad(x, low=(1, 2), high=none, interior=(1, 0), value=1.5)
        joined = op.concat(x, x, axis=1)
        part = op.slice(x, starts=(1, 2), stops=(5, 17), steps=(2, 3))
        moved = [op.permute(x, axes=(1, 0)), op.flip(x, axes=(0, 1)), op.reshape(x, shape=(9, 10)), padded, joined]
        return [*moved, part, op.expand(x, shape=(2, 5, 18)), op.diagonal(x, offset=1, axis1=0, axis2=1)]

    same_bits(function, x)


@pytest.mark.parametrize("zero", [0.0, -0.0])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_zeros_that_are_made_keep_their_sign(zero: float, dtype: str) -> None:
    x = np.ones(19, dtype)

    def function(x: Node) -> list[Node]:
        full = [op.full(shape=(3, 17), dtype=x.dtype, value=value) for value in (zero, -zero)]
        padded = [op.pad(x, low=(2,), high=(1,), interior=(1,), value=value) for value in (zero, -zero)]
        return [*full, *padded, *[1 / y for y in (*full, *padded) if x.dtype.kind == "f"]]

    same_bits(function, x)
    negative = np.signbit(zero) and dtype != "int64"
    for _, made in itertools.islice(both(function, x), 1):
        assert np.signbit(made).all() == negative


@pytest.mark.parametrize("source", ["float32", "float64"])
def test_no_integer_is_near_these_floats_and_native_code_gives_what_is_written_down(source: str) -> None:
    """NaN is 0; what is beyond int64 is its limit; then the low bits are taken. (NumPy's depend on the processor.)"""
    x = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 2.0**33 + 2**20, 300.0, -1.0] * 3, source)
    limits = np.iinfo(np.int64)
    wide = np.array([0, limits.max, limits.min, limits.max, limits.min, 2**33 + 2**20, 300, -1] * 3, np.int64)
    dtypes = [np.dtype(name) for name in ("int64", "int32", "int16", "int8", "uint8")]
    with np.errstate(all="ignore"):
        found = [a for a, _ in both(lambda x: [op.cast(x, dtype=dtype) for dtype in dtypes], x)]
    for a, dtype in zip(found, dtypes, strict=True):
        np.testing.assert_array_equal(a, wide.astype(dtype))


# -- integers and truth values -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "int64"])
def test_integers_wrap_at_their_limits(dtype: str) -> None:
    limits = np.iinfo(dtype)
    edge = [limits.min, limits.min + 1, limits.max, limits.max - 1, 0, 1, limits.max // 2 + 1, 3]
    a, b = [np.array(x, dtype) for x in zip(*itertools.product(edge, edge), strict=True)]

    def function(a: Node, b: Node) -> list[Node]:
        arithmetic = [a + b, a - b, a * b, -a, op.abs(a), op.maximum(a, b), op.minimum(a, b)]
        logic = [op.bitwise_and(a, b), op.bitwise_or(a, b), op.bitwise_xor(a, b), op.bitwise_not(a)]
        compared = [op.lt(a, b), op.ge(a, b), op.eq(a, b)]
        casts = [
            op.cast(a, dtype=np.dtype(d))
            for d in ("int8", "uint8", "int16", "int32", "int64", "bool", "float32", "float64")
        ]
        folded = [op.sum(a, axes=(0,)), op.prod(a, axis=0), op.amax(a, axes=(0,)), op.amin(a, axes=(0,))]
        placed = [op.argmax(a, axis=0), op.argmin(a, axis=0), op.argsort(a, axis=0, descending=True)]
        return [*arithmetic, *logic, *compared, *casts, *folded, *placed, op.cumsum(a, axis=0, reverse=False)]

    same_bits(function, a, b)


def test_truth_values_add_as_or_and_multiply_as_and() -> None:
    a, b = np.array([0, 0, 1, 1], bool), np.array([0, 1, 0, 1], bool)

    def function(a: Node, b: Node) -> list[Node]:
        casts = [op.cast(a, dtype=np.dtype(d)) for d in ("int8", "uint8", "int64", "float32", "float64")]
        compared = [op.lt(a, b), op.le(a, b), op.gt(a, b), op.maximum(a, b), op.minimum(a, b)]
        folded = [op.sum(a, axes=(0,)), op.any(a, axes=(0,)), op.all(a, axes=(0,)), op.amax(a, axes=(0,))]
        return [a + b, a * b, op.bitwise_not(a), *casts, *compared, *folded, op.argsort(a, axis=0, descending=False)]

    same_bits(function, a, b)


# -- few elements --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 17), (0, 0)])
def test_no_elements_give_what_the_interpreter_gives(shape: tuple[int, ...]) -> None:
    x = np.zeros(shape, np.float32)

    def function(x: Node) -> list[Node]:
        last = x.ndim - 1
        folded = [op.sum(x, axes=axes) for axes in ((), (0,), (last,), tuple(range(x.ndim)))]
        folded += [op.prod(x, axis=last), op.any(x, axes=(last,)), op.all(x, axes=(last,))]
        swept = [op.cumsum(x, axis=0, reverse=True), op.softmax(x, axis=last), op.argsort(x, axis=0, descending=False)]
        moved = [op.flip(x, axes=(0,)), op.concat(x, x, axis=0), op.reshape(x, shape=(*x.shape[::-1], 1)), -x]
        product = op.contract(x, x, batch=((), ()), contracted=((last,), (last,)))
        return [*folded, *swept, *moved, product]

    for a, b in both(function, x):
        assert_close(a, b)


def test_numbers_without_axes_give_what_the_interpreter_gives() -> None:
    x, y = np.float32(2.5).reshape(()), np.float32(-0.5).reshape(())

    def function(x: Node, y: Node) -> list[Node]:
        return [x + y, op.sum(x, axes=()), op.amax(y, axes=()), op.reshape(x, shape=(1, 1)), op.expand(x, shape=(17,)),
                op.stop(x), x, op.where(op.lt(x, y), x, y), op.contract(x, y, batch=((), ()), contracted=((), ()))]  # fmt: skip

    for a, b in both(function, x, y):
        assert_close(a, b)


# -- long sums -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape", [(3 * 1024 + 5,), (7, 4 * 1024 - 3), (3 * 256 + 5, 7), (4 * 256 + 1, 33), (9, 300, 21)]
)
@pytest.mark.parametrize("symbolic", [False, True])
def test_long_sums_are_as_near_to_float64_as_the_interpreters(shape: tuple[int, ...], symbolic: bool) -> None:
    x = (numbers(*shape) + 0.25).astype(np.float32)
    sizes = tuple([N if k == int(np.argmax(shape)) else n for k, n in enumerate(shape)]) if symbolic else shape
    source = graph_input("x", sizes, x.dtype)
    every = [axes for k in range(1, len(shape) + 1) for axes in itertools.combinations(range(len(shape)), k)]
    with recording(Recording()):
        graph = Graph([source], [op.sum(source, axes=axes) for axes in every])
    batch = {"n": max(shape)} if symbolic else {}
    ours, theirs = NativeProgram(graph).run([x], batch), Program(graph).run([x], batch)
    for a, b, axes in zip(ours, theirs, every, strict=True):
        exact = x.astype(np.float64).sum(axis=axes)
        size = np.abs(x).astype(np.float64).sum(axis=axes).max()
        assert np.abs(a - exact).max() <= 4 * np.abs(b - exact).max() + 1e-6 * size


# -- training ------------------------------------------------------------------------------------------------------------


def compiled(model: Any, optimizer: Any, loss: Any) -> Any:
    @cr.compile
    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        value = loss(model(x), y)
        value.backward()
        optimizer.step()
        return value

    return step


def test_cross_entropy_of_logits_far_apart_has_no_overflow() -> None:
    x = np.zeros((6, 5), np.float32)
    x[:, 0], x[:, 1], x[0] = 200.0, -200.0, [1e4, 0, 0, 0, -1e4]
    labels = np.array([4, 1, 0, 2, 3, 1])

    @cr.compile
    def values(logits: Any, labels: Any) -> tuple[Any, Any]:
        z = logits.detach().requires_grad_()
        loss = F.cross_entropy(z, labels)
        loss.backward()
        return loss.detach(), z.grad

    wide = x.astype(np.float64)
    log_p = wide - wide.max(1, keepdims=True)
    log_p -= np.log(np.exp(log_p).sum(1, keepdims=True))
    picked = np.arange(6), labels
    gradient = np.exp(log_p)
    gradient[picked] -= 1
    value, found = values(cr.tensor(x), cr.tensor(labels))
    assert_native(values.report())
    assert_close(value, np.float32(-log_p[picked].mean()))
    assert_close(found, (gradient / 6).astype(np.float32))


def test_forty_epochs_learn_a_set_that_can_be_learned() -> None:
    random = np.random.default_rng(0)
    centres = random.normal(size=(4, 7)) * 3
    labels = random.integers(0, 4, 203)
    x = (centres[labels] + random.normal(size=(203, 7)) * 0.3).astype(np.float32)
    cr.manual_seed(0)
    model = nn.Sequential(nn.Linear(7, 19), nn.ReLU(), nn.Linear(19, 4))
    step = compiled(model, optim.Adam(model.parameters(), lr=0.01), F.cross_entropy)
    for _ in range(40):
        order = random.permutation(203)
        for start in range(0, 203, 32):
            rows = order[start : start + 32]
            value = step(cr.tensor(x[rows]), cr.tensor(labels[rows]))
    assert_native(step.report())
    assert float(value) < 0.01
    assert (np.argmax(model(cr.tensor(x)).detach().numpy(), axis=1) == labels).all()


# -- places that are none ------------------------------------------------------------------------------------------------


def told(program: Any, inputs: list[Any]) -> tuple[type, str]:
    with pytest.raises(ChainruleError) as caught:
        program.run(inputs)
    return type(caught.value), str(caught.value)


@pytest.mark.parametrize("bad", [5, -6, 2**62, -(2**63)])
def test_an_index_out_of_range_is_told_as_the_interpreter_tells_it_and_nothing_is_written(bad: int) -> None:
    table, index = numbers(5, 20), np.array([0, 4, -5, bad, 1] * 7)
    parameter, other = numbers(40, seed=1), numbers(33, 20, seed=2)
    functions = [
        lambda t, i: op.take(t, i, axes=(0,)),
        lambda t, i: op.spread(op.expand(op.slice(t, starts=(0, 0), stops=(1, 20), steps=(1, 1)), shape=(35, 20)), i,
                               axes=(0,), shape=(5, 20)),
        lambda t, i: op.put(t, t * 0 + 1, op.slice(i, starts=(0,), stops=(5,), steps=(1,)), axes=(0,)),
    ]  # fmt: skip
    for function in functions:
        nodes = [graph_input(name, x.shape, x.dtype) for name, x in (("t", table), ("i", index), ("p", parameter))]
        nodes.append(graph_input("o", other.shape, other.dtype))
        with recording(Recording()):
            found = function(*nodes[:2])
            total = op.sum(found, axes=(0, 1))
            graph = Graph(nodes, [nodes[2] * 2, total, nodes[3] * total, nodes[0] - 1])
        in_place = {0: 2, 2: 3, 3: 0}
        given = [np.array(x) for x in (table, index, parameter, other)]
        native = NativeProgram(graph, in_place)
        assert told(native, given) == told(Program(graph, in_place), given)
        for x, was in zip(given, (table, index, parameter, other), strict=True):
            np.testing.assert_array_equal(x, was)
        given[1] = np.where(index == bad, 3, index)
        expected = Program(graph, in_place).run([np.array(x) for x in given])
        for a, b in zip(native.run(given), expected, strict=True):
            assert_close(a, b, length=700)


@pytest.mark.parametrize("shape", [(3, 0), (0, 3), (4, 3)])
def test_no_place_is_refused_where_none_is_meant(shape: tuple[int, int]) -> None:
    """An index array without elements, beside one whose place is none of an axis without elements."""
    x, part, none, one = np.ones(shape, np.float32), np.ones(0, np.float32), np.zeros(0, np.int64), np.array([0])
    for index in ((none, one), (one, none)):

        def function(x: Node, part: Node, i: Node, j: Node) -> list[Node]:
            written = [op.put(x, part, i, j, axes=(0, 1)), op.spread(part, i, j, axes=(0, 1), shape=shape)]
            return [op.take(x, i, j, axes=(0, 1)), *written]

        same_bits(function, x, part, *index)


@pytest.mark.parametrize("axes", [(0, 1), (1, 0), (1, 2), (2, 1), (2, 0), (0, 2), (2, 0, 1), (3, 2, 1), (3, 1)])
def test_index_arrays_stand_where_numpy_puts_them(axes: tuple[int, ...]) -> None:
    random = np.random.default_rng(0)
    x = numbers(3, 4, 5, 6)
    index = [random.integers(-x.shape[axis], x.shape[axis], (2, 7)) for axis in axes]
    where = tuple([index[axes.index(k)] if k in axes else slice(None) for k in range(4)])
    part = numbers(*x[where].shape, seed=1)

    def function(x: Node, part: Node, *index: Node) -> list[Node]:
        written = [op.spread(part, *index, axes=axes, shape=x.shape), op.put(x, part, *index, axes=axes)]
        return [op.take(x, *index, axes=axes), *written]

    added, put = np.zeros_like(x), np.array(x)
    np.add.at(added, where, part)
    put[where] = part
    for a, b in zip(both(function, x, part, *index), (x[where], added, put), strict=True):
        for found in a:
            assert found.shape == b.shape
            assert_close(found, b)


@pytest.mark.parametrize("label", [-1, 4, 1000, -101])
@pytest.mark.parametrize("with_words", [False, True])
def test_a_label_beyond_the_classes_is_refused_and_the_parameters_are_untouched(label: int, with_words: bool) -> None:
    random = np.random.default_rng(0)

    def build() -> tuple[Any, Any, Any]:
        cr.manual_seed(0)
        first = [nn.Embedding(9, 3), nn.Flatten(), nn.Linear(15, 7)] if with_words else [nn.Linear(5, 7)]
        model = nn.Sequential(*first, nn.Tanh(), nn.Linear(7, 4))
        optimizer = optim.Adam(model.parameters(), lr=0.01, weight_decay=0.1)
        return model, optimizer, compiled(model, optimizer, F.cross_entropy)

    def batch(n: int) -> tuple[Any, Any]:
        x = random.integers(0, 9, (n, 5)) if with_words else random.normal(size=(n, 5)).astype(np.float32)
        return cr.tensor(x), cr.tensor(random.integers(0, 4, n))

    def state(model: Any, optimizer: Any) -> list[Any]:
        values = [np.array(p.detach().numpy()) for p in model.parameters()]
        for part in optimizer.state_dict()["state"].values():
            values += [np.array(v.numpy() if hasattr(v, "numpy") else v) for v in part.values()]
        return values

    model, optimizer, step = build()
    x, y = batch(20)
    step(x, y)
    before = state(model, optimizer)
    wrong = y.numpy().copy()
    wrong[13] = label
    with pytest.raises(
        ArgumentError, match=rf"cross_entropy: got the label {label} in row 13 for an input of 4"
    ) as caught:
        step(x, cr.tensor(wrong))
    assert_native(step.report())
    for a, b in zip(state(model, optimizer), before, strict=True):
        np.testing.assert_array_equal(a, b)
    os.environ["CHAINRULE_COMPILE"] = "0"
    other, _, interpreted = build()
    with pytest.raises(ArgumentError) as expected:
        interpreted(x, cr.tensor(wrong))
    assert str(caught.value) == str(expected.value)
    step(x, y)  # and it goes on
    interpreted(x, y)
    interpreted(x, y)
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        assert_close(p, q, length=20)


SMALL_GRADIENTS: dict[str, Callable[[Any, Any], Any]] = {
    "elu": lambda x, zero: F.elu(x),
    "selu": lambda x, zero: F.selu(x),
    "celu": lambda x, zero: F.celu(x, alpha=0.7),
    "expm1": lambda x, zero: x.expm1(),
    "softplus": lambda x, zero: F.softplus(x),
    "binary cross-entropy": lambda x, zero: F.binary_cross_entropy_with_logits(x, zero, reduction="sum"),
    "binary cross-entropy, weighted": lambda x, zero: F.binary_cross_entropy_with_logits(
        x, zero, reduction="sum", pos_weight=zero + 3
    ),
}


@pytest.mark.parametrize("name", SMALL_GRADIENTS)
@pytest.mark.parametrize("native", ["0", "1"])
def test_a_gradient_keeps_its_digits_where_it_is_small(name: str, native: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An adaptive optimizer divides by it: all of them count."""
    monkeypatch.setenv("CHAINRULE_COMPILE", native)

    @cr.compile
    def gradient(x: Any) -> Any:
        z = x.detach().requires_grad_()
        SMALL_GRADIENTS[name](z, cr.zeros_like(x)).sum().backward()
        return z.grad

    x = np.linspace(-40, -8, 201)
    found = gradient(cr.tensor(x.astype(np.float32))).numpy()
    exact = gradient(cr.tensor(x.astype(np.float32).astype(np.float64))).numpy()
    assert (exact > 0).all()
    assert (exact < 1e-3).all()
    np.testing.assert_allclose(found, exact, rtol=5e-6)  # x itself is rounded: 40 * 6e-8


@pytest.mark.parametrize("native", ["0", "1"])
def test_a_wrong_label_is_told_as_in_eager_mode(native: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", native)
    model = nn.Sequential(nn.Linear(3, 4), nn.LogSoftmax(dim=1))
    losses = [
        (F.nll_loss, (5, 3), (5,)),
        (lambda x, y: F.cross_entropy(x, y, ignore_index=2), (5, 3), (5,)),
        (nn.CrossEntropyLoss(label_smoothing=0.1), (5, 3), (5,)),
        (nn.CrossEntropyLoss(weight=cr.tensor([1.0, 2.0, 3.0, 4.0])), (5, 3), (5,)),
        (lambda x, y: F.cross_entropy(x.reshape(5, 4, 1), y), (5, 3), (5, 1)),
        (lambda x, y: F.cross_entropy(x[0], y), (1, 3), ()),
    ]
    for loss, shape, of in losses:
        for wrong in (-1, 4, 99):
            x, y = cr.tensor(numbers(*shape)), np.ones(of, np.int64)
            y.ravel()[-1] = wrong

            def eager(x: Any, y: Any, loss: Any = loss) -> Any:
                return loss(model(x), y)

            with pytest.raises(ArgumentError, match=f"got the label {wrong}") as expected:
                eager(x, cr.tensor(y))
            for value in (y, np.ones(of, np.int64), y):  # also after a run that was well
                compiled = cr.compile(eager)
                if value is not y:
                    compiled(x, cr.tensor(value))
                    continue
                with pytest.raises(ArgumentError) as caught:
                    compiled(x, cr.tensor(value))
                assert str(caught.value) == str(expected.value)


def test_a_function_of_special_values_is_taken_by_one_compilation() -> None:
    beside(lambda x: op.exp(-op.abs(x)), SPECIAL)
