"""What is saved is what is loaded; what is damaged is refused; nothing that is loaded can run."""

from __future__ import annotations

import io
import json
import math
import pickle
import random
import subprocess
import sys
from collections import Counter, OrderedDict, defaultdict, namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

import chainrule as cr
from chainrule.errors import ArgumentTypeError, ChainruleError, DataError, FileError, TraceError
from chainrule.tensors.dtypes import DTYPES
from chainrule.tensors.safetensors_file import to_bytes
from chainrule.tensors.serialization import load, read_safetensors, save
from chainrule.tensors.tensor import Size
from chainrule.tensors.trace import Trace, tracing


def saved(obj: Any) -> bytes:
    file = io.BytesIO()
    save(obj, file)
    return file.getvalue()


def loaded(data: bytes) -> Any:
    return load(io.BytesIO(data))


def again(obj: Any) -> Any:
    return loaded(saved(obj))


def assert_same(a: Any, b: Any) -> None:
    assert type(a) is type(b)
    if isinstance(a, cr.Tensor):
        assert a.requires_grad == b.requires_grad
        a, b = a.detach().numpy(), b.detach().numpy()
    if isinstance(a, np.ndarray):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert a.tobytes() == b.tobytes()
    elif isinstance(a, dict):
        assert list(a) == list(b)
        assert list(map(type, a)) == list(map(type, b))
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    elif isinstance(a, float):
        assert math.isnan(a) == math.isnan(b)
        assert math.isnan(a) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    else:
        assert a == b


CHECKPOINT: dict[str, Any] = {
    "model": OrderedDict([("0.weight", cr.ones(2, 3)), ("0.bias", cr.zeros(2)), ("steps", cr.tensor(7))]),
    "optimizer": {
        "state": {0: {"step": cr.tensor(3.0), "exp_avg": cr.ones(2, 3)}, 1: {}},
        "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.999), "foreach": None, "amsgrad": False, "params": [0, 1]}],
    },
    "best": math.inf,
    "text": 'quotes " \\ and "sha256":" and ünïcödé \ud800 \0',
}

plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
keys = st.booleans() | st.integers() | st.text(max_size=5) | st.none() | st.tuples(st.integers(), st.text(max_size=2))
tensors = st.builds(
    lambda dtype, shape, seed: cr.tensor(
        np.random.default_rng(seed).integers(0, 2, tuple(shape)).astype(dtype.numpy), dtype=dtype
    ),
    st.sampled_from(DTYPES),
    st.lists(st.integers(0, 3), max_size=3),
    st.integers(0, 9),
)
objects = st.recursive(
    plain | tensors,
    lambda parts: (
        st.lists(parts, max_size=3)
        | st.lists(parts, max_size=3).map(tuple)
        | st.dictionaries(keys, parts, max_size=3)
        | st.dictionaries(keys, parts, max_size=3).map(OrderedDict)
    ),
    max_leaves=8,
)


@given(objects)
def test_any_nest_of_data_comes_back_as_it_was(obj: Any) -> None:
    assert_same(again(obj), obj)


def test_a_checkpoint_comes_back_from_a_path_of_either_kind(tmp_path: Path) -> None:
    for path in (tmp_path / "checkpoint.pt", str(tmp_path / "other.pt")):
        save(CHECKPOINT, path)
        assert_same(load(path), CHECKPOINT)
        assert_same(load(path, map_location="cpu", weights_only=True), CHECKPOINT)
    with open(tmp_path / "third.pt", "wb") as file:
        save(CHECKPOINT, file)
    with open(tmp_path / "third.pt", "rb") as file:
        assert_same(load(file), CHECKPOINT)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.pt", "other.pt", "third.pt"]


def test_the_same_object_gives_the_same_bytes_in_every_process() -> None:
    code = (
        "import io, hashlib, chainrule as cr; from chainrule.tensors.serialization import save; f = io.BytesIO();"
        "save({k: cr.ones(3) for k in 'abcdefgh'} | {'lr': 0.1}, f); print(hashlib.sha256(f.getvalue()).hexdigest())"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(2)]
    assert runs[0].stdout == runs[1].stdout


def test_the_tensors_are_there_for_every_reader_of_the_format(tmp_path: Path) -> None:
    save({"0.weight": cr.arange(6).reshape(2, 3), "nested": {"bias": cr.ones(2)}}, tmp_path / "x.safetensors")
    arrays = safetensors.numpy.load_file(tmp_path / "x.safetensors")
    np.testing.assert_array_equal(arrays["0.weight"], np.arange(6).reshape(2, 3))
    np.testing.assert_array_equal(arrays["nested.bias"], np.ones(2, np.float32))
    ours = read_safetensors(tmp_path / "x.safetensors")
    assert set(ours) == set(arrays)
    assert ours["0.weight"].dtype is cr.int64


def test_names_that_meet_are_kept_apart() -> None:
    obj = {"a": {"b": cr.ones(1)}, "a.b": cr.zeros(1), "__metadata__": cr.ones(2), "": cr.ones(3)}
    assert_same(again(obj), obj)


def test_whether_a_gradient_is_wanted_is_kept() -> None:
    w = cr.ones(3, requires_grad=True)
    w2, y = again([w, w * 2])
    assert w2.requires_grad
    assert w2.is_leaf
    assert y.is_leaf
    (w2 * 2).sum().backward()
    assert w2.grad.tolist() == [2, 2, 2]


def test_what_is_loaded_may_be_written() -> None:
    x = again(cr.zeros(2, 2))
    x[0] = 1
    x += 1
    assert x.tolist() == [[2, 2], [1, 1]]


def test_tied_weights_are_stored_once_and_are_one_tensor_when_loaded() -> None:
    x = cr.randn(1000)
    once, twice = saved({"a": x}), saved({"a": x.detach(), "b": x.detach()})
    assert len(twice) < len(once) + 200
    back = loaded(twice)
    assert back["a"] is back["b"]


def test_views_are_stored_as_what_they_show() -> None:
    x = cr.arange(12).reshape(3, 4)
    obj = {"x": x, "turned": x.t(), "part": x[1:, ::2], "row": x[0], "wide": cr.ones(1).expand(3), "none": x[:0]}
    back = again(obj)
    for name, value in obj.items():
        assert back[name].tolist() == value.tolist()
    back["x"][0] = 9
    assert back["row"].tolist() == [0, 1, 2, 3]


def test_arrays_and_their_numbers_come_back_as_numpy_would_have_them() -> None:
    a = np.arange(6, dtype=">f4").reshape(2, 3)[:, ::-1]
    half, big = np.float16([1.5]), np.uint32([2**32 - 1])
    back = again({"a": a, "half": half, "big": big, "mean": np.float64(0.1), "n": np.int64(3), "yes": np.bool_(True)})
    np.testing.assert_array_equal(back["a"], a)
    assert back["a"].dtype == np.float32
    assert_same([back["half"], back["big"]], [half, big])
    assert_same([back["mean"], back["n"], back["yes"]], [0.1, 3, True])


def test_shapes_and_dtypes_come_back() -> None:
    back = again([Size((2, 3)), cr.float64, cr.bool])
    assert isinstance(back[0], Size)
    assert back[0] == (2, 3)
    assert back[1:] == [cr.float64, cr.bool]


class Thing:
    pass


class WithState:
    def state_dict(self) -> dict[str, Any]:
        return {}


def test_an_object_that_cannot_be_saved_is_named_with_its_place() -> None:
    Point = namedtuple("Point", "x y")
    for obj, expected in (
        (Thing(), r"save: obj is a Thing; expected tensors,"),
        ({"a": [1, {"b": Thing()}]}, r"obj\['a'\]\[1\]\['b'\] is a Thing"),
        ({"model": WithState()}, r"obj\['model'\] is a WithState.*Save its state_dict\(\)"),
        ({3: {1, 2}}, r"obj\[3\] is a set.*Save list\(…\) of it"),
        (defaultdict(int), r"obj is a defaultdict.*Save dict\(…\) of it"),
        (Counter("ab"), r"obj is a Counter"),
        (Point(1, 2), r"obj is a Point.*Save list"),
        (1j, r"obj is a complex"),
        (b"abc", r"obj is a bytes"),
        ([np.array([1j])], r"obj\[0\] is a ndarray.*Convert it from complex128"),
        (np.array(["a"]), r"obj is a ndarray"),
        (np.longdouble(1), r"obj is a longdouble"),
        (math.sin, r"obj is a builtin_function_or_method"),
        ({"a": {b"k": 1}}, r"obj\['a'\] has a key of type bytes: b'k'"),
        ({(1, b"k"): 1}, r"obj has a key of type tuple"),
    ):
        with pytest.raises(ArgumentTypeError, match=expected):
            saved(obj)


def test_a_circle_and_a_bottomless_nest_are_refused() -> None:
    circle: list[Any] = [1]
    circle.append({"again": circle})
    with pytest.raises(ArgumentTypeError, match=r"obj\[1\]\['again'\] contains itself"):
        saved(circle)
    nest: list[Any] = []
    for _ in range(300):
        nest = [nest]
    with pytest.raises(ArgumentTypeError, match="more than 100 containers"):
        saved(nest)
    shared = [1, 2]
    assert again([shared, shared]) == [[1, 2], [1, 2]]


def test_a_tensor_without_a_value_is_refused() -> None:
    x = cr.ones(2)
    with tracing(Trace("step")):
        y = x * 2
        with pytest.raises(TraceError, match=r"save\(\) asks for the value"):
            saved({"y": y})


def test_an_object_that_cannot_be_saved_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save([1], path)
    with pytest.raises(ArgumentTypeError):
        save([1, Thing()], path)
    assert load(path) == [1]
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_too_much_plain_data_is_refused() -> None:
    with pytest.raises(ArgumentTypeError, match="60 MB of plain numbers and strings"):
        saved("x" * 60_000_000)


def test_a_file_that_takes_or_gives_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentTypeError, match="a file opened with 'wb'"):
        save([1], io.StringIO())
    with pytest.raises(ArgumentTypeError, match="got int as file"):
        save([1], 3)
    with pytest.raises(ArgumentTypeError, match="got int as file"):
        load(3)
    with pytest.raises(ArgumentTypeError, match="gives text"):
        load(io.StringIO("abc"))
    save(cr.ones(64), tmp_path / "x")
    with open(tmp_path / "x", encoding="utf-8") as file, pytest.raises(ArgumentTypeError, match="gives text"):
        load(file)


def test_a_missing_file_gets_the_nearest_names(tmp_path: Path) -> None:
    save([1], tmp_path / "model.safetensors")
    with pytest.raises(FileError, match=r"Did you mean model.safetensors\?"):
        load(tmp_path / "model.safetensor")


# -- damage ------------------------------------------------------------------------------------------------------------

SMALL = {"w": cr.tensor([1.5, 2.5]), "n": 3}


def test_every_single_wrong_byte_is_found() -> None:
    data = saved(SMALL)
    chance = random.Random(0)
    for place in range(len(data)):
        for wrong in {data[place] ^ 1, data[place] ^ 0x80, 0, 0xFF, chance.randrange(256)} - {data[place]}:
            damaged = data[:place] + bytes([wrong]) + data[place + 1 :]
            with pytest.raises((FileError, DataError)):
                loaded(damaged)


def test_a_wrong_byte_among_the_numbers_is_told_as_damage() -> None:
    data = bytearray(saved(SMALL))
    data[-1] ^= 1
    for read in (load, read_safetensors):
        with pytest.raises(FileError, match=r"the BytesIO is damaged: its checksum .* Restore it from a copy"):
            read(io.BytesIO(bytes(data)))


def test_every_shortened_file_is_refused(tmp_path: Path) -> None:
    data = saved(SMALL)
    for length in range(len(data)):
        with pytest.raises((FileError, DataError)):
            loaded(data[:length])
    (tmp_path / "x").write_bytes(data[:-3])
    with pytest.raises(
        FileError, match=rf"'.*x' is cut short: it has {len(data) - 3} bytes; expected {len(data)}. Copy"
    ):
        load(tmp_path / "x")
    with pytest.raises(FileError, match="is cut short: it has 40 bytes; expected at least"):
        loaded(data[:40])
    with pytest.raises(FileError, match="is empty"):
        loaded(b"")
    with pytest.raises(FileError, match="2 bytes stand behind its end"):
        loaded(data + b"ab")


def test_another_format_is_named_with_what_to_do() -> None:
    numpy_file, numpy_zip = io.BytesIO(), io.BytesIO()
    np.save(numpy_file, np.ones(3))
    np.savez(numpy_zip, x=np.ones(3))
    for data, expected in (
        (numpy_zip.getvalue(), "is a zip archive, as torch.save"),
        (pickle.dumps({"a": 1}), "is a pickle.*could run code"),
        (numpy_file.getvalue(), r"is a NumPy array.*Use chainrule.from_numpy\(numpy.load\(path\)\)"),
        (b"\x89HDF\r\n\x1a\n....", "is an HDF5 file"),
        (b"target,a,b\n1,2,3\n", r"is not a safetensors file: it begins with b'target,a,b.n1'"),
        (b"{}", "is not a safetensors file"),
        (b"\0\0", "is not a safetensors file"),
        (b"\xff" * 7 + b"\x7f{", "is not a safetensors file"),
    ):
        for read in (load, read_safetensors):
            with pytest.raises(DataError, match=expected):
                read(io.BytesIO(data))


@pytest.mark.oracle
def test_a_file_of_torch_save_is_refused_without_running_it(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    ran = tmp_path / "ran"

    class Trap:
        def __reduce__(self) -> Any:
            return (Path.touch, (ran,))

    for k, modern in enumerate((True, False)):
        torch.save({"w": torch.ones(2), "trap": Trap()}, tmp_path / f"{k}.pt", _use_new_zipfile_serialization=modern)
        with pytest.raises(DataError, match=r"torch.save.*safetensors.torch.save_file\(state_dict, path\)"):
            load(tmp_path / f"{k}.pt")
    assert not ran.exists()


def header_and(text: Any, rest: bytes = b"") -> bytes:
    header = json.dumps(text).encode() if not isinstance(text, bytes) else text
    return len(header).to_bytes(8, "little") + header + rest


def test_a_forged_header_is_an_error_and_nothing_else() -> None:
    tensor = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    for text, rest in (
        (b"{not json", b""),
        (b"{" + b'"a":[' * 5000 + b"]" * 5000 + b"}", b""),
        ({"a": 3}, b""),
        ({"a": {"data_offsets": 3}}, b""),
        ({"a": {**tensor, "data_offsets": [0, "x"]}}, b"1234"),
        ({"a": {**tensor, "shape": [2]}}, b"1234"),
        ({"a": {**tensor, "shape": [-1]}}, b"1234"),
        ({"a": {**tensor, "dtype": "F33"}}, b"1234"),
        ({"a": {**tensor, "data_offsets": [4, 0]}}, b""),
        ({"a": tensor, "b": tensor}, b"1234"),
        ({"a": {**tensor, "dtype": "BOOL", "shape": [4]}}, b"\0\1\2\0"),
        ({"__metadata__": {"chainrule": "x"}}, b""),
        ({"__metadata__": {"chainrule": "{}"}}, b""),
        ({"__metadata__": {"chainrule": 3}}, b""),
        ({"__metadata__": 3}, b""),
        ({"__metadata__": {"chainrule": '{"sha256":"' + "0" * 64 + '"}'}}, b""),
    ):
        for read in (load, read_safetensors):
            with pytest.raises(ChainruleError, match=r"damaged|cut short|did not write|is not a safetensors"):
                read(io.BytesIO(header_and(text, rest)))


def test_a_forged_structure_can_make_nothing_but_data() -> None:
    for structure in (
        {"call": ["os.system", "true"]},
        {"tensor": "missing", "requires_grad": False},
        {"tensor": "w"},
        {"array": "missing"},
        {"dict": [1]},
        {"dict": [[[1], 2]]},
        {"tuple": 3},
        {"float": "x"},
        {"dtype": "float16"},
        {},
        {"a": 1, "b": 2},
    ):
        data = to_bytes({"w": np.ones(1)}, {"version": 1, "structure": structure})
        with pytest.raises(DataError, match="its description of the structure cannot be followed"):
            loaded(bytes(data))
    with pytest.raises(DataError, match="its description of the structure cannot be followed"):
        loaded(bytes(to_bytes({}, {"version": 1})))
    with pytest.raises(DataError, match=r"is of version 2 of this format; expected at most 1. Update chainrule"):
        loaded(bytes(to_bytes({}, {"version": 2, "structure": None})))


# -- files of others ---------------------------------------------------------------------------------------------------


def test_files_of_others_are_read_by_name(tmp_path: Path) -> None:
    arrays = {"w": np.float32([[1, 2]]), "n": np.int64([3]), "yes": np.array([True, False]), "none": np.zeros((0, 2))}
    path = tmp_path / "theirs.safetensors"
    safetensors.numpy.save_file(arrays, path, metadata={"format": "pt"})
    back = read_safetensors(path)
    assert set(back) == set(arrays)
    for name, array in arrays.items():
        assert_same(back[name].numpy(), array)
    with pytest.raises(DataError, match=r"did not write. Use chainrule.read_safetensors\(path\)"):
        load(path)


def test_narrow_dtypes_come_in_wider_ones_that_hold_every_value(tmp_path: Path) -> None:
    path = tmp_path / "narrow.safetensors"
    half = np.arange(-70, 70, dtype=np.float16) / 7
    safetensors.numpy.save_file({"h": half, "s": np.uint16([0, 65535]), "u": np.uint32([2**32 - 1])}, path)
    back = read_safetensors(path)
    assert_same(back["h"].numpy(), half.astype(np.float32))
    assert_same([back["s"].numpy(), back["u"].numpy()], [np.int32([0, 65535]), np.int64([2**32 - 1])])
    bfloat = np.float32([1.5, -2, np.inf, 3e38])
    upper = (bfloat.view(np.uint32) >> 16).astype("<u2").tobytes()
    path.write_bytes(header_and({"b": {"dtype": "BF16", "shape": [4], "data_offsets": [0, 8]}}, upper))
    assert_same(read_safetensors(path)["b"].numpy(), (bfloat.view(np.uint32) >> 16 << 16).view(np.float32))


def test_a_dtype_that_is_not_here_is_named() -> None:
    data = header_and({"x": {"dtype": "F8_E4M3", "shape": [1], "data_offsets": [0, 1]}}, b"1")
    with pytest.raises(DataError, match="the tensor 'x' is of dtype F8_E4M3, which is not here"):
        read_safetensors(io.BytesIO(data))
