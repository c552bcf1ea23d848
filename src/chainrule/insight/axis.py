"""Axes: which numbers to write beside a drawing, and where a value lies along it."""

from __future__ import annotations

import math
from collections.abc import Iterable

from chainrule.insight.figures import number

SMALLEST = 1e-290  # a smaller range has no ticks: its tenths may be 0


class Axis:
    """A scale from ``low`` to ``high``, ends at ticks if ``nice``; ``position`` maps a value to 0 … 1.

    >>> axis = Axis(0.13, 2.71)
    >>> axis.ticks, [axis.label(tick) for tick in axis.ticks]
    ([0.0, 1.0, 2.0, 3.0], ['0', '1', '2', '3'])
    >>> Axis(0.001, 3.0, log=True).ticks
    [0.001, 0.01, 0.1, 1.0]
    """

    def __init__(
        self, low: float, high: float, *, log: bool = False, nice: bool = True, count: int = 5, percent: bool = False
    ) -> None:
        self.log = log
        self.percent = percent
        if high <= low or (not log and high - low < SMALLEST):
            margin = abs(low) * 0.1 if abs(low) > SMALLEST else 0.5
            low, high = (low / 2, high * 2) if log else (low - margin, high + margin)
        if log:
            self.step = 0.0
            self.low, self.high = _log_ends(low, high)
            self.ticks = _log_ticks(self.low, self.high)
        else:
            self.step = nice_step((high - low) / count)
            self.ticks = _ticks(low, high, self.step, outward=nice)
            self.low, self.high = (self.ticks[0], self.ticks[-1]) if nice else (low, high)

    def position(self, value: float) -> float:
        """Return where ``value`` lies: 0 at the low end, 1 at the high end."""
        if self.log:
            return math.log(max(value, self.low * 1e-3) / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def label(self, tick: float) -> str:
        """Return a tick as text, with as many decimals as its neighbours need."""
        if self.percent:
            decimals = max(-math.floor(math.log10(100 * self.step) + 1e-9), 0)
            return f"{100 * tick:.{decimals}f} %"
        largest = max(abs(self.low), abs(self.high))
        if self.log or largest >= 1e5 or largest < 1e-3:
            return short(tick)
        decimals = max(-math.floor(math.log10(self.step) + 1e-9), 0)
        return f"{tick:,.{decimals}f}".replace("-0.0", "0.0") if tick else "0"


def short(value: float) -> str:
    """Return a number in few characters.

    >>> short(1500000), short(0.0001), short(2500), short(1e-9), short(-30000)
    ('1.5 M', '0.0001', '2,500', '1e-9', '-30 k')
    """
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size <= abs(value) < 1e15:
            return f"{value / (1e3 if letter == 'k' else size):.4g} {letter}"
    if value and (abs(value) < 1e-4 or abs(value) >= 1e15):
        mantissa, _, exponent = f"{value:.2e}".partition("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return number(value, 4)


def nice_step(rough: float) -> float:
    """Return the number of the form 1, 2 or 5 times a power of ten nearest above ``rough``.

    >>> nice_step(0.13), nice_step(0.9), nice_step(3.0)
    (0.2, 1.0, 5.0)
    """
    power = 10.0 ** math.floor(math.log10(rough))
    return float(next(f * power for f in (1, 2, 5, 10) if f * power >= rough * (1 - 1e-9)))


def _ticks(low: float, high: float, step: float, *, outward: bool) -> list[float]:
    small = 1e-9
    if outward:
        first, last = math.floor(low / step + small), math.ceil(high / step - small)
    else:
        first, last = math.ceil(low / step - small), math.floor(high / step + small)
    return [round(k * step, 12) if step > 1e-9 else k * step for k in range(first, last + 1)]


def _log_ends(low: float, high: float) -> tuple[float, float]:
    """Return the nearest numbers of the form 1, 2 or 5 times a power of ten around a range above 0."""
    power = 10.0 ** math.floor(math.log10(low))
    below = max(f * power for f in (0.5, 1, 2, 5) if f * power <= low * (1 + 1e-9))
    return below, nice_step(high)


def _log_ticks(low: float, high: float) -> list[float]:
    """Return round numbers from ``low`` to ``high``: 1, 2 and 5 times powers of ten if they are few, else powers of ten."""
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    fine = [f * 10.0**k for k in range(first, last + 1) for f in (1, 2, 5)]
    fine = [tick for tick in fine if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
    if len(fine) <= 7:
        return fine
    powers = [10.0**k for k in range(first, last + 1) if low * (1 - 1e-9) <= 10.0**k <= high * (1 + 1e-9)]
    return powers[:: -(-len(powers) // 7)]


def epoch_ticks(epochs: int, count: int = 6) -> list[int]:
    """Return whole numbers from 1 to ``epochs``, both ends among them.

    >>> epoch_ticks(1), epoch_ticks(8), epoch_ticks(40)
    ([1], [1, 2, 4, 6, 8], [1, 10, 20, 30, 40])
    """
    if epochs == 1:
        return [1]
    step = max(int(nice_step((epochs - 1) / count)), 1)
    inner: Iterable[int] = range(step, epochs, step)
    return [1, *[k for k in inner if k > 1 and epochs - k >= 0.6 * step], epochs]
