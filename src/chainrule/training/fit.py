"""``fit``: train a model on arrays in one call."""

from __future__ import annotations

from typing import Any

from chainrule.errors import ArgumentTypeError
from chainrule.nn import Module
from chainrule.training.arguments import check_names, options_of
from chainrule.training.history import History
from chainrule.training.trainer import Trainer

OPTIONS = options_of(Trainer.__init__)


def fit(model: Module, data: Any, *more: Any, val: Any = None, **options: Any) -> History:
    """Train ``model`` on ``data`` and return the history; the model ends with the best weights, in eval mode.

    ``data``     (X, y), (X, y, row weights), a TensorDataset, or an iterable of batches such as a DataLoader
    ``val``      the same to watch after each epoch; early stopping (``patience``) goes by it
    ``options``  as for ``Trainer``: loss, optimizer, lr, epochs, batch_size, metrics, patience, seed, …

    Before training the model runs on two rows, to see the shape of its outputs. What that changed in its attributes, lists, dicts,
    hooks and layers is put back; what it did elsewhere (printed, counted in a variable) is not.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> _ = cr.manual_seed(0)
    >>> model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))
    >>> X, y = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [0, 1, 1, 0]
    >>> history = cr.fit(model, (X, y), epochs=400, lr=0.05, batch_size=None, progress=False)
    >>> history["train_loss"][-1] < 0.05
    True
    """
    if more:
        raise ArgumentTypeError(
            f"fit: got {2 + len(more)} arguments by position",
            expected="fit(model, data)",
            fix="write fit(model, (X, y), …)",
        )
    check_names("fit", options, OPTIONS)
    return Trainer(model, **options).fit(data, val)
