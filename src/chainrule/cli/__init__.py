"""The command `chainrule`: one file per command, loaded when it is called.

main      finds the command, runs it, turns errors into messages and exit codes
train     data → a trained network in a run's folder
predict   a run and data → answers
evaluate  a run and data with targets → measures beside a baseline
show      a run → its training step as graph, loops, machine code, or measured kernels
cache     what is kept of compiled code, and how to be rid of it
doctor    what is installed, and what is missing

parser, values, wording   options, their values, and errors in the command's words
"""

from __future__ import annotations

import importlib
from typing import Any

from chainrule.errors import NameUnknown, nearest
from chainrule.forks import undisturbed

COMMANDS = {
    "train": "train a network on a table or on images, and write its run folder",
    "predict": "predict with a trained run",
    "evaluate": "score a trained run on data whose targets are known",
    "show": "show what the compiler makes of a run's training step, and what it costs",
    "cache": "show the compiled code that is kept on disk, or remove it",
    "doctor": "show versions and the machine, and what is missing",
}
"""The commands, with what they do."""


def __getattr__(name: str) -> Any:
    if name not in COMMANDS:
        raise NameUnknown(f"chainrule.cli has no {name!r}", fix=nearest(name, COMMANDS))
    with undisturbed():
        return importlib.import_module(f"chainrule.cli.{name}")
