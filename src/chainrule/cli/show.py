"""`chainrule show`: what the compiler makes of a run's training step, stage by stage."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from chainrule.cli.parser import Parser
from chainrule.compiler.target import unsupported
from chainrule.errors import NativeError
from chainrule.run.engine import SWITCH, is_off
from chainrule.tasks.run import load_run
from chainrule.tasks.trained_step import traced_step
from chainrule.tensors.compile import Compiled

EXAMPLES = """
  chainrule show runs/houses                     the loops of each kernel
  chainrule show runs/houses --stage kernels     what each kernel costs on this machine
  chainrule show runs/houses --stage assembly > step.s
"""

STAGES: dict[str, tuple[str, Callable[[Compiled], str]]] = {
    "graph": ("what the step computes, forward, backward and update", lambda step: step.show()),
    "loops": ("which kernel computes what, and where it goes", lambda step: step.loops),
    "llvm": ("the kernels in LLVM's language", lambda step: step.llvm),
    "assembly": ("the kernels as this machine runs them", lambda step: step.assembly),
    "kernels": ("work, memory and time of each kernel, measured here", lambda step: step.profile()),
}
"""The stages, from the network to the machine: what is shown, and how."""


def add_arguments(parser: Parser) -> None:
    """Declare the options."""
    parser.add_argument("run", metavar="RUN", help="the folder of a run; it is not changed")
    known = "; ".join(f"{name}: {what}" for name, (what, _) in STAGES.items())
    parser.add_argument("--stage", choices=tuple(STAGES), default="loops", help=f"{known} (loops)")


def run(options: argparse.Namespace) -> int:
    """Build the run's training step again, and print one of its stages."""
    loaded = load_run(options.run)
    if options.stage != "graph":
        _require_native()
    _, shown = STAGES[options.stage]
    print(shown(traced_step(loaded)))
    return 0


def _require_native() -> None:
    """Raise NativeError, with the reason, if there is no native code to show."""
    reason = f"it is switched off ({SWITCH}=0)" if is_off() else unsupported()
    if reason:
        fix = f"set {SWITCH}=1, or ask for --stage graph" if is_off() else "ask for --stage graph"
        raise NativeError(f"there is no native code to show: {reason}", fix=fix)
