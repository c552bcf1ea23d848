"""Options read by argparse, with errors as chainrule tells them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

from chainrule.errors import ArgumentError, nearest


class Parser(argparse.ArgumentParser):
    """A command's options: no abbreviations, and an unknown option gets the nearest names."""

    def __init__(self, prog: str, description: str, examples: str) -> None:
        super().__init__(
            prog=prog,
            description=description[:1].upper() + description[1:] + ".",
            epilog=f"examples:\n{examples.rstrip()}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def read(self, words: Sequence[str]) -> argparse.Namespace:
        """Return the values of options and arguments.

        Raises:
            ArgumentError: an option is unknown, or its value cannot be read.
        """
        known = self._option_string_actions  # every option with its dashes
        for word in words:
            if word == "--":
                break
            name = word.partition("=")[0]
            if word.startswith("--") and name not in known:
                command = self.prog.removeprefix("chainrule ")
                raise ArgumentError(f"{command} has no option {name}", fix=self._instead_of(name))
        values, rest = self.parse_known_args(list(words))
        if rest:
            raise ArgumentError(f"{rest[0]!r} was not expected", fix=self._see_help())
        return values

    def _instead_of(self, option: str) -> str:
        """Say what may have been meant by an option that is not here: another one, or an argument that needs no dashes."""
        words = [str(word) for action in self._actions if not action.option_strings for word in action.choices or ()]
        if option.lstrip("-") in words:
            return f"write {self.prog} {option.lstrip('-')}"
        return nearest(option, self._option_string_actions) or self._see_help()

    def error(self, message: str) -> NoReturn:
        """Raise what argparse found as an error of ours."""
        raise ArgumentError(message, fix=self._see_help())

    def _see_help(self) -> str:
        return f"see {self.prog} --help"
