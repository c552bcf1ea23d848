"""What a trace remembers of the world outside: tensors, gradients, generators, and whom it asks again at each run."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, TypeVar

from chainrule.graph import Node
from chainrule.tensors.generator import default_generator
from chainrule.tensors.state import STATE
from chainrule.tensors.tensor import Tensor

T = TypeVar("T")


class Ambient:
    """Stands for the generator that the caller draws from when the function runs."""


class Bound:
    """A tensor from outside inside a trace: the input it became, the node it is now, and how often it was rebound.

    ``gradient_of`` is the tensor whose ``grad`` it was: each run takes the gradient that is there then. ``left`` is the node
    that it was when the code gave it other data: what shared its memory outside keeps that.
    """

    __slots__ = ("gradient_of", "input", "left", "node", "rebound", "tensor")

    def __init__(self, tensor: Tensor, node: Node, gradient_of: Tensor | None) -> None:
        self.tensor = tensor
        self.input = node
        self.node = node
        self.rebound = 0
        self.left: Node | None = None
        self.gradient_of = gradient_of


class Grad:
    """``x.grad`` inside a trace: before it, now, and whether the function replaced it before reading it.

    Before and now are a tensor, None, or ``NOT_KEPT``.
    """

    __slots__ = ("before", "cleared", "now", "tensor")

    def __init__(self, tensor: Tensor, before: Any, now: Any, *, cleared: bool) -> None:
        self.tensor = tensor
        self.before = before
        self.now = now
        self.cleared = cleared


class Draws:
    """The draws that a trace makes from one generator, or from ``Ambient``."""

    __slots__ = ("count", "draw", "generator", "seed")

    def __init__(self, generator: Any, seed: Node, draw: Node) -> None:
        self.generator = generator
        self.seed = seed
        self.draw = draw
        self.count = 0


def weakly(owner: T, call: Callable[[T], Any]) -> Callable[[], Any]:
    """Return the function that gives ``call(owner)``, or None when the owner is gone; it does not keep the owner alive."""
    find = weakref.ref(owner)

    def called() -> Any:
        found = find()
        return None if found is None else call(found)

    return called


def current_generator(chosen: Any) -> Any:
    """Return a generator, for ``Ambient`` the one that this thread draws from now."""
    return chosen if chosen is not Ambient else STATE.generator or default_generator


def state_of(chosen: Any) -> tuple[int, int]:
    """Return seed and draw number of a generator, or of the one that ``Ambient`` stands for now."""
    generator = current_generator(chosen)
    return generator.seed_value, generator.draw
