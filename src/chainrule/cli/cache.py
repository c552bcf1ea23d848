"""`chainrule cache`: the machine code that is kept on disk, so that a program starts faster the second time."""

from __future__ import annotations

import argparse
import time

from chainrule.cli.parser import Parser
from chainrule.compiler import cache

EXAMPLES = """
  chainrule cache
  chainrule cache clear                        what is removed is compiled again when it is needed
  CHAINRULE_CACHE=/scratch/me chainrule cache  another folder (off: none), as for every program that uses chainrule
"""

KB, MB = 2**10, 2**20


def add_arguments(parser: Parser) -> None:
    """What to do with it."""
    parser.add_argument("action", nargs="?", choices=("show", "clear"), default="show", help="show (default) or clear")


def run(options: argparse.Namespace) -> int:
    """Print where the code is and how much, or remove it."""
    if options.action == "clear":
        num_entries = cache.clear()
        print(f"{num_entries} {_entries(num_entries)} removed from {cache.state().folder or 'no folder'}")
        return 0
    found = cache.state()
    print(f"folder   {found.folder or 'none'}")
    if found.refused:
        print(f"         not used: {found.refused}")
        return 0
    if found.unwritable:
        print(f"         nothing new is kept: {found.unwritable}")
    print(f"entries  {found.num_entries}")
    print(f"size     {_bytes(found.size)}, of {_bytes(cache.LIMIT)} at most")
    if found.num_entries:
        print(f"newest   {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(found.newest))}, made or last used")
    return 0


def _bytes(number: int) -> str:
    return f"{number / MB:.0f} MB" if number >= 10 * MB else f"{number / KB:.0f} kB"


def _entries(number: int) -> str:
    return "entry" if number == 1 else "entries"
