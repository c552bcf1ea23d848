"""What a compiled function cannot do raises at the user's line, and says what to write instead."""

from __future__ import annotations

import linecache
import math
from collections.abc import Callable
from types import SimpleNamespace, TracebackType
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.errors import ChainruleError, TraceError
from chainrule.nn import functional as F

WEIGHT = cr.tensor([1.0, 2.0], requires_grad=True)


def innermost_line(error: BaseException) -> str:
    """Return the source line, in this file, in which the error arose."""
    found = ""
    at: TracebackType | None = error.__traceback__
    while at is not None:
        if at.tb_frame.f_code.co_filename == __file__:
            found = linecache.getline(__file__, at.tb_lineno).strip()
        at = at.tb_next
    return found


def asks_for_item(x: Any) -> Any:
    y = x * 2
    loss = y.sum()
    return loss.item()  # here


def asks_for_float(x: Any) -> Any:
    return float(x.sum())  # here


def asks_for_int(x: Any) -> Any:
    return int(x.sum())  # here


def asks_for_a_truth_value(x: Any) -> Any:
    if x.sum() > 0:  # here
        x = x * 2
    return x


def asks_in_a_while(x: Any) -> Any:
    while (x > 0).any():  # here
        x = x - 1
    return x


def asks_in_an_and(x: Any) -> Any:
    return x.sum() > 0 and x  # here


def asks_for_an_array(x: Any) -> Any:
    return x.detach().numpy()  # here


def asks_for_an_array_of_a_parameter(x: Any) -> Any:
    return x * WEIGHT.detach().numpy()  # here


def asks_numpy_for_an_array(x: Any) -> Any:
    return np.asarray(x)  # here


def asks_math(x: Any) -> Any:
    return math.sqrt(x.sum())  # here


def asks_for_a_list(x: Any) -> Any:
    return x.tolist()  # here


def asks_for_the_value_in_a_text(x: Any) -> Any:
    return f"{x.sum():.2f}"  # here


def asks_for_an_index(x: Any) -> Any:
    return [1, 2, 3][x.long().sum()]  # here


def asks_for_a_range(x: Any) -> Any:
    return list(range(x.long().sum()))  # here


def asks_where(x: Any) -> Any:
    return (x > 0).nonzero()  # here


def asks_for_the_selected(x: Any) -> Any:
    return x.masked_select(x > 0)  # here


def asks_for_the_elements_where_a_mask_holds(x: Any) -> Any:
    return x[x > 0]  # here


def asks_for_unique_values(x: Any) -> Any:
    return x.unique()  # here


def asks_whether_equal(x: Any) -> Any:
    return cr.equal(x, x)  # here


def asks_whether_close(x: Any) -> Any:
    return cr.allclose(x, x)  # here


def asks_for_a_new_tensor_of_its_value(x: Any) -> Any:
    return cr.tensor(x)  # here


def asks_for_its_address(x: Any) -> Any:
    return x.data_ptr()  # here


def wants_a_gradient_of_a_tensor_from_outside(x: Any) -> Any:
    WEIGHT.requires_grad_(False)  # here
    return x


def seeds(x: Any) -> Any:
    cr.manual_seed(0)  # here
    return x


def saves(x: Any) -> Any:
    cr.save({"x": x}, "never-written.safetensors")  # here


def asks_in_a_hook(x: Any) -> Any:
    layer = nn.Identity() if hasattr(nn, "Identity") else nn.ReLU()
    layer.register_forward_hook(lambda module, args, y: y * y.sum().item())  # here
    return layer(x)


VALUES: list[Callable[[Any], Any]] = [
    asks_for_item, asks_for_float, asks_for_int, asks_for_a_truth_value, asks_in_a_while, asks_in_an_and,
    asks_for_an_array, asks_for_an_array_of_a_parameter, asks_numpy_for_an_array, asks_math, asks_for_a_list, asks_for_the_value_in_a_text, asks_for_an_index,
    asks_for_a_range, asks_where, asks_for_the_selected, asks_for_the_elements_where_a_mask_holds,
    asks_for_unique_values, asks_whether_equal, asks_whether_close, asks_for_a_new_tensor_of_its_value,
    asks_for_its_address, wants_a_gradient_of_a_tensor_from_outside, seeds, saves, asks_in_a_hook,
]  # fmt: skip


@pytest.mark.parametrize("function", VALUES, ids=lambda f: f.__name__)
def test_what_needs_a_value_raises_at_its_line(function: Callable[[Any], Any]) -> None:
    with pytest.raises(TraceError) as raised:
        cr.compile(function)(cr.ones(2))
    assert innermost_line(raised.value).endswith("# here")
    assert raised.value.fix, str(raised.value)


def test_numpys_functions_take_no_tensors_compiled_or_not() -> None:
    for function in (np.sqrt, cr.compile(lambda x: np.sqrt(x))):
        with pytest.raises(TypeError, match="np.sqrt: got a tensor"):
            function(cr.ones(2))


def test_printing_shows_what_is_known() -> None:
    seen = {}

    def step(x: Any) -> Any:
        y = x * WEIGHT
        seen.update(enumerate([repr(y), str(x), f"{y}", repr(WEIGHT), repr(y.sum().long())]))
        return y

    cr.compile(step)(cr.ones(3, 2))
    assert [*seen.values()] == [
        "<traced float32[n, 2]>", "<traced float32[n, 2]>", "<traced float32[n, 2]>", "<traced float32[2]>",
        "<traced int64[]>",
    ]  # fmt: skip


def test_the_advice_for_a_condition_is_where() -> None:
    with pytest.raises(TraceError, match=r"a truth value .*chainrule.where"):
        cr.compile(asks_for_a_truth_value)(cr.ones(2))


# -- modules -------------------------------------------------------------------------------------------------------------


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.fc = nn.Linear(2, 2)
        self.register_buffer("steps", cr.zeros(()))

    def forward(self, x: Any) -> Any:
        self.count += 1  # here
        return self.fc(x)


def test_a_number_set_on_a_module_raises_and_names_the_buffer_to_use() -> None:
    model = Counting()
    with pytest.raises(TraceError, match="register_buffer") as raised:
        cr.compile(model)(cr.ones(3, 2))
    assert innermost_line(raised.value) == "self.count += 1  # here"
    assert model.count == 0


def test_a_buffer_set_on_a_module_counts() -> None:
    class Steps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("steps", cr.zeros(()))

        def forward(self, x: Any) -> Any:
            self.steps = self.steps + 1
            return x * self.steps

    model = Steps()
    compiled = cr.compile(model)
    assert [compiled(cr.ones(1)).item() for _ in range(3)] == [1, 2, 3]
    assert model.steps.item() == 3


def test_modes_and_training_cannot_be_switched_inside() -> None:
    model = nn.Sequential(nn.Dropout(0.5))

    @cr.compile
    def evaluate(x: Any) -> Any:
        model.eval()  # here
        return model(x)

    with pytest.raises(TraceError, match=r"eval\(\)") as raised:
        evaluate(cr.ones(2))
    assert innermost_line(raised.value).endswith("# here")
    model.eval()
    assert evaluate(cr.ones(2)).tolist() == [1, 1]


# -- tensors that leave the function ---------------------------------------------------------------------------------------


def leaked() -> list[Any]:
    """Return tensors that a compiled function kept for itself."""
    kept = SimpleNamespace()  # whose class is written in C, and cannot tell

    @cr.compile
    def leaking(x: Any) -> Any:
        y = x * 2
        kept.y = y
        kept.sum = y.sum()
        return y

    leaking(cr.ones(2))
    return [kept.y, kept.sum]


USES: dict[str, Callable[[Any], Any]] = {
    "added": lambda y: y + 1,
    "added to a tensor": lambda y: cr.ones(2) + y,
    "compared": lambda y: y == cr.ones(2),
    "its shape": lambda y: y.shape,
    "its dtype": lambda y: y.dtype,
    "item": lambda y: y.item(),
    "float": lambda y: float(y),
    "numpy": lambda y: y.numpy(),
    "as an array": lambda y: np.asarray(y),
    "a part": lambda y: y[0],
    "written": lambda y: y.add_(1),
    "stacked": lambda y: cr.stack([y, y]),
    "detached": lambda y: y.detach() + 1,
    "as a condition": lambda y: cr.where(y > 0, y, 0),
    "summed": lambda y: y.sum(),
    "backward": lambda y: y.backward(),
    "into a list": lambda y: y.tolist(),
    "formatted": lambda y: f"{y:.3f}",
    "into a linear layer": lambda y: F.linear(y, cr.ones(2, 2)),
    "an argument of a compiled function": lambda y: cr.compile(lambda x: x + 1)(y),
    "inside another trace": lambda y: cr.compile(lambda x: x + y)(cr.ones(2)),
    "written into a tensor": lambda y: cr.zeros(2).copy_(y),
    "saved": lambda y: cr.save({"y": y}, "never-written.safetensors"),
}


@pytest.mark.parametrize("use", USES)
def test_a_tensor_that_leaked_out_names_the_function_it_came_from(use: str) -> None:
    for y in leaked():
        with pytest.raises(TraceError, match=r"made while tracing 'leaking'.*Return it"):
            USES[use](y)


def test_a_tensor_that_leaked_out_can_still_be_looked_at() -> None:
    assert [repr(y) for y in leaked()] == ["<traced float32[n]>", "<traced float32[]>"]


def test_a_tensor_of_a_failed_trace_says_so_too() -> None:
    kept = []

    @cr.compile
    def failing(x: Any) -> Any:
        kept.append(x * 2)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing(cr.ones(2))
    with pytest.raises(TraceError, match="made while tracing 'failing'"):
        kept[0] + 1


# -- places ----------------------------------------------------------------------------------------------------------------


def test_an_error_inside_a_layer_names_the_layer() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(5, 2))
    with pytest.raises(ChainruleError, match=r"layer 2 \(Linear\)"):
        cr.compile(model)(cr.ones(2, 4))


def test_the_options_of_an_optimizer_are_read_not_traced() -> None:
    w = cr.ones(2, requires_grad=True)
    optimizer = optim.SGD([w], lr=0.5)

    @cr.compile
    def step(x: Any) -> None:
        optimizer.zero_grad()
        (w * x).sum().backward()
        optimizer.step()

    step(cr.ones(2))
    optimizer.param_groups[0]["lr"] = 0.25
    step(cr.ones(2))
    assert w.tolist() == [0.25, 0.25]
