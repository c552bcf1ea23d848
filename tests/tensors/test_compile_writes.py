"""Views and writes in place inside compiled functions: the same bits as eager, gradients included, or refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import InPlaceError, TraceError

from .beside_eager import same_as_eager


def no_gradient(write: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def written(x: Any) -> Any:
        with cr.no_grad():
            return write(x)

    return written


def writes(*statements: str) -> Callable[[Any], Any]:
    """Return the function of x (4 x 3) that runs the statements and returns ``y``."""
    code = compile("\n".join(statements), "<snippet>", "exec")

    def run(x: Any) -> Any:
        names = {"x": x, "cr": cr}
        exec(code, names)  # noqa: S102 - the statements stand below
        return names["y"]

    return run


SNIPPETS: dict[str, tuple[str, ...]] = {
    "a part scaled": ("y = x * 2", "y[:2].mul_(3)"),
    "a row set": ("y = x * 2", "y[1] = 0"),
    "an element set": ("y = x * 2", "y[1, 2] = 5"),
    "a column set to a row of another": ("y = x * 2", "y[:, 0] = x[:, 1]"),
    "a tensor with gradient written": ("y = cr.zeros(4, 3)", "y[1:3] = x[:2]"),
    "every element, one by one": ("y = cr.zeros(4, 3)", "for k in range(3):", "    y[k] = x[k] * k"),
    "steps": ("y = x * 2", "y[::2] += 1"),
    "a view of a view": ("y = x * 2", "v = y[1:]", "v[:, 1:] *= 4"),
    "a view read after the base was written": ("y = x * 2", "v = y[1]", "y.mul_(5)", "y = y + v"),
    "the base read after a view was written": ("y = x * 2", "v = y[0]", "v.add_(1)", "y = y * y"),
    "a sibling read after a view was written": ("y = x * 2", "v = y[:3]", "w = y[1:]", "v.mul_(2)", "y = w * 3"),
    "a transposed view": ("y = x * 2", "y.t()[0] = 7"),
    "a permuted view": ("y = x * 2", "y.permute(1, 0).mul_(x.t())"),
    "a reshaped view": ("y = x * 2", "y.view(-1)[5] = 1"),
    "a reshaped view written whole": ("y = x * 2", "y.view(12).mul_(cr.arange(12.0))"),
    "a new axis": ("y = x * 2", "y.unsqueeze(0).add_(1)"),
    "a dropped axis": ("y = (x * 2).unsqueeze(1)", "y.squeeze(1)[0] = 3"),
    "the diagonal": ("y = x * 2", "y.diagonal().zero_()"),
    "parts by split": ("y = x * 2", "a, b, c = y.split(1, dim=1)", "b.mul_(2)", "c.copy_(a)"),
    "parts by unbind": ("y = x * 2", "rows = y.unbind(0)", "rows[2].fill_(1)"),
    "narrowed": ("y = x * 2", "y.narrow(1, 1, 2).neg_()"),
    "selected": ("y = x * 2", "y.select(0, 1).exp_()"),
    "all of it": ("y = x * 2", "y.zero_()", "y += x"),
    "added to itself": ("y = x * 2", "y += y"),
    "multiplied by what it was made from": ("y = x * 2", "y *= x"),
    "written by a broadcast row": ("y = x * 2", "y.copy_(x[0])"),
    "written by a number": ("y = x * 2", "y.fill_(3)", "y = y * x"),
    "where a mask holds": ("y = x * 2", "y[x > 0] = 0"),
    "masked_fill": ("y = x * 2", "y.masked_fill_(x > 0, -1)"),
    "at index tensors": ("y = x * 2", "y[cr.tensor([0, 2])] = 1"),
    "with a clone in between": ("y = x * 2", "z = y.clone()", "y.mul_(3)", "y = y + z"),
    "through detach": ("y = x * 2", "y.detach().mul_(3)", "y = y * 1"),
    "through a part of detach": ("y = x * 2", "y.detach()[0] = 3", "y = y + 1"),
    "through data": ("y = x * 2", "y.data.add_(1)", "y = y + 1"),
    "read through detach after a write": ("y = x * 2", "d = y.detach()", "y.mul_(3)", "y = y * d"),
    "without gradient": ("y = x * 2", "with cr.no_grad():", "    y[0] = 5", "y = y * 1"),
    "without gradient, from another": ("y = x * 2", "with cr.no_grad():", "    y[0] = x[1]", "y = y * 1"),
    "a constant written": ("y = cr.ones(4, 3)", "y[0] = 2", "y = y * x"),
    "a tensor from numbers written": ("y = cr.tensor([1.0, 2.0, 3.0])", "y += 1", "y = y * x"),
    "integers": ("y = cr.arange(12).reshape(4, 3)", "y[1] += 2", "y = y * x"),
    "truth values": ("y = x > 0", "y[0] = True", "y = y * x"),
    "an index written twice": ("y = x * 2", "y[0] = 1", "y[0] = x[1]", "y[0] += 1"),
    "overlapping source and target": ("y = x * 2", "y[1:] = y[:3].clone()"),
    "a loop of updates": ("y = x * 0", "for k in range(3):", "    y += x[k]", "    y[k].mul_(2)"),
    "a view made before, with gradient": ("v = x[0]", "y = cr.zeros(3)", "y += v", "y = y * x"),
    "chained slices": ("y = x * 2", "y[1:][0][1:] = 9"),
    "a negative index": ("y = x * 2", "y[-1, -2] = 9"),
    "an ellipsis": ("y = x * 2", "y[..., 0] = 9"),
    "in the dtype it has": ("y = (x * 2).double()", "y += x"),
    "a reshaped tensor that stays alone": ("y = (x * 2).t().reshape(12)", "y += 1"),
    "a reshaped tensor that reads what it was made from": ("z = (x * 2)[:, :2]", "y = z.flatten()", "y[0] = z[1, 1]"),
    "one made contiguous": ("y = (x * 2).t().contiguous()", "y[0] = 1"),
    "clamped, powered, rounded": ("y = x * 2", "y.clamp_(-1, 1)", "y.pow_(2)", "y.abs_()"),
}


@pytest.mark.parametrize("name", SNIPPETS)
def test_a_write_does_what_it_does_eager(name: str) -> None:
    function = writes(*SNIPPETS[name])

    def build() -> Any:
        w = cr.tensor(np.linspace(0.5, 2, 12, dtype=np.float32).reshape(4, 3), requires_grad=True)

        def step(x: Any) -> Any:
            w.grad = None
            y = function(w * x)
            if y.requires_grad:
                (y * y).sum().backward()
            return y.detach(), w.grad

        return step, w

    def call(rng: np.random.Generator) -> Any:
        return (cr.tensor(rng.standard_normal((4, 3)).astype(np.float32)),)

    same_as_eager(build, [call, call], traces=None)


@pytest.mark.parametrize("name", SNIPPETS)
def test_a_write_without_gradients_does_what_it_does_eager(name: str) -> None:
    def call(rng: np.random.Generator) -> Any:
        return (cr.tensor(rng.standard_normal((4, 3)).astype(np.float32)),)

    same_as_eager(lambda: no_gradient(writes(*SNIPPETS[name])), [call, call], traces=None)


def outside(*statements: str) -> Callable[[], Any]:
    """Return the builder of a function that writes to a tensor ``b`` from outside."""

    def build() -> Any:
        b = cr.tensor(np.arange(12, dtype=np.float32).reshape(4, 3))
        c = cr.tensor([1.0, 2.0, 3.0])
        v, t, d = b[1:3], b.t(), b.detach()
        code = compile("\n".join(statements), "<snippet>", "exec")

        def step(x: Any) -> Any:
            names = {"x": x, "b": b, "c": c, "v": v, "t": t, "d": d, "cr": cr}
            exec(code, names)  # noqa: S102 - the statements stand below
            return names.get("y", x)

        return step, b, c, v, t, d

    return build


OUTSIDE: dict[str, tuple[str, ...]] = {
    "added to": ("b.add_(x)",),
    "a row": ("b[1] = x[0]",),
    "a view made outside": ("v.mul_(2)",),
    "a transposed view made outside": ("t[0] = 1",),
    "through detach made outside": ("d += x",),
    "view and base": ("v.add_(1)", "b.mul_(2)", "y = v + 1"),
    "base, then view read": ("b.zero_()", "y = v * 2"),
    "two tensors exchanged": ("s = c.clone()", "c.copy_(b[0])", "b[0] = s"),
    "a delay line": ("y = b * 1", "b[:3] = b[1:].clone()", "b[3] = x[0]"),
    "one shifted into the other": ("c.copy_(b[3])", "b[3] = x[0]"),
    "a product written to both": ("b *= x", "c += b.sum(0)", "y = b + c"),
    "written and written back": ("b += 1", "b -= 1"),
    "returned as it was": ("y = b.clone()", "b += 1"),
    "returned as it is": ("b += 1", "y = b"),
    "a view returned": ("b += 1", "y = b[0]"),
    "returned before and after": ("y = (b, b + 0)", "b += 1", "y = (y[1], b)"),
    "read only": ("y = b + c",),
    "reshaped": ("b.reshape(-1)[5] = 1", "y = b + 1"),
    "a transposed one reshaped": ("y = t.reshape(-1)", "y[5] = 1", "b += 1"),
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_tensors_from_outside_are_written_in_place(name: str) -> None:
    def call(rng: np.random.Generator) -> Any:
        return (cr.tensor(rng.standard_normal((4, 3)).astype(np.float32)),)

    same_as_eager(outside(*OUTSIDE[name]), [call, call, call], traces=None)


ARGUMENTS: dict[str, Callable[[Any, Any], Any]] = {
    "added to": lambda a, b: a.add_(b),
    "a part set": lambda a, b: (a.__setitem__(slice(0, 1), 1), a)[1],
    "exchanged": lambda a, b: _exchanged(a, b),
    "both scaled": lambda a, b: (a.mul_(2), b.mul_(a)),
}


def _exchanged(a: Any, b: Any) -> Any:
    before = a.clone()
    return a.copy_(b), b.copy_(before)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments_are_written_in_place(name: str) -> None:
    def call(rng: np.random.Generator) -> Any:
        return tuple(cr.tensor(rng.standard_normal((4, 3)).astype(np.float32)) for _ in range(2))

    same_as_eager(lambda: ARGUMENTS[name], [call, call], traces=None)


def test_an_array_given_as_an_argument_is_written_in_place() -> None:
    double = cr.compile(lambda a: a.mul_(2))
    array = np.ones(3, np.float32)
    double(array)
    double(array)
    assert array.tolist() == [4, 4, 4]


def test_a_part_of_a_tensor_as_an_argument_is_written_where_it_is() -> None:
    double = cr.compile(lambda a: a.mul_(2))
    whole = cr.ones(4)
    double(whole[1:3])
    assert whole.tolist() == [1, 2, 2, 1]


def test_writing_to_an_argument_that_shares_memory_with_another_is_refused() -> None:
    add = cr.compile(lambda a, b: a.add_(b))
    x = cr.ones(4)
    with pytest.raises(InPlaceError, match="argument 0, which shares memory"):
        add(x[1:], x[:3])
    assert x.tolist() == [1, 1, 1, 1]
    assert add(x, cr.ones(4)).tolist() == [2, 2, 2, 2]


def test_writing_to_an_argument_whose_memory_is_read_only_is_refused() -> None:
    double = cr.compile(lambda a: a.mul_(2))
    frozen = np.ones(3)
    frozen.flags.writeable = False
    for x in (frozen, cr.ones(1).expand(3)):
        with pytest.raises(InPlaceError, match="writes to its argument"):
            double(x)


def test_what_is_returned_is_memory_of_its_own() -> None:
    weight = cr.tensor([1.0, 2.0, 3.0])
    constant = cr.compile(lambda x: (x, x[:1], x, weight, weight[1:], weight.reshape(3, 1), cr.zeros(2), cr.zeros(2)))
    x = cr.tensor([7.0, 8.0])
    first = constant(x)
    assert first[0] is first[2]  # as the function returned it
    for y in first:
        y.zero_()
    assert x.tolist() == [7, 8]
    assert weight.tolist() == [1, 2, 3]
    second = constant(x)
    assert [y.sum().item() for y in second] == [15, 7, 15, 6, 5, 6, 0, 0]
    distinct = [second[k] for k in (0, 1, 3, 4, 5, 6, 7)]
    assert not any(np.shares_memory(a._value, b._value) for a in distinct for b in distinct if a is not b)


def test_what_the_function_makes_anew_starts_anew_at_each_call() -> None:
    def build() -> Any:
        def step(x: Any) -> Any:
            total = cr.tensor(0.0)
            total += x.sum()
            counts = cr.zeros(3)
            counts += 1
            start = cr.tensor([[1.0, 2.0]])
            start[0, 0] = x[0]
            return total, counts, start

        return step

    same_as_eager(build, [(cr.ones(3),)] * 3)


def test_a_parameter_written_inside_stays_a_leaf_with_its_gradient() -> None:
    def build() -> Any:
        w = cr.tensor([1.0, 2.0], requires_grad=True)

        def step(x: Any) -> Any:
            w.grad = None
            (w * x).sum().backward()
            with cr.no_grad():
                w.sub_(0.1 * w.grad)
            first = w.grad
            w.grad = None
            (w * w * x).sum().backward()
            with cr.no_grad():
                w.data.sub_(0.1 * w.grad)
            return first, w.is_leaf

        return step, w

    same_as_eager(build, [(cr.tensor([3.0, -1.0]),)] * 3)


REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "a leaf that requires grad": (("w += 1",), "leaf that requires grad"),
    "a view of a leaf that requires grad": (("w[0] = 1",), "leaf that requires grad"),
    "an expanded tensor": (("y = x.unsqueeze(0).expand(2, 4, 3)", "y += 1"), "expanded"),
    "a reshaped tensor, then the original": (
        ("z = (x * 1).t()", "z.reshape(12).add_(1)", "z + 1"),
        "depends on strides",
    ),
    "the original, then one reshaped": (
        ("z = x * 1", "v = z[:, :2].flatten()", "z += 1", "v + 1"),
        "depends on strides",
    ),
    "one reshaped twice": (("z = x * 1", "z.flatten().reshape(4, 3)[0] = 1", "z + 1"), "depends on strides"),
    "one made contiguous": (("z = (x * 1).t()", "z.contiguous().add_(1)", "z + 1"), "depends on strides"),
    "a write to both": (("z = x * 1", "v = z.flatten()", "z += 1", "v += 1"), "depends on strides"),
    "fractions into integers": (("y = cr.zeros(3, dtype=cr.int64)", "y += 0.5"), "write in place"),
    "the wrong shape": (("y = x * 1", "y += cr.ones(2, 4, 3)"), "shape"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_write_that_cannot_be_right_is_refused(name: str) -> None:
    statements, message = REFUSED[name]
    w = cr.ones(4, 3, requires_grad=True)
    code = compile("\n".join(statements), "<snippet>", "exec")
    with pytest.raises((InPlaceError, TraceError, ValueError, TypeError), match=message):
        cr.compile(lambda x: exec(code, {"x": x, "w": w, "cr": cr}))(cr.ones(4, 3))  # noqa: S102 - written above
