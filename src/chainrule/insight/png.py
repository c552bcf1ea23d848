"""Small pictures as PNG files in text (W3C PNG specification, third edition), to stand inside a page."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np

from chainrule.errors import ShapeError
from chainrule.graph import Array

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOUR_TYPES = {1: 0, 3: 2, 4: 6}  # channels to PNG's number: grey, RGB, RGB with opacity
LARGEST_SIDE = 256


def data_address(image: Array) -> str:
    """Return an image [height, width] or [height, width, channels] as the text of a ``data:`` address.

    uint8 is taken as it is, unless it stays below 64; other numbers are stretched so that the smallest is 0 and the
    largest 255. Sides above 256 are thinned by whole steps.

    >>> data_address(np.zeros((2, 2), np.uint8))[:22]
    'data:image/png;base64,'
    """
    return "data:image/png;base64," + base64.b64encode(encode(image)).decode("ascii")


def encode(image: Array) -> bytes:
    """Return the bytes of a PNG file."""
    pixels = np.asarray(image)
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    if pixels.ndim not in (2, 3) or channels not in COLOUR_TYPES or pixels.size == 0:
        raise ShapeError(
            f"an image of shape {pixels.shape}", expected="(height, width), or (height, width, 1, 3 or 4 channels)"
        )
    step = -(-max(pixels.shape[:2]) // LARGEST_SIDE)
    pixels = _bytes(pixels[::step, ::step])
    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, -1)
    lines = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1)  # each line: filter 0, then its bytes
    header = struct.pack(">IIBBBBB", width, height, 8, COLOUR_TYPES[channels], 0, 0, 0)
    return (
        SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(lines.tobytes(), 9)) + _chunk(b"IEND", b"")
    )


def _bytes(pixels: Array) -> Array:
    if pixels.dtype == np.uint8 and pixels.max() >= 64:
        return pixels
    values = np.nan_to_num(pixels.astype(np.float64), posinf=0.0, neginf=0.0)
    low, high = values.min(), values.max()
    stretched: Array = np.round((values - low) * (255.0 / (high - low) if high > low else 0.0)).astype(np.uint8)
    return stretched


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
