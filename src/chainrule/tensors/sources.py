"""What gives another number or item each time it is asked, and would be asked once: random generators of others, and iterators.

What a trace has drawn from them is a constant of its graph. So their states before and after are compared, and a trace that
moved one is refused. A random generator is put back; an iterator cannot be.
"""

from __future__ import annotations

import ctypes
import gc
import itertools
import operator
import os
import random
import sys
import threading
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from types import GeneratorType
from typing import Any

import numpy as np

from chainrule.errors import TraceError
from chainrule.forks import free_in_child, undisturbed

DEEPEST = 4  # iterators in iterators that are looked at
BYTES = 4 * 625  # of the state of MT19937: 624 numbers, and at which of them it is
OF_NORMAL = ("has_gauss", "gauss")  # of its state: normal numbers are made in pairs
LOCK = type(threading.RLock())
COUNTED = (int, float, str)


class Source(ABC):
    """A random generator or an iterator, and its state when it was first met. ``place`` says where that was."""

    __slots__ = ("_before", "place", "value")
    fix = ""

    def __init__(self, place: str, value: Any) -> None:
        self.place, self.value = place, value
        self._before = self.state()

    @abstractmethod
    def state(self) -> Any:
        """Return its state, now."""

    def is_changed(self) -> bool:
        """Return whether something was taken from it."""
        return not is_alike(self.state(), self._before)

    @abstractmethod
    def put_back(self) -> None:
        """Let its state be what it was, where that can be done."""

    @abstractmethod
    def told(self, traced: str) -> TraceError:
        """Return the error that says what was taken from it."""


class RandomSource(Source):
    """A generator of random numbers that is none of chainrule's."""

    __slots__ = ()

    def state(self) -> Any:
        with undisturbed():  # a generator of NumPy's is locked while it is asked
            return self._state()

    def _state(self) -> Any:
        if isinstance(self.value, random.Random):
            return self.value.getstate()
        if isinstance(self.value, np.random.Generator):
            return self.value.bit_generator.state
        if isinstance(self.value, np.random.BitGenerator):
            return self.value.state
        return self.value.get_state(legacy=False)

    def put_back(self) -> None:
        if self.is_changed():
            with undisturbed():
                self._put_back()

    def _put_back(self) -> None:
        if isinstance(self.value, random.Random):
            self.value.setstate(self._before)
        elif isinstance(self.value, np.random.Generator):
            self.value.bit_generator.state = self._before
        elif isinstance(self.value, np.random.BitGenerator):
            self.value.state = self._before
        else:
            self.value.set_state(self._before)

    def told(self, traced: str) -> TraceError:
        return TraceError(
            f"'{traced}' drew random numbers from {self.place} while it was traced: they would be the same in every call",
            expected="random numbers of chainrule, which every call draws anew",
            fix="draw them with cr.rand, cr.randn or cr.randint, or draw outside and pass them as arguments",
        )


class SharedSource(RandomSource):
    """A random generator that everybody shares, other threads too."""

    __slots__ = ()


class NumpysOwn(SharedSource):
    """NumPy's global generator, while other threads run: its state, as NumPy gives it, lets these go on and draw."""

    __slots__ = ("_bits",)

    def __init__(self, place: str, value: Any) -> None:
        super().__init__(place, value)
        self._bits = _bits_of(value)

    def is_changed(self) -> bool:
        bits = _bits_of(self.value)
        if bits is None or self._bits is None:
            return super().is_changed()
        if bits != self._bits:
            return True
        lock = self.value._bit_generator.lock
        with undisturbed():
            is_held = type(lock) is LOCK and lock.acquire(blocking=False)  # by nobody but us, as long as we ask
            try:
                return any(self.state()[key] != self._before[key] for key in OF_NORMAL)
            finally:
                if is_held:
                    lock.release()


class NotYetLoaded(SharedSource):
    """NumPy's global generator, while nothing has loaded ``np.random``: we do not, for it takes 7 ms and 5 MB of memory.

    It begins with numbers from the machine, and keeps what they were: so what it was at first is known afterwards.
    """

    __slots__ = ()

    def state(self) -> Any:
        if "numpy.random" not in sys.modules:
            return None
        self.value = _numpys_own()
        return super().state()

    def is_changed(self) -> bool:
        now = self.state()
        if self._before is None and now is not None:
            seed: Any = np.random.mtrand.get_bit_generator().seed_seq
            self._before = np.random.RandomState(np.random.MT19937(seed)).get_state(legacy=False)
        return not is_alike(now, self._before)


class IteratorSource(Source):
    """A Python generator or another iterator."""

    __slots__ = ()

    def state(self) -> Any:
        return list(_state_of_iterator(self.value, DEEPEST))

    def is_changed(self) -> bool:
        now, before = self.state(), self._before
        if len(now) != len(before):
            return True
        return any(x is not y and not (type(x) in COUNTED and x == y) for x, y in zip(now, before, strict=True))

    def put_back(self) -> None:
        """Do nothing: what was taken is gone."""

    def told(self, traced: str) -> TraceError:
        return TraceError(
            f"'{traced}' took from the iterator {self.place} while it was traced: every call would use the same item, and "
            "what was taken (one item for each next()) is gone",
            expected="arguments for what differs from call to call",
            fix="call next() outside of the compiled function, and pass the item",
        )


def is_random(value: Any) -> bool:
    """Say whether a value is a generator of random numbers, with a state that can be read."""
    if isinstance(value, random.Random):
        return not isinstance(value, random.SystemRandom)
    return "numpy.random" in sys.modules and isinstance(
        value, (np.random.Generator, np.random.RandomState, np.random.BitGenerator)
    )


def is_iterator(value: Any) -> bool:
    """Say whether a value is a generator or an iterator of Python's own."""
    kind = type(value)
    if kind is GeneratorType:
        return True
    return kind.__module__ in ("builtins", "itertools", "collections") and isinstance(value, Iterator)


def source_of(place: str, value: Any) -> Source | None:
    """Return what watches a value, if things are taken from it."""
    if is_random(value):
        return RandomSource(f"the generator '{place}'", value)
    return IteratorSource(f"'{place}'", value) if is_iterator(value) else None


def global_sources(*, others_run: bool) -> list[Source]:
    """Return the generators that everybody shares, maybe other threads that run: of the module random, and of NumPy."""
    python: Any = random.random
    numpys = NumpysOwn if others_run else SharedSource
    place = "NumPy's global generator (np.random)"
    return [  # NumPy's first, as asking for its state lets other threads go on
        numpys(place, _numpys_own()) if "numpy.random" in sys.modules else NotYetLoaded(place, None),
        SharedSource("Python's module 'random'", python.__self__),
    ]


def _numpys_own() -> Any:
    own: Any = np.random.get_state
    return own.__self__


def _free_numpys_own() -> None:
    """Let a child ask NumPy's global generator, whichever thread of its parent drew from it at the fork."""
    own = getattr(sys.modules.get("numpy.random.mtrand"), "_rand", None)  # None also while it is loaded
    if own is not None and type(lock := own._bit_generator.lock) is LOCK:
        free_in_child(lock)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_free_numpys_own)


def _bits_of(generator: Any) -> bytes | None:
    """Return the numbers of a generator from where it keeps them, at once; None if that is not known."""
    bits = generator._bit_generator
    return ctypes.string_at(bits.ctypes.state_address, BYTES) if type(bits) is np.random.MT19937 else None


def is_alike(x: Any, y: Any) -> bool:
    """Return whether two states of random generators, which may have arrays in them, are the same."""
    if isinstance(x, dict):
        return x.keys() == y.keys() and all(is_alike(part, y[key]) for key, part in x.items())
    if isinstance(x, np.ndarray):
        return bool(x.tobytes() == y.tobytes())  # a comparison of arrays lets other threads go on
    return bool(x == y)


def _state_of_iterator(value: Any, depth: int) -> Iterator[Any]:
    """Yield what differs once something was taken: where it stands, how much is left, and what it holds.

    Where a loop inside a generator stands is told by the iterator of the loop, which the generator holds.
    """
    kind = type(value)
    yield kind.__name__
    if kind is GeneratorType:
        yield -2 if value.gi_frame is None else value.gi_frame.f_lasti
    elif kind is itertools.count:
        yield repr(value)
        return
    else:
        yield operator.length_hint(value, -1)
    if not depth:
        return
    for part in gc.get_referents(value):
        if type(part) in COUNTED:
            yield part
        yield from _part_of_iterator(part, depth)
    if kind in (itertools.cycle, itertools.product):  # whose place is seen in no other way
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            for part in getattr(value, "__reduce__", tuple)()[1:]:
                yield from _part_of_iterator(part, depth)


def _part_of_iterator(part: Any, depth: int) -> Iterator[Any]:
    if type(part) in (list, tuple):
        yield len(part)
        for inner in part[:DEEPEST]:
            yield from _state_of_iterator(inner, depth - 1) if is_iterator(inner) else (inner,)
    elif is_iterator(part):
        yield from _state_of_iterator(part, depth - 1)
