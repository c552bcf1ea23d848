"""`chainrule cache`: where the machine code that was made is kept, and how much of it; `clear` removes it."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from chainrule.cli.parser import Parser
from chainrule.compiler.cache import FOLDER, MOST_BYTES, chosen_folder, clear, entries, refusal

EXAMPLES = """
  chainrule cache
  chainrule cache clear
"""


def add_arguments(parser: Parser) -> None:
    """Add the command's arguments."""
    parser.add_argument("action", nargs="?", choices=("show", "clear"), default="show", help="show (default) or clear")


def run(options: argparse.Namespace) -> int:
    """Show the cache, or remove what is in it."""
    place = chosen_folder()
    if place is None:
        print(f"there is no cache: {FOLDER} is empty, or there is no home folder")
        return 0
    if not place.exists():
        print(f"{place}: nothing yet")
        return 0
    reason = refusal(place)
    if reason:
        print(f"the cache is not used: {reason}")
        return 1
    if options.action == "clear":
        count = clear(place)
        print(f"{place}: {_entries(count)} removed")
        return 0
    found = entries(place)
    size = sum(path.stat().st_size for path in found)
    print(f"{place}: {_entries(len(found))}, {size / 1e6:.1f} MB of at most {MOST_BYTES / 1e6:.0f}{_newest(found)}")
    return 0


def _entries(count: int) -> str:
    return f"{count} {'entry' if count == 1 else 'entries'}"


def _newest(found: list[Path]) -> str:
    if not found:
        return ""
    newest = max(path.stat().st_mtime for path in found)
    return f", last used {time.strftime('%Y-%m-%d %H:%M', time.localtime(newest))}"
