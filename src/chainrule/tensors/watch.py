"""Runs of a compiled function that must stay finite: what they write is kept, and put back where a NaN or an infinity appears."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import NotFiniteError
from chainrule.tensors.arguments import Results
from chainrule.tensors.memory import overwrite
from chainrule.tensors.tensor import Tensor

if TYPE_CHECKING:
    from chainrule.tensors.traced import Traced


def all_finite(arrays: Iterable[Any]) -> bool:
    """Say whether arrays hold no NaN and no infinity."""
    for x in arrays:
        if (
            x.dtype.kind == "f" and not math.isfinite(np.vdot(x, x)) and not np.isfinite(x).all()
        ):  # the cheapest question
            return False
    return True


class Watch:
    """What runs of ``traced`` on these arguments write, as it is before them."""

    def __init__(self, traced: Traced, tensors: list[Tensor]) -> None:
        self.written = traced.written(tensors)
        self.values = [x._value.copy() for x in self.written]
        self.attributes = traced.attributes()
        self.generators = [(generator, generator.get_state()) for generator in traced.generators()]

    def is_fine(self, results: Iterable[Any]) -> bool:
        """Say whether results, and what was written, are finite."""
        with np.errstate(all="ignore"):
            return all_finite(results) and all_finite([x._value for x in self.written])

    def put_back(self) -> None:
        """Let everything be as it was."""
        for x, value in zip(self.written, self.values, strict=True):
            overwrite(x, value)
        for place, held in self.attributes:
            if place.value() is not held:
                place.put(held)
        for generator, state in self.generators:
            generator.set_state(state)


def run_watched(served: tuple[Traced, list[Tensor], dict[str, int]], run: Callable[[], Any], told: str) -> None:
    """Run once; where that gives a NaN or an infinity, put everything back and raise NotFiniteError with its origin.

    ``served`` is the trace with its arguments and sizes, ``run`` runs it, ``told`` says which run it is.
    """
    traced, tensors, sizes = served
    watch = Watch(traced, tensors)
    if watch.is_fine([x._value for x in Results(run()).tensors]):
        return
    watch.put_back()
    raise NotFiniteError(
        f"{told}: a NaN or an infinity appeared. It began with {traced.origin(tensors, sizes) or 'what cannot be found'}",
        expected="finite numbers",
        fix="lower the learning rate, limit the gradient, or scale the inputs. Everything is as it was before that batch",
    )
