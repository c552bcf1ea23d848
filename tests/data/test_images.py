from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from chainrule.data import read_idx, read_idx_folder, read_idx_images
from chainrule.errors import DataError

CODES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}


def idx(array: npt.NDArray[np.generic]) -> bytes:
    code = CODES[array.dtype.str[1:]]
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, code, array.ndim]) + sizes + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def refused(path: Path, num_dimensions: int | None = None) -> str:
    with pytest.raises(DataError) as caught:
        read_idx(path, num_dimensions=num_dimensions)
    return str(caught.value)


@given(
    st.sampled_from(sorted(CODES)).flatmap(
        lambda code: nps.arrays(np.dtype(code), nps.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4))
    ),
    st.booleans(),
)
def test_every_type_and_shape_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, array: npt.NDArray[np.generic], packed: bool
) -> None:
    path = write(tmp_path_factory.getbasetemp(), "any.idx.gz" if packed else "any.idx", idx(array))
    read = read_idx(path)
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)


def test_a_truncated_file_names_the_bytes_expected_and_found(tmp_path: Path) -> None:
    data = idx(np.zeros((10, 28, 28), dtype=np.uint8))
    said = refused(write(tmp_path, "train-images", data[:5000]))
    assert "train-images: 5,000 bytes, cut short; expected 7,856 bytes, for 10 x 28 x 28 values" in said
    said = refused(write(tmp_path, "train-images.gz", data[:5000]))
    assert "5,000 bytes when unpacked, cut short" in said


def test_a_file_with_bytes_left_over_is_refused(tmp_path: Path) -> None:
    said = refused(write(tmp_path, "labels", idx(np.zeros(10, dtype=np.uint8)) + b"\0"))
    assert "19 bytes, too long; expected 18 bytes, for 10 values" in said


def test_a_header_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    assert "2 bytes; expected an IDX file" in refused(write(tmp_path, "a", b"\0\0"))
    assert "expected at least 16 bytes" in refused(write(tmp_path, "b", b"\0\0\x08\x03\0\0\0\x05\0\0"))


@pytest.mark.parametrize("start", [b"\x89PNG", b"\0\0\x0a\x01", b"\0\0\x08\x00", b"\0\1\x08\x01"])
def test_another_format_is_refused_with_its_first_bytes(tmp_path: Path, start: bytes) -> None:
    said = refused(write(tmp_path, "file", start + b"\0" * 20))
    assert f"the first bytes are {start.hex(' ')}" in said


def test_a_wrong_number_of_dimensions_is_refused(tmp_path: Path) -> None:
    said = refused(write(tmp_path, "labels", idx(np.zeros(10, dtype=np.uint8))), 3)
    assert "labels: 1 dimension (labels); expected 3 (images)" in said


def test_a_damaged_compressed_file_is_refused(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(idx(np.arange(100, dtype=np.uint8))))
    whole = bytes(packed)
    packed[20] ^= 0xFF
    path = tmp_path / "damaged.gz"
    path.write_bytes(bytes(packed))
    refused(path)
    path.write_bytes(whole[:-12])
    assert "cut short" in refused(path)


def test_a_compressed_file_of_two_parts_is_read_whole(tmp_path: Path) -> None:
    data = idx(np.arange(100, dtype=np.uint8))
    path = tmp_path / "parts.gz"
    path.write_bytes(gzip.compress(data[:50]) + gzip.compress(data[50:]))
    assert len(read_idx(path)) == 100


def test_a_missing_file_gets_the_nearest_names(tmp_path: Path) -> None:
    write(tmp_path, "train-images-idx3-ubyte", b"")
    assert "Did you mean train-images-idx3-ubyte?" in refused(tmp_path / "train-image-idx3-ubyte")
    assert "cannot be read" in refused(tmp_path)


IMAGES, LABELS = idx(np.arange(24, dtype=np.uint8).reshape(6, 2, 2)), idx(np.arange(6, dtype=np.uint8))


@pytest.mark.parametrize(
    ("prefix", "ending"), [("", "-idx{}-ubyte"), ("emnist-letters-", "-idx{}-ubyte.gz"), ("", ".idx{}-ubyte")]
)
def test_a_folder_of_train_and_test_files_is_read(tmp_path: Path, prefix: str, ending: str) -> None:
    for part in ("train", "t10k"):
        write(tmp_path, f"{prefix}{part}-images{ending.format(3)}", IMAGES)
        write(tmp_path, f"{prefix}{part}-labels{ending.format(1)}", LABELS)
    write(tmp_path, "SOURCE.txt", b"notes")
    train, test = read_idx_folder(tmp_path)
    assert test is not None
    assert len(train) == len(test) == 6
    assert train.images.dtype == np.uint8
    assert train.labels.dtype == np.int64
    assert train.rows().shape == (6, 4)
    assert train.rows()[5, 3] == np.float32(23) / np.float32(255)


def test_a_folder_may_hold_no_test_files_and_both_forms_of_one(tmp_path: Path) -> None:
    write(tmp_path, "train-images-idx3-ubyte", IMAGES)
    write(tmp_path, "train-images-idx3-ubyte.gz", IMAGES)
    write(tmp_path, "train-labels-idx1-ubyte.gz", LABELS)
    train, test = read_idx_folder(tmp_path)
    assert train.source == "train-images-idx3-ubyte"
    assert test is None


def test_what_is_missing_from_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no train-images-idx3-ubyte and no train-labels-idx1-ubyte.*found nothing"):
        read_idx_folder(tmp_path)
    write(tmp_path, "train-images-idx3-ubyte", IMAGES)
    with pytest.raises(DataError, match=r"no train-labels-idx1-ubyte.*found train-images"):
        read_idx_folder(tmp_path)
    write(tmp_path, "train-labels-idx1-ubyte", LABELS)
    write(tmp_path, "t10k-labels-idx1-ubyte", LABELS)
    with pytest.raises(DataError, match="t10k-labels-idx1-ubyte without its images"):
        read_idx_folder(tmp_path)
    write(tmp_path, "letters-train-labels-idx1-ubyte", LABELS)
    with pytest.raises(DataError, match="two files of train labels"):
        read_idx_folder(tmp_path)
    with pytest.raises(DataError, match="is a file; expected a folder"):
        read_idx_folder(tmp_path / "train-images-idx3-ubyte")
    with pytest.raises(DataError, match="no file 'nowhere'"):
        read_idx_folder(tmp_path / "nowhere")


def test_images_and_labels_must_belong_together(tmp_path: Path) -> None:
    images, labels = write(tmp_path, "i", IMAGES), write(tmp_path, "l", idx(np.arange(5, dtype=np.uint8)))
    with pytest.raises(DataError, match="i: 6 images; l: 5 labels; expected the same number"):
        read_idx_images(images, labels)
    with pytest.raises(DataError, match=r"i: 3 dimensions \(images\); expected 1 \(labels\)"):
        read_idx_images(images, images)
    with pytest.raises(DataError, match="values of type float32; expected uint8"):
        read_idx_images(write(tmp_path, "f", idx(np.zeros((5, 1, 1), dtype=np.float32))), labels)
    empty = write(tmp_path, "e", idx(np.zeros((0, 2, 2), dtype=np.uint8)))
    with pytest.raises(DataError, match="e: no images"):
        read_idx_images(empty, write(tmp_path, "n", idx(np.zeros(0, dtype=np.uint8))))
