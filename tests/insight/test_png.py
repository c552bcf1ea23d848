from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest

from chainrule.errors import ShapeError
from chainrule.insight.png import SIGNATURE, data_address, encode


def decode(data: bytes) -> tuple[int, np.ndarray]:  # type: ignore[type-arg]  # of any numbers
    """Read back what ``encode`` writes: colour type and pixels; checks every length and checksum."""
    assert data.startswith(SIGNATURE)
    at, chunks = len(SIGNATURE), {}
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert struct.unpack(">I", data[at + 8 + length : at + 12 + length])[0] == zlib.crc32(kind + body)
        chunks[kind] = body
        at += 12 + length
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    width, height, depth, colour, *rest = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert (depth, rest) == (8, [0, 0, 0])
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, -1)
    assert not lines[:, 0].any()  # no filter
    return colour, lines[:, 1:].reshape(height, width, -1)


@pytest.mark.parametrize(("shape", "colour"), [((5, 7), 0), ((5, 7, 1), 0), ((5, 7, 3), 2), ((5, 7, 4), 6)])
def test_pixels_come_back(shape: tuple[int, ...], colour: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    pixels.reshape(-1)[0] = 255
    found_colour, found = decode(encode(pixels))
    assert found_colour == colour
    np.testing.assert_array_equal(found.reshape(shape), pixels)


def test_other_numbers_are_stretched() -> None:
    _, found = decode(encode(np.array([[-1.0, 0.0], [1.0, np.nan]])))
    assert found[:, :, 0].tolist() == [[0, 128], [255, 128]]
    _, faint = decode(encode(np.array([[0, 16]], np.uint8)))
    assert faint[:, :, 0].tolist() == [[0, 255]]
    _, flat = decode(encode(np.full((2, 2), 3.0)))
    assert not flat.any()


def test_large_images_are_thinned() -> None:
    _, found = decode(encode(np.zeros((1000, 300), np.uint8)))
    assert found.shape[:2] == (250, 75)


def test_what_is_no_image_is_refused() -> None:
    for shape in ((3,), (2, 2, 2), (0, 4), (2, 2, 2, 2)):
        with pytest.raises(ShapeError, match="an image of shape"):
            encode(np.zeros(shape))


def test_the_address_is_text() -> None:
    assert data_address(np.zeros((1, 1))).startswith("data:image/png;base64,iVBOR")
