"""Steps in registers beside the same steps by kernels: the same bits, after any number of steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import chainrule as cr
import chainrule.nn.functional as F
from chainrule import nn, optim
from chainrule.compiler.target import unsupported
from chainrule.graph import Graph, Node, Recording, graph_input, op, recording
from chainrule.graph.sizes import symbol
from chainrule.run import straight
from chainrule.run.many_call import Feed
from chainrule.run.native import NativeProgram
from chainrule.run.steps import Steps

pytestmark = pytest.mark.skipif(unsupported() is not None, reason=f"no native code: {unsupported()}")

NOTHING = Feed({}, {}, np.zeros(1, np.int64))
Bits = tuple[int, list[bytes], dict[int, bytes]]  # steps done whole, the inputs after them, the results of these steps


class Ways:
    """Runs a program's steps by kernels, or by straight-line code."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.patch = patch

    def run(
        self,
        worth: float,
        program: NativeProgram,
        inputs: Sequence[Any],
        steps: int,
        *,
        wanted: Sequence[int] = (0,),
        feed: Feed = NOTHING,
        sizes: Mapping[str, int] | None = None,
    ) -> Bits:
        self.patch.setattr(straight, "MANY", 1)
        self.patch.setattr(straight, "WORTH_MAKING", worth)
        program.notes.clear()
        copies = [np.array(x, dtype, order="C") for x, dtype in zip(inputs, program.dtypes, strict=True)]
        done, results, *_ = Steps(program, dict(sizes or {}), wanted).run(copies, feed, steps)
        return done, [x.tobytes() for x in copies], {k: y[:done].tobytes() for k, y in results.items()}

    def same(self, program: NativeProgram, inputs: Sequence[Any], steps: int, **rest: Any) -> Bits:
        """Return what both ways give, which is the same."""
        expected = self.run(np.inf, program, inputs, steps, **rest)
        assert not program.notes
        found = self.run(0.0, program, inputs, steps, **rest)
        assert "straight-line code" in told(program)
        assert found == expected
        return found


def told(program: NativeProgram) -> str:
    return "\n".join(program.report())


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> Ways:
    monkeypatch.setenv("CHAINRULE_COMPILE", "1")
    return Ways(monkeypatch)


class Network:
    """A step of a small network, traced, with the values of its inputs."""

    def __init__(
        self,
        widths: Sequence[int],
        activation: Callable[[], nn.Module],
        loss: str,
        make: Callable[[Any], optim.Optimizer],
        batch: int = 4,
    ) -> None:
        cr.manual_seed(7)
        layers: list[nn.Module] = []
        for a, b in pairwise(widths):
            layers += [nn.Linear(a, b), activation()]
        self.model = model = nn.Sequential(*layers[:-1])
        self.optimizer = optimizer = make(model.parameters())
        criterion: Any = getattr(F, loss)
        x = cr.randn(batch, widths[0])
        y = cr.randint(0, widths[-1], (batch,)) if loss == "cross_entropy" else cr.rand(batch, widths[-1])

        @cr.compile
        def step(x: Any, y: Any) -> Any:
            optimizer.zero_grad()
            z = model(x)
            error = criterion(z, y)
            error.backward()
            optimizer.step()
            return error, z

        step(x, y)
        found = step.traced_for(x, y)
        assert found is not None
        self.step, (self.traced, self.tensors, self.sizes) = step, found
        assert isinstance(self.traced.program, NativeProgram)
        self.program = self.traced.program

    @property
    def inputs(self) -> list[Any]:
        values = self.traced.inputs(self.tensors)
        assert values is not None
        return [*values, *[value for _, ask in self.traced._numbers for value in ask()]]

    def place(self, name: str) -> int:
        return next(k for k, x in enumerate(self.program.graph.inputs) if name in str(x.attributes.get("name")))


def sgd(parameters: Any) -> optim.Optimizer:
    return optim.SGD(parameters, lr=0.1)


def momentum(parameters: Any) -> optim.Optimizer:
    return optim.SGD(parameters, lr=0.1, momentum=0.9)


def adam(parameters: Any) -> optim.Optimizer:
    return optim.Adam(parameters, lr=0.01)


BCE, MSE, ENTROPY = "binary_cross_entropy_with_logits", "mse_loss", "cross_entropy"
STEPS = (1, 2, 100)


@pytest.mark.parametrize("activation", [nn.Tanh, nn.Sigmoid, nn.ReLU])
@pytest.mark.parametrize("loss", [BCE, MSE, ENTROPY])
def test_a_small_network_learns_to_the_same_bits(ways: Ways, activation: Callable[[], nn.Module], loss: str) -> None:
    network = Network((2, 4, 3 if loss == ENTROPY else 1), activation, loss, sgd)
    for steps in STEPS:
        done, _, results = ways.same(network.program, network.inputs, steps, sizes=network.sizes)
        assert done == steps
        assert len(results[0]) == 4 * steps  # a loss of every step


@pytest.mark.parametrize("make", [momentum, adam])
@pytest.mark.parametrize("loss", [BCE, ENTROPY])
def test_the_state_of_an_optimizer_is_carried_along(ways: Ways, make: Any, loss: str) -> None:
    network = Network((2, 4, 3 if loss == ENTROPY else 1), nn.Tanh, loss, make)
    for steps in STEPS:
        ways.same(network.program, network.inputs, steps, sizes=network.sizes)


@pytest.mark.parametrize(
    ("batch", "widths", "loss", "make"),
    [
        (3, (1, 17, 3), ENTROPY, sgd),
        (5, (3, 7, 1), BCE, adam),
        (5, (7, 3, 17), ENTROPY, momentum),
        (17, (1, 3, 1), MSE, momentum),
        (16, (4, 5, 2), ENTROPY, sgd),
    ],
)
def test_odd_sizes_have_the_same_bits(ways: Ways, batch: int, widths: Any, loss: str, make: Any) -> None:
    network = Network(widths, nn.ReLU, loss, make, batch=batch)
    for steps in STEPS:
        ways.same(network.program, network.inputs, steps, sizes=network.sizes, wanted=(0, 1))


def test_counters_that_differ_are_carried_one_by_one(ways: Ways) -> None:
    network = Network((2, 3, 1), nn.Tanh, MSE, adam)
    inputs = network.inputs
    k = network.place("step of")
    inputs[k] = inputs[k] + 5
    ways.same(network.program, inputs, 20, sizes=network.sizes)


def test_what_is_equal_by_chance_is_no_counter(ways: Ways) -> None:
    network = Network((2, 3, 1), nn.Tanh, MSE, adam)
    inputs = network.inputs
    for k, node in enumerate(network.program.graph.inputs):
        if str(node.attributes.get("name")).startswith(("step of", "exp_avg")):
            inputs[k] = np.zeros_like(inputs[k])  # as before the first step
    ways.same(network.program, inputs, 20, sizes=network.sizes)
    steps = Steps(network.program, network.sizes, (0,))
    for values in (inputs, network.inputs):
        steps.run([np.array(x) for x in values], NOTHING, 20)
    assert [len(made) for made in steps._straight._made.values()] == [1]


def test_rows_are_gathered_and_cast_in_every_step(ways: Ways) -> None:
    network = Network((3, 4, 3), nn.Tanh, ENTROPY, sgd, batch=5)
    rng = np.random.default_rng(3)
    for dtype in (np.uint8, np.float64, np.float32):
        x = rng.integers(0, 9, (23, 3)).astype(dtype)
        y = rng.integers(0, 3, 23)
        feed = Feed({network.place("x"): x, network.place("y"): y}, {}, rng.integers(0, 23, 5 * 30))
        ways.same(network.program, network.inputs, 30, feed=feed, sizes=network.sizes)


def test_numbers_may_differ_from_step_to_step(ways: Ways) -> None:
    network = Network((2, 4, 1), nn.Tanh, MSE, sgd)
    feed = Feed({}, {network.place("lr"): np.linspace(0.5, 0.1, 40)}, np.zeros(1, np.int64))
    ways.same(network.program, network.inputs, 40, feed=feed, sizes=network.sizes)


def test_a_failed_check_ends_the_run_after_the_last_whole_step(ways: Ways) -> None:
    network = Network((3, 4, 3), nn.Tanh, ENTROPY, adam, batch=5)
    x, y = np.ones((40, 3), np.float32), np.zeros(40, np.int64)
    y[33] = 3  # read in the seventh step
    feed = Feed({network.place("x"): x, network.place("y"): y}, {}, np.arange(40))
    done, _, _ = ways.same(network.program, network.inputs, 8, feed=feed, sizes=network.sizes)
    assert done == 6
    inputs = network.inputs
    inputs[network.place("y")] = np.full(5, 7)
    assert ways.same(network.program, inputs, 8, sizes=network.sizes)[0] == 0


def test_calls_of_a_compiled_step_come_here_when_kernels_have_taken_long_enough(
    ways: Ways, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Network((2, 4, 1), nn.Tanh, BCE, adam)
    x, y = cr.randn(12, 2), cr.rand(12, 1)
    monkeypatch.setattr(straight, "WORTH_MAKING", 1e-2)
    network.step.over(x, y, batch_size=4, passes=10)  # fewer steps than are worth it
    assert not network.program.notes
    network.step.over(x, y, batch_size=4, passes=3000)
    assert "straight-line code" in told(network.program)
    assert network.optimizer.state[network.model[0].weight]["step"].item() == 1 + 3 * 3010


# -- graphs of a few nodes -------------------------------------------------------------------------------------------------


def program_of(
    function: Callable[..., Any], *values: Any, in_place: Mapping[int, int] | None = None, batch: int | None = None
) -> NativeProgram:
    n = symbol("n")
    inputs: list[Node] = []
    for k, x in enumerate(values):
        inputs.append(graph_input(f"x{k}", tuple([n if m == batch else m for m in x.shape]), x.dtype))
    with recording(Recording()):
        found = function(*inputs)
    return NativeProgram(Graph(inputs, found if isinstance(found, tuple) else (found,)), in_place)


def numbers(*shape: int, seed: int = 0) -> Any:
    x = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    x[np.abs(x) < 0.3] = -0.0
    return x


@pytest.mark.parametrize("rows", [1, 2, 5, 16])
@pytest.mark.parametrize("columns", [2, 3, 16, 17, 33])
def test_folds_have_the_order_of_the_kernels(ways: Ways, rows: int, columns: int) -> None:
    def function(x: Node) -> Any:
        by_axes = [fold(x, axes=axes) for fold in (op.sum, op.amax) for axes in ((0,), (1,), (0, 1))]
        return (*by_axes, op.prod(x, axis=0), op.prod(x, axis=1))

    x = numbers(rows, columns)
    program = program_of(function, x)
    ways.same(program, [x], 1, wanted=range(8))
    x[:] = -0.0
    ways.same(program, [x], 1, wanted=range(8))
    x[rows // 2, columns // 2] = np.nan
    ways.same(program, [x], 1, wanted=range(8))


def test_folds_of_several_axes_have_the_order_of_the_kernels(ways: Ways) -> None:
    def function(x: Node) -> Any:
        axes = ((0, 1), (1, 2), (0, 2), (1, 3), (0, 1, 2), (0, 2, 3), (0, 1, 2, 3))
        return tuple([op.sum(x, axes=some) for some in axes])

    x = numbers(2, 3, 5, 4)
    ways.same(program_of(function, x), [x], 1, wanted=range(7))


def test_moves_reshapes_and_products_of_them(ways: Ways) -> None:
    def function(x: Node, y: Node) -> Any:
        flat = op.reshape(op.permute(x, axes=(1, 0)), shape=(3, 5, 2))
        pairs = op.contract(flat, y, batch=((0,), (0,)), contracted=((2,), (1,)))
        return pairs, op.flip(op.mul(flat, op.reshape(y, shape=(3, 5, 2))), axes=(0, 2))

    x, y = numbers(6, 5), numbers(3, 2, 5, seed=1)
    ways.same(program_of(function, x, y), [x, y], 1, wanted=(0, 1))


def test_inputs_that_replace_each_other_are_carried(ways: Ways) -> None:
    def function(x: Node, y: Node) -> Any:
        return op.add(y, op.full(shape=(), dtype=np.float32, value=1)), op.flip(x, axes=(0,)), op.sum(x, axes=(0,))

    x, y = numbers(7), numbers(7, seed=1)
    program = program_of(function, x, y, in_place={0: 0, 1: 1})
    for steps in (1, 2, 5):
        ways.same(program, [x, y], steps, wanted=(2,))


def test_random_numbers_are_those_of_each_draw(ways: Ways) -> None:
    def function(seed: Node, draw: Node) -> Any:
        return (
            op.uniform(seed, draw, offset=0, shape=(3, 7), dtype=np.dtype(np.float32)),
            op.normal(seed, draw, offset=1, shape=(5,), dtype=np.dtype(np.float32)),
        )

    seed, draw = np.array(5), np.array(3)
    feed = Feed({}, {1: 3 + 2 * np.arange(4)}, np.zeros(1, np.int64))
    ways.same(program_of(function, seed, draw), [seed, draw], 4, wanted=(0, 1), feed=feed)


def test_what_does_not_suit_says_why_and_is_done_by_kernels(ways: Ways) -> None:
    def refusal(function: Callable[..., Any], *values: Any) -> str:
        program = program_of(function, *values)
        expected = ways.run(np.inf, program, values, 2)
        assert ways.run(0.0, program, values, 2) == expected
        return told(program)

    x = numbers(4, 4)
    assert "kernels, for sweep" in refusal(lambda x: op.cumsum(x, axis=0, reverse=False), x)
    assert "kernels, for assemble" in refusal(lambda x: op.concat(x, x, axis=0), x)
    assert "3000 instructions" in refusal(op.exp, numbers(300, 300))
    assert "sums of 300 products" in refusal(lambda x: op.sum(matmul(x, x), axes=(0, 1)), numbers(300, 300))
    assert "a function that it needs is a loop" in refusal(lambda x: op.fmod(x, x), x)


def matmul(x: Node, y: Node) -> Node:
    return op.contract(x, y, batch=((), ()), contracted=((1,), (0,)))
