from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from chainrule.data import fingerprint, read_table
from chainrule.errors import DtypeError


def test_the_fingerprint_is_known() -> None:
    # written down once: it must never change, or stored runs no longer know their data
    table = read_table({"age": [39.0, None], "work": ["State", "Private"]})
    assert fingerprint(table) == "ce50c105959e7eda78298ccb3fbe2e03cad11e2cd1be3ffa98d9f7b550abe374"
    assert (
        fingerprint(np.arange(6, dtype=np.int32).reshape(2, 3))
        == "ddf4ba0d6f4054627ee10e755487548a6921dbdbff8595168b6ee99cd90d8836"
    )


def test_it_is_the_same_in_another_process() -> None:
    code = "from chainrule.data import *; print(fingerprint(read_table({'age': [39.0, None], 'work': ['State', 'Private']})))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == fingerprint(read_table({"age": [39.0, None], "work": ["State", "Private"]}))


def test_it_is_the_same_wherever_the_table_came_from(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_text("x,c\n1,b\n2.5,a\n,b\n")
    from_memory = read_table({"x": [1, 2.5, None], "c": ["b", "a", "b"]})
    assert fingerprint(read_table(path)) == fingerprint(from_memory)
    # the same rows by another way: the codes behind the texts differ
    longer = read_table({"x": [7, 2.5, 1, None], "c": ["a", "a", "b", "b"]})
    assert fingerprint(longer.take(np.array([2, 1, 3]))) == fingerprint(from_memory)


def test_what_changes_the_data_changes_the_fingerprint() -> None:
    tables = [
        {"a": [1, 2], "b": ["x", "y"]},
        {"a": [2, 1], "b": ["x", "y"]},
        {"a": [1, 2], "b": ["y", "x"]},
        {"a": [1, 2], "c": ["x", "y"]},
        {"b": ["x", "y"], "a": [1, 2]},
        {"a": [1, None], "b": ["x", "y"]},
        {"a": [1, 2], "b": ["x", ""]},
        {"a": [1, 2], "b": ["x", "x"]},
        {"a": ["01", "2"], "b": ["x", "y"]},
        {"a": [1, 2]},
        {"a": [1, 2, 3], "b": ["x", "y", "z"]},
    ]
    arrays = [
        np.zeros(2),
        np.zeros(3),
        np.zeros((2, 1)),
        np.zeros(2, dtype=np.float32),
        np.array(["a", "b"]),
        np.array([1, 0]),
    ]
    prints = [fingerprint(read_table(table)) for table in tables] + [fingerprint(array) for array in arrays]
    prints += [fingerprint({"x": np.zeros(2)}), fingerprint({"y": np.zeros(2)})]
    assert len(set(prints)) == len(prints)


def test_memory_layout_byte_order_and_the_bits_of_nan_do_not_matter() -> None:
    array = np.arange(12.0).reshape(3, 4)
    assert fingerprint(array) == fingerprint(np.asfortranarray(array)) == fingerprint(array.astype(">f8"))
    assert fingerprint(array) == fingerprint(np.repeat(array, 2, axis=1)[:, ::2])
    other_nan = np.array([0x7FF8000000000123], dtype=np.uint64).view(np.float64)
    assert fingerprint(np.array([np.nan])) == fingerprint(other_nan)


def test_an_array_of_objects_has_none() -> None:
    with pytest.raises(DtypeError, match="an array of object"):
        fingerprint(np.array([None, 1], dtype=object))
