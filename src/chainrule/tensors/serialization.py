"""Tensors to files and back: ``save``, ``load``, ``read_safetensors``. Loading runs no code, whoever made the file.

The file is a safetensors file, so that others can read the tensors in it. How they hang together, and every number and
string between them, is JSON in its metadata; a checksum covers every byte (see safetensors_file).
"""

from __future__ import annotations

import math
import os
from collections import OrderedDict
from typing import Any

import numpy as np

from chainrule.errors import ArgumentTypeError, DataError, FileError
from chainrule.graph import Array
from chainrule.tensors.dtypes import DTYPES, DType
from chainrule.tensors.files import atomic_write, cannot_write, read_file
from chainrule.tensors.safetensors_file import FILE_DTYPES, from_bytes, to_bytes
from chainrule.tensors.tensor import Size, Tensor, concrete, device

VERSION = 1
DEEPEST = 100  # containers inside containers
BY_NAME = {dtype.name: dtype for dtype in DTYPES}
WIDENED = {"F16": "float32", "U16": "int32", "U32": "int64"}  # what is not here, and what holds its values


def save(obj: Any, f: Any) -> None:
    """Write tensors, and what they lie in, to a file (a path, or an object with ``write`` for bytes).

    ``obj`` may be a tensor, a NumPy array, a number, a string, None, a dtype, or a dict, list or tuple of these, nested:
    a ``state_dict`` of a module or an optimizer, or a checkpoint that holds several. Tensors that show the same memory in
    the same way (tied weights) are stored once, and are one tensor when loaded; views that overlap otherwise are stored
    each. A path is written whole or not at all.

    >>> import io
    >>> import chainrule as cr
    >>> file = io.BytesIO()
    >>> save({"weight": cr.ones(2), "epoch": 3, "betas": (0.9, 0.999)}, file)
    >>> load(io.BytesIO(file.getvalue()))
    {'weight': tensor([1., 1.]), 'epoch': 3, 'betas': (0.9, 0.999)}

    Raises ArgumentTypeError for an object of another type, with its place in ``obj``; FileError if it cannot be written.
    """
    writer = _Writer()
    structure = writer.encode(obj, (), ())
    contents = to_bytes(writer.arrays, {"version": VERSION, "structure": structure})
    if isinstance(f, (str, os.PathLike)):
        atomic_write(f, contents)
        return
    if not hasattr(f, "write"):
        raise ArgumentTypeError(f"save: got {type(f).__name__} as file", expected="a path or a file opened with 'wb'")
    try:
        view = memoryview(contents)
        while view:
            taken = f.write(view)
            view = view[len(view) if taken is None else taken :]
    except TypeError:
        raise ArgumentTypeError("save: the file takes no bytes", expected="a file opened with 'wb'") from None
    except OSError as error:
        raise cannot_write(_name_of(f), error) from error


def load(f: Any, map_location: Any = None, *, weights_only: bool = True) -> Any:
    """Return what ``save`` wrote to a file (a path, or an object with ``read`` for bytes).

    ``map_location``  'cpu': PyTorch's argument, for there is no other place here
    ``weights_only``  PyTorch's argument; nothing but data is read here in any case

    Raises FileError if the file is missing, cut short or damaged (every byte is covered by the checksum), and DataError
    if it is of another format. A safetensors file of others is read by ``read_safetensors``.
    """
    if map_location is not None:
        device(map_location)
    data, name = _contents(f, "load")
    file = from_bytes(data, name)
    if file.text is None:
        raise DataError(
            f"{name} holds tensors that chainrule.save did not write", fix="use chainrule.read_safetensors(path)"
        )
    version = file.text.get("version")
    if not isinstance(version, int) or version > VERSION:
        raise DataError(
            f"{name} is of version {version} of this format", expected=f"at most {VERSION}", fix="update chainrule"
        )
    try:
        return _Reader(file.arrays).decode(file.text["structure"])
    except (KeyError, TypeError, ValueError, IndexError, RecursionError) as error:
        raise DataError(f"{name}: its description of the structure cannot be followed ({error!r})") from error


def read_safetensors(f: Any) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file by name, whoever wrote it.

    float16 and bfloat16 come as float32, uint16 as int32, uint32 as int64: every value is kept.

    Raises FileError if the file is missing, cut short or damaged, and DataError if it is of another format or holds a
    tensor of a dtype that is not here.
    """
    data, name = _contents(f, "read_safetensors")
    file = from_bytes(data, name)
    return {key: Tensor(_widened(array, file.dtypes[key])) for key, array in file.arrays.items()}


def _name_of(f: Any) -> str:
    name = f if isinstance(f, (str, os.PathLike)) else getattr(f, "name", None)
    return str(os.fspath(name)) if isinstance(name, (str, os.PathLike)) else f"the {type(f).__name__}"


def _contents(f: Any, asked: str) -> tuple[bytes, str]:
    """Return all bytes of a path or file object, and its name for messages."""
    name = _name_of(f)
    if isinstance(f, (str, os.PathLike)):
        return read_file(f), repr(name)
    if not hasattr(f, "read"):
        raise ArgumentTypeError(
            f"{asked}: got {type(f).__name__} as file", expected="a path or a file opened with 'rb'"
        )
    try:
        data = f.read()
    except UnicodeDecodeError:
        data = ""
    except OSError as error:
        raise FileError(f"cannot read {name}: {error.strerror or error}") from error
    if not isinstance(data, bytes):
        raise ArgumentTypeError(f"{asked}: the file gives text, not bytes", expected="a file opened with 'rb'")
    return data, name


def _widened(array: Array, dtype: str) -> Array:
    if dtype == "BF16":  # the upper half of a float32
        return (array.astype(np.uint32) << 16).view(np.float32)
    wanted = WIDENED.get(dtype)
    return array if wanted is None else array.astype(wanted)


class _Writer:
    """Turns an object into JSON, in which a tensor is the name of one of ``arrays``.

    A JSON object always has one entry that says what it is: ``{"tuple": […]}``, ``{"dict": [[key, value], …]}``.
    """

    def __init__(self) -> None:
        self.arrays: dict[str, Array] = {}
        self.known: dict[tuple[Any, ...], str] = {}

    def encode(self, obj: Any, path: tuple[Any, ...], inside: tuple[int, ...]) -> Any:
        kind = type(obj)
        if obj is None or kind in (bool, int, str):
            return obj
        if kind is float:
            return obj if math.isfinite(obj) else {"float": repr(obj)}
        if isinstance(obj, Tensor):
            array = concrete(obj, "save()", instead="no save()")
            return {"tensor": self.store(array, path, obj.requires_grad), "requires_grad": obj.requires_grad}
        if kind is np.ndarray and obj.dtype.name in FILE_DTYPES.values():
            return {"array": self.store(obj, path, None)}
        if isinstance(obj, (np.bool_, np.integer, np.floating, np.str_)) and type(obj.item()) in (
            bool,
            int,
            float,
            str,
        ):
            return self.encode(obj.item(), path, inside)
        if kind is DType:
            return {"dtype": obj.name}
        if kind not in (dict, OrderedDict, list, tuple, Size):
            raise _unsupported(obj, path)
        if id(obj) in inside:
            raise ArgumentTypeError(f"save: {_place(path)} contains itself", expected="a tree of objects")
        if len(inside) >= DEEPEST:
            raise ArgumentTypeError(f"save: more than {DEEPEST} containers inside each other, at {_place(path)}")
        inside = (*inside, id(obj))
        if kind is list:
            return [self.encode(value, (*path, k), inside) for k, value in enumerate(obj)]
        if kind in (tuple, Size):
            return {kind.__name__: [self.encode(value, (*path, k), inside) for k, value in enumerate(obj)]}
        pairs = []
        for key, value in obj.items():
            if not _is_key(key):
                raise ArgumentTypeError(
                    f"save: {_place(path)} has a key of type {type(key).__name__}: {key!r}",
                    expected="strings, numbers, truth values, None, or tuples of these",
                )
            pairs.append([self.encode(key, path, inside), self.encode(value, (*path, key), inside)])
        return {kind.__name__: pairs}

    def store(self, array: Array, path: tuple[Any, ...], kind: bool | None) -> str:
        """Return the name under which the array is stored; memory that was stored before keeps its name."""
        memory = (array.ctypes.data, array.shape, array.strides, array.dtype, kind)
        known = self.known.get(memory)
        if known is not None and array.size:
            return known
        name = wanted = ".".join(map(str, path)).encode("utf-8", "backslashreplace").decode() or "tensor"
        count = 1
        while name in self.arrays or name == "__metadata__":
            count += 1
            name = f"{wanted}#{count}"
        self.arrays[name] = np.asarray(array, array.dtype.newbyteorder("="), order="C")
        self.known[memory] = name
        return name


def _is_key(key: Any) -> bool:
    if type(key) is tuple:
        return all(map(_is_key, key))
    return key is None or type(key) in (bool, int, float, str)


def _place(path: tuple[Any, ...]) -> str:
    return "obj" + "".join(f"[{key!r}]" for key in path)


def _unsupported(obj: Any, path: tuple[Any, ...]) -> ArgumentTypeError:
    fix = "leave it out, or save what makes it up"
    if isinstance(obj, dict):
        fix = "save dict(…) of it"
    elif isinstance(obj, (tuple, list, set, frozenset)):
        fix = "save list(…) of it"
    elif hasattr(obj, "state_dict"):
        fix = "save its state_dict()"
    elif isinstance(obj, (np.ndarray, np.generic)):
        fix = f"convert it from {obj.dtype} to a dtype that is here"
    return ArgumentTypeError(
        f"save: {_place(path)} is a {type(obj).__name__}",
        expected="tensors, NumPy arrays, numbers, strings, None, dtypes, or dicts, lists and tuples of these",
        fix=fix,
    )


class _Reader:
    """Builds the object that a description stands for. It can make data of the types above and nothing else."""

    def __init__(self, arrays: dict[str, Array]) -> None:
        self.arrays = arrays
        self.tensors: dict[tuple[str, bool], Tensor] = {}

    def decode(self, described: Any) -> Any:
        if isinstance(described, list):
            return [self.decode(part) for part in described]
        if not isinstance(described, dict):
            return described
        if "tensor" in described:
            return self.tensor(described["tensor"], described["requires_grad"] is True)
        ((kind, value),) = described.items()
        match kind:
            case "dict":
                return {self.decode(key): self.decode(part) for key, part in value}
            case "OrderedDict":
                return OrderedDict((self.decode(key), self.decode(part)) for key, part in value)
            case "tuple":
                return tuple([self.decode(part) for part in value])
            case "Size":
                return Size([self.decode(part) for part in value])
            case "float":
                return float(value)
            case "array":
                return self.arrays[value]
            case "dtype":
                return BY_NAME[value]
        raise ValueError(f"an object of kind {kind!r}")

    def tensor(self, name: str, requires_grad: bool) -> Tensor:
        known = self.tensors.get((name, requires_grad))
        if known is None:
            known = self.tensors[name, requires_grad] = Tensor(self.arrays[name])
            if requires_grad:
                known.requires_grad_()
        return known
