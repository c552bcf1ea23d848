"""Write docs/commands.md: what each command's --help prints.

python docs/generate_commands.py
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

COMMANDS = ("train", "predict", "evaluate", "show", "cache", "doctor")
HEAD = """# The commands

Written by `make docs` from the commands themselves.

Exit codes: 0 done, 1 failed (a run that is not there or is damaged, a file that cannot be written), 2 usage (an option or command that is not there), 3 data (a file that cannot be read or used),
130 interrupted (Ctrl-C: training stops after the batch at hand, and the best weights are kept).
"""


def help_of(*arguments: str) -> str:
    """Return what a command prints."""
    environment = os.environ | {"COLUMNS": "110"}
    code = "import sys; from chainrule.cli.main import main; sys.exit(main())"
    run = subprocess.run(
        [sys.executable, "-c", code, *arguments, "--help"], capture_output=True, text=True, check=True, env=environment
    )
    return run.stdout.rstrip()


def page() -> str:
    """Return the page."""
    parts = [HEAD, f"```text\n{help_of()}\n```\n"]
    parts += [f"## chainrule {name}\n\n```text\n{help_of(name)}\n```\n" for name in COMMANDS]
    return "\n".join(parts)


if __name__ == "__main__":
    Path(__file__).with_name("commands.md").write_text(page(), encoding="utf-8")
