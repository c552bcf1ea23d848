"""From a dataset to batches, as PyTorch's ``utils.data``.

dataset   rows by number: from tensors, joined, or a part of another
sampler   the order in which they are visited
collate   a list of rows as a batch
loader    batch after batch
"""

from typing import NoReturn

from chainrule.errors import NameUnknown, nearest
from chainrule.utils.data.collate import default_collate, default_convert
from chainrule.utils.data.dataset import (
    ChainDataset,
    ConcatDataset,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
    random_split,
)
from chainrule.utils.data.loader import DataLoader
from chainrule.utils.data.sampler import (
    BatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

__all__ = [
    "Dataset", "IterableDataset", "TensorDataset", "ConcatDataset", "ChainDataset", "Subset", "random_split",
    "Sampler", "SequentialSampler", "RandomSampler", "SubsetRandomSampler", "WeightedRandomSampler", "BatchSampler",
    "DataLoader", "default_collate", "default_convert",
]  # fmt: skip


def __getattr__(name: str) -> NoReturn:
    raise NameUnknown(
        f"chainrule.utils.data has no {name!r}",
        expected=f"one of {', '.join(__all__)}",
        fix=lambda: nearest(name, __all__),
    )
