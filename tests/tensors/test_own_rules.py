"""What a user's primitive is told when its rules do not fit together."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import GradientError, NameUnknown, RuleMissing, ShapeError
from chainrule.graph import Primitive, Spec, no_lowering, primitive
from chainrule.tensors.apply import apply


class TwoEntries(Primitive):
    """y = e^(-x²), with a string too many"""

    name = "own_two_entries"
    reads = ("x", "y")

    def shape(self, x):
        return Spec(x.shape, x.dtype)

    def evaluate(self, x):
        return np.exp(-x * x)

    def vjp(self, g, y, x, *, need):
        return g * -2 * x * y

    lower = no_lowering("a test")


class OtherShape(TwoEntries):
    """y = Σ x, and says the shape of x"""

    name = "own_other_shape"
    reads = ("x y",)

    def evaluate(self, x):
        return x.sum()


class Unread(TwoEntries):
    """y = e^(-x²), with a value that it does not name"""

    name = "own_unread"
    reads = ("x",)


class NoReturn(TwoEntries):
    """y = e^(-x²), with a rule that computes a gradient and keeps it for itself"""

    name = "own_no_return"
    reads = ("x y",)

    def vjp(self, g, y, x, *, need):
        g * -2 * x * y


class NoneFlows(NoReturn):
    """y = e^(-x²), with a rule that says that no gradient flows"""

    name = "own_none_flows"

    def vjp(self, g, y, x, *, need):
        return (None,)


def test_too_many_entries_of_reads_are_refused_with_the_form_to_write() -> None:
    with pytest.raises(RuleMissing, match=r"has 2 entries, and the operation 1 inputs.*\(\"x y\",\)"):
        apply(primitive("own_two_entries"), (cr.ones(2, requires_grad=True),))


def test_a_value_that_is_not_what_the_shape_rule_says_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"own_other_shape.*evaluate gave float32\[\]; expected float32\[3\]"):
        apply(primitive("own_other_shape"), (cr.ones(3),))


def test_a_value_that_reads_does_not_name_is_told_with_the_rule_that_reads_it() -> None:
    y = apply(primitive("own_unread"), (cr.ones(2, requires_grad=True),))
    with pytest.raises(GradientError, match="the vjp rule of own_unread"):
        y.sum().backward()


def test_a_rule_that_returns_nothing_is_told_and_what_to_write() -> None:
    y = apply(primitive("own_no_return"), (cr.ones(2, requires_grad=True),))
    with pytest.raises(GradientError, match=r"own_no_return: its vjp rule gave None.*`return`.*\(None,\)"):
        y.sum().backward()


def test_that_no_gradient_flows_is_said_in_a_tuple() -> None:
    x = cr.ones(2, requires_grad=True)
    (apply(primitive("own_none_flows"), (x,)) + x).sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]


def test_a_misspelt_event_of_a_callback_is_told() -> None:
    with pytest.raises(NameUnknown, match="on_epoch_finish.*Did you mean on_epoch"):
        type("C", (cr.Callback,), {"on_epoch_finish": lambda self, trainer, epoch, row: None})


def test_fit_with_x_and_y_apart_says_what_to_write() -> None:
    with pytest.raises(TypeError, match=r"write fit\(model, \(X, y\), …\)|Write fit"):
        cr.fit(cr.nn.Linear(2, 1), [[1.0, 2.0]], [1.0])


class NotNative(TwoEntries):
    """y = e^(-x²), without native code"""

    name = "own_not_native"
    reads = ("x y",)
    lower = no_lowering("it is a test")


def test_one_line_says_that_and_why_a_function_is_not_native(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", "1")
    function = cr.compile(lambda x: apply(primitive("own_not_native"), (x,), {}) + 1)

    def run() -> None:
        for x in (cr.ones(3), cr.ones(3), cr.ones(4), cr.ones(3, 2)):
            np.testing.assert_allclose(function(x).numpy(), np.full(x.shape, np.exp(-1) + 1), rtol=1e-6)

    with pytest.warns(
        UserWarning, match=r"runs on the interpreter, not natively: .*own_not_native.*it is a test"
    ) as told:
        run()
    assert [warning.filename for warning in told] == [__file__]
    monkeypatch.setenv("CHAINRULE_COMPILE", "0")
    cr.compile(lambda x: apply(primitive("own_not_native"), (x,), {}))(cr.ones(3))  # nobody wanted native code
