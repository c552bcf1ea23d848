"""What does not depend on random numbers is PyTorch's: splits' lengths, batches, collation, refusals."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.utils import data
from tests.tolerances import assert_close

torch = pytest.importorskip("torch")
import torch.utils.data as torch_data  # noqa: E402 - it is there only if torch is

pytestmark = pytest.mark.oracle


@pytest.mark.parametrize("name", [n for n in data.__all__ if inspect.isclass(getattr(data, n)) and n != "Dataset"])
def test_signatures_name_pytorchs_arguments(name: str) -> None:
    def arguments(kind: Any) -> list[Any]:
        return [(p.name, p.default) for p in inspect.signature(kind).parameters.values() if p.name != "self"]

    ours, theirs = arguments(getattr(data, name)), arguments(getattr(torch_data, name))
    if name in ("Sampler", "IterableDataset"):
        return  # nothing but Python's own
    assert ours == theirs


@pytest.mark.parametrize("lengths", [[3, 7], [0.5, 0.5], [1 / 3, 1 / 3, 1 / 3], [0.15, 0.85], [1.0], [10]])
def test_the_lengths_of_a_split_are_pytorchs(lengths: list[float]) -> None:
    ours = data.random_split(data.TensorDataset(cr.arange(10)), lengths)
    theirs = torch_data.random_split(torch_data.TensorDataset(torch.arange(10)), lengths)
    assert [len(part) for part in ours] == [len(part) for part in theirs]


@pytest.mark.parametrize("drop_last", [True, False])
@pytest.mark.parametrize("batch_size", [1, 3, 10, 20, None])
def test_batches_in_order_are_pytorchs(batch_size: int | None, drop_last: bool) -> None:
    if batch_size is None and drop_last:
        return
    x = np.random.default_rng(0).standard_normal((10, 2)).astype(np.float32)
    ours = data.DataLoader(data.TensorDataset(cr.tensor(x), cr.arange(10)), batch_size, drop_last=drop_last)
    theirs = torch_data.DataLoader(
        torch_data.TensorDataset(torch.tensor(x), torch.arange(10)), batch_size, drop_last=drop_last
    )
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        assert type(mine) is type(other)
        for a, b in zip(mine, other, strict=True):
            assert_close(a, b)


SAMPLES = [
    [1, 2, 3],
    [1.0, 2.5],
    [True, False],
    ["a", "b"],
    [b"a", b"b"],
    [(1, 2.0), (3, 4.0)],
    [[1, "x"], [2, "y"]],
    [{"a": 1, "b": (2, 3)}, {"a": 4, "b": (5, 6)}],
    [np.float32(1), np.float32(2)],
    [np.ones((2, 3)), np.zeros((2, 3))],
    [np.int16([1, 2]), np.int16([3, 4])],
    [(np.ones(2), {"k": [1.0, (2,)]})] * 3,
]  # fmt: skip


def plain(value: Any) -> Any:
    """A batch as Python's own values, with dtypes."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return (type(value).__name__, [plain(part) for part in value])
    if hasattr(value, "dtype"):
        return (str(value.dtype).split(".")[-1], value.tolist())
    return value


@pytest.mark.parametrize("batch", SAMPLES, ids=[str(k) for k in range(len(SAMPLES))])
def test_collated_rows_are_pytorchs(batch: list[Any]) -> None:
    assert plain(data.default_collate(batch)) == plain(torch_data.default_collate(batch))
    assert plain(data.default_convert(batch[0])) == plain(torch_data.default_convert(batch[0]))


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 0},
        {"batch_size": None, "drop_last": True},
        {"shuffle": True, "sampler": [0]},
        {"batch_sampler": [[0]], "batch_size": 3},
        {"batch_sampler": [[0]], "shuffle": True},
        {"batch_sampler": [[0]], "drop_last": True},
        {"prefetch_factor": 2},
        {"persistent_workers": True},
    ],
)
def test_what_pytorch_refuses_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        torch_data.DataLoader(torch_data.TensorDataset(torch.arange(3)), **options)
    with pytest.raises(ValueError, match=r"\w"):
        data.DataLoader(data.TensorDataset(cr.arange(3)), **options)
