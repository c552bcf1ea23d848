"""A fingerprint of data: equal where contents, names and dtypes are, whatever file or process they came from."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from chainrule.data.columns import NumberColumn
from chainrule.data.table import Table
from chainrule.errors import DtypeError


def fingerprint(data: Table | npt.NDArray[np.generic] | Mapping[str, npt.NDArray[np.generic]]) -> str:
    """Return the SHA-256 of a table, an array, or named arrays, in hexadecimal.

    Byte order and memory layout do not matter, nor which bits a NaN has; the order of rows and columns does. Of a table
    counts what its cells hold, not where it was read from.

    >>> fingerprint(np.arange(3)) == fingerprint(np.arange(3, dtype=">i8"))
    True
    """
    digest = hashlib.sha256()

    def add(*parts: bytes) -> None:
        for part in parts:  # each with its length: ("ab", "c") is not ("a", "bc")
            digest.update(struct.pack("<q", len(part)))
            digest.update(part)

    if isinstance(data, Table):
        add(b"table", str(len(data)).encode())
        for name, column in data.columns.items():
            if isinstance(column, NumberColumn):
                add(name.encode(), b"numbers", _array_bytes(column.values))
                continue
            occur, first, codes = np.unique(column.codes, return_index=True, return_inverse=True)
            ranked = np.argsort(np.argsort(first))  # texts numbered as they first appear
            add(name.encode(), b"texts", _array_bytes(ranked[codes].astype(np.int32)))
            add(
                *(b"" if code < 0 else b"=" + column.texts[code].encode() for code in occur[np.argsort(first)].tolist())
            )
    elif isinstance(data, Mapping):
        add(b"arrays")
        for name, array in data.items():
            add(name.encode(), fingerprint(array).encode())
    else:
        if data.dtype.kind not in "biufcSU":
            raise DtypeError(f"fingerprint: got an array of {data.dtype}", expected="numbers, booleans or texts")
        add(b"array", data.dtype.newbyteorder("<").str.encode(), str(data.shape).encode(), _array_bytes(data))
    return digest.hexdigest()


def _array_bytes(array: npt.NDArray[np.generic]) -> bytes:
    if array.dtype.kind in "fc":
        array = np.where(np.isnan(array), np.array(np.nan, dtype=array.dtype), array)
    return np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False)).tobytes()
