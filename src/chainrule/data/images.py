"""Images and other arrays in IDX files, the format of MNIST: a magic number, sizes, and the values, big-endian.

byte 0, 1   0
byte 2      the type of the values (8: uint8, 9: int8, 11: int16, 12: int32, 13: float32, 14: float64)
byte 3      the number of dimensions
4 bytes per dimension: its size; then the values, the last index fastest
"""

from __future__ import annotations

import math
import os
import re
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chainrule.data.delimited import no_file
from chainrule.errors import DataError

_DTYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
_NAME = re.compile(r"(?P<prefix>.*?)(?P<part>train|t10k|test)[-_.](?P<what>images|labels)[-_.]idx\d[-_.]ubyte(?:\.gz)?")


@dataclass(frozen=True, eq=False, slots=True)
class LabelledImages:
    """Images, uint8 [images, height, width], with a label each, int64 [images].

    ``largest`` is the value that counts as white: 255, or what the source says.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    source: str
    largest: int = 255

    def __len__(self) -> int:
        return len(self.images)

    def rows(self) -> npt.NDArray[np.float32]:
        """Return a row of values in [0, 1] for each image: float32 [images, height * width]."""
        return self.images.reshape(len(self.images), -1).astype(np.float32) / np.float32(self.largest)


def read_idx(path: str | os.PathLike[str], *, num_dimensions: int | None = None) -> npt.NDArray[np.generic]:
    """Read an IDX file (also .gz) into an array of the type and shape that the file says.

    ``num_dimensions`` is checked where it is given: images have 3, labels 1.

    Raises:
        DataError: the file is not there, is no IDX file, or has fewer or more bytes than its sizes say.
    """
    path = os.fspath(path)
    name = os.path.basename(path)
    data, cut = _bytes_of(path)
    if len(data) < 4:
        raise DataError(
            f"{name}: {len(data)} bytes", expected="an IDX file, of 8 bytes at least", fix="get the file again"
        )
    dtype, dimensions = _DTYPES.get(data[2]), data[3]
    if data[0] != 0 or data[1] != 0 or dtype is None or dimensions == 0:
        got = " ".join(f"{byte:02x}" for byte in data[:4])
        what = f"{name}: the first bytes are {got}"
        raise DataError(
            what, expected="00 00, a type (08, 09, 0b to 0e) and the number of dimensions, as in an IDX file"
        )
    if num_dimensions is not None and dimensions != num_dimensions:
        kind = {1: "labels", 3: "images"}
        what = f"{name}: {dimensions} dimension{'s' * (dimensions != 1)} ({kind.get(dimensions, 'other data')})"
        fix = "check whether images and labels were exchanged"
        raise DataError(what, expected=f"{num_dimensions} ({kind.get(num_dimensions, 'other data')})", fix=fix)
    start = 4 + 4 * dimensions
    shape = tuple(int(size) for size in np.frombuffer(data[4 : min(start, len(data) // 4 * 4)], dtype=">u4"))
    expected = start + math.prod(shape) * np.dtype(dtype).itemsize
    if len(shape) < dimensions or len(data) != expected or cut:
        sizes = " x ".join(map(str, shape)) if len(shape) == dimensions else "sizes cut short"
        wanted = f"{expected:,} bytes, for {sizes} values" if len(shape) == dimensions else f"at least {start} bytes"
        state = "cut short" if cut or len(data) < expected or len(shape) < dimensions else "too long"
        packed = " when unpacked" if path.endswith(".gz") else ""
        raise DataError(f"{name}: {len(data):,} bytes{packed}, {state}", expected=wanted, fix="get the file again")
    values = np.frombuffer(data, dtype=dtype, offset=start).reshape(shape)
    return values.astype(values.dtype.newbyteorder("="))


def _bytes_of(path: str) -> tuple[bytes, bool]:
    """Return a file's bytes, unpacked if gzip packed them, and whether the packed stream was cut short."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        raise no_file(path) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    if data[:2] != b"\x1f\x8b":
        return data, False
    unpacked = []
    while data:
        stream = zlib.decompressobj(wbits=31)
        try:
            unpacked.append(stream.decompress(data))
        except zlib.error as error:
            name = os.path.basename(path)
            raise DataError(f"{name}: the compressed file is damaged ({error})", fix="get the file again") from None
        if not stream.eof:
            return b"".join(unpacked), True
        data = stream.unused_data
    return b"".join(unpacked), False


def read_idx_images(images: str | os.PathLike[str], labels: str | os.PathLike[str]) -> LabelledImages:
    """Read a file of images and the file of their labels."""
    pixels = read_idx(images, num_dimensions=3)
    classes = read_idx(labels, num_dimensions=1)
    name, labels_name = os.path.basename(os.fspath(images)), os.path.basename(os.fspath(labels))
    for array, file in ((pixels, name), (classes, labels_name)):
        if array.dtype != np.uint8:
            raise DataError(f"{file}: values of type {array.dtype}", expected="uint8")
    if len(pixels) != len(classes):
        fix = "take the files that belong together"
        raise DataError(
            f"{name}: {len(pixels):,} images; {labels_name}: {len(classes):,} labels",
            expected="the same number",
            fix=fix,
        )
    if len(pixels) == 0:
        raise DataError(f"{name}: no images", expected="at least one")
    return LabelledImages(pixels.astype(np.uint8, copy=False), classes.astype(np.int64), name)


def read_idx_folder(folder: str | os.PathLike[str]) -> tuple[LabelledImages, LabelledImages | None]:
    """Read the train files of a folder in MNIST's form, and its test files (``t10k-…`` or ``test-…``) if it has any.

    The names are ``train-images-idx3-ubyte`` and ``train-labels-idx1-ubyte``, also with a prefix, dots, or ``.gz``.
    """
    folder = os.fspath(folder)
    if not os.path.isdir(folder):
        if os.path.exists(folder):
            raise DataError(f"{folder} is a file", expected="a folder with MNIST's files")
        raise no_file(folder)
    found: dict[tuple[bool, str], str] = {}
    for name in sorted(os.listdir(folder), reverse=True):  # an unpacked file comes before its .gz, and so replaces it
        match = _NAME.fullmatch(name.lower())
        if match is None:
            continue
        key = (match["part"] == "train", match["what"])
        other = found.get(key)
        if other is not None and other.removesuffix(".gz") != name.removesuffix(".gz"):
            raise DataError(
                f"{folder}: two files of {match['part']} {match['what']}, {other} and {name}", expected="one"
            )
        found[key] = name
    missing = [f"train-{what}-idx{n}-ubyte" for what, n in (("images", 3), ("labels", 1)) if (True, what) not in found]
    if missing:
        there = ", ".join(sorted(os.listdir(folder))[:6]) or "nothing"
        raise DataError(
            f"{folder}: no {' and no '.join(missing)} (or .gz); found {there}", expected="MNIST's file names"
        )
    parts = []
    for is_train in (True, False):
        files = [found.get((is_train, what)) for what in ("images", "labels")]
        if (files[0] is None) != (files[1] is None):
            here = files[0] or files[1]
            raise DataError(
                f"{folder}: {here} without its {'images' if files[0] is None else 'labels'}", expected="both files"
            )
        if files[0] is not None and files[1] is not None:
            parts.append(read_idx_images(os.path.join(folder, files[0]), os.path.join(folder, files[1])))
    return parts[0], parts[1] if len(parts) > 1 else None
