"""The door: find the command, run it, and end with a message and an exit code that say how it went.

0  done
1  failed: a file cannot be written or is damaged, training diverged
2  usage: an option or argument makes no sense
3  data: a file cannot be read as what it should be, a column or target is missing
130  interrupted by Ctrl-C
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from types import ModuleType
from typing import TextIO

import chainrule
from chainrule import cli
from chainrule import run as engines
from chainrule.cli.parser import Parser
from chainrule.cli.threads import one_blas_thread
from chainrule.cli.wording import in_options
from chainrule.errors import ArgumentError, ArgumentTypeError, ChainruleError, DataError, nearest
from chainrule.switches import read_switch

DEBUG = "CHAINRULE_DEBUG"
WITHOUT_ENGINE = ("doctor", "cache")  # the commands that run no network: they also help where the environment is wrong
DONE, FAILED, USAGE, DATA, INTERRUPTED = 0, 1, 2, 3, 130

HELP = """chainrule: train neural networks, and see where the error comes from

usage: chainrule COMMAND [options]

commands:
{commands}

options:
  --version   show the version
  --debug     show where in the code an error came from (or CHAINRULE_DEBUG=1)
  --help      show this; `chainrule COMMAND --help` shows a command's options

examples:
  chainrule train digits
  chainrule train houses.csv --target price
  chainrule train patients.csv --target "num > 0" --out runs/patients --seed 1
  chainrule predict runs/patients new.csv --out answers.csv
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line (by default that of the process) and return the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that cannot show a sign shows ?
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            debug = debug or read_switch(DEBUG, default=False)
            return _run(words)
    except ChainruleError as error:
        if debug:
            raise
        print(f"chainrule: {in_options(str(error))}", file=sys.stderr)
        return exit_code(error)
    except KeyboardInterrupt as error:
        if debug:
            raise
        left = in_options(str(error))
        print(f"chainrule: interrupted{f': {left}' if left else ''}", file=sys.stderr)
        return INTERRUPTED
    except MemoryError:
        if debug:
            raise
        print("chainrule: not enough memory. Use fewer rows or a smaller network", file=sys.stderr)
        return FAILED
    except BrokenPipeError:  # whoever reads the output went away: `chainrule predict … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def exit_code(error: ChainruleError) -> int:
    """Return the exit code for an error."""
    if isinstance(error, DataError):
        return DATA
    return USAGE if isinstance(error, (ArgumentError, ArgumentTypeError)) else FAILED


def _run(words: list[str]) -> int:
    if words[:1] == ["help"]:
        words = [*words[1:2], "--help"]
    if not words:
        print(help_text(), file=sys.stderr)
        return USAGE
    name, *rest = words
    if name in ("-h", "--help"):
        print(help_text())
        return DONE
    if name in ("-V", "--version"):
        print(f"chainrule {chainrule.__version__}")
        return DONE
    if name not in cli.COMMANDS:
        what = "option" if name.startswith("-") else "command"
        known = [*cli.COMMANDS, "--help", "--version"]
        fix = nearest(name, known) or "see chainrule --help"
        raise ArgumentError(f"there is no {what} {name!r}", expected=", ".join(cli.COMMANDS), fix=fix)
    command: ModuleType = getattr(cli, name)
    parser = Parser(f"chainrule {name}", cli.COMMANDS[name], command.EXAMPLES)
    command.add_arguments(parser)
    if "-h" in rest or "--help" in rest:
        parser.print_help()
        return DONE
    asked = parser.read(rest)
    if name not in WITHOUT_ENGINE:
        engines.check_environment()
    with one_blas_thread():
        code: int = command.run(asked)
    return code


def help_text() -> str:
    """Return what `chainrule --help` shows."""
    commands = "\n".join(f"  {name:9} {what}" for name, what in cli.COMMANDS.items())
    return HELP.format(commands=commands)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a warning as a note, without the place in the code."""
    print(f"chainrule: note: {in_options(str(message))}", file=sys.stderr)
