"""Write docs/ops.md: every primitive with its meaning and its gradient, read from the rules themselves (`make docs`)."""

from __future__ import annotations

import ast
import inspect
import io
import re
import sys
import textwrap
import tokenize
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from chainrule import ops
from chainrule.graph import Absent, Primitive, primitives
from chainrule.ops import (
    body,
    compare,
    contract,
    elementwise,
    functions,
    index,
    random,
    reduce,
    shape,
    special,
    structure,
)

PAGE = Path(__file__).parent / "ops.md"
FAMILIES = (elementwise, functions, special, compare, reduce, shape, contract, index, random, body, structure)

HEAD = """# Operations

<!-- Written by docs/generate_ops.py from the rules in src/chainrule/ops. Do not edit: `make docs`. -->

Everything chainrule computes is made of these {count} primitives. Tensor functions, layers, losses and optimizers are
compositions of them, so their gradients follow from the ones below by the chain rule.

How to read an entry:

- `x`, or `a, b, …`, are the inputs and `y` is the output. After a `*` come the attributes, which are no tensors.
- `g` is the gradient that arrives at `y`. The line above the code is the derivation; the code is the rule (`vjp`), in
  operations of this page, so that gradients have gradients. A few [helpers](#helpers) are at the end.
- `reads` says which values the rule needs. Only these are kept from the forward pass, and only for gradients that are wanted.
- Where inputs were broadcast, their gradients are summed back to their shape afterwards; the code below leaves that out.

{index}
"""


def page() -> str:
    """Return the page."""
    entries = [(module, list(of_module(module))) for module in FAMILIES]
    lines, parts = [], []
    for module, found in entries:
        links = ", ".join(f"[{primitive.name}](#{primitive.name})" for primitive in found)
        lines.append(f"- [{family(module)}](#family-{family(module)}): {links}")
        about = (inspect.getdoc(module) or "").replace("``", "`")
        parts.append(f"## Family {family(module)}\n\n{about}\n")
        parts.extend(entry(primitive) for primitive in found)
    count = sum(len(found) for _, found in entries)
    parts.append("## Helpers\n")
    parts.extend(helpers([primitive for _, found in entries for primitive in found]))
    return "\n".join([HEAD.format(count=count, index="\n".join(lines)), *parts]) + "\n"


def family(module: ModuleType) -> str:
    """Return the name of a family of primitives.

    >>> family(elementwise)
    'elementwise'
    """
    return module.__name__.removeprefix(ops.__name__ + ".")


def of_module(module: ModuleType) -> Iterator[Primitive]:
    """Yield the primitives of a module, in the order in which it defines them."""
    return (primitive for primitive in primitives().values() if type(primitive).__module__ == module.__name__)


def entry(primitive: Primitive) -> str:
    """Return what the page says of one primitive."""
    lines = [f"### {primitive.name}", "", f"`{signature(primitive)}`{remarks(primitive)}", ""]
    lines += [escaped(inspect.getdoc(type(primitive)) or ""), ""]
    vjp: Any = primitive.vjp
    if isinstance(vjp, Absent):
        lines += [f"No gradient: {vjp.reason}.", ""]
    else:
        derivation, code = gradient(primitive)
        lines += ["  \n".join(escaped(line) for line in derivation), ""] if derivation else []
        lines += ["```python", *code, "```", ""]
    return "\n".join(lines)


def remarks(primitive: Primitive) -> str:
    """Return what else a reader should know, after the signature."""
    said = ["a view of its input's memory"] if primitive.view else []
    said += ["several outputs"] if primitive.outputs > 1 else []
    return f" ({', '.join(said)})" if said else ""


def escaped(text: str) -> str:
    """Return text in which Markdown sees no emphasis: outside of code, a * and an _ stand for themselves.

    >>> print(escaped("a ** b, as ``axis_k``"))
    a \\*\\* b, as `axis_k`
    """
    parts = text.split("``")
    return "`".join(part if k % 2 else re.sub(r"([*_])", r"\\\1", part) for k, part in enumerate(parts))


# -- signatures ----------------------------------------------------------------------------------------------------------


def inputs_of(primitive: Primitive) -> list[str]:
    """Return the names of the inputs, one that stands for any number of them with a star.

    >>> inputs_of(primitives()["take"])
    ['x', '*index']
    """
    if isinstance(primitive.evaluate, np.ufunc):
        return ["x"] if primitive.evaluate.nin == 1 else ["a", "b"]
    names = []
    for parameter in inspect.signature(primitive.evaluate).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            names.append("*" + parameter.name)
        elif parameter.kind is not parameter.KEYWORD_ONLY:
            names.append(parameter.name)
    return names


def attributes_of(primitive: Primitive) -> list[str]:
    """Return the names of the attributes."""
    parameters = inspect.signature(primitive.shape).parameters.values()
    return [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]


def signature(primitive: Primitive) -> str:
    """Return how the primitive is called.

    >>> signature(primitives()["sum"])
    'sum(x, *, axes)'
    """
    inputs, attributes = inputs_of(primitive), attributes_of(primitive)
    star = ["*"] if attributes and not any(name.startswith("*") for name in inputs) else []
    return f"{primitive.name}({', '.join([*inputs, *star, *attributes])})"


# -- gradients -----------------------------------------------------------------------------------------------------------


class Plain(ast.NodeTransformer):
    """``op.exp(x)`` → ``exp(x)``; ``to_shape_of(a, g)`` → ``g``; ``g if need[0] else None`` → ``g``."""

    def visit_Attribute(self, node: ast.Attribute) -> Any:
        self.generic_visit(node)
        is_operation = isinstance(node.value, ast.Name) and node.value.id in ("op", "math")
        return ast.Name(node.attr) if is_operation else node

    def visit_Call(self, node: ast.Call) -> Any:
        self.generic_visit(node)
        return node.args[1] if isinstance(node.func, ast.Name) and node.func.id == "to_shape_of" else node

    def visit_IfExp(self, node: ast.IfExp) -> Any:
        self.generic_visit(node)
        return node.body if "need" in ast.unparse(node.test) or ast.unparse(node.test) == "wanted" else node


def gradient(primitive: Primitive) -> tuple[list[str], list[str]]:
    """Return the derivation and the code of a rule.

    >>> gradient(primitives()["log"])
    (['d log x = dx / x'], ['dx = g / x  # reads x'])
    """
    source, rule = rule_of(primitive)
    names = inputs_of(primitive)
    before, gradients = statements(rule, names)
    code = [*before, *[f"d{name} = {text}{reads(primitive, names, name)}" for name, text in gradients]]
    return derivation_of(primitive, source), code


def rule_of(primitive: Primitive) -> tuple[str, ast.FunctionDef]:
    """Return the text of a rule and its syntax tree."""
    source = textwrap.dedent(inspect.getsource(type(primitive).vjp))
    rule = ast.parse(source).body[0]
    assert isinstance(rule, ast.FunctionDef)
    return source, rule


def derivation_of(primitive: Primitive, source: str) -> list[str]:
    """Return the comments of a rule, after what the class says that several primitives have it from."""
    owner = next(kind for kind in type(primitive).__mro__ if "vjp" in vars(kind))
    shared = [] if owner is type(primitive) else [(inspect.getdoc(owner) or "").partition("\n")[0]]
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return shared + [token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT]


def statements(rule: ast.FunctionDef, names: list[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Return what a rule computes first, and (input, its gradient) for each that has one."""
    assigned: dict[str, str] = {}
    for node in ast.walk(rule):
        match node:
            case ast.Assign(targets=[target], value=ast.Constant(value=None) | ast.List(elts=[]) | ast.Name()):
                pass  # makes room, or goes on in a loop
            case ast.Assign(targets=[target], value=value):
                assigned[ast.unparse(target).strip("()")] = plain(value)
            case ast.AnnAssign(target=ast.Name(id=name), value=value) if not isinstance(value, ast.List | ast.Constant):
                assigned[name] = plain(value)
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="append"), args=[value]):
                assigned[name] = f"[{plain(value)}, ...]"  # one for each of a loop
    final: Any = [node for node in ast.walk(rule) if isinstance(node, ast.Return)][-1].value
    parts: list[Any] = list(final.elts) if isinstance(final, ast.Tuple) else [final]
    found = []
    for name, part in zip(names, parts, strict=False):
        text = plain(part)
        text = assigned.pop(re.sub(r"^tuple\((\w+)\)$", r"\1", text), text)
        if text != "None" and not text.startswith("*[None]"):
            found.append((name.removeprefix("*"), text))
    return [f"{name} = {text}" for name, text in assigned.items()], found


def plain(node: ast.expr) -> str:
    """Return an expression as the page shows it."""
    return ast.unparse(ast.fix_missing_locations(Plain().visit(node)))


def reads(primitive: Primitive, names: list[str], name: str) -> str:
    """Return a comment that says which values the gradient for one input reads."""
    bare = [other.removeprefix("*") for other in names]
    saved, reads_output = primitive.saves(tuple([other == name for other in bare]))
    read = [bare[place] for place in saved] + (["y"] if reads_output else [])
    return f"  # reads {', '.join(read)}" if read else ""


def helpers(found: list[Primitive]) -> Iterator[str]:
    """Yield a line for each function or number of the ops that rules use beside primitives."""
    seen: dict[str, Any] = {}
    for primitive in found:
        if not isinstance(primitive.vjp, Absent):
            owner = next(kind for kind in type(primitive).__mro__ if "vjp" in vars(kind))
            known = vars(sys.modules[owner.__module__])
            for node in ast.walk(rule_of(primitive)[1]):
                if isinstance(node, ast.Name) and node.id in known:
                    seen.setdefault(node.id, known[node.id])
    for name, value in sorted(seen.items()):
        if isinstance(value, float):
            yield f"- `{name}` = {value!r}"
        elif inspect.isfunction(inspect.unwrap(value)) and name != "to_shape_of":
            about = (inspect.getdoc(value) or "").partition("\n")[0]
            names = ", ".join(inspect.signature(value).parameters)
            yield f"- `{name}({names})`: {escaped(about[0].lower() + about[1:])}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(Path.cwd()) if PAGE.is_relative_to(Path.cwd()) else PAGE}")
