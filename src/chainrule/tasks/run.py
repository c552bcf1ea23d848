"""A run, loaded: predict, evaluate, and look at what it was made by."""

from __future__ import annotations

import csv
import io
import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule import nn
from chainrule.data import Table
from chainrule.errors import ArgumentError, DataError, FileError, nearest
from chainrule.tasks.config import Config
from chainrule.tasks.model_file import SavedModel, read_model
from chainrule.tasks.network import outputs, softmax
from chainrule.tasks.run_folder import CONFIG, HISTORY, METRICS, SCHEMA, is_run, partial_of
from chainrule.tasks.scores import Scores, scores_of
from chainrule.tasks.toml_file import read_toml
from chainrule.tensors.files import read_file
from chainrule.training import History


@dataclass(frozen=True, eq=False, slots=True)
class Answers:
    """A network's answers for rows.

    ``predicted``      labels, or numbers in the target's unit [rows]
    ``probabilities``  [rows, classes], None in regression
    ``places``         the number of each row in its source, counted in ``place_name``: "line" or "row"
    ``notes``          what was met in the rows: missing cells, unseen categories, numbers outside the training range
    """

    predicted: npt.NDArray[Any]
    probabilities: npt.NDArray[np.float64] | None
    place_name: str
    places: npt.NDArray[Any]
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Run:
    """A trained network with everything that made it.

    ``path``    the run's folder
    ``config``  the whole configuration; ``schema`` what the data were
    ``history`` what happened in each epoch
    ``scores``  by part, "test" and "validation": a ``Scores``
    ``saved``   the network, with what turns data into its inputs and its outputs into answers
    """

    path: Path
    config: Config
    schema: Mapping[str, Any]
    history: History
    scores: Mapping[str, Scores]
    saved: SavedModel
    notes: tuple[str, ...] = field(default=())

    @property
    def model(self) -> nn.Module:
        """The network."""
        return self.saved.model

    @property
    def classes(self) -> npt.NDArray[Any]:
        """The labels, in the order of the columns of ``predict_proba``; empty in regression."""
        return self.saved.target.labels if self.saved.target.task == "classification" else np.empty(0)

    def predict(self, data: object) -> npt.NDArray[Any]:
        """Return a label, or a number in the target's unit, for each row [rows].

        ``data`` is a file, a pandas frame, a dict of columns or of one row's cells, or an array, as the run was trained
        on; for images a file, a folder or an array [images, height, width]. Columns that are not needed are ignored.
        """
        return self.answer(data).predicted

    def predict_proba(self, data: object) -> npt.NDArray[np.float64]:
        """Return the probability of each class for each row: float64 [rows, classes]."""
        self.require_classes("predict_proba")
        found = self.answer(data).probabilities
        assert found is not None
        return found

    def require_classes(self, asked: str) -> None:
        """Raise ArgumentError if what was ``asked`` for needs classes, and the target is a number."""
        if self.saved.target.task == "regression":
            raise ArgumentError(f"{asked}: the target {self.saved.target.target!r} is a number", expected="classes")

    def answer(self, data: object) -> Answers:
        """Return predictions with their places and probabilities, and what was met in the data."""
        rows = self.saved.inputs.load(_one_row(data))
        X, notes = self.saved.inputs.encode(rows)
        found = outputs(self.model, X)
        place_name, places = self.saved.inputs.places(rows)
        target = self.saved.target
        if target.task == "regression":
            return Answers(target.decode(found[:, 0]), None, place_name, places, tuple(notes))
        return Answers(target.decode(found.argmax(axis=1)), softmax(found), place_name, places, tuple(notes))

    def evaluate(self, data: object, *, labels: str = "", missing: str = "error") -> Scores:
        """Return measures on rows whose targets are known, beside the baseline's.

        ``labels`` renames some, "old=new,…"; ``missing="drop"`` leaves out rows of a table without a target.
        """
        rows = self.saved.inputs.load(data)
        if missing == "drop" and isinstance(rows, Table) and self.saved.target.column in rows:
            rows = rows.take(self.saved.target.filled_rows(rows))
        part = self.saved.inputs.targets(rows, self.saved.target, labels)
        if labels and isinstance(rows, Table):
            for line in self.saved.target.unused_labels([rows], labels):
                warnings.warn(line, stacklevel=2)
        return scores_of(self.saved.target, outputs(self.model, part.X), part.y, part.actual)

    def __repr__(self) -> str:
        score = self.scores.get("test") or self.scores.get("validation")
        return f"<Run {str(self.path)!r}: {self.saved.target.target}, {score or 'no score'}>"


def load_run(path: str | os.PathLike[str]) -> Run:
    """Load a run's folder, with its trained network.

    Raises:
        FileError: it is no run's folder, or one of its files is missing or damaged; the file is named.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise _no_run(folder)
    if not is_run(folder):
        raise FileError(f"{folder} is no run: it has no {CONFIG}", expected="a folder that `chainrule train` made")
    saved = read_model(folder)
    config = Config.from_dict(read_toml(folder / CONFIG), str(folder / CONFIG))
    measured = _json(folder / METRICS)
    schema = _json(folder / SCHEMA)
    try:
        history = History.from_dict({**measured["history"], "rows": _rows(folder / HISTORY)})
        scores = {name: Scores.from_dict(one) for name, one in measured["scores"].items()}
    except (KeyError, TypeError, ValueError) as error:
        raise FileError(f"{folder / METRICS} is damaged ({error})", fix="restore it from a copy") from None
    return Run(folder, config, schema, history, scores, saved, tuple(schema.get("notes", ())))


def _no_run(folder: Path) -> FileError:
    if folder.is_file():
        return FileError(f"{folder} is a file", expected="the folder of a run", fix=f"name its folder, {folder.parent}")
    if partial_of(folder).is_dir():
        return FileError(
            f"the run {folder} is not complete: it was killed, or is under way ({partial_of(folder).name} is there)",
            fix="go on with it (resume=True)",
        )
    parent = folder.parent
    names = [one.name for one in parent.iterdir() if one.is_dir()] if parent.is_dir() else []
    fix = nearest(folder.name, names) or f"train one first: chainrule train DATA --target NAME --out {folder}"
    return FileError(f"there is no run {str(folder)!r}", fix=fix)


def _json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(read_file(path))
    except ValueError as error:
        raise FileError(f"{path} is damaged ({error})", fix="restore it from a copy") from None
    if not isinstance(values, dict):
        raise FileError(f"{path} is damaged: it holds no names", fix="restore it from a copy")
    return values


def _rows(path: Path) -> list[dict[str, float]]:
    try:
        text = read_file(path).decode("utf-8")
        return [
            {name: int(cell) if name == "epoch" else float(cell) for name, cell in row.items() if cell}
            for row in csv.DictReader(io.StringIO(text))
        ]
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is damaged ({error})", fix="restore it from a copy") from None


def _one_row(data: object) -> object:
    """Let a dict of one row's cells be a table of one row."""
    if isinstance(data, dict) and data and all(np.isscalar(cell) or cell is None for cell in data.values()):
        return {name: [cell] for name, cell in data.items()}
    return data
