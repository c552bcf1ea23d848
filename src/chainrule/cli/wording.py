"""Errors in the command's words: where the library names an argument, the command names its option.

>>> in_options("if the file has no header, say so (header=False)")
'if the file has no header, say so (--no-header)'
>>> in_options("rename them: labels='<=50K.-><=50K'")
"rename them: --labels '<=50K.-><=50K'"
"""

from __future__ import annotations

import ast
import re
import shlex

ALONE = {
    "header=False": "--no-header",
    "missing='drop'": "--skip-missing-target",
    "quote=None": "--quote none",
    "overwrite=True": "--overwrite",
    "resume=True": "--resume",
    "report=False": "--no-report",
}
"""Arguments with a value that are an option without one."""

NAMED = (
    "labels", "missing", "delimiter", "encoding", "decimal", "quote", "target", "task", "out", "val", "test", "hidden",
    "activation", "dropout", "input_dropout", "optimizer", "lr", "weight_decay", "schedule", "batch_size", "epochs",
    "patience", "clip_norm", "class_weight", "time_limit", "augment", "kind", "seed", "resume",
)  # fmt: skip
RENAMED = {"time_limit": "time"}

_KINDS = re.compile(r"kinds=\{'(?P<column>[^']*)': '(?P<kind>\w+)'\}")
_ARGUMENT = re.compile(rf"(?<![\w'\"])(?P<name>{'|'.join(NAMED)})=(?P<value>'[^']*'|\"[^\"]*\"|[-+\w.]+)?")
_SUBJECT = re.compile(r"^(?P<name>labels|kinds)(?=: )")


def in_options(message: str) -> str:
    """Return a message in which arguments of the library are options of the command."""
    for argument, option in ALONE.items():
        message = message.replace(argument, option)
    message = _KINDS.sub(lambda found: "--kind " + shlex.quote(f"{found['column']}={found['kind']}"), message)
    message = _SUBJECT.sub(
        lambda found: f"--{found['name'].removesuffix('s') if found['name'] == 'kinds' else 'labels'}", message
    )
    return _ARGUMENT.sub(_option, message)


def _option(found: re.Match[str]) -> str:
    name, value = found["name"], found["value"] or ""
    option = "--" + RENAMED.get(name, name).replace("_", "-")
    if value[:1] in ("'", '"'):
        value = shlex.quote(str(ast.literal_eval(value)))
    return f"{option} {value}".rstrip()
