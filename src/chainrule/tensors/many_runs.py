"""Many runs of a compiled function as one: on batch after batch of rows, or on the same arguments again and again.

Natively, as many as fit are one call. Where a trace cannot run so, or is not there yet, runs follow each other one by one; the
bits are the same.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import run as engines
from chainrule.errors import ArgumentError, ArgumentTypeError, ChainruleError
from chainrule.graph import Array
from chainrule.graph.numeric import as_int
from chainrule.interrupts import held
from chainrule.tensors.arguments import Results, rebuild
from chainrule.tensors.row_at_fault import is_refused_number, row_at_fault
from chainrule.tensors.tensor import Tensor
from chainrule.tensors.watch import Watch, run_watched

if TYPE_CHECKING:
    from chainrule.tensors.compile import Compiled

MOST_ROWS = 1 << 20  # of one native call, in as many passes through the data
ENOUGH_ROWS = 1 << 16  # of one pass, which is then a call of its own: their order takes memory


def run_over(
    compiled: Compiled, rows: tuple[Any, ...], batch_size: int, order: Any, passes: int, *, check_finite: bool
) -> Any:
    """Run on one batch of rows after the other: see ``Compiled.over``."""
    batch_size, passes = as_int(batch_size), as_int(passes)
    with held() as ctrl_c:
        return _run_over(compiled, rows, batch_size, order, passes, ctrl_c, check_finite=check_finite)


def _run_over(
    compiled: Compiled,
    rows: tuple[Any, ...],
    batch_size: int,
    order: Any,
    passes: int,
    ctrl_c: held,
    *,
    check_finite: bool,
) -> Any:
    arrays = [np.asarray(x.detach()._value if isinstance(x, Tensor) else x) for x in rows]
    once = _in_order(compiled.name, arrays, batch_size, order, passes)
    count = len(arrays[0])
    found, ran = Stacked(compiled.name), 0
    # where no batch is smaller, a pass goes on where the one before it ends
    goes_on = len(once) % batch_size == 0 and len(once) < ENOUGH_ROWS
    together = max(min(passes, MOST_ROWS // len(once)), 1) if goes_on else 1
    for first in range(0, passes, together):
        whole = len(once) * min(together, passes - first)
        taken = np.zeros(whole + batch_size, np.int64)  # with one batch more: rows are asked for ahead of their use
        taken[:whole].reshape(-1, len(once))[:] = once
        start = 0
        while start < whole:
            some, steps = taken[start : min(start + batch_size, whole)], (whole - start) // batch_size
            is_like = steps > 1 and count >= batch_size  # then the first rows tell as much, and are not copied
            batch = [Tensor(x[:batch_size] if is_like else x.take(some, axis=0)) for x in arrays]
            watch = _watch(compiled, batch) if check_finite else None
            done = _at_once(compiled, batch, arrays, taken[start:], steps, found, ctrl_c)
            if not done:
                if is_like:
                    batch = [Tensor(x.take(some, axis=0)) for x in arrays]
                with _told_where(arrays, some, ran + 1):
                    done = _once(compiled, batch, found, ctrl_c)
            ran += done
            ctrl_c.let_out()
            if watch is not None and not watch.is_fine(found.parts[-1]):
                watch.put_back()
                before = sum(len(part[0]) for part in found.parts[:-1])
                _find_first(compiled, arrays, taken[start:whole], batch_size, done, before)
            start += batch_size * done
    return found.result()


def run_again(compiled: Compiled, args: tuple[Any, ...], times: int) -> Any:
    """Run on the same arguments again and again: see ``Compiled.repeat``."""
    times = as_int(times)
    _check_counts(f"{compiled.name}.repeat", times=times)
    if times < 1:
        raise ArgumentError(f"{compiled.name}.repeat: got times={times}", expected="1 or more")
    found = Stacked(compiled.name)
    done = 0
    with held() as ctrl_c:
        while done < times:
            done += _at_once(compiled, list(args), [], np.zeros(0, np.int64), times - done, found, ctrl_c) or _once(
                compiled, list(args), found, ctrl_c
            )
            ctrl_c.let_out()
    return found.result()


def _check_counts(name: str, **counts: Any) -> None:
    """Raise unless all of them are integers."""
    for key, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int):
            raise ArgumentTypeError(f"{name}: got {key}={count!r}", expected="an integer of 1 or more")


def _in_order(name: str, arrays: list[Any], batch_size: int, order: Any, passes: int) -> Array:
    """Return the numbers of the rows in the order in which one pass takes them; raise if an argument makes no sense."""
    if not arrays or any(x.ndim == 0 or len(x) != len(arrays[0]) for x in arrays):
        got = ", ".join(str(x.shape) for x in arrays)
        raise ArgumentError(f"{name}.over: got arrays of shapes ({got})", expected="the same number of rows")
    _check_counts(f"{name}.over", batch_size=batch_size, passes=passes)
    if batch_size < 1 or passes < 1:
        raise ArgumentError(f"{name}.over: got batch_size={batch_size}, passes={passes}", expected="1 or more of each")
    count = len(arrays[0])
    if count == 0:
        raise ArgumentError(f"{name}.over: got arrays without rows", expected="at least one row")
    once = np.arange(count) if order is None else _numbers_of_rows(name, order)
    if once.min() < 0 or once.max() >= count:
        bad = int(once.min() if once.min() < 0 else once.max())
        raise ArgumentError(
            f"{name}.over: got row {bad} in the order of {count} rows",
            expected=f"numbers from 0 to {count - 1}",
        )
    return once.astype(np.int64, copy=False)


def _numbers_of_rows(name: str, order: Any) -> Array:
    """Return the order as an array of integers; raise if it is a mask, fractions, or no list of numbers."""
    once = np.asarray(order)
    if once.size == 0:
        raise ArgumentError(f"{name}.over: got an empty order", expected="the number of at least one row")
    if once.dtype.kind == "O" and all(isinstance(row, (int, np.integer)) for row in once.flat):
        once = once.astype(np.int64)
    if once.dtype.kind not in "iu":
        raise ArgumentTypeError(
            f"{name}.over: got an order of {once.dtype}",
            expected="the numbers of rows, as integers",
            fix="give np.flatnonzero(mask) for the rows of a mask" if once.dtype.kind == "b" else "",
        )
    if once.ndim != 1:
        raise ArgumentError(f"{name}.over: got an order of shape {once.shape}", expected="one axis")
    return once


def _once(compiled: Compiled, args: list[Any], found: Stacked, ctrl_c: held) -> int:
    """Run once, and return that; Ctrl-C has to wait where a trace does so, not where the function is traced, or runs as it is."""
    if compiled.traced_for(*args) is not None:
        return found.one(compiled(*args))
    with ctrl_c.let_through():
        return found.one(compiled(*args))


@contextmanager
def _told_where(arrays: list[Any], rows: Array, number: int) -> Iterator[None]:
    """Say of an index or label that is refused in which batch, which has these rows of the arrays, and row it is."""
    try:
        yield
    except ChainruleError as error:
        if is_refused_number(error):
            row = row_at_fault(error, arrays, rows)
            error.what += f", in batch {number}" + ("" if row is None else f", row {row} of the data")
        raise


def _at_once(
    compiled: Compiled, args: list[Any], arrays: list[Any], order: Any, steps: int, found: Stacked, ctrl_c: held
) -> int:
    """Run ``steps`` times in one native call, on batches of ``arrays`` if there are any; return how often: 0 if it cannot be."""
    served = compiled.traced_for(*args) if steps > 1 else None
    if served is None or not served[0].can_run_steps():
        return 0
    traced, tensors, sizes = served
    fits = zip(arrays, tensors, strict=False)
    if arrays and not (len(arrays) == len(tensors) and all(engines.can_gather(x, t._value.dtype) for x, t in fits)):
        return 0
    wanted = range(traced.num_results)
    rows = dict(enumerate(arrays))
    done, results = traced.run_steps(tensors, rows, order, sizes, steps, wanted, stop=lambda: ctrl_c.is_heard)
    if done:
        found.form, found.sizes = traced.form, sizes
        found.several([results[k][:done] for k in wanted])
    return done


def _watch(compiled: Compiled, batch: list[Any]) -> Watch | None:
    served = compiled.served(*batch)
    return None if served is None else Watch(served[0], served[1])


def _find_first(compiled: Compiled, arrays: list[Any], order: Any, batch_size: int, steps: int, before: int) -> None:
    """Repeat steps one by one up to the first whose numbers are not finite, and raise with what it was."""
    for k in range(steps):
        rows = order[k * batch_size : (k + 1) * batch_size]
        batch = [Tensor(x.take(rows, axis=0)) for x in arrays]
        served = compiled.served(*batch)
        assert served is not None  # it ran before
        run_watched(served, functools.partial(compiled, *batch), f"{compiled.name}.over: batch {before + k + 1}")


class Stacked:
    """What several runs return, as one: each tensor with a new first axis, all else as the last run returned it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.parts: list[list[Any]] = []
        self.form: Any = None
        self.sizes: dict[str, int] = {}  # of the last run, for symbols in the form

    def one(self, value: Any) -> int:
        """Add what one run returned; return 1."""
        results = Results(value)
        self.form, self.sizes = results.form, {}
        self.several([x._value[None] for x in results.tensors])
        return 1

    def several(self, arrays: list[Any]) -> None:
        """Add what several runs returned, one array for each result."""
        if self.parts and any(x.shape[1:] != y.shape[1:] for x, y in zip(self.parts[0], arrays, strict=True)):
            raise ArgumentError(
                f"{self.name}: a smaller last batch returns tensors of another shape",
                expected="results that do not depend on the size of the batch, or rows that make whole batches",
            )
        self.parts.append(arrays)

    def result(self) -> Any:
        """Return the form of one run with the tensors of all."""
        whole = [parts[0] if len(parts) == 1 else np.concatenate(parts) for parts in zip(*self.parts, strict=True)]
        return rebuild(self.form, [Tensor(x) for x in whole], self.sizes)
