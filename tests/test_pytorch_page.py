"""docs/pytorch.md lists the names that are here, each of them PyTorch's; its examples are run by test_docs.py."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import chainrule as cr

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "pytorch.md"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_names", ROOT / "docs" / "generate_names.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def resolve(root: Any, place: str) -> Any:
    for part in place.split(".") if place else ():
        root = getattr(root, part)
    return root


def test_the_list_of_names_is_current(generator: ModuleType) -> None:
    text = PAGE.read_text("utf-8")
    assert text == generator.page(text), "names have changed: python docs/generate_names.py"


def test_writing_the_list_leaves_the_rest_of_the_page(generator: ModuleType) -> None:
    text = f"before\n{generator.BEGIN}old\n{generator.END}after\n"
    written = generator.page(text)
    assert written.startswith("before\n")
    assert written.endswith("after\n")
    assert "old\n" not in written
    assert generator.page(written) == written


def test_the_generators_own_examples_hold(generator: ModuleType) -> None:
    assert doctest.testmod(generator).failed == 0


def test_every_listed_name_is_here(generator: ModuleType) -> None:
    for place in generator.PLACES:
        names = generator.names_of(place)
        assert len(names) == len(set(names)) > 0
        for name in names:
            assert hasattr(resolve(cr, place), name), f"{place}.{name}"


def test_what_the_page_says_is_not_here_is_not() -> None:
    for name in (
        "jit", "fx", "export", "amp", "linalg", "fft", "sparse", "distributions", "float16", "bfloat16", "complex64",
        "func.vmap", "autograd.Function", "Tensor.register_hook", "nn.Conv2d", "nn.MaxPool2d", "nn.LSTM", "nn.GRU",
        "nn.Transformer", "nn.MultiheadAttention",
    ):  # fmt: skip
        place, _, last = name.rpartition(".")
        assert not hasattr(resolve(cr, place), last), f"{name} is here now: say so in docs/pytorch.md"


@pytest.mark.oracle
def test_every_listed_name_is_pytorchs(generator: ModuleType) -> None:
    torch = importlib.import_module("torch")
    importlib.import_module("torch.func")
    for place in generator.PLACES:
        missing = [name for name in generator.names_of(place) if not hasattr(resolve(torch, place), name)]
        assert not missing, f"{place or 'chainrule'}: these are our own: {missing}"
