"""How many threads the matrix products of a command use: one, unless the user says otherwise.

The networks of a table are small: a second thread gains little on an idle machine and costs a lot on a busy one, where BLAS
threads wait for each other. One thread also gives the same bits on machines with different numbers of cores.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager

from chainrule.forks import undisturbed

NAMES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Use one BLAS thread inside, and say so to what records it; OMP_NUM_THREADS and its like stand above it."""
    if any(os.environ.get(name) for name in NAMES):
        yield
        return
    try:
        with undisturbed():
            limits = importlib.import_module("threadpoolctl").threadpool_limits
    except ImportError:  # without the extra, BLAS uses what it likes, and the run records that
        yield
        return
    os.environ[NAMES[0]] = "1"
    try:
        with limits(limits=1, user_api="blas"):
            yield
    finally:
        del os.environ[NAMES[0]]
