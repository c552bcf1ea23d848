"""Large pages for rows that are read in no order: where each row is elsewhere, most of its time is the search for its page."""

from __future__ import annotations

import ctypes
import functools
import sys
from typing import Any

from chainrule.graph import Array

PAGE = 1 << 21  # bytes of a large page
WORTH = 4 * PAGE  # bytes of an array from which on it pays
MOST_KNOWN = 1024  # addresses
COLLAPSE = 25  # MADV_COLLAPSE (Linux 6.1): put what lies in small pages into large ones, now


class LargePages:
    """Asks for large pages for arrays, once for each address."""

    def __init__(self) -> None:
        self._asked: set[int] = set()

    def ask(self, array: Array) -> None:
        """Ask for an array if it was not done before."""
        if array.ctypes.data not in self._asked:
            if len(self._asked) >= MOST_KNOWN:
                self._asked.clear()
            self._asked.add(array.ctypes.data)
            use_large_pages(array)


def use_large_pages(array: Array) -> bool:
    """Ask the system to keep an array's memory in large pages; say whether it does. The contents stay where they are.

    It is a hint: where there are no large pages, or the memory is a file's, everything stays as it is.
    """
    first = -(-array.ctypes.data // PAGE) * PAGE
    last = (array.ctypes.data + array.nbytes) // PAGE * PAGE
    advise = _advise()
    if advise is None or array.nbytes < WORTH or last <= first:
        return False
    return bool(advise(first, last - first, COLLAPSE) == 0)


@functools.cache
def _advise() -> Any:
    if sys.platform != "linux":
        return None
    advise = ctypes.CDLL(None).madvise
    advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return advise
