"""In which dtypes a model takes its rows: converted once, before the first batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from chainrule import run as engines
from chainrule.errors import DataError
from chainrule.graph import Array
from chainrule.nn import Embedding, Module
from chainrule.training.rows import as_floats

if TYPE_CHECKING:
    from chainrule.run import Scaling


class Form(NamedTuple):
    """What a model's inputs and targets are to be.

    ``dtype``     of numbers: that of the model's parameters
    ``integers``  whether integer inputs stay integers, because an Embedding reads them
    ``classes``   whether integer targets stay integers, because they number classes
    ``scaling``   what inputs are scaled by, after they became numbers of that dtype
    """

    dtype: Any
    integers: bool
    classes: bool = False
    scaling: Scaling | None = None

    @classmethod
    def of(cls, model: Module, normalize: tuple[float, float] | None = None) -> Form:
        """Return the form of a model's inputs; its targets are numbers until ``classes`` says otherwise."""
        floats = (p._value.dtype for p in model.parameters() if p._value.dtype.kind == "f")
        embeds = any(isinstance(module, Embedding) for module in model.modules())
        scaling = None if normalize is None else engines.Scaling(normalize[0], 1.0 / normalize[1])
        return cls(next(floats, np.dtype(np.float32)), embeds, scaling=scaling)

    def inputs(self, array: Array, name: str = "X") -> Array:
        """Return inputs as the model takes them."""
        if self.integers and array.dtype.kind in "iu":
            if self.scaling is not None:
                raise DataError(
                    f"{name} holds {array.dtype} numbers for a model with an Embedding, and normalize is given",
                    expected="places in a table, which are not scaled",
                    fix="leave out normalize, or give floating-point numbers",
                )
            return array.astype(np.int64, copy=False)
        values = as_floats(array, self.dtype, name)
        if self.scaling is None:
            return values
        shift, factor = [self.dtype.type(number) for number in self.scaling]
        scaled: Array = (values - shift) * factor
        return scaled

    def keeps(self, array: Array) -> bool:
        """Say whether inputs stay as they are, to be converted batch by batch: images in bytes take a quarter of floats."""
        return array.dtype == np.uint8 and not self.integers

    def targets(self, array: Array, name: str = "y") -> Array:
        """Return targets as the loss takes them; class numbers [rows, 1] become [rows]."""
        if not self.classes:
            return as_floats(array, self.dtype, name)
        if array.dtype.kind == "f":
            raise DataError(
                f"{name} holds {array.dtype} numbers, and the loss reads class numbers",
                expected="integers",
                fix="use y.astype(int) if they number classes, or loss='mse' if they are quantities",
            )
        if array.ndim == 2 and array.shape[1] == 1:
            array = array[:, 0]
        return array.astype(np.int64, copy=False)

    def weights(self, array: Array | None) -> Array | None:
        """Return row weights as the loss takes them."""
        return None if array is None else as_floats(array, self.dtype, "weight")
