"""The contract: what a primitive must say of itself, and what its owner is told if it does not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import GradientError, NameUnknown, RuleMissing
from chainrule.graph import Node, Primitive, Spec, no_gradient, no_lowering, op, primitive, primitives, verify
from chainrule.tensors.apply import apply
from tests.own_primitives import own_primitives
from tests.tolerances import assert_close


@pytest.fixture(autouse=True)
def _own_primitives() -> Iterator[None]:
    with own_primitives():
        yield


class Complete(Primitive, abstract=True):
    """All four rules, for others to take one away."""

    def shape(self, x: Any) -> Spec:
        return Spec(x.shape, x.dtype)

    def evaluate(self, x: Any) -> Any:
        return x * 1

    def vjp(self, g: Node, y: Node, x: Node, *, need: Any) -> Any:
        return g

    lower = no_lowering("a test")


def make(**members: Any) -> Any:
    """Return a new primitive class that inherits nothing but the contract."""
    rules = {name: vars(Complete)[name] for name in ("shape", "evaluate", "vjp", "lower")}
    given = {"name": "made", **rules, **members}
    return type("Made", (Primitive,), {name: value for name, value in given.items() if value is not ...})


# -- rules ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["shape", "evaluate", "vjp"])
def test_a_missing_rule_is_named_when_the_class_is_made(rule: str) -> None:
    with pytest.raises(
        RuleMissing, match=f"primitive 'made' \\(Made\\): the rule '{rule}' is missing.*[Ww]rite def {rule}"
    ):
        make(**{rule: ...})
    assert "made" not in primitives()


def test_the_advice_for_a_missing_gradient_names_the_way_to_have_none() -> None:
    with pytest.raises(RuleMissing, match=r'or say vjp = no_gradient\("why"\)'):
        make(vjp=...)


@pytest.mark.parametrize("rule", ["shape", "evaluate", "vjp", "lower"])
def test_a_rule_that_is_no_function_is_refused(rule: str) -> None:
    with pytest.raises(RuleMissing, match=f"the rule '{rule}' is 3"):
        make(**{rule: 3})


def test_the_reason_of_one_rule_does_not_do_for_another() -> None:
    with pytest.raises(RuleMissing, match=r"the rule 'vjp' is no_lowering\('it is slow'\)"):
        make(vjp=no_lowering("it is slow"))
    with pytest.raises(RuleMissing, match="the rule 'evaluate' is no_gradient"):
        make(evaluate=no_gradient("it is hard"))


def test_a_rule_may_be_absent_for_a_reason() -> None:
    made = make(vjp=no_gradient("it counts"), lower=no_lowering("it is new"))
    assert not primitive("made").differentiable
    assert (made.vjp.reason, made.lower.reason) == ("it counts", "it is new")
    assert repr(made.vjp) == "no_gradient('it counts')"


@pytest.mark.parametrize("absent", [no_gradient, no_lowering])
@pytest.mark.parametrize("reason", ["", "  "])
def test_an_absent_rule_needs_its_reason(absent: Any, reason: str) -> None:
    with pytest.raises(RuleMissing, match="expected the reason why there is none"):
        absent(reason)


def test_every_primitive_of_ours_gives_its_reasons() -> None:
    for known in primitives().values():
        for rule in (known.vjp, known.lower):
            assert callable(rule) or len(rule.reason) > 5


# -- names ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [..., "", "two words", "1st", 7, None])
def test_a_name_that_is_no_name_is_refused(name: Any) -> None:
    with pytest.raises(RuleMissing, match=r"primitive class Made: its name is .*expected an identifier"):
        make(name=name)


def test_a_name_that_is_taken_is_refused_with_its_owner() -> None:
    mul = primitive("mul")
    with pytest.raises(RuleMissing, match=r"primitive 'mul' \(Made\): the name is taken by Mul; expected a new name"):
        make(name="mul")
    assert primitive("mul") is mul


def test_a_class_made_again_takes_the_place_of_its_former_self() -> None:
    make()
    first, call = primitive("made"), op.made
    make(evaluate=lambda self, x: x * 2)
    assert primitive("made") is not first
    assert apply(primitive("made"), (cr.ones(1),)).item() == 2
    assert call.func is op.made.func, "a name that rules have used follows the new class"


def test_a_mistyped_name_gets_the_nearest() -> None:
    with pytest.raises(NameUnknown, match=r"there is no primitive 'sofmax'\. Did you mean (log_)?softmax"):
        primitive("sofmax")
    with pytest.raises(NameUnknown, match="there is no primitive 'exq'"):
        op.exq


def test_the_registry_is_handed_out_as_a_copy() -> None:
    primitives().clear()
    assert primitive("mul").name == "mul"


def test_a_base_class_is_not_registered() -> None:
    class Base(Complete, abstract=True):
        name = "base"

    assert "base" not in primitives()
    with pytest.raises(GradientError, match="no recorder is listening"):
        op.exp(2.0)


# -- what is read --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reads", ["x", ("q",), ("x", 3), ["x"], ("ab!",), None])
def test_letters_that_mean_nothing_are_refused(reads: Any) -> None:
    with pytest.raises(RuleMissing, match=r"'made' .*: reads = .*expected a tuple with a string for each input"):
        make(reads=reads)


@pytest.mark.parametrize(
    ("reads", "need", "saves"),
    [
        ((), (True, True), ((), False)),
        (("b", "a"), (True, False), ((1,), False)),
        (("b", "a"), (False, True), ((0,), False)),
        (("b", "a"), (True, True), ((0, 1), False)),
        (("b y", ""), (True, False), ((1,), True)),
        (("b y", ""), (False, True), ((), False)),
        (("x",), (True,), ((0,), False)),
        (("", "", "a c"), (False, False, True), ((0, 2), False)),
        (("*", "y"), (True, False, False), ((0, 1, 2), False)),
    ],
)
def test_the_letters_say_what_is_kept_for_the_gradients_that_are_wanted(reads: Any, need: Any, saves: Any) -> None:
    made = make(reads=reads)()
    assert made.saves(need) == saves
    assert made.kept(need) == saves
    assert made.kept(need) is made.kept(need), "remembered"


def test_one_string_holds_for_every_input_of_a_variadic_primitive() -> None:
    made = make(reads=("y",), variadic=True)()
    assert made.saves((False, True, True)) == ((), True)
    assert make(reads=("*",), variadic=True)().saves((False, False, True)) == ((0, 1, 2), False)


def test_fewer_strings_than_inputs_are_told() -> None:
    with pytest.raises(RuleMissing, match="'made': `reads` has 1 entries, and the operation 2 inputs"):
        make(reads=("b",))().saves((True, True))


def test_a_letter_beyond_the_inputs_is_told() -> None:
    with pytest.raises(RuleMissing, match="'made': `reads` names input 1, but it was given 1"):
        make(reads=("b",))().saves((True,))


def test_a_variadic_primitive_may_say_itself_what_it_saves() -> None:
    class Weighted(Primitive):
        """y = w Σ xᵢ"""

        name = "weighted"
        variadic = True

        def saves(self, need: tuple[bool, ...]) -> tuple[tuple[int, ...], bool]:
            others = range(1, len(need)) if need[0] else ()
            return (*((0,) if any(need[1:]) else ()), *others), False

        def shape(self, w: Any, *xs: Any) -> Spec:
            return Spec(w.shape, w.dtype)

        def evaluate(self, w: Any, *xs: Any) -> Any:
            return w * sum(xs)

        def vjp(self, g: Node, y: Node, w: Node, *xs: Node, need: Any) -> Any:
            total = None
            if need[0]:
                total = xs[0]
                for x in xs[1:]:
                    total = total + x
            return (None if total is None else g * total, *[g * w if wanted else None for wanted in need[1:]])

    w, a, b = (cr.tensor(v, dtype=cr.float64, requires_grad=True) for v in (2.0, 3.0, 5.0))
    weighted = primitive("weighted")
    y = apply(weighted, (w.detach(), a, b.detach()))
    assert [node.value is not None for node in y.grad_fn.inputs] == [True, False, False]
    y = apply(weighted, (w, a.detach(), b.detach()))
    assert [node.value is not None for node in y.grad_fn.inputs] == [False, True, True]
    assert cr.gradcheck(lambda w, a, b: apply(weighted, (w, a, b)), (w, a, b))
    assert cr.gradgradcheck(lambda w, a, b: apply(weighted, (w, a, b)), (w, a, b))


# -- a user's own --------------------------------------------------------------------------------------------------------


@pytest.fixture
def scaled_square() -> Any:
    class ScaledSquare(Primitive):
        """y = scale x²"""

        name = "scaled_square"
        reads = ("x",)

        def shape(self, x: Any, *, scale: float) -> Spec:
            return Spec(x.shape, x.dtype)

        def evaluate(self, x: Any, *, scale: float) -> Any:
            return scale * x * x

        def vjp(self, g: Node, y: Node, x: Node, *, need: Any, scale: float) -> Node:
            return g * x * (2 * scale)  # d scale x² = 2 scale x dx

        lower = no_lowering("a test")

    return lambda x: apply(primitive("scaled_square"), (x,), {"scale": 1.5})


def test_a_users_primitive_computes_and_has_gradients_of_any_order(scaled_square: Any) -> None:
    x = cr.tensor([1.0, -2.0], dtype=cr.float64, requires_grad=True)
    y = scaled_square(x)
    assert y.tolist() == [1.5, 6.0]
    assert "scaled_square" in repr(y)
    (g,) = cr.autograd.grad(y.sum(), x, create_graph=True)
    (h,) = cr.autograd.grad(g.sum(), x)
    assert (g.tolist(), h.tolist()) == ([3, -6], [3, 3])
    assert cr.gradcheck(scaled_square, x)
    assert cr.check_gradients(scaled_square, x)


def test_a_users_primitive_runs_in_a_compiled_training_step(scaled_square: Any) -> None:
    w = cr.tensor([1.0, -2.0], requires_grad=True)
    other = w.detach().clone().requires_grad_()

    def training(w: Any, x: Any) -> Any:
        loss = scaled_square(x * w).mean()
        loss.backward()
        with cr.no_grad():
            w -= 0.1 * w.grad
        w.grad = None
        return loss

    step = cr.compile(lambda x: training(other, x))
    for n in (4, 3, 5):
        x = cr.linspace(-1, 1, 2 * n).reshape(n, 2)
        assert training(w, x).tolist() == step(x).tolist()
    assert w.tolist() == other.tolist()
    verify(step.graph)
    assert "scaled_square(" in step.show()


def test_an_operation_without_a_gradient_cuts_the_tape() -> None:
    make(vjp=no_gradient("it counts"))
    x = cr.ones(2, requires_grad=True)
    y = apply(primitive("made"), (x,))
    assert not y.requires_grad
    assert_close(y, np.ones(2, np.float32))
