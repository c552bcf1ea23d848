"""The generator of random numbers: a seed, and a count of the draws made so far."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from chainrule.errors import ArgumentError, ArgumentTypeError, TraceError
from chainrule.graph import Primitive
from chainrule.graph.numeric import as_int
from chainrule.tensors.apply import apply, traced
from chainrule.tensors.state import STATE, TRACE
from chainrule.tensors.tensor import Tensor
from chainrule.tensors.tensor import device as Device

WORD = (1 << 64) - 1


def _entropy() -> int:
    """Return a seed from the operating system."""
    return int.from_bytes(os.urandom(8), "little") >> 2


class Generator:
    """Draws random numbers by counter (Philox 4x32-10): draw number k from a seed is always the same.

    >>> Generator().manual_seed(7).initial_seed()
    7
    """

    def __init__(self, device: Any = "cpu") -> None:
        self.device = Device(device)
        self.seed_value = _entropy()
        self.draw = 0

    def manual_seed(self, seed: int) -> Generator:
        """Start again from ``seed``, an integer of 64 bits (a negative one counts from 2**64 down)."""
        seed = as_int(seed)
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise ArgumentTypeError(f"manual_seed: got {seed!r}", expected="an integer")
        if not -(1 << 63) <= seed <= WORD:
            raise ArgumentError(f"manual_seed: got {seed}", expected="an integer from -2**63 to 2**64 - 1")
        self._check_not_traced("manual_seed()")
        self.seed_value = seed & WORD
        self.draw = 0
        return self

    def initial_seed(self) -> int:
        """Return the seed."""
        return self.seed_value

    def seed(self) -> int:
        """Start again from a seed taken from the operating system, and return it."""
        self.manual_seed(_entropy())
        return self.seed_value

    def get_state(self) -> dict[str, int]:
        """Return seed and draw number: all there is."""
        return {"seed": self.seed_value, "draw": self.draw}

    def set_state(self, state: Any) -> None:
        """Continue from a state that ``get_state`` returned."""
        self._check_not_traced("set_state()")
        if not isinstance(state, dict) or state.keys() != {"seed", "draw"}:
            raise ArgumentTypeError(
                f"set_state: got {state!r:.80}", expected="what get_state() returned: {'seed': …, 'draw': …}"
            )
        self.seed_value, self.draw = int(state["seed"]), int(state["draw"])

    def _check_not_traced(self, asked: str) -> None:
        if STATE.mode == TRACE:
            raise TraceError(
                f"{asked} of a generator inside a compiled function: Python would do it once and never again",
                fix="seed outside of the compiled function",
            )

    def next(self, primitive: Primitive, attributes: dict[str, Any]) -> Tensor:
        """Return the next draw: ``primitive`` is one of the random operations."""
        if STATE.mode == TRACE and STATE.trace is not None:
            seed, draw, offset = STATE.trace.draw_from(self)
            return traced(primitive, (seed, draw), {"offset": offset, **attributes})
        number = self.draw
        self.draw = number + 1
        return apply(primitive, (self.seed_value, number), {"offset": 0, **attributes})


default_generator = Generator()


def manual_seed(seed: int) -> Generator:
    """Seed the default generator, which every random function uses unless it is given another."""
    return default_generator.manual_seed(seed)


def seed() -> int:
    """Seed the default generator from the operating system, and return the seed."""
    return default_generator.seed()


def initial_seed() -> int:
    """Return the seed of the default generator."""
    return default_generator.initial_seed()


def get_rng_state() -> dict[str, int]:
    """Return the state of the default generator."""
    return default_generator.get_state()


def set_rng_state(state: dict[str, int]) -> None:
    """Continue the default generator from a state that ``get_rng_state`` returned."""
    default_generator.set_state(state)


def chosen(generator: Generator | None) -> Generator:
    """Return ``generator``, or the one this thread draws from inside ``drawing_from``, or the default one."""
    if generator is not None:
        return generator
    found: Generator = STATE.generator or default_generator
    return found


@contextmanager
def drawing_from(generator: Generator) -> Iterator[None]:
    """Let random functions inside that are given no generator draw from ``generator`` (in this thread)."""
    before = STATE.generator
    STATE.generator = generator
    try:
        yield
    finally:
        STATE.generator = before
