"""One trace for all batch sizes: what works for every size, what is traced again for each, and what is told about it."""

from __future__ import annotations

import copy
import json
import numbers
import operator
import pickle
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import ChainruleError
from chainrule.nn import functional as F

from .beside_eager import same_as_eager

SIZES = (32, 17, 2, 5, 1000, 3)


def rows(*sizes: int, features: int = 6) -> list[Callable[[np.random.Generator], tuple[Any, ...]]]:
    def call(size: int) -> Callable[[np.random.Generator], tuple[Any, ...]]:
        return lambda rng: (cr.tensor(rng.standard_normal((size, features)).astype(np.float32)),)

    return [call(size) for size in sizes]


def labels(x: Any) -> Any:
    return (x[:, 0] > 0).long() + (x[:, 1] > 0).long()


ANY_SIZE: dict[str, Callable[[Any], Any]] = {
    "flattened": lambda x: x.reshape(-1) * 2,
    "rows of a size": lambda x: x.reshape(-1, 3),
    "one row per row": lambda x: x.view(x.size(0), -1),
    "the size by name": lambda x: x.reshape(x.shape[0], 2, 3).transpose(1, 2),
    "the size twice": lambda x: x.reshape(x.shape[0] * 2, 3),
    "mean, variance, standard deviation": lambda x: (x.mean(0), x.var(0), x.std(), x.mean()),
    "corrected by hand": lambda x: x.var(0, correction=0) * x.shape[0] / (x.shape[0] - 1),
    "size in arithmetic": lambda x: x.sum() / x.shape[0] + x.shape[0] ** 2 - 3 * len(x.shape),
    "the first half": lambda x: x[: x.shape[0] // 2],
    "the second half": lambda x: x[x.shape[0] // 2 :] * 2,
    "both halves": lambda x: cr.cat([x[: x.shape[0] // 2], x[x.shape[0] // 2 :]]),
    "all but the last": lambda x: x[1:] - x[:-1],
    "every second": lambda x: x[::2],
    "the last row": lambda x: x[-1],
    "twice": lambda x: cr.cat([x, x]),
    "stacked": lambda x: cr.stack([x, x * 2], dim=1),
    "numbered": lambda x: cr.arange(x.shape[0]) * 2,
    "zeros and ones of the size": lambda x: (
        cr.zeros(x.shape[0], 2) + cr.ones_like(x)[:, :2] + cr.full((x.shape[0], 1), 3.0)
    ),
    "one-hot": lambda x: F.one_hot(labels(x), 3),
    "a mask": lambda x: cr.where(x > 0, x, 0).sum(1),
    "softmax": lambda x: (x.softmax(1), x.log_softmax(0)),
    "cumulative sums": lambda x: (x.cumsum(0), x.cumsum(1)),
    "gathered": lambda x: x.gather(1, labels(x).unsqueeze(1)),
    "taken by index": lambda x: x[cr.arange(x.shape[0]), labels(x)],
    "sorted": lambda x: x.sort(dim=0).values,
    "largest": lambda x: (x.max(1).values, x.max(0).indices, x.amax(), x.argmax(1)),
    "pairwise": lambda x: (x.unsqueeze(0) - x.unsqueeze(1)).square().sum(-1),
    "products": lambda x: (x @ x.t(), x.t() @ x),
    "outer sum": lambda x: x[:, :1] + x[:, 1],
    "expanded": lambda x: x[0].expand(x.shape[0], 6) + x.sum(0).expand_as(x),
    "flipped and rolled": lambda x: x.flip(0),
    "normalized": lambda x: F.layer_norm(x, (6,)),
    "padded": lambda x: F.pad(x, (1, 2)),
    "set": lambda x: cr.zeros(x.shape[0], 6).copy_(x),
    "rows written": lambda x: _written(x),
    "linear": lambda x: F.linear(x, cr.ones(2, 6)),
    "cross entropy": lambda x: F.cross_entropy(x, labels(x), label_smoothing=0.1, weight=cr.arange(1.0, 7.0)),
    "cross entropy, rows": lambda x: F.cross_entropy(x, labels(x), reduction="none", ignore_index=1),
    "cross entropy of probabilities": lambda x: F.cross_entropy(x, x.softmax(1)),
    "other losses": lambda x: (F.mse_loss(x, x * 2), F.nll_loss(x.log_softmax(1), labels(x)), F.huber_loss(x, x + 2)),
    "random numbers": lambda x: x + cr.randn(x.shape[0], 1) * cr.rand_like(x),
    "repeated": lambda x: (x.repeat(2, 1), x.repeat_interleave(2, dim=1)),
    "no size that is 1": lambda x: (x.squeeze(), x[:, :1].squeeze(), x[:, :1].squeeze(1)),
    "a power of the size": lambda x: x.sum() * (x.shape[0] - 1) ** 2,
    "rolled": lambda x: (x[1:].roll(1, 0), x.roll(x.shape[0] - 1, 0)),
    "a copied shape": lambda x: x.reshape(copy.deepcopy(x.shape)) + x.reshape(copy.copy(x.shape[0]), -1),
    "an int in Python's eyes": lambda x: x * isinstance(x.shape[0], int) + isinstance(x.shape[0] * 2, numbers.Integral),
    "size asked for two": lambda x: (x.numel(), x.shape[0] > 1, x.shape[0] != 0, max(x.shape[0], 1)),
}


def _written(x: Any) -> Any:
    y = x * 1
    y[: x.shape[0] // 2] = 0
    y[-1] += 1
    return y


@pytest.mark.parametrize("name", ANY_SIZE)
def test_one_trace_serves_every_size(name: str) -> None:
    same_as_eager(lambda: ANY_SIZE[name], rows(*SIZES))


WITHOUT_GRADIENT = ("size asked for two", "numbered", "one-hot", "zeros and ones of the size")


@pytest.mark.parametrize("name", [name for name in ANY_SIZE if name not in WITHOUT_GRADIENT])
def test_so_it_does_with_gradients(name: str) -> None:
    def build() -> Any:
        w = cr.tensor(np.linspace(-1, 1, 6, dtype=np.float32), requires_grad=True)

        def step(x: Any) -> Any:
            w.grad = None
            y = ANY_SIZE[name](x * w)
            total = sum((part * part).sum() for part in (y if isinstance(y, tuple) else (y,)) if part.requires_grad)
            total.backward()
            return total.detach(), w.grad

        return step, w

    same_as_eager(build, rows(32, 17, 2, 5))


def test_batch_norm_counts_the_rows_there_are() -> None:
    def build() -> Any:
        model = nn.Sequential(nn.BatchNorm1d(6), nn.BatchNorm1d(6, momentum=None))
        return lambda x: model(x), model

    same_as_eager(build, rows(*SIZES))


@pytest.mark.parametrize("size", [0, 1])
def test_none_and_one_have_graphs_of_their_own(size: int) -> None:
    compiled = same_as_eager(
        lambda: lambda x: (x * x[:1], x.sum(0), x.reshape(-1, 2)), rows(4, size, 5, size), traces=2
    )
    assert f"x has the size {size} in axis 0, and {size} has a graph of its own" in compiled.report()


DECIDES: dict[str, Callable[[Any], Any]] = {
    "compared": lambda x: x * 2 if x.shape[0] > 16 else x * 3,
    "equal": lambda x: x * 2 if x.shape[0] == 17 else x,
    "counted through": lambda x: sum(x[k] for k in range(x.shape[0])),
    "as an int": lambda x: x * int(x.shape[0]),
    "a list of the length": lambda x: x * len([0] * x.shape[0]),
    "len": lambda x: x * len(x),
    "a loop over the rows": lambda x: sum(row for row in x),
    "unpacked": lambda x: cr.stack(list(x)),
    "divisible": lambda x: x.reshape(-1, 6 * 3) if x.shape[0] % 3 == 0 else x,
    "at most": lambda x: x[: min(x.shape[0], 10)],
    "math": lambda x: x * float(x.shape[0]) ** 0.5,
    "an array of the size": lambda x: x + cr.tensor(np.ones(x.shape[0]).astype(np.float32)).unsqueeze(1),
    "split in two": lambda x: x.split(2)[0],
    "a key": lambda x: x * TABLE.get(x.shape[0], 0),
    "a key by another name": lambda x: x * TABLE.get(x.size(0), 0) + TABLE.get(x.numel() // 6, 0),
    "a key that is calculated": lambda x: x * TABLE.get(x.shape[0] + 1, 1) - TABLE.get(x.shape[0] // 2 * 2, 1),
    "a key that is there": lambda x: x * TABLE[x.shape[0]],
    "a shape as a key": lambda x: x * SHAPES.get(tuple(x.shape), 0),
    "the shape itself as a key": lambda x: x * SHAPES.get(x.shape, 0),
    "in a set": lambda x: x * 2 if x.shape[0] in {18, 9} else x,
    "in a set of sets": lambda x: x * 2 if frozenset([x.shape[0]]) == frozenset([9]) else x,
    "how many in a set": lambda x: x * len({x.shape[0], x[1:].shape[0] + 1, 9}),
    "counted": lambda x: x * Counter([9, 9, 6])[x.shape[0]],
    "a key of a dict that is returned": lambda x: {x.shape[0]: x.sum()},
    "texts": lambda x: (
        x.sum(),
        f"{x.shape}",
        f"{x.shape[0]:4d}",
        str(x.shape[0]),
        f"{tuple(x.shape)}",
    ),
    "a text as a key": lambda x: x * {"size 9": 2.0, "size 6": 3.0}.get(f"size {x.shape[0]}", 0.0),
    "JSON": lambda x: (x.sum(), json.dumps({"rows": x.shape[0]}), json.dumps(x.shape)),
    "JSON of what is no JSON": lambda x: (x.sum(), json.dumps([x.shape[0]], default=str)),
    "pickled": lambda x: x * pickle.loads(pickle.dumps(x.shape[0])),
    "its bits": lambda x: x * x.shape[0].bit_length(),
    "a function of NumPy": lambda x: x * float(np.sqrt(x.shape[0])),
    "hashed": lambda x: x * hash(x.shape[0]),
    "asked for, and caught": lambda x: x * caught(operator.index, x.shape[0]),
    "hashed, and caught": lambda x: x * caught(hash, x.shape[0]),
}
TABLE = {9: 2.0, 6: 3.0, 18: 1.0}
SHAPES = {(9, 6): 2.0, (6, 6): 3.0}


def caught(function: Callable[[Any], int], size: Any) -> int:
    try:
        return function(size)
    except Exception:  # noqa: BLE001 - what careless code does
        return 1


@pytest.mark.parametrize("name", DECIDES)
def test_code_that_decides_on_the_size_is_traced_for_each(name: str) -> None:
    compiled = same_as_eager(lambda: DECIDES[name], rows(18, 6, 18, 9, 6), traces=3)
    report = compiled.report()
    assert "the code decides on the size of axis 0 of x" in report
    assert "test_compile_sizes.py, line" in report
    assert ": now 9" in report
    assert "SizeInCode" not in report
    assert "ran 2 times" in report


def test_a_warning_that_names_a_shape_is_no_decision() -> None:
    with pytest.warns(UserWarning, match="they are broadcast to"):
        same_as_eager(lambda: lambda x: F.mse_loss(x[:, :1], x[:, 0]), rows(5, 3))


def test_what_is_filled_with_the_size_holds_integers() -> None:
    same_as_eager(lambda: lambda x: cr.full((2,), x.shape[0]), rows(5, 3), traces=None)


MAY_BE_1: list[Callable[[Any], Any]] = [
    lambda x: x[1:].squeeze(),
    lambda x: x[:, 0].reshape(-1)[1:].squeeze(0),
    lambda x: cr.einsum("ij,kj->ij", x[1:], x[:1]),
]


@pytest.mark.parametrize("function", MAY_BE_1)
def test_a_size_that_may_be_1_is_no_other_shape_then(function: Any) -> None:
    same_as_eager(lambda: function, rows(5, 2, 3), traces=None)


def test_the_text_of_a_size_asks_where_it_is_made() -> None:
    compiled = cr.compile(lambda x: x * len(f"{x.shape[0]}"))
    assert [compiled(cr.ones(n)).sum().item() for n in (9, 10, 9)] == [9, 20, 9]
    assert "which number is n? test_compile_sizes.py, line" in compiled.report()


@pytest.mark.parametrize(
    "of_x", [lambda x: x.shape[0], lambda x: x.shape, lambda x: tuple(x.shape), lambda x: 2 * x.shape[0]]
)
def test_a_size_that_is_left_in_an_object_is_a_number_there(of_x: Callable[[Any], Any]) -> None:
    class Notes:
        last: Any = 0

    notes = Notes()

    def note(x: Any) -> Any:
        notes.last = of_x(x)
        return x * 2

    compiled = cr.compile(note)
    for n in (8, 5, 5, 8, 3):
        compiled(x := cr.ones(n, 2))
        assert notes.last == of_x(x)
        assert type(notes.last) is type(of_x(x))
    assert "in notes.last?" in compiled.report()


def test_many_batches_go_by_the_key_too() -> None:
    x = np.ones((13, 4), np.float32)
    compiled = cr.compile(lambda x: x.sum() * {8: 2.0, 5: 3.0}.get(x.shape[0], 0.0))
    assert compiled.over(x, batch_size=8).tolist() == [64, 60]
    assert compiled.over(x, batch_size=8).tolist() == [64, 60]


def test_an_error_of_types_that_is_one_for_every_size_stays_one() -> None:
    def wrong(x: Any) -> Any:
        return len(3)  # type: ignore[arg-type]

    compiled = cr.compile(lambda x: wrong(x) * x)
    with pytest.raises(TypeError, match="has no len"):
        compiled(cr.ones(3, 2))
    assert compiled.graphs == []
    assert not compiled._traces.decided


def test_after_eight_sizes_it_runs_uncompiled_and_warns_once_with_argument_axis_and_line() -> None:
    compiled = cr.compile(lambda batch: batch * len(batch))
    for size in range(2, 10):
        compiled(cr.ones(size, 2))
    with pytest.warns(UserWarning, match=r"traced 8 times.*axis 0 of batch .*line \d+\).*runs uncompiled") as told:
        assert compiled(cr.ones(10, 2)).sum().item() == 200
    assert told[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert compiled(cr.ones(11, 2)).sum().item() == 242
        assert compiled(cr.ones(4, 2)).sum().item() == 32
    assert len(compiled.graphs) == 8


def test_another_size_of_another_axis_is_another_trace_and_counts() -> None:
    compiled = cr.compile(lambda x: x.sum(1))
    for size in range(2, 10):
        compiled(cr.ones(3, size))
    assert "x has the size 9 in axis 1 (it was 8)" in compiled.report()
    with pytest.warns(UserWarning, match="x has the size 10 in axis 1"):
        assert compiled(cr.ones(3, 10)).tolist() == [10, 10, 10]


def test_arguments_that_share_the_first_ones_size_follow_it() -> None:
    def call(n: int, m: int) -> Any:
        return (cr.ones(n, 2), cr.arange(n), cr.ones(m, 2))

    function = lambda x, i, z: (x.sum(1) + i, z * 2, x @ z.t())  # noqa: E731 - named for the report
    compiled = same_as_eager(lambda: function, [call(4, 7), call(5, 7), call(9, 7)])
    compiled(*call(4, 8))
    assert "argument 2" not in compiled.report()
    assert "z has the size 8 in axis 0 (it was 7)" in compiled.report()


def test_an_argument_that_has_the_size_of_the_batch_by_chance_is_traced_apart() -> None:
    def call(n: int) -> Any:
        return (cr.ones(n, 4), cr.zeros(n, dtype=cr.int64), cr.arange(1.0, 5.0))

    def loss(x: Any, y: Any, weight: Any) -> Any:
        return F.cross_entropy(x, y, weight=weight)

    compiled = same_as_eager(lambda: loss, [call(9), call(4), call(8), call(4), call(30)], traces=2)
    assert "line" in compiled.report()
    first = same_as_eager(lambda: loss, [call(4), call(9), call(8), call(4), call(30)], traces=2)
    assert "x float32[n, 4], y int64[n], weight float32[4]" in first.report()


def test_another_axis_of_the_size_of_the_batch_is_no_batch() -> None:
    same_as_eager(lambda: lambda x: (x.sum(0), x.t() @ x, x.reshape(-1)), rows(6, 5, 7, features=6))


def test_parameters_of_the_size_of_the_batch_are_no_batch() -> None:
    def build() -> Any:
        model = nn.Linear(6, 6)
        return lambda x: model(x), model

    same_as_eager(build, rows(6, 5, 7, features=6))


def test_the_batch_may_be_on_another_axis() -> None:
    def calls() -> Any:
        return [(cr.ones(3, n, 2),) for n in (4, 5, 9)]

    compiled = same_as_eager(lambda: lambda x: x.sum(1) / x.shape[1], calls(), batch_axis=1)
    assert "x float32[3, n, 2]" in compiled.report()


def test_the_batch_may_be_on_an_axis_of_its_own_in_each_argument() -> None:
    def calls() -> Any:
        return [({"a": cr.ones(3, n, 2)}, cr.arange(float(n)), cr.ones(4)) for n in (4, 5, 9)]

    def function(x: dict[str, Any], y: Any, z: Any) -> Any:
        return x["a"].sum(2) * y, z.sum()

    compiled = same_as_eager(lambda: function, calls(), batch_axis={"x": 1, "y": 0})
    assert "x['a'] float32[3, n, 2], y float32[n], z float32[4]" in compiled.report()


def test_an_axis_counted_from_the_back_is_refused() -> None:
    for axes in (-1, {"x": -1}):
        with pytest.raises(ChainruleError, match="counted from the front"):
            cr.compile(lambda x: x, batch_axis=axes)


def test_a_size_that_does_not_fit_is_an_error_as_eager() -> None:
    model = nn.Sequential(nn.Linear(6, 3))
    compiled = cr.compile(model)
    compiled(cr.ones(4, 6))
    with pytest.raises(ChainruleError, match="got an input of shape|features|expected"):
        compiled(cr.ones(4, 5))
    add = cr.compile(lambda x, y: x + y)
    with pytest.raises(ChainruleError):
        add(cr.ones(3), cr.ones(4))


def test_sizes_of_zero_dimensional_and_of_no_arguments() -> None:
    compiled = cr.compile(lambda t, x: x * t)
    assert compiled(cr.tensor(2.0), cr.ones(3)).tolist() == [2, 2, 2]
    assert compiled(cr.tensor(2.0), cr.ones(4)).tolist() == [2, 2, 2, 2]
    assert len(compiled.graphs) == 1
