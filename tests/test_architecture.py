"""The shape of the house, held by reading its source: layers, cycles, imports, sizes, docstrings, exemptions."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import grimp
import pytest
from importlinter.cli import lint_imports

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "chainrule"
FILES = sorted(PACKAGE.rglob("*.py"))
NAMES = [str(file.relative_to(PACKAGE)) for file in FILES]
LONGEST_FILE = 700  # lines; most stay below 400, and beyond this a file holds two ideas

each_file = pytest.mark.parametrize("file", FILES, ids=NAMES)


@cache
def parse(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), str(file))


def imported_names(node: ast.AST) -> list[str]:
    """What an import statement, or a call of import_module with a literal, names; "." where it is relative."""
    match node:
        case ast.Import():
            return [alias.name for alias in node.names]
        case ast.ImportFrom():
            return ["." if node.level else str(node.module)]
        case ast.Call(func=ast.Name(id=called) | ast.Attribute(attr=called), args=[ast.Constant(value=str(name)), *_]):
            return [name] if called in ("import_module", "__import__") else []
    return []


def top_level(name: str) -> str:
    return name.partition(".")[0] or "chainrule"


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield node


def cycles(imports: dict[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules that can reach each other, by Tarjan's algorithm (1972)."""
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        order[module] = lowest[module] = len(order)
        stack.append(module)
        for imported in sorted(imports.get(module, ())):
            if imported not in order:
                visit(imported)
                lowest[module] = min(lowest[module], lowest[imported])
            elif imported in stack:
                lowest[module] = min(lowest[module], order[imported])
        if lowest[module] == order[module]:
            group = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(group) > 1 or module in imports.get(module, ()):
                found.append(sorted(group))

    for module in sorted(imports):
        if module not in order:
            visit(module)
    return found


def test_imports_point_down_the_layers(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    broken = lint_imports(config_filename="pyproject.toml", no_cache=True)
    assert not broken, capsys.readouterr().out


def test_no_module_needs_itself_through_others() -> None:
    graph = grimp.build_graph("chainrule", exclude_type_checking_imports=True, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert imports, "grimp saw no module"
    assert cycles(imports) == []


def test_the_search_for_cycles_finds_one() -> None:
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}) == [["b", "c"]]
    assert cycles({"a": {"a"}}) == [["a"]]
    assert cycles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


@each_file
def test_own_modules_are_imported_at_the_top(file: Path) -> None:
    wrong = [
        f"line {node.lineno}: {name}"
        for function in functions(parse(file))
        if getattr(function, "name", "") != "__getattr__"  # a package may load a part of itself on demand
        for node in ast.walk(function)
        for name in imported_names(node)
        if top_level(name) == "chainrule"
    ]
    assert not wrong, "imports of chainrule inside functions; move them up, or the code to where it can see"


def test_each_package_of_others_is_imported_in_one_file() -> None:
    places: dict[str, set[str]] = defaultdict(set)
    for file, name in zip(FILES, NAMES, strict=True):
        for node in ast.walk(parse(file)):
            for imported in imported_names(node):
                places[top_level(imported)].add(name)
    own = {"chainrule", "numpy"} | sys.stdlib_module_names
    scattered = {package: sorted(files) for package, files in places.items() if package not in own and len(files) > 1}
    assert not scattered, "give each of these one file of ours that imports it"


def test_importing_chainrule_loads_numpy_and_nothing_heavier() -> None:
    code = "import sys, numpy; before = set(sys.modules); import chainrule; print(*(set(sys.modules) - before))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {top_level(name) for name in run.stdout.split()}
    assert loaded - sys.stdlib_module_names - {"numpy"} == {"chainrule"}


@each_file
def test_a_file_holds_one_idea(file: Path) -> None:
    lines = len(file.read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST_FILE, f"{lines} lines: split it by idea"


@each_file
def test_a_module_says_what_it_is(file: Path) -> None:
    assert ast.get_docstring(parse(file)), "no docstring at the top"


@each_file
def test_an_exemption_says_why_on_its_line(file: Path) -> None:
    exemption = re.compile(
        r"#\s*(type:\s*ignore|noqa|pragma: no cover)(?P<rules>\[[^]]*\]|:\s*[A-Z]+\d+(,\s*[A-Z]+\d+)*)?"
    )
    unexplained = [
        f"line {number}: {line.strip()}"
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if (found := exemption.search(line)) and not line[found.end() :].strip(" #:-")
    ]
    assert not unexplained, "say the reason after the exemption"


@each_file
def test_a_file_leaves_nothing_to_do(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert not re.search(r"\b(TODO|FIXME|XXX|HACK)\b", text), "do it, or leave it out"


def test_tests_mirror_the_source() -> None:
    packages = {folder.name for folder in PACKAGE.iterdir() if folder.is_dir()}
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
    assert folders - {"examples", "docs", "benchmarks", "oracles"} <= packages
