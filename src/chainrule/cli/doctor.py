"""`chainrule doctor`: what is installed, what the machine is, and what is missing, with how to get it."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import chainrule
from chainrule.cli.main import DEBUG
from chainrule.cli.parser import Parser
from chainrule.compiler import cache, target
from chainrule.errors import ArgumentError
from chainrule.run import engine, threads
from chainrule.switches import read_switch
from chainrule.training.checkpoint import machine

EXAMPLES = """
  chainrule doctor
"""

DATA = "CHAINRULE_DATA"
VARIABLES: dict[str, Callable[[], object]] = {
    engine.SWITCH: engine.is_off,
    threads.LIMIT: threads.get_num_threads,
    target.VARIABLE: target.check_asked,
    cache.VARIABLE: cache.place,
    DEBUG: lambda: read_switch(DEBUG, default=False),
}
"""The environment variables that chainrule reads, and what raises ArgumentError where one means nothing."""

FOR_WHAT = {
    "command": "chainrule train: digits, report, config.toml",
    "tests": "make test, make lint",
    "oracles": "tests against PyTorch",
}
_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(?P<versions>[^;]*)(?:;(?P<marker>.*))?")
_EXTRA = re.compile(r"extra\s*==\s*['\"](?P<name>\w+)['\"]")
_MACHINE = re.compile(r"platform_|python_|implementation_|os_name")


def add_arguments(parser: Parser) -> None:
    """There are no options."""


def run(options: argparse.Namespace) -> int:
    """Print what is here; 1 if something that chainrule cannot do without is missing."""
    here = machine()
    print(f"chainrule  {chainrule.__version__}, in {Path(chainrule.__file__).parent}")
    print(f"Python     {platform.python_version()}, {sys.executable}")
    print(f"NumPy      {np.__version__}, BLAS {here['blas']}, threads: {here['blas_threads']}")
    print(f"CPU        {here['cpu']}, {_num_cpus()} cores for this process")
    print(f"system     {here['system']}{_memory()}")
    print(f"native     {_native()}")
    missing = _packages()
    print(f"\n{_folders()}")
    wrong = _variables()
    return 1 if missing or wrong else 0


def _variables() -> list[str]:
    """Print each of the environment variables that is set, and return the names of those that every command refuses."""
    wrong = []
    for name, check in VARIABLES.items():
        value = os.environ.get(name)
        if not value:
            continue
        said = ""
        try:
            check()
        except ArgumentError as error:
            wrong.append(name)
            said = f": WRONG. {error}"
        print(f"{name:16}  {value}{said}")
    named = os.environ.get(DATA)
    if named:
        print(f"{DATA:16}  {named}{'' if Path(named).is_dir() else ': no such folder'}")
    return wrong


def _packages() -> list[str]:
    """Print each package that chainrule asks for, by extra, and return those of the core that are missing."""
    try:
        required = [_parse(line) for line in importlib.metadata.requires("chainrule") or []]
    except importlib.metadata.PackageNotFoundError:
        print("\nchainrule runs from its source and is not installed: what it asks for is not known here")
        return []
    extras = dict.fromkeys(extra for _, _, extra, _ in required)
    lacking: dict[str, list[str]] = {}
    for extra in extras:
        print(f"\n{extra or 'core'}" + (f"  ({FOR_WHAT[extra]})" if extra in FOR_WHAT else ""))
        told: set[str] = set()  # a package may be asked for on several kinds of machines, a line each
        for name, versions, of, somewhere in required:
            if of == extra and name not in told:
                told.add(name)
                found = _version(name)
                if not found and somewhere:
                    print(f"  {name:16} not here, as on some machines")
                    continue
                if not found:
                    lacking.setdefault(extra, []).append(name)
                print(f"  {name:16} {found or 'missing'}{f'  (asked for: {versions})' if not found else ''}")
    for extra, names in lacking.items():
        package = f"chainrule[{extra}]" if extra else "chainrule"
        print(f'\n{", ".join(names)} missing: pip install "{package}"')
    return lacking.get("", [])


def _parse(line: str) -> tuple[str, str, str, bool]:
    """Return name, versions, extra ("" for the core) of a requirement, and whether only some machines have it."""
    found = _REQUIREMENT.match(line)
    assert found is not None
    marker = found["marker"] or ""
    extra = _EXTRA.search(marker)
    return found["name"], found["versions"].strip(), extra["name"] if extra else "", bool(_MACHINE.search(marker))


def _native() -> str:
    """Say what native code is made for here, or why there is none."""
    reason = target.unsupported()
    return f"none: {reason}. NumPy does the work" if reason else f"code for {target.host().name}"


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _num_cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory() -> str:
    names = getattr(os, "sysconf_names", {})
    if "SC_PHYS_PAGES" not in names or "SC_PAGE_SIZE" not in names:
        return ""
    return f", {os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.1f} GiB of memory"


def _folders() -> str:
    return "\n".join(f"{name:16} {folder}: {state}" for name, folder, state in _writable())


def _writable() -> Iterator[tuple[str, Path, str]]:
    """Say of each folder that chainrule writes to whether it can."""
    here = Path.cwd()
    for name, folder in (("runs go to", here / "runs"), ("temporary files", Path(tempfile.gettempdir()))):
        there = folder if folder.is_dir() else folder.parent
        try:
            with tempfile.TemporaryFile(dir=there):
                yield name, folder, "can be written"
        except OSError as error:
            yield name, folder, f"CANNOT be written ({error.strerror})"
