"""The bytes of a safetensors file (https://huggingface.co/docs/safetensors): arrays by name, a text, and a checksum.

    {"__metadata__": {"chainrule": {"sha256": …, …the text's own entries…}}, "0.weight": …, "0.bias": …}

The checksum is the SHA-256 of the whole file with 64 zeros in its place: one wrong byte anywhere is found.
"""

from __future__ import annotations

import importlib
import json
import struct
import sys
from typing import Any, NamedTuple

import numpy as np

from chainrule.digest import sha256
from chainrule.errors import ArgumentTypeError, DataError, FileError
from chainrule.forks import undisturbed
from chainrule.graph import Array

OURS = "chainrule"
PLACE_OF_SUM = b'{\\"sha256\\":\\"'  # as it stands in the header: JSON inside a JSON string
NO_SUM = b"0" * 64
LARGEST_HEADER = 100_000_000  # the format's own limit
LARGEST_TEXT = LARGEST_HEADER // 2  # its quotation marks are escaped, and the names of the tensors come on top

IN_THE_PROGRAM_THAT_WROTE_IT = (
    "where you trust the file, load it with the program that wrote it and write it again, in PyTorch with "
    "safetensors.torch.save_file(state_dict, path)"
)

# What the formats that people confuse with this one begin with, and what to do with each.
OTHER_FORMATS = {
    b"PK\x03\x04": (
        "a zip archive, as torch.save and numpy.savez write them",
        f"a pickle inside could run code when it is loaded; {IN_THE_PROGRAM_THAT_WROTE_IT}",
    ),
    b"\x80": (
        "a pickle, as old versions of torch.save write them",
        f"a pickle could run code when it is loaded; {IN_THE_PROGRAM_THAT_WROTE_IT}",
    ),
    b"\x93NUMPY": ("a NumPy array", "use chainrule.from_numpy(numpy.load(path))"),
    b"\x89HDF": ("an HDF5 file", "read it with h5py, and give the arrays to chainrule.from_numpy"),
    b"GGUF": ("a GGUF file", "ask for the model in safetensors format"),
}

# The dtypes of the format, and which NumPy dtype holds their bits.
FILE_DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "uint16", "I64": "int64", "I32": "int32",
    "I16": "int16", "I8": "int8", "U32": "uint32", "U16": "uint16", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip


class SafetensorsFile(NamedTuple):
    """A file taken apart: arrays and the format's names of their dtypes by name, and our text if it has one."""

    arrays: dict[str, Array]
    dtypes: dict[str, str]
    text: dict[str, Any] | None


def to_bytes(arrays: dict[str, Array], text: dict[str, Any]) -> bytearray:
    """Return the file that holds ``arrays`` (row-major) and, as JSON in its metadata, ``text``."""
    written = json.dumps({"sha256": NO_SUM.decode(), **text}, separators=(",", ":"))
    if len(written) > LARGEST_TEXT:
        raise ArgumentTypeError(
            f"{len(written) // 10**6} MB of plain numbers and strings to save",
            expected=f"at most {LARGEST_TEXT // 10**6} MB beside the tensors",
            fix="put long lists of numbers into tensors",
        )
    with undisturbed():
        library = importlib.import_module("safetensors.numpy")
    data = bytearray(library.save(arrays, metadata={OURS: written}))
    at = data.index(PLACE_OF_SUM + NO_SUM) + len(PLACE_OF_SUM)
    data[at : at + len(NO_SUM)] = _sum(data, at)
    return data


def from_bytes(data: bytes, name: str) -> SafetensorsFile:
    """Take a file apart; ``name`` is what messages call it.

    Raises FileError if it is cut short or damaged, DataError if it is of another format or has a dtype that is not here.
    """
    header = _header(data, name)
    metadata = header.get("__metadata__")
    ours = metadata.get(OURS) if isinstance(metadata, dict) else None
    text = None if ours is None else _checked(data, name, ours)
    with undisturbed():
        library = importlib.import_module("safetensors")
    try:
        entries = dict(library.deserialize(data))
    except (library.SafetensorError, ValueError) as error:
        raise damaged(name, f"the format's own checks say: {error}") from error
    names = [key for key in header if key in entries]
    return SafetensorsFile(
        {key: _array(entries[key], key, name) for key in names}, {key: entries[key]["dtype"] for key in names}, text
    )


def damaged(name: str, reason: str) -> FileError:
    """Return the error for a file whose contents are not what was written."""
    return FileError(f"{name} is damaged: {reason}", fix="restore it from a copy, or write it again")


def _cut_short(name: str, got: int, expected: str) -> FileError:
    return FileError(
        f"{name} is cut short: it has {got:,} bytes", expected=expected, fix="copy or download it again to its end"
    )


def _header(data: bytes, name: str) -> dict[str, Any]:
    if not data:
        raise FileError(f"{name} is empty", expected="a safetensors file", fix="write or copy it again")
    length = struct.unpack("<Q", data[:8])[0] if len(data) >= 8 else 0
    if data[8:9] != b"{" or length > LARGEST_HEADER:
        for start, (kind, fix) in OTHER_FORMATS.items():
            if data.startswith(start):
                raise DataError(f"{name} is {kind}", expected="a safetensors file", fix=fix)
        raise DataError(
            f"{name} is not a safetensors file: it begins with {data[:12]!r}",
            fix="check the name and where it came from",
        )
    if 8 + length > len(data):
        raise _cut_short(name, len(data), f"at least {8 + length:,}")
    try:
        header: dict[str, Any] = json.loads(data[8 : 8 + length])
        ends = [int(entry["data_offsets"][1]) for key, entry in header.items() if key != "__metadata__"]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise damaged(name, f"its header cannot be read: {error}") from error
    size = 8 + length + max(ends, default=0)
    if len(data) < size:
        raise _cut_short(name, len(data), f"{size:,}")
    if len(data) > size:
        raise damaged(name, f"{len(data) - size:,} bytes stand behind its end")
    return header


def _checked(data: bytes, name: str, text: Any) -> dict[str, Any]:
    """Return our text, if the whole file is as it was written."""
    try:
        found: dict[str, Any] = json.loads(text)
        expected = found.pop("sha256").encode()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise damaged(name, f"its description cannot be read: {error!r}") from error
    at = data.find(PLACE_OF_SUM) + len(PLACE_OF_SUM)
    if data[at : at + len(NO_SUM)] != expected or _sum(data, at) != expected:
        raise damaged(name, "its checksum (SHA-256) is not that of its contents")
    return found


def _sum(data: bytes | bytearray, at: int) -> bytes:
    """Return the SHA-256 of the file as if its own sum, which stands at ``at``, were zeros."""
    view = memoryview(data)
    found = sha256(len(data))
    found.update(view[:at])
    found.update(NO_SUM)
    found.update(view[at + len(NO_SUM) :])
    return found.hexdigest().encode()


def _array(entry: dict[str, Any], key: str, name: str) -> Array:
    kind = FILE_DTYPES.get(entry["dtype"])
    if kind is None:
        raise DataError(
            f"{name}: the tensor {key!r} is of dtype {entry['dtype']}, which is not here",
            expected=f"one of {', '.join(FILE_DTYPES)}",
            fix="convert it in the program that wrote it",
        )
    data = bytearray(entry["data"])  # memory that may be written
    if entry["dtype"] == "BOOL" and data.strip(b"\0\1"):
        raise damaged(name, f"the tensor {key!r} holds truth values other than 0 and 1")
    array: Array = np.frombuffer(data, kind) if data else np.zeros(0, kind)
    if sys.byteorder == "big":
        array = array.byteswap()
    return array.reshape(entry["shape"])
