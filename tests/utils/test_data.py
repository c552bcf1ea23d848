"""Datasets, samplers and loaders: every row once, in the order asked for, and clear refusals."""

from __future__ import annotations

from collections import Counter, namedtuple
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chainrule as cr
from chainrule.errors import ArgumentError, ArgumentTypeError, ChainruleError, IndexingError, ShapeError
from chainrule.utils.data import (
    BatchSampler,
    ChainDataset,
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
    default_convert,
    random_split,
)


class Squares(Dataset[Any]):
    """Row k is (k, k²)."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[int, int]:
        return index, index * index


class Stream(IterableDataset[int]):
    """The numbers below a limit."""

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.limit))


def rows(n: int) -> TensorDataset:
    return TensorDataset(cr.arange(3 * n).reshape(n, 3), cr.arange(n))


def seeded(seed: int = 0) -> cr.Generator:
    return cr.Generator().manual_seed(seed)


# -- datasets ----------------------------------------------------------------------------------------------------------


def test_a_tensor_dataset_gives_rows_and_slices() -> None:
    data = rows(4)
    x, y = data[1]
    assert (x.tolist(), y.tolist()) == ([3, 4, 5], 1)
    assert data[-1][1].tolist() == 3
    assert data[1:3][1].tolist() == [1, 2]
    assert len(data) == 4


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: TensorDataset(), ArgumentError, "got no tensor; expected at least one"),
        (
            lambda: TensorDataset(cr.ones(3), np.ones(3)),
            ArgumentTypeError,
            "argument 1 is a ndarray; expected a tensor",
        ),
        (lambda: TensorDataset(cr.ones(3), cr.ones(2)), ShapeError, r"argument 1 has shape \(2,\), argument 0 \(3,\)"),
        (lambda: TensorDataset(cr.tensor(1.0)), ShapeError, r"argument 0 has shape \(\)"),
        (lambda: ConcatDataset([]), ArgumentError, "got no dataset"),
        (lambda: ConcatDataset([Stream(3)]), ArgumentTypeError, "dataset 0 has no rows by number. Join"),
        (lambda: ConcatDataset([Squares(3)])[3], IndexingError, "row 3 of a dataset of 3 rows"),
        (lambda: ChainDataset([Squares(3)]), ArgumentTypeError, "dataset 0 is a Squares; expected iterable datasets"),
        (lambda: Dataset()[0], ArgumentTypeError, "has no rows by number. Write __getitem__"),
        (lambda: iter(IterableDataset()), ArgumentTypeError, "has no rows. Write __iter__"),
        (lambda: random_split(Squares(5), [3, 3]), ArgumentError, r"\[3, 3\] add up to 6; expected the 5 rows"),
        (
            lambda: random_split(Squares(5), [1.5, -0.5]),
            ArgumentError,
            "fraction 0 is 1.5; expected a number from 0 to 1",
        ),
        (lambda: random_split(Dataset(), [1.0]), ArgumentTypeError, r"Dataset has no len\(\). Write __len__"),
        (lambda: RandomSampler(Squares(0)), ArgumentError, "the dataset has no rows"),
        (
            lambda: RandomSampler(Squares(3), num_samples=0),
            ArgumentError,
            "got num_samples=0; expected an integer above",
        ),
        (
            lambda: RandomSampler(Squares(3), replacement=1),
            ArgumentTypeError,
            "got replacement=1; expected True or False",
        ),
        (lambda: WeightedRandomSampler([1.0, -1.0], 3), ArgumentError, "from -1 to 1; expected .* none negative"),
        (lambda: WeightedRandomSampler([0.0], 3), ArgumentError, "some above 0"),
        (lambda: BatchSampler(range(3), 0, False), ArgumentError, "got batch_size=0"),
        (lambda: BatchSampler(range(3), 2, "no"), ArgumentTypeError, "got drop_last='no'"),
        (lambda: iter(Sampler()), ArgumentTypeError, "Sampler gives no rows. Write __iter__"),
        (
            lambda: DataLoader(rows(3), num_workers=2),
            ArgumentError,
            "num_workers=2, which is for worker processes.*Leave",
        ),
        (lambda: DataLoader(rows(3), persistent_workers=True), ArgumentError, "got persistent_workers=True"),
        (lambda: DataLoader(rows(3), prefetch_factor=2), ArgumentError, "got prefetch_factor=2"),
        (lambda: DataLoader(rows(3), batch_size=0), ArgumentError, "got batch_size=0"),
        (lambda: DataLoader(rows(3), shuffle=True, sampler=[0]), ArgumentError, "both sampler and shuffle=True"),
        (lambda: DataLoader(rows(3), 2, batch_sampler=[[0]]), ArgumentError, "batch_sampler alone"),
        (lambda: DataLoader(rows(3), None, drop_last=True), ArgumentError, "there is no last batch"),
        (lambda: DataLoader(Stream(3), shuffle=True), ArgumentError, "shuffle=True with an IterableDataset"),
        (lambda: DataLoader(Dataset()), ArgumentTypeError, r"no len\(\)"),
        (lambda: len(DataLoader(Stream(3))), ArgumentTypeError, r"Stream has no len\(\)"),
        (
            lambda: list(DataLoader(rows(3), sampler=[7])),
            IndexingError,
            "index 7 is out of bounds.*rows of a dataset of 3",
        ),
        (lambda: default_collate([object()]), ArgumentTypeError, "got rows of object; .*Pass a collate_fn"),
        (lambda: default_collate([np.array(["a"])]), ArgumentTypeError, "got an array of <U1; expected numbers"),
        (lambda: default_collate([(1, 2), (1,)]), ShapeError, "row 1 has 1 parts; expected 2, as row 0"),
        (lambda: default_collate([cr.ones(2), cr.ones(3)]), ShapeError, r"tensor 1 has shape \(3,\)"),
    ],
)
def test_a_bad_argument_is_told_with_its_value(make: Any, error: type[ChainruleError], text: str) -> None:
    with pytest.raises(error, match=text):
        make()


def test_datasets_are_joined_with_plus() -> None:
    joined = Squares(3) + Squares(2) + Squares(1)
    assert [joined[k][0] for k in range(len(joined))] == [0, 1, 2, 0, 1, 0]
    assert joined[-1] == (0, 0)
    assert list(Stream(2) + Stream(3)) == [0, 1, 0, 1, 2]


def test_a_subset_of_a_subset_names_rows_of_the_first() -> None:
    part = Subset(Subset(Squares(10), [9, 7, 5, 3]), [2, 0])
    assert [part[k][0] for k in range(2)] == [5, 9]
    assert part.__getitems__([1, 1]) == [(9, 81), (9, 81)]
    assert Subset(rows(5), [4, 2, 0])[[0, 1]][1].tolist() == [4, 2]


def test_a_split_takes_every_row_once_and_follows_its_generator() -> None:
    parts = random_split(Squares(10), [7, 3], seeded())
    assert sorted(parts[0].indices + parts[1].indices) == list(range(10))  # type: ignore[operator]  # lists
    assert [len(part) for part in parts] == [7, 3]
    assert parts[0].indices == random_split(Squares(10), [7, 3], seeded())[0].indices
    assert parts[0].indices != random_split(Squares(10), [7, 3], seeded(1))[0].indices


def test_fractions_leave_their_rest_to_the_parts_in_turn() -> None:
    assert [len(part) for part in random_split(Squares(10), [1 / 3, 1 / 3, 1 / 3])] == [4, 3, 3]
    with pytest.warns(UserWarning, match="part 1 of 2 rows is empty"):
        assert [len(part) for part in random_split(Squares(2), [0.9, 0.1])] == [2, 0]


# -- samplers ----------------------------------------------------------------------------------------------------------


def test_a_random_sampler_visits_each_row_once_and_differently_each_epoch() -> None:
    sampler = RandomSampler(Squares(20), generator=seeded())
    first, second = list(sampler), list(sampler)
    assert sorted(first) == sorted(second) == list(range(20))
    assert first != second
    assert first == list(RandomSampler(Squares(20), generator=seeded()))
    assert all(type(k) is int for k in first)


def test_more_samples_than_rows_begin_another_order() -> None:
    counts = Counter(RandomSampler(Squares(4), num_samples=11, generator=seeded()))
    assert sum(counts.values()) == 11
    assert set(counts.values()) <= {2, 3}
    few = list(RandomSampler(Squares(9), num_samples=3, generator=seeded()))
    assert len(set(few)) == 3


def test_samples_with_replacement_are_uniform() -> None:
    sampler = RandomSampler(Squares(5), replacement=True, num_samples=5000, generator=seeded())
    assert len(sampler) == 5000
    assert all(900 < count < 1100 for count in Counter(sampler).values())


def test_weights_are_followed() -> None:
    weights = [0.0, 1.0, 3.0, 0.0]
    counts = Counter(WeightedRandomSampler(weights, 4000, generator=seeded()))
    assert set(counts) == {1, 2}
    assert 900 < counts[1] < 1100
    assert sorted(WeightedRandomSampler(weights, 2, replacement=False, generator=seeded())) == [1, 2]


def test_the_default_generator_shuffles_when_none_is_given() -> None:
    cr.manual_seed(5)
    first = list(RandomSampler(Squares(9)))
    cr.manual_seed(5)
    assert first == list(RandomSampler(Squares(9)))


def test_a_subset_sampler_gives_its_rows_in_random_order() -> None:
    sampler = SubsetRandomSampler([7, 3, 5], seeded())
    assert sorted(sampler) == [3, 5, 7]
    assert len(sampler) == 3


# -- loaders -----------------------------------------------------------------------------------------------------------


@given(n=st.integers(1, 30), batch=st.integers(1, 12), drop=st.booleans(), shuffle=st.booleans(), part=st.booleans())
def test_an_epoch_has_every_row_once_in_batches(n: int, batch: int, drop: bool, shuffle: bool, part: bool) -> None:
    data: Any = rows(n)
    if part:
        data = Subset(data, list(range(n - 1, -1, -1)))
    loader = DataLoader(data, batch, shuffle=shuffle, drop_last=drop, generator=seeded())
    batches = list(loader)
    assert len(batches) == len(loader)
    seen = [k for _, y in batches for k in y.tolist()]
    wanted = n - n % batch if drop else n
    assert len(seen) == len(set(seen)) == wanted
    if not shuffle:
        assert seen == (list(range(n - 1, -1, -1)) if part else list(range(n)))[:wanted]
    assert all(len(y) == batch for _, y in batches[:-1])
    assert all((x == y.unsqueeze(1) * 3 + cr.arange(3)).all() for x, y in batches)


def test_whole_batches_equal_rows_put_together_one_by_one() -> None:
    class Plain(Dataset[Any]):
        """The same rows, as a dataset that the loader knows nothing about."""

        def __len__(self) -> int:
            return 23

        def __getitem__(self, index: int) -> Any:
            return rows(23)[index]

    fast = DataLoader(rows(23), 4, shuffle=True, generator=seeded())
    slow = DataLoader(Plain(), 4, shuffle=True, generator=seeded())
    for (a, b), (c, d) in zip(fast, slow, strict=True):
        assert type(a) is type(c)
        assert (a.tolist(), b.tolist(), a.dtype, b.dtype) == (c.tolist(), d.tolist(), c.dtype, d.dtype)


def test_writing_into_a_batch_leaves_the_dataset_alone() -> None:
    x = cr.ones(4, 2)
    for (batch,) in DataLoader(TensorDataset(x), 2):
        batch.mul_(5)
    assert x.tolist() == [[1, 1]] * 4


def test_rows_that_require_grad_keep_their_tape() -> None:
    w = cr.ones(3, requires_grad=True)
    for (batch,) in DataLoader(TensorDataset(w * 2), 3):
        batch.sum().backward()
    assert w.grad is not None
    assert w.grad.tolist() == [2, 2, 2]


def test_samplers_and_batch_samplers_of_ones_own_are_followed() -> None:
    assert [y.tolist() for _, y in DataLoader(rows(5), 2, sampler=[4, 0, 4])] == [[4, 0], [4]]
    loader = DataLoader(rows(5), batch_sampler=[[1, 2], [3]])
    assert [y.tolist() for _, y in loader] == [[1, 2], [3]]
    assert len(loader) == 2
    weighted = WeightedRandomSampler([0, 1, 0, 0, 0], 3, generator=seeded())
    assert [y.tolist() for _, y in DataLoader(rows(5), 2, sampler=weighted)] == [[1, 1], [1]]


def test_without_batches_rows_come_as_they_are() -> None:
    loader = DataLoader(Squares(3), batch_size=None)
    assert list(loader) == [[0, 0], [1, 1], [2, 4]]
    assert len(loader) == 3
    assert list(DataLoader(Stream(3), batch_size=None)) == [0, 1, 2]


def test_a_stream_is_cut_into_batches() -> None:
    assert [x.tolist() for x in DataLoader(Stream(5), 2)] == [[0, 1], [2, 3], [4]]
    assert [x.tolist() for x in DataLoader(Stream(5), 2, drop_last=True)] == [[0, 1], [2, 3]]
    chained = DataLoader(ChainDataset([Stream(1)]), 2)
    assert [x.tolist() for x in chained] == [[0]]


def test_a_stream_that_knows_its_length_gives_the_loader_one() -> None:
    class Known(Stream):
        def __len__(self) -> int:
            return self.limit

    assert len(DataLoader(Known(5), 2)) == 3
    assert len(DataLoader(Known(5), 2, drop_last=True)) == 2
    assert len(DataLoader(Known(5), None)) == 5
    assert len(Known(2) + Known(3)) == 5  # type: ignore[arg-type]  # a ChainDataset has a length if its parts have


def test_a_dataset_may_fetch_many_rows_at_once() -> None:
    class Many(Squares):
        def __getitems__(self, indices: list[int]) -> list[Any]:
            return [(-k, 0) for k in indices]

    assert [x.tolist() for x, _ in DataLoader(Many(3), 2)] == [[0, -1], [-2]]


def test_a_collate_function_of_ones_own_gets_the_rows() -> None:
    assert list(DataLoader(Squares(3), 2, collate_fn=len)) == [2, 1]
    assert [type(b) for b in DataLoader(rows(3), 2, collate_fn=list)] == [list, list]


def test_arguments_without_workers_may_stand() -> None:
    loader = DataLoader(
        rows(3), num_workers=0, pin_memory=True, worker_init_fn=print, timeout=0, persistent_workers=False
    )
    assert len(list(loader)) == 3


def test_an_empty_dataset_has_no_batches() -> None:
    assert list(DataLoader(rows(0), 2)) == []
    assert isinstance(DataLoader(rows(3)).sampler, SequentialSampler)


Pair = namedtuple("Pair", ["x", "y"])


def test_batches_are_put_together_part_by_part() -> None:
    batch = default_collate(
        [
            {"t": cr.ones(2), "a": np.zeros(3, np.float32), "n": np.int32(1), "f": 0.5, "i": 1, "b": True, "s": "one",
             "p": Pair(1, (2.0, [3])), "bytes": b"x"},
            {"t": cr.zeros(2), "a": np.ones(3, np.float32), "n": np.int32(2), "f": 1.5, "i": 2, "b": False, "s": "two",
             "p": Pair(4, (5.0, [6])), "bytes": b"y"},
        ]
    )  # fmt: skip
    assert batch["t"].tolist() == [[1, 1], [0, 0]]
    assert (batch["a"].dtype, tuple(batch["a"].shape)) == (cr.float32, (2, 3))
    assert (batch["n"].dtype, batch["n"].tolist()) == (cr.int32, [1, 2])
    assert (batch["f"].dtype, batch["f"].tolist()) == (cr.float64, [0.5, 1.5])
    assert (batch["i"].dtype, batch["b"].dtype) == (cr.int64, cr.bool)
    assert batch["s"] == ["one", "two"]
    assert batch["bytes"] == [b"x", b"y"]
    assert type(batch["p"]) is Pair
    assert batch["p"].x.tolist() == [1, 4]
    assert [part.tolist() if hasattr(part, "tolist") else part[0].tolist() for part in batch["p"].y] == [[2, 5], [3, 6]]


def test_a_single_row_is_converted_part_by_part() -> None:
    row = default_convert({"a": np.zeros(2), "s": "text", "l": [np.ones(1), 3], "p": Pair(np.float32(2), ("x", 1))})
    assert isinstance(row["a"], cr.Tensor)
    assert row["s"] == "text"
    assert isinstance(row["l"][0], cr.Tensor)
    assert row["l"][1] == 3
    assert isinstance(row["p"].x, cr.Tensor)
    assert row["p"].y == ["x", 1]
    assert default_convert(np.array(["a"])).tolist() == ["a"]


class Strict(list[Any]):
    """A list that cannot be made of its parts alone."""

    def __init__(self, parts: Any, unit: str) -> None:
        super().__init__(parts)
        self.unit = unit


def test_a_container_that_cannot_be_made_again_becomes_a_plain_one() -> None:
    batch = default_collate([Strict([1, 2.0], "m"), Strict([3, 4.0], "m")])
    assert type(batch) is list
    assert batch[0].tolist() == [1, 3]
    assert [x.tolist() for x in default_collate([range(2), range(2)])] == [[0, 0], [1, 1]]
