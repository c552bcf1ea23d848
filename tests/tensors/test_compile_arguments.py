"""Arguments and results of compiled functions: nests, arrays, values, failures, threads."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any, NamedTuple

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.errors import ArgumentError, ArgumentTypeError, ChainruleError, DtypeError, IndexingError, TraceError
from chainrule.nn import functional as F

from .beside_eager import batch, same_as_eager


class Batch(NamedTuple):
    inputs: Any
    labels: Any


def some(*shape: int) -> Any:
    return cr.tensor(np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32))


def test_nests_of_tensors_and_values_go_in_and_come_out() -> None:
    def function(pair: Batch, options: dict[str, Any], *more: Any, scale: float = 1.0) -> Any:
        y = pair.inputs * scale + options["shift"]["by"]
        return {
            "pair": Batch(y, pair.labels),
            "list": [y.sum(), more[0], ("text", None, 3, options["flag"])],
            "ordered": OrderedDict(b=y.mean(), a=2.5),
            "shape": y.shape,
            "rows": y.shape[0] * 2,
            "array": np.arange(3),
            "nothing": (),
        }

    def call(rows: int) -> Any:
        options = {"shift": {"by": some(4)}, "flag": True}
        return lambda rng: (Batch(some(rows, 4), cr.arange(rows)), options, some(rows))

    same_as_eager(lambda: function, [call(3), call(3), call(7)])


def test_keywords_and_defaults() -> None:
    compiled = cr.compile(lambda x, *, scale=2.0, y=None: x * scale + (0 if y is None else y))
    x = cr.ones(2)
    assert compiled(x).tolist() == [2, 2]
    assert compiled(x, scale=3.0).tolist() == [3, 3]
    assert compiled(x=x, y=x).tolist() == [3, 3]
    assert len(compiled.graphs) == 3
    assert compiled(x, scale=3.0).tolist() == [3, 3]
    assert len(compiled.graphs) == 3


def test_equal_values_of_other_types_and_signs_are_other_values() -> None:
    compiled = cr.compile(lambda x, v: x * v)
    x = cr.ones(2)
    for value, expected in ((1, cr.int64), (True, cr.int64), (1.0, cr.float32)):
        assert compiled(cr.ones(2, dtype=cr.int64), value).dtype is expected
    assert str(compiled(x, 0.0).tolist()) == "[0.0, 0.0]"
    assert str(compiled(x, -0.0).tolist()) == "[-0.0, -0.0]"
    assert len(compiled.graphs) == 5


A, B = cr.ones(3), cr.zeros(3)


class Nameless:
    """A value whose text does not say which one it is."""

    def __repr__(self) -> str:
        return "Nameless()"


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        (((A, 2), {}), ((A, 3), {}), "v is 3 (it was 2)"),
        (((A, 0.0), {}), ((A, -0.0), {}), "v is -0.0 (it was 0.0)"),
        (((A, 2), {}), ((A, 2.0), {}), "v is 2.0, of type float (it was 2, of type int)"),
        (((A, True), {}), ((A, 1), {}), "v is 1, of type int (it was True, of type bool)"),
        (((A, None), {}), ((A, "mean"), {}), "v is 'mean', of type str (it was None)"),
        (((A, 1), {}), ((A, "x" * 300), {}), f"v is '{'x' * 79}…, of type str (it was 1, of type int)"),
        (((A, B), {}), ((A, 1), {}), "v is 1 (it was a tensor)"),
        (((A,), {}), ((A, B), {}), "v is a tensor (it was not given)"),
        (((A,), {"w": 1}), ((A,), {}), "w is not given (it was 1)"),
        (((A, (1, 2)), {}), ((A, [1, 2]), {}), "v is a list of 2 (it was a tuple of 2)"),
        (((A, [1, 2]), {}), ((A, [1, 2.0]), {}), "v[1] is 2.0, of type float (it was 2, of type int)"),
        (((A, {"a": (1,)}), {}), ((A, {"a": (True,)}), {}), "v['a'][0] is True, of type bool (it was 1, of type int)"),
        (((A, Batch(A, 1)), {}), ((A, Batch(A, 2)), {}), "v.labels is 2 (it was 1)"),
        (((A, 1), {}), ((A,), {"v": 1}), "arguments are given by name that were given by position"),
        (((A, B), {}), ((A, A), {}), "v is the same tensor as x (it was one of its own)"),
        (((A, A), {}), ((A, B), {}), "v is a tensor of its own (it was the same as x)"),
        (((A, Nameless()), {}), ((A, Nameless()), {}), "v is another Nameless()"),
        (((A, B), {}), ((A, B.double()), {}), "v is float64 (it was float32)"),
        (((A,), {}), ((cr.ones(3, 3),), {}), "x has 2 axes (it had 1)"),
        (((A,), {}), ((cr.ones(3, requires_grad=True),), {}), "x wants a gradient (it did not)"),
    ],
)
def test_the_report_tells_which_argument_became_what(before: Any, now: Any, told: str) -> None:
    def step(x: Any, v: Any = 0, *, w: Any = 0) -> Any:
        return x * 2

    compiled = cr.compile(step)
    for args, kwargs in (before, now, before, now):
        compiled(*args, **kwargs)
    assert compiled.report().count("traced since") == 1
    assert f"traced since {told}" in compiled.report()


def test_the_report_compares_with_the_call_that_was_most_alike() -> None:
    compiled = cr.compile(lambda x, v, w: x * 2)
    compiled(A, 1, "one")
    compiled(A, 2.0, "two")
    compiled(A, 1.0, "one")
    assert "v is 1.0, of type float (it was 1, of type int)" in compiled.report()
    with cr.no_grad():
        compiled(A, 2.0, "two")
    assert "gradients are off (they were on)" in compiled.report()


def test_the_warning_of_a_function_that_is_traced_too_often_names_the_argument() -> None:
    compiled = cr.compile(lambda x, v: x * v)
    for k in range(8):
        compiled(A, k)
    with pytest.warns(UserWarning, match=r"since v is 8 \(it was 7\)"):
        compiled(A, 8)


def test_arrays_are_taken_as_tensors() -> None:
    def build() -> Any:
        return lambda x, y: cr.matmul(cr.as_tensor(x), cr.as_tensor(y))

    same_as_eager(build, [(np.ones((3, 2), np.float32), np.ones((2, 4), np.float32))] * 2)


def test_a_tensor_given_twice_is_one_tensor() -> None:
    compiled = cr.compile(lambda a, b: a.mul_(2) + b)
    x, y = cr.ones(2), cr.ones(2)
    assert compiled(x, x).tolist() == [4, 4]
    assert compiled(x, y).tolist() == [5, 5]
    assert len(compiled.graphs) == 2
    array = np.ones(2)
    assert compiled(array, array).tolist() == [4, 4]


def test_a_leaf_given_twice_collects_the_gradient_of_both() -> None:
    def step(a: Any, b: Any) -> None:
        (a * b).sum().backward()

    x = cr.tensor([2.0, 3.0], requires_grad=True)
    cr.compile(step)(x, x)
    assert x.grad.tolist() == [4, 6]


def test_two_tensors_from_outside_with_one_memory_are_refused() -> None:
    w = cr.ones(3)
    p = nn.Parameter(w)
    with pytest.raises(TraceError, match=r"shape \(3,\) from outside that shares memory with another one"):
        cr.compile(lambda x: x * w + p)(cr.ones(3))


def test_views_of_one_tensor_from_outside_are_fine() -> None:
    w = cr.arange(4.0)
    a, b = w[:2], w[2:]
    compiled = cr.compile(lambda x: x * a + b + w.sum())
    assert compiled(cr.ones(2)).tolist() == [8, 10]
    w.mul_(2)
    assert compiled(cr.ones(2)).tolist() == [16, 20]


def test_an_argument_with_a_tape_is_refused() -> None:
    w = cr.ones(3, requires_grad=True)
    with pytest.raises(TraceError, match="x .shape .3,.. was computed outside"):
        cr.compile(lambda x: x * 2)(w * 2)
    held = w * 2
    with pytest.raises(TraceError, match="a tensor from outside"):
        cr.compile(lambda x: x * held)(cr.ones(3))


def test_what_cannot_be_compared_is_refused_as_an_argument() -> None:
    with pytest.raises(ArgumentTypeError, match=r"options\['a'\] is a set"):
        cr.compile(lambda options: 1)({"a": {1, 2}})


def test_only_what_can_be_called_is_compiled() -> None:
    with pytest.raises(ArgumentTypeError, match="a function or a module"):
        cr.compile(3)


@pytest.mark.parametrize(
    ("axis", "error", "told"),
    [
        ({"nope": 1}, ArgumentError, r"no argument is named 'nope'; expected x or other"),
        ({"x": 1, "othr": 0}, ArgumentError, r"'othr'; expected x or other. Did you mean other\?"),
        ({"x": "a"}, ArgumentTypeError, r"batch_axis=\{'x': 'a'\}; expected an integer"),
        ("x", ArgumentTypeError, r"batch_axis='x'; expected an integer, or one for each name"),
        (1.5, ArgumentTypeError, r"batch_axis=1.5; expected an integer"),
        ([0], ArgumentTypeError, r"batch_axis=\[0\]; expected an integer"),
        (True, ArgumentTypeError, r"batch_axis=True; expected an integer"),
        (None, ArgumentTypeError, r"batch_axis=None; expected an integer"),
    ],
)
def test_a_batch_axis_that_is_none_is_refused(axis: Any, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        cr.compile(lambda x, other=None: x, batch_axis=axis)


def test_a_batch_axis_that_no_argument_has_is_refused_at_the_call() -> None:
    x = cr.ones(3, 2)
    for axis in ({"x": 2}, {"y": 0, "x": 5}, 2):
        compiled = cr.compile(lambda x, y=None: x * 2, batch_axis=axis)
        for _ in range(2):
            with pytest.raises(ArgumentError, match=r"batch_axis=.* for x of shape \(3, 2\); expected"):
                compiled(x)
        assert not compiled.graphs
        assert compiled(cr.ones(2, 2, 2, 2, 2, 2)).shape == (2,) * 6
    assert cr.compile(lambda x, y: x + y, batch_axis=np.int64(1))(x, cr.ones(2)).shape == (3, 2)
    assert cr.compile(lambda x: x, batch_axis=0)(cr.tensor(1.0)).item() == 1
    assert cr.compile(lambda: 1, batch_axis=3)() == 1


def test_a_batch_axis_may_name_what_any_function_takes() -> None:
    x = cr.ones(3, 2)
    assert cr.compile(lambda **named: named["x"], batch_axis={"x": 1})(x=x).shape == (3, 2)
    assert cr.compile(lambda *given: given[0], batch_axis={"given": 1})(x).shape == (3, 2)
    assert cr.compile(nn.Linear(2, 2), batch_axis={"input": 0})(x).shape == (3, 2)
    assert cr.compile(batch_axis={"x": 1})(lambda x: x)(x).shape == (3, 2)


def test_a_number_of_runs_that_is_no_integer_is_refused() -> None:
    compiled, x = cr.compile(lambda x: x * 2), cr.ones(4, 2)
    for options in ({"batch_size": 2.5}, {"batch_size": "2"}, {"batch_size": 2, "passes": 1.5}, {"batch_size": True}):
        with pytest.raises(ArgumentTypeError, match=r"over: got (batch_size|passes)=.*; expected an integer"):
            compiled.over(x, **options)
    with pytest.raises(ArgumentTypeError, match=r"repeat: got times=1.5; expected an integer"):
        compiled.repeat(x, times=1.5)
    assert compiled.over(x, batch_size=np.int64(2), passes=np.int64(2)).shape == (4, 2, 2)


def test_an_order_of_rows_that_is_a_mask_or_fractions_is_refused() -> None:
    compiled, x = cr.compile(lambda x: x * 2), cr.arange(4.0).unsqueeze(1)
    mask = np.array([True, False, True, False])
    for of_rows in (mask, mask.tolist(), cr.tensor(mask)):
        with pytest.raises(ArgumentTypeError, match=r"over: got an order of bool.*Give np\.flatnonzero\(mask\)"):
            compiled.over(x, batch_size=2, order=of_rows)
    for of_rows, dtype in (([0.9, 1.9], "float64"), (np.ones(2, np.float32), "float32"), (["0", "1"], "<U1")):
        with pytest.raises(ArgumentTypeError, match=f"over: got an order of {dtype}; expected the numbers of rows"):
            compiled.over(x, batch_size=2, order=of_rows)
    with pytest.raises(ArgumentError, match=r"over: got an order of shape \(2, 2\); expected one axis"):
        compiled.over(x, batch_size=2, order=[[0, 1], [2, 3]])
    wanted = compiled.over(x, batch_size=2, order=np.flatnonzero(mask)).tolist()
    assert wanted == [[[0], [4]]]
    for kind in (np.int8, np.uint8, np.int32, np.uint64, object):
        assert compiled.over(x, batch_size=2, order=np.array([0, 2], kind)).tolist() == wanted
    for rows in ([0, 2], (np.int16(0), 2), range(0, 4, 2), cr.tensor([0, 2])):
        assert compiled.over(x, batch_size=2, order=rows).tolist() == wanted
    with pytest.raises(ArgumentError, match="got row 18446744073709551615 in the order of 4 rows"):
        compiled.over(x, batch_size=2, order=np.array([0, 2**64 - 1], np.uint64))


def test_a_value_that_changes_at_every_call_runs_uncompiled_in_the_end_and_warns_once() -> None:
    compiled = cr.compile(lambda x, rate: x * rate)
    x = cr.ones(2)
    for k in range(8):
        assert compiled(x, k / 2).tolist() == [k / 2, k / 2]
    with pytest.warns(UserWarning, match="traced 8 times.*rate is 4.0 .it was 3.5..* uncompiled"):
        assert compiled(x, 4.0).tolist() == [4, 4]
    assert compiled(x, 4.5).tolist() == [4.5, 4.5]
    assert compiled(np.ones(2, np.float32), 5.0).tolist() == [5, 5]
    assert len(compiled.graphs) == 8
    assert "uncompiled: " in compiled.report()
    assert compiled(x, 0.5).tolist() == [0.5, 0.5]  # earlier traces still serve


def test_no_arguments_no_result_and_nothing_but_values() -> None:
    w = cr.zeros(2)

    @cr.compile
    def count() -> None:
        w.add_(1)

    assert count() is None
    assert count() is None
    assert w.tolist() == [2, 2]
    assert cr.compile(lambda: "text")() == "text"
    assert cr.compile(lambda x: x)(cr.ones(2, 0)).shape == (2, 0)


def test_decorated_with_and_without_options_it_stays_the_function_it_was() -> None:
    @cr.compile(batch_axis=1)
    def scaled(x: Any) -> Any:
        """Return the double."""
        return x * 2

    assert scaled.__name__ == "scaled"
    assert scaled.__doc__ == "Return the double."
    assert scaled.__wrapped__(1) == 2
    assert repr(scaled) == "<compiled scaled: 0 traces>"
    with pytest.raises(TraceError, match="has not been traced"):
        scaled.graph


def test_a_compiled_module_is_still_the_module() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))
    compiled = cr.compile(model)
    assert [name for name, _ in compiled.named_parameters()] == ["0.weight", "0.bias"]
    assert compiled.eval() is model
    x = cr.ones(3, 2)
    assert cr.equal(compiled(x), model(x))


# -- failures ----------------------------------------------------------------------------------------------------------


def everything(model: Any, optimizer: Any) -> list[Any]:
    state = [p.detach().numpy().tobytes() for p in (*model.parameters(), *model.buffers())]
    state += [p._grad for p in model.parameters()]
    return [*state, repr(optimizer.state_dict()), cr.get_rng_state()]


def test_an_exception_while_tracing_changes_nothing() -> None:
    model = nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3), nn.Dropout(0.1))
    optimizer = optim.SGD(model.parameters(), 0.1)

    @cr.compile
    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        raise ZeroDivisionError

    before = everything(model, optimizer)
    with pytest.raises(ZeroDivisionError):
        step(*batch(4)(np.random.default_rng(0)))
    assert everything(model, optimizer) == before
    assert cr.ones(2).add(1).tolist() == [2, 2]  # the trace is over


def test_an_exception_while_running_changes_nothing() -> None:
    model = nn.Sequential(nn.Embedding(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.1))
    optimizer = optim.Adam(model.parameters(), 0.1)

    @cr.compile
    def step(i: Any) -> Any:
        optimizer.zero_grad()
        loss = model(i).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    step(cr.tensor([0, 1, 2]))
    before = everything(model, optimizer)
    for wrong in ([0, 1, 4], [0, -5, 1]):
        with pytest.raises(ChainruleError):
            step(cr.tensor(wrong))
        assert everything(model, optimizer) == before


def test_a_label_out_of_range_is_an_error_at_every_call() -> None:
    loss = cr.compile(F.cross_entropy)
    z = cr.ones(3, 4)
    loss(z, cr.tensor([0, 1, 3]))
    for wrong in (4, -1):
        with pytest.raises(ChainruleError):
            loss(z, cr.tensor([0, 1, wrong]))


def test_an_index_out_of_range_is_an_error_at_every_call() -> None:
    rows = cr.compile(F.embedding)
    weight = cr.ones(4, 2)
    rows(cr.tensor([0, 1, 3]), weight)
    for wrong in (4, -1):
        with pytest.raises(ChainruleError):
            rows(cr.tensor([0, 1, wrong]), weight)


@pytest.mark.parametrize("switch", ["0", "1"])
def test_an_index_out_of_range_is_told_once_and_as_it_was_given(switch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", switch)
    x = cr.ones(3, 4)

    def write(x: Any, i: Any) -> Any:
        y = x * 1
        y[i] = 0
        return y

    for function, axis, size in (
        (lambda x, i: x[i], 0, 3), (lambda x, i: x[:, i], 1, 4), (lambda x, i: x[i, i], 0, 3), (write, 0, 3),
        (lambda x, i: x.index_select(0, i), 0, 3), (lambda x, i: x.take(i), 0, 12),
    ):  # fmt: skip
        compiled = cr.compile(function)
        compiled(x, cr.tensor([0, -1]))
        for wrong in (size, -size - 1):
            told = rf"^(take|put): index {wrong} for axis {axis} of {size} elements; expected {-size} to {size - 1}\.$"
            with pytest.raises(IndexingError, match=told):
                compiled(x, cr.tensor([0, wrong]))


@pytest.mark.parametrize("switch", ["0", "1"])
def test_a_row_that_is_not_there_is_told_as_by_an_eager_embedding(switch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", switch)
    for options in ({}, {"padding_idx": 1}, {"scale_grad_by_freq": True}, {"max_norm": 1.0}):
        model = nn.Embedding(5, 2, **options)
        compiled = cr.compile(model)
        compiled(cr.tensor([[0, 4]]))
        for wrong in ([[0, -1]], [[5, 0]], [[-6, 7]]):
            with pytest.raises(IndexingError) as eager:
                model(cr.tensor(wrong))
            with pytest.raises(IndexingError) as raised:
                compiled(cr.tensor(wrong))
            assert str(raised.value) == str(eager.value)
    one = cr.compile(F.embedding)
    for place in (-1, 5):
        with pytest.raises(IndexingError, match=rf"^embedding: got the index {place} for a table of 5 rows; expected"):
            one(cr.tensor(place), cr.ones(5, 2))


# -- threads -----------------------------------------------------------------------------------------------------------


def test_threads_that_train_at_once_do_not_disturb_each_other() -> None:
    def train(seed: int, wrap: Any, results: dict[int, Any]) -> None:
        generator = cr.Generator().manual_seed(seed)
        with cr.tensors.generator.drawing_from(generator):
            model = nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Dropout(0.2), nn.Linear(16, 3))
            optimizer = optim.Adam(model.parameters())

            def step(x: Any, y: Any) -> Any:
                optimizer.zero_grad()
                loss = F.cross_entropy(model(x), y)
                loss.backward()
                optimizer.step()
                return loss

            step = wrap(step)
            rng = np.random.default_rng(seed)
            losses = [step(*batch(4 + k % 3)(rng)).item() for k in range(40)]
        results[seed] = losses

    alone: dict[int, Any] = {}
    for seed in range(3):
        train(seed, lambda f: f, alone)
    together: dict[int, Any] = {}
    threads = [threading.Thread(target=train, args=(seed, cr.compile, together)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone


def test_one_compiled_function_serves_several_threads() -> None:
    compiled = cr.compile(lambda x: (x * 2).sum(0))
    wrong: list[int] = []

    def use(value: int) -> None:
        for rows in (3, 5, 2) * 20:
            if compiled(cr.full((rows, 2), float(value))).tolist() != [2.0 * value * rows] * 2:
                wrong.append(value)

    threads = [threading.Thread(target=use, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("dtype", ["float16", ">f4", "uint16", "uint32", "complex64", "<U3", "object", "datetime64[s]"])
def test_an_array_of_a_dtype_that_is_not_here_is_told_as_tensor_does_by_name(dtype: str) -> None:
    compiled = cr.compile(lambda x, pair: x + pair[0])
    array = np.zeros(3, dtype)
    with pytest.raises(DtypeError) as alone:
        cr.tensor(array)
    with pytest.raises(DtypeError) as told:
        compiled(np.zeros(3, np.float32), [array])
    assert str(told.value) == f"compiled function: pair[0]: {alone.value}"
    with pytest.raises(DtypeError) as told:
        compiled.over(array, np.zeros((3, 1), np.float32), batch_size=1)
    assert str(told.value) == f"compiled function: x: {alone.value}"
