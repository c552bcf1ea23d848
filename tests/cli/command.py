"""Runs the command: in this process, or as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from chainrule.cli.main import main

START = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have let it be ignored
from chainrule.cli.main import main
sys.exit(main())
"""


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


class Command:
    """Calls the command in an empty folder."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *words: object) -> Result:
        self._capsys.readouterr()
        code = main([str(word) for word in words])
        return Result(code, *self._capsys.readouterr())


def start(folder: Path, *words: object, before: str = "", **options: object) -> subprocess.Popen[str]:
    """Start the command as a process in a folder; ``before`` is Python that runs first."""
    return subprocess.Popen(
        [sys.executable, "-c", f"{before}\n{START}", *map(str, words)],
        cwd=folder,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,  # type: ignore[call-overload]  # what Popen takes
    )
