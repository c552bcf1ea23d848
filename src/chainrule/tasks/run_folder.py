"""The folder of a run. It is written beside its place and takes its name when everything is in it.

While a run is under way, its files are in ``NAME.partial``; so ``NAME`` is not there, or is a whole run, at every
moment. A run that fails leaves nothing. One that is killed leaves ``NAME.partial`` with the training state of its last
epochs, from which it can go on.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chainrule.errors import ArgumentError, FileError
from chainrule.tasks.model_file import DESCRIPTION, WEIGHTS
from chainrule.tensors.files import atomic_write, cannot_write

CONFIG, SCHEMA, HISTORY, METRICS = "config.toml", "schema.json", "history.csv", "metrics.json"
PREDICTIONS, REPORT, ENVIRONMENT = "predictions.csv", "report.html", "environment.json"
STATE = "training_state.safetensors"
SUFFIX = ".partial"


class RunFolder:
    """A run's folder while it is being filled.

    ``path``     the name that it takes at the end
    ``partial``  where its files are until then
    """

    def __init__(self, path: Path, *, is_only_state: bool = False, made: Sequence[Path] = ()) -> None:
        self.path = path
        self.partial = partial_of(path)
        self._is_only_state = is_only_state  # there is no other copy of the training state
        self._made = made

    @classmethod
    def begin(cls, path: Path, *, overwrite: bool) -> RunFolder:
        """Make an empty folder for a run that will be at ``path``.

        Raises:
            ArgumentError: something is there already.
            FileError: the folder cannot be made.
        """
        check_free(path, overwrite=overwrite)
        made = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
        partial = partial_of(path)
        try:
            if partial.exists():
                shutil.rmtree(partial)
            partial.mkdir(parents=True)
        except OSError as error:
            _remove_empty(made)
            raise _cannot_make(path, error) from error
        return cls(path, made=made)

    @classmethod
    def go_on(cls, path: Path) -> RunFolder:
        """Take up the folder of a run that was killed, or of one that ended early.

        Raises:
            ArgumentError: there is none.
        """
        partial = partial_of(path)
        is_killed = (partial / STATE).is_file()
        if not is_killed:
            if not (path / STATE).is_file():
                raise ArgumentError(
                    f"there is nothing to resume at {path}", expected=f"{STATE} in it or in {partial.name}"
                )
            try:
                if partial.exists():
                    shutil.rmtree(partial)
                partial.mkdir()
                for name in (STATE, CONFIG):
                    shutil.copyfile(path / name, partial / name)
            except OSError as error:
                raise _cannot_make(path, error) from error
        return cls(path, is_only_state=is_killed)

    def write(self, name: str, contents: str | bytes) -> None:
        """Write a file of the folder."""
        atomic_write(self.partial / name, contents.encode("utf-8") if isinstance(contents, str) else contents)

    def write_json(self, name: str, values: Any) -> None:
        """Write values as JSON."""
        self.write(name, json.dumps(values, indent=1, ensure_ascii=False) + "\n")

    def finish(self) -> None:
        """Give the folder its name; a folder that had it is removed."""
        old = self.path.with_name(f"{self.path.name}.old-{os.getpid()}")
        try:
            if self.path.exists():
                os.rename(self.path, old)
            os.rename(self.partial, self.path)
            if old.exists():
                shutil.rmtree(old)
        except OSError as error:
            raise _cannot_make(self.path, error) from error

    def give_up(self, *, keep_state: bool) -> bool:
        """Remove the files of a run that failed, and the folders that were made for it; return whether some are kept.

        They are kept where there is a training state in them to go on from, and ``keep_state`` asks for it or the state
        was there before.
        """
        if (self.partial / STATE).is_file() and (keep_state or self._is_only_state):
            return True
        shutil.rmtree(self.partial, ignore_errors=True)
        _remove_empty(self._made)
        return False


def partial_of(path: Path) -> Path:
    """Return where the files of a run are until it is complete."""
    return path.with_name(path.name + SUFFIX)


def free_name(folder: Path, name: str) -> Path:
    """Return ``folder/name``, or with the first number behind it under which nothing is there."""
    number, path = 1, folder / name
    while path.exists() or partial_of(path).exists():
        number += 1
        path = folder / f"{name}-{number}"
    return path


def check_free(path: Path, *, overwrite: bool) -> None:
    """Raise ArgumentError if a run cannot be written to ``path``: something else is there."""
    if not path.name or path.name == "..":
        raise ArgumentError(f"out={str(path)!r}", expected="the name of a folder for the run")
    partial = partial_of(path)
    if path.exists() and not path.is_dir():
        raise ArgumentError(f"{path} is a file", expected="a folder that does not exist yet", fix="choose another name")
    if path.is_dir() and os.listdir(path):
        if not is_run(path):
            raise ArgumentError(
                f"{path} is not empty, and no run",
                expected="a folder that is empty or does not exist yet",
                fix="choose another name; only the folder of a run is ever overwritten",
            )
        if not overwrite:
            raise ArgumentError(
                f"there is a run in {path} already",
                expected="a folder that is empty or does not exist yet",
                fix="choose another name (out=), or replace that run (overwrite=True)",
            )
    if partial.exists() and not overwrite:
        raise ArgumentError(
            f"{partial} is there: a run to this place was killed, or is under way",
            expected="no other run to the same place",
            fix="go on with it (resume=True), or start over (overwrite=True)",
        )


def is_run(path: Path) -> bool:
    """Say whether a folder holds a run."""
    return any((path / name).is_file() for name in (CONFIG, DESCRIPTION, WEIGHTS))


def _cannot_make(path: Path, error: OSError) -> FileError:
    known = cannot_write(path, error)
    return FileError(f"cannot make the folder {str(path)!r}: {error.strerror or error}", fix=known.fix.split(";")[0])


def _remove_empty(folders: Sequence[Path]) -> None:
    for folder in folders:  # the innermost first
        try:
            folder.rmdir()
        except OSError:
            return  # not empty: others use it
