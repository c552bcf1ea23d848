"""Every exception that chainrule raises at a user.

Each says what happened (with the values received), what was expected, and what to do about it:

>>> raise ShapeError("matmul: got 16 features in the last axis", expected="32", fix="make the sizes equal")
Traceback (most recent call last):
    ...
chainrule.errors.ShapeError: matmul: got 16 features in the last axis; expected 32. Make the sizes equal.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from chainrule.forks import undisturbed


class ChainruleError(Exception):
    """The base of all: what happened, what was expected, what to do."""

    def __init__(self, what: str, *, expected: str = "", fix: str = "") -> None:
        self.what = what
        self.expected = expected
        self.fix = fix
        super().__init__(what)

    def __str__(self) -> str:
        text = self.what
        if self.expected:
            text += f"; expected {self.expected}"
        if self.fix:
            is_word = self.fix.partition(" ")[0].isalpha()  # code keeps its case
            fix = self.fix[0].upper() + self.fix[1:] if is_word else self.fix
            text = (
                text + fix if text.endswith("\n") else f"{text.rstrip('.')}. {fix}"
            )  # after a list, on a line of its own
        return text if text.endswith((".", "?", "!")) else text + "."

    def within(self, place: str) -> ChainruleError:
        """Return the same error, told from the place the user knows: ``layer 2 (Linear): …``."""
        self.what = f"{place}: {self.what}"
        return self


class ShapeError(ChainruleError, ValueError):
    """Shapes that do not fit together."""


class DtypeError(ChainruleError, TypeError):
    """A dtype that the operation is not defined for."""


class ArgumentError(ChainruleError, ValueError):
    """An argument whose value makes no sense."""


class ArgumentTypeError(ChainruleError, TypeError):
    """An argument of the wrong type, or one too many."""


class IndexingError(ChainruleError, IndexError):
    """An index outside its axis, or of a kind that cannot index."""


class NameUnknown(ChainruleError, AttributeError):
    """A name that is not here, with the nearest names that are.

    A function as ``fix`` is called when the message is read: ``hasattr`` reads none.
    """

    def __init__(self, what: str, *, expected: str = "", fix: str | Callable[[], str] = "") -> None:
        super().__init__(what, expected=expected, fix="" if callable(fix) else fix)
        self._find_fix = fix if callable(fix) else None

    def __str__(self) -> str:
        if self._find_fix is not None:
            self.fix, self._find_fix = self._find_fix(), None
        return super().__str__()

    def __reduce__(self) -> Any:
        str(self)  # a function cannot be sent to another process
        return super().__reduce__()


class GradientError(ChainruleError, RuntimeError):
    """A gradient that cannot be computed as asked."""


class InPlaceError(ChainruleError, RuntimeError):
    """A write in place that the gradient, or the memory, does not allow."""


class TraceError(ChainruleError, RuntimeError):
    """Code that cannot be traced into a graph, at the user's line."""

    made: ClassVar[Callable[[TraceError], None] | None] = None
    """Who is told of each: code may catch one, and go on as it does in no other run."""

    def __init__(self, what: str, *, expected: str = "", fix: str = "") -> None:
        super().__init__(what, expected=expected, fix=fix)
        if TraceError.made is not None:
            TraceError.made(self)


class RuleMissing(ChainruleError, TypeError):
    """A primitive without one of its rules."""


class VerifyError(ChainruleError, AssertionError):
    """A graph that breaks an invariant: a bug of chainrule, not of its user."""


class DataError(ChainruleError, ValueError):
    """Data that cannot be read or used, with the file, row and column at fault."""


class FileError(ChainruleError, OSError):
    """A file that cannot be written, or whose contents are damaged."""


class NotFiniteError(ChainruleError, ArithmeticError):
    """A NaN or an infinity, with the layer and the batch where it appeared first."""


class OutOfMemoryError(ChainruleError, MemoryError):
    """More memory would be needed than there is."""


class NativeError(ChainruleError, RuntimeError):
    """Native code that cannot be made, loaded or called on this machine."""


def nearest(name: str, names: Iterable[str]) -> str:
    """Say which known names a mistyped one may have meant.

    >>> nearest("sofmax", ["softmax", "softplus", "relu"])
    'did you mean softmax?'
    >>> nearest("zzz", ["softmax"])
    ''
    """
    near = near_names(name, names)
    return f"did you mean {' or '.join(near)}?" if near else ""


def near_names(name: str, names: Iterable[str]) -> list[str]:
    """Return up to three names that one may have been, the nearest first.

    >>> near_names("age", ["Age", "name", "ages"])
    ['ages', 'Age']
    """
    with undisturbed():
        import difflib  # loaded only where a name was mistyped

    return difflib.get_close_matches(name, sorted(names), n=3, cutoff=0.6)


PACKAGE = os.path.dirname(__file__) + os.sep


def warn(text: str) -> None:
    """Warn at the line of the code that called chainrule, however deep in it this is."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(PACKAGE):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, stacklevel=level)
