"""docs/ops.md is what the rules say now, and a reader can follow it."""

from __future__ import annotations

import ast
import doctest
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from chainrule import ops
from chainrule.graph import Absent, primitives

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "ops.md"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_ops", ROOT / "docs" / "generate_ops.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sections() -> dict[str, str]:
    parts = re.split(r"^### (\w+)\n", PAGE.read_text("utf-8").partition("## Helpers")[0], flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_the_page_is_current(generator: ModuleType) -> None:
    assert PAGE.read_text("utf-8") == generator.page(), (
        "the rules have changed since docs/ops.md was written: make docs"
    )


def test_the_page_is_the_same_each_time(generator: ModuleType) -> None:
    assert generator.page() == generator.page()


def test_the_generators_own_examples_hold(generator: ModuleType) -> None:
    assert doctest.testmod(generator).failed == 0


def test_every_primitive_of_ops_has_its_entry() -> None:
    ours = {name for name, p in primitives().items() if type(p).__module__.startswith(ops.__name__)}
    assert set(sections()) == ours


def test_every_entry_says_what_it_computes_and_its_gradient_or_why_there_is_none() -> None:
    for name, text in sections().items():
        vjp = primitives()[name].vjp
        assert text.strip().startswith(f"`{name}("), name
        if isinstance(vjp, Absent):
            assert f"No gradient: {vjp.reason}." in text
            assert "```" not in text, name
        else:
            assert re.search(r"^d\w+ = ", text, re.MULTILINE), name


def test_the_code_on_the_page_is_python() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        ast.parse(block)
        assert "to_shape_of" not in block
        assert "need" not in block
        assert "op." not in block


def test_every_name_in_the_code_is_explained() -> None:
    page = PAGE.read_text("utf-8")
    helpers = set(re.findall(r"^- `(\w+)", page.partition("## Helpers")[2], re.MULTILINE))
    known = {*primitives(), *helpers, "log", "tuple", "enumerate", "range", "int", "isinstance", "of_a", "of_b"}
    for name, text in sections().items():
        called = {
            node.func.id
            for block in re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
            for node in ast.walk(ast.parse(block))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert called <= known, name


def test_every_link_leads_to_a_heading() -> None:
    page = PAGE.read_text("utf-8")
    headings = [
        re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    ]
    assert len(headings) == len(set(headings)), "two headings share an anchor"
    assert set(re.findall(r"\]\(#([\w-]+)\)", page)) <= set(headings)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("mul", "da = g * b  # reads b"),
        ("div", "db = -g * (y / b)  # reads b, y"),
        ("tanh", "dx = g * (1 - y * y)  # reads y"),
        ("log", "d log x = dx / x"),
        ("where", "da = where(m, g, 0)  # reads m"),
        ("take", "dx = spread(g, *index, axes=axes, shape=x.shape)  # reads index"),
        ("argmax", "No gradient: a place is an integer."),
    ],
)
def test_known_entries_read_as_they_should(name: str, line: str) -> None:
    assert line in sections()[name]
