"""The sweep: each rule once, after everything that arrives is summed; only what is needed, and nothing kept longer."""

from __future__ import annotations

import gc
import threading
import tracemalloc
import weakref
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chainrule as cr
from chainrule.backward import chain_rule
from chainrule.errors import GradientError, InPlaceError, ShapeError
from chainrule.graph import Node, Primitive, Spec, op, primitive, recording
from chainrule.run import Evaluating, value_node
from chainrule.tensors.apply import apply, apply_several
from tests.own_primitives import Call, counted_rules, own_primitives
from tests.tolerances import assert_close


@pytest.fixture(autouse=True)
def _own_primitives() -> Iterator[None]:
    with own_primitives():
        yield


@pytest.fixture
def calls() -> Iterator[list[Call]]:
    with counted_rules() as calls:
        yield calls


def wanting(*values: Any) -> Any:
    return cr.tensor(values[0] if len(values) == 1 else values, dtype=cr.float64, requires_grad=True)


class Elementwise(Primitive, abstract=True):
    reads = ("x",)

    def shape(self, x: Any, **attributes: Any) -> Spec:
        return Spec(x.shape, x.dtype)

    def evaluate(self, x: Any, **attributes: Any) -> Any:
        return x * x


# -- once, summed --------------------------------------------------------------------------------------------------------


def test_a_rule_is_called_once_with_the_sum_of_what_arrives(calls: list[Call]) -> None:
    x = wanting(0.5)
    h = x * 2
    y = h * 3 + h * 4 + h.sin()
    y.backward()
    of_h = [call for call in calls if call.y is h.grad_fn]
    assert len(of_h) == 1
    assert of_h[0].g.value == pytest.approx(7 + np.cos(1.0))
    assert x.grad.item() == pytest.approx(2 * (7 + np.cos(1.0)))
    assert max(Counter(id(call.y) for call in calls).values()) == 1


def test_an_input_that_stands_twice_gets_both_gradients(calls: list[Call]) -> None:
    x = wanting(3.0)
    h = x.exp()
    (h * h).backward()
    assert [call.name for call in calls] == ["mul", "exp"]
    assert x.grad.item() == pytest.approx(2 * np.exp(6.0))


def test_sixty_doublings_are_sixty_rules(calls: list[Call]) -> None:
    x = wanting(1.0)
    y = x
    for _ in range(60):
        y = y + y
    y.backward()
    assert len(calls) == 60
    assert x.grad.item() == 2.0**60


@st.composite
def programs(draw: st.DrawFn) -> list[tuple[str, int, int]]:
    """Random operations on the values so far."""
    steps = []
    for k in range(draw(st.integers(1, 12))):
        a, b = (draw(st.integers(0, k + 2)) for _ in range(2))
        steps.append((draw(st.sampled_from(["add", "sub", "mul", "maximum", "sin", "tanh", "neg"])), a, b))
    return steps


def with_slopes(steps: list[tuple[str, int, int]], leaves: list[float]) -> tuple[list[float], Any]:
    """Return all values and their derivatives by the leaves, from the inputs on: forward, so another way than the sweep."""
    values, slopes = list(leaves), list(np.eye(len(leaves)))
    for name, a, b in steps:
        u, v, du, dv = values[a], values[b], slopes[a], slopes[b]
        value, slope = {
            "add": (u + v, du + dv),
            "sub": (u - v, du - dv),
            "mul": (u * v, v * du + u * dv),
            "maximum": (max(u, v), du if u > v else dv if v > u else (du + dv) / 2),
            "sin": (np.sin(u), np.cos(u) * du),
            "tanh": (np.tanh(u), (1 - np.tanh(u) ** 2) * du),
            "neg": (-u, -du),
        }[name]
        values.append(float(value))
        slopes.append(slope)
    return values, slopes


@given(programs(), st.data())
def test_any_graph_has_the_gradient_of_the_forward_way_and_each_rule_runs_once(steps: Any, data: st.DataObject) -> None:
    numbers = [0.3, -0.7, 1.1]
    leaves = [wanting(x) for x in numbers]
    values = list(leaves)
    for name, a, b in steps:
        values.append(getattr(values[a], name)(values[b]) if name in ("add", "sub", "mul", "maximum") else getattr(values[a], name)())  # fmt: skip
    chosen = data.draw(st.lists(st.integers(3, len(values) - 1), min_size=1, max_size=3))
    roots = [values[k] for k in chosen]
    with counted_rules() as calls:
        found = cr.autograd.grad(roots, leaves, materialize_grads=True)
    expected = sum(with_slopes(steps, numbers)[1][k] for k in chosen)
    assert_close(np.array([g.item() for g in found]), np.array(expected))
    below, stack = set(), [root.grad_fn for root in roots]
    assert max(Counter(id(call.y) for call in calls).values()) == 1
    while stack:  # nothing was called that does not lead to a root; a freed node has no inputs left
        node = stack.pop()
        if node not in below:
            below.add(node)
            stack.extend(node.inputs or ())
    assert len(calls) <= len(steps)


# -- only what is needed -------------------------------------------------------------------------------------------------


def test_only_inputs_that_require_a_gradient_get_one(calls: list[Call], monkeypatch: pytest.MonkeyPatch) -> None:
    x, w = cr.ones(5, 3), cr.ones(3, 2, requires_grad=True)
    y = (x @ w).sum()
    contractions = []
    evaluate = type(primitive("contract")).evaluate
    monkeypatch.setattr(
        type(primitive("contract")), "evaluate", lambda *a, **k: contractions.append(a) or evaluate(*a, **k)
    )
    y.backward()
    assert [call.need for call in calls if call.name == "contract"] == [(False, True)]
    assert len(contractions) == 1, "the gradient of x was computed for nobody"


def test_only_gradients_towards_what_is_wanted_are_computed(calls: list[Call]) -> None:
    a, b = wanting(2.0), wanting(3.0)
    below = b.exp()
    y = a.sin() * below
    (g,) = cr.autograd.grad(y, a)
    assert g.item() == pytest.approx(np.cos(2.0) * np.exp(3.0))
    assert [(call.name, call.need) for call in calls] == [("mul", (True, False)), ("sin", (True,))]


def test_nothing_below_a_wanted_node_is_computed(calls: list[Call]) -> None:
    x = wanting(2.0)
    h = x.exp().sin()
    (g,) = cr.autograd.grad(h.tanh(), h)
    assert [call.name for call in calls] == ["tanh"]
    assert g.item() == pytest.approx(1 - np.tanh(np.sin(np.exp(2.0))) ** 2)


def test_a_rule_may_say_that_there_is_no_gradient() -> None:
    class Half(Elementwise):
        name = "half_known"

        def vjp(self, g: Node, y: Node, x: Node, *, need: Any) -> Any:
            return None

    x = wanting(1.0)
    assert cr.autograd.grad(apply(primitive("half_known"), (x,)) + 0 * x, x)[0].item() == 0
    assert cr.autograd.grad(apply(primitive("half_known"), (x,)), x, allow_unused=True) == (None,)


def test_a_gradient_given_where_none_is_needed_is_dropped() -> None:
    class Careless(Primitive):
        name = "careless"

        def shape(self, a: Any, b: Any) -> Spec:
            return Spec(a.shape, a.dtype)

        def evaluate(self, a: Any, b: Any) -> Any:
            return a + b

        def vjp(self, g: Node, y: Node, a: Node, b: Node, *, need: Any) -> Any:
            return g, op.full(shape=(7,), dtype=g.dtype, value=1)  # of a wrong shape, too

    x = wanting(1.0)
    apply(primitive("careless"), (x, cr.tensor(2.0, dtype=cr.float64))).backward()
    assert x.grad.item() == 1


# -- depth ---------------------------------------------------------------------------------------------------------------


def test_a_chain_of_100000_operations_is_no_deeper_than_one_of_ten() -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            x = cr.tensor(1.0, requires_grad=True)
            y = x
            for _ in range(50_000):
                y = (y + 0.5) * 0.999999
            y.backward()
            assert x.grad is not None
            assert x.grad.item() == pytest.approx(0.999999**50_000, rel=1e-3)
            y = x
            for _ in range(100_000):
                y = y.tanh()
            del y  # never swept: Python frees the chain node by node
            z = x
            for _ in range(30_000):
                z = z * 1.0
            (g,) = cr.autograd.grad(z, x, create_graph=True)
            repr(g.grad_fn), hash(g.grad_fn)
            del z, g
        except BaseException as error:  # noqa: BLE001 - told by the main thread
            failures.append(error)

    before = threading.stack_size(256 * 1024)  # small, so that any recursion in C would end the process
    try:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    assert not failures, failures


# -- memory --------------------------------------------------------------------------------------------------------------


def alive(references: list[Any]) -> int:
    return sum(reference() is not None for reference in references)


def memory_of(x: Any) -> Any:
    return weakref.ref(x._value)


@pytest.mark.parametrize(
    ("build", "kept"),
    [
        (lambda x: x + 1, 0),
        (lambda x: x - x, 0),
        (lambda x: x * 2, 0),
        (lambda x: x * cr.ones(3), 0),
        (lambda x: x / 2, 0),
        (lambda x: -x, 0),
        (lambda x: x.sum(), 0),
        (lambda x: x.flip(0), 0),
        (lambda x: cr.cat([x, x]), 0),
        (lambda x: x.cumsum(0), 0),
        (lambda x: x.double(), 0),
        (lambda x: x.exp(), 0),
        (lambda x: x.relu(), 0),
        (lambda x: x * x, 1),
        (lambda x: x.log(), 1),
        (lambda x: 2 / x, 1),
        (lambda x: x.abs(), 1),
    ],
)
def test_a_value_that_no_gradient_reads_is_not_kept(build: Any, kept: int) -> None:
    leaf = cr.ones(3, requires_grad=True)
    x = leaf + 1
    reference = memory_of(x)
    y = build(x)
    del x
    assert alive([reference]) == kept
    y.sum().backward()
    assert alive([reference]) == 0
    assert leaf.grad is not None


def test_the_factor_of_what_needs_no_gradient_is_not_kept() -> None:
    data, weight = cr.ones(3), cr.ones(3, requires_grad=True)
    hidden = weight * 1
    reference = memory_of(hidden)
    y = hidden * data  # the gradient of ``hidden`` reads ``data``; nobody wants the gradient of ``data``
    assert y.grad_fn.inputs[0].value is None
    assert y.grad_fn.inputs[1].value is data._value
    del hidden
    assert alive([reference]) == 0


def test_an_output_is_kept_only_by_rules_that_read_it() -> None:
    x = cr.ones(3, requires_grad=True)
    assert x.tanh().grad_fn.value is not None
    assert x.sin().grad_fn.value is None


def test_without_a_tape_nothing_is_kept() -> None:
    x = cr.ones(3, requires_grad=True)
    with cr.no_grad():
        h = x.exp()
        reference = memory_of(h)
        y = h.exp()
    assert y.grad_fn is None
    del h
    assert alive([reference]) == 0


def test_a_chain_frees_its_values_as_the_sweep_goes() -> None:
    seen: list[int] = []
    references: list[Any] = []

    class Probe(Elementwise):
        name = "probe"

        def vjp(self, g: Node, y: Node, x: Node, *, need: Any) -> Node:
            seen.append(alive(references))
            return g * x

    x = cr.ones(1000, requires_grad=True)
    y = x
    for _ in range(20):
        y = apply(primitive("probe"), (y,)).tanh()
        references.append(memory_of(y))
    total = y.sum()
    del y
    assert alive(references) == 20
    total.backward()
    assert seen == list(range(19, -1, -1))


def test_the_gradients_of_a_chain_go_as_the_sweep_goes() -> None:
    x = cr.ones(100_000, requires_grad=True)  # 400 kB
    y = x
    for _ in range(50):
        y = y + 1
    y = y.sum()
    gc.collect()
    tracemalloc.start()
    try:
        y.backward()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5 * 400_000, "fifty gradients were alive at once"


def test_a_retained_tape_keeps_its_values_until_it_is_gone() -> None:
    x = cr.ones(3, requires_grad=True)
    h = x.exp()
    reference = memory_of(h)
    y = h.log().sum()
    del h
    y.backward(retain_graph=True)
    assert alive([reference]) == 1
    y.backward()
    assert alive([reference]) == 0
    assert x.grad.tolist() == [2, 2, 2]


def test_the_tape_of_a_first_gradient_is_not_held_by_its_tensors() -> None:
    x = wanting(1.0, 2.0)
    y = (x.exp() * x).sum()
    node = weakref.ref(y.grad_fn)
    (g,) = cr.autograd.grad(y, x)
    assert g.grad_fn is None
    del y
    assert node() is None


# -- freed ---------------------------------------------------------------------------------------------------------------


def test_a_second_pass_over_a_freed_tape_says_what_to_do() -> None:
    x = wanting(2.0)
    h = x.exp()
    y, z = h.sin(), h.cos()
    y.backward()
    first = x.grad.item()
    with pytest.raises(GradientError, match=r"second time.*freed.*retain_graph=True"):
        y.backward()
    with pytest.raises(GradientError, match="retain_graph=True"):
        z.backward()  # shares the part below h
    with pytest.raises(GradientError, match="retain_graph=True"):
        cr.autograd.grad(z, h)  # h's value, which this reads, went with its node
    assert x.grad.item() == first, "a refused pass left something behind"


def test_only_what_a_pass_went_through_is_freed() -> None:
    a, b = wanting(2.0), wanting(3.0)
    h, k = a.exp(), b.exp()
    cr.autograd.grad(h * k, h)  # neither exp was needed
    h.backward()
    k.backward()
    assert a.grad.item() == pytest.approx(np.exp(2.0))
    assert b.grad.item() == pytest.approx(np.exp(3.0))


# -- several outputs -----------------------------------------------------------------------------------------------------


@pytest.fixture
def sin_cos() -> Any:
    class SinCos(Primitive):
        """y₀ = sin x, y₁ = cos x"""

        name = "sin_cos"
        outputs = 2
        reads = ("y",)
        arrived: list[Any] = []  # noqa: RUF012 - what the rule was given, for the tests

        def shape(self, x: Any) -> tuple[Spec, Spec]:
            return Spec(x.shape, x.dtype), Spec(x.shape, x.dtype)

        def evaluate(self, x: Any) -> Any:
            return np.sin(x), np.cos(x)

        def vjp(self, g: Any, y: Node, x: Node, *, need: Any) -> Any:
            self.arrived.append([part is not None for part in g])
            dx = None
            if g[0] is not None:
                dx = g[0] * op.get(y, index=1)
            if g[1] is not None:
                d = -g[1] * op.get(y, index=0)
                dx = d if dx is None else dx + d
            return dx

    SinCos.arrived.clear()
    return SinCos


def test_of_several_outputs_one_or_both_may_be_used(sin_cos: Any) -> None:
    x = wanting(0.5, 1.0)
    s, c = apply_several(primitive("sin_cos"), (x,))
    assert_close(s, np.sin([0.5, 1.0]))
    assert_close(cr.autograd.grad(s.sum(), x, retain_graph=True)[0], np.cos([0.5, 1.0]))
    assert_close(cr.autograd.grad(c.sum(), x, retain_graph=True)[0], -np.sin([0.5, 1.0]))
    (g,) = cr.autograd.grad((s * c + s).sum(), x)
    assert_close(g, np.cos(2 * np.array([0.5, 1.0])) + np.cos([0.5, 1.0]))
    assert sin_cos.arrived == [[True, False], [False, True], [True, True]], "the rule ran once, for all outputs"


def test_several_outputs_have_gradients_of_gradients(sin_cos: Any) -> None:
    x = wanting(0.5, 1.0)
    assert cr.gradcheck(lambda x: apply_several(primitive("sin_cos"), (x,)), x)
    assert cr.gradgradcheck(lambda x: apply_several(primitive("sin_cos"), (x,)), x)
    s, c = apply_several(primitive("sin_cos"), (x,))
    (g,) = cr.autograd.grad((s * s * c).sum(), x, create_graph=True)
    (h,) = cr.autograd.grad(g.sum(), x)
    u = np.array([0.5, 1.0])
    assert_close(h, 2 * np.cos(u) ** 3 - 7 * np.sin(u) ** 2 * np.cos(u))


def test_several_outputs_work_inside_compiled_functions(sin_cos: Any) -> None:
    def gradient(x: Any) -> Any:
        s, c = apply_several(primitive("sin_cos"), (x,))
        return s, cr.autograd.grad((s * c).sum(), x)[0]

    for n in (3, 5):
        x = cr.linspace(0, 1, n).requires_grad_()
        for eager, traced in zip(gradient(x), cr.compile(gradient)(x), strict=True):
            assert eager.tolist() == traced.tolist()


def test_writing_to_an_output_that_the_rule_reads_raises(sin_cos: Any) -> None:
    x = wanting(0.5)
    s, c = apply_several(primitive("sin_cos"), (x,))
    with cr.no_grad():
        c.mul_(2)
    with pytest.raises(InPlaceError, match="changed in place"):
        s.backward()


def test_outputs_may_have_other_shapes_and_dtypes() -> None:
    class Largest(Primitive):
        """y₀ = max x, y₁ = its place"""

        name = "largest"
        outputs = 2
        reads = ("y",)

        def shape(self, x: Any) -> Any:
            return Spec((), x.dtype), Spec((), np.dtype(np.int64))

        def evaluate(self, x: Any) -> Any:
            return x.max(), x.argmax()

        def vjp(self, g: Any, y: Node, x: Node, *, need: Any) -> Node:
            return op.spread(op.reshape(g[0], shape=(1,)), op.reshape(op.get(y, index=1), shape=(1,)), axes=(0,), shape=x.shape)  # fmt: skip

    x = wanting(1.0, 3.0, 2.0)
    y, place = apply_several(primitive("largest"), (x,))
    assert (y.requires_grad, place.requires_grad, place.item()) == (True, False, 1)
    (y * 5).backward()
    assert x.grad.tolist() == [0, 5, 0]


def test_the_wrong_door_for_several_outputs_names_the_right_one(sin_cos: Any) -> None:
    with pytest.raises(ValueError, match="Use apply_several"):
        apply(primitive("sin_cos"), (wanting(1.0),))


def test_too_few_outputs_are_counted() -> None:
    class One(Primitive):
        name = "one_of_two"
        outputs = 2

        def shape(self, x: Any) -> Any:
            return Spec(x.shape, x.dtype), Spec(x.shape, x.dtype)

        def evaluate(self, x: Any) -> Any:
            return (x,)

        def vjp(self, g: Any, y: Node, x: Node, *, need: Any) -> Any:
            return g[0]

    with pytest.raises(ShapeError, match="one_of_two: evaluate gave 1 values; expected 2"):
        apply_several(primitive("one_of_two"), (wanting(1.0),))


# -- rules that are wrong ------------------------------------------------------------------------------------------------


def wrong_rule(result: Any, *, reads: tuple[str, ...] = ("b", "a")) -> Any:
    """Return a product of two whose rule gives what ``result`` makes of its arguments."""
    given = reads

    class Product(Primitive):
        name = "wrong_product"
        reads = given

        def shape(self, a: Any, b: Any) -> Spec:
            return Spec(a.shape, a.dtype)

        def evaluate(self, a: Any, b: Any) -> Any:
            return a * b

        def vjp(self, g: Node, y: Node, a: Node, b: Node, *, need: Any) -> Any:
            return result(g, a, b)

    return lambda a, b: apply(primitive("wrong_product"), (a, b))


@pytest.mark.parametrize(
    ("result", "error", "text"),
    [
        (lambda g, a, b: g * b, GradientError, "gave 1 gradients; expected a tuple of 2"),
        (lambda g, a, b: (g * b, g * a, g), GradientError, "gave 3 gradients; expected a tuple of 2"),
        (lambda g, a, b: [g * b, g * a], GradientError, "gave 1 gradients; expected a tuple of 2"),
        (lambda g, a, b: (g * b, 2.0), GradientError, "gave a float for input 1; expected a node"),
        (lambda g, a, b: (g.value * b.value, g * a), GradientError, "gave a ndarray for input 0; expected a node"),
        (lambda g, a, b: (g * b, op.sum(g * a, axes=(0,))), ShapeError, r"shape \(\) for input 1; expected the input's \(2,\)"),
    ],
)  # fmt: skip
def test_a_rule_that_gives_something_else_is_named(result: Any, error: type[Exception], text: str) -> None:
    product = wrong_rule(result)
    a, b = wanting(1.0, 2.0), wanting(3.0, 4.0)
    with pytest.raises(error, match=f"wrong_product: its vjp rule .*{text}"):
        product(a, b).sum().backward()
    assert a.grad is None
    assert b.grad is None


def test_a_rule_that_reads_what_it_did_not_name_is_told() -> None:
    product = wrong_rule(lambda g, a, b: (g * b, g * a), reads=("", "a"))
    a, b = wanting(1.0, 2.0), wanting(3.0, 4.0)
    with pytest.raises(GradientError, match=r"a rule reads the value of .*, which was not kept; .* named in `reads`"):
        product(a, b).sum().backward()


def test_after_an_error_inside_a_rule_everything_is_as_before() -> None:
    class Failing(Elementwise):
        name = "failing"

        def vjp(self, g: Node, y: Node, x: Node, *, need: Any) -> Node:
            raise ZeroDivisionError("on purpose")

    x = wanting(1.0)
    for create_graph in (False, True):
        with pytest.raises(ZeroDivisionError):
            (apply(primitive("failing"), (x,)) + x.exp()).backward(create_graph=create_graph)
        assert x.grad is None
        assert cr.is_grad_enabled()
        with pytest.raises(GradientError, match="no recorder is listening"):
            op.exp(x.exp().grad_fn)
    x.exp().backward()
    assert x.grad.item() == pytest.approx(np.e)


# -- by itself -----------------------------------------------------------------------------------------------------------


def leaf(value: float) -> Node:
    node = value_node(np.array(value))
    node.requires_grad = True
    return node


def test_the_sweep_needs_nodes_and_a_recorder_only() -> None:
    a, b = leaf(3.0), leaf(5.0)
    with recording(Evaluating(record=True)):
        y = a * b + op.exp(a)
        found = chain_rule([y], [value_node(np.array(1.0))], [a, b])
    assert found[a].value == 5 + np.exp(3.0)
    assert found[b].value == 3


def test_a_wanted_node_that_no_path_reaches_is_absent() -> None:
    a, b = leaf(3.0), leaf(5.0)
    with recording(Evaluating(record=True)):
        y = a * 2
        assert list(chain_rule([y], [value_node(np.array(1.0))], [a, b])) == [a]


def test_a_root_may_be_below_another_and_stand_twice() -> None:
    a = leaf(3.0)
    one = value_node(np.array(1.0))
    with recording(Evaluating(record=True)):
        h = a * 2
        y = h * h
        found = chain_rule([h, y, h], [one, one, one], [a, h])
    assert found[h].value == 2 * 6 + 2
    assert found[a].value == 2 * (2 * 6 + 2)


def test_without_wanted_nodes_it_collects_where_an_owner_is() -> None:
    a, b = leaf(3.0), leaf(5.0)
    a.owner = lambda: "somebody"
    with recording(Evaluating(record=True)):
        found = chain_rule([a * b], [value_node(np.array(1.0))])
    assert list(found) == [a]
