"""From data to a trained network in a run's folder: the whole flow of `chainrule train`.

read, split, encode      table.py, image.py     encoders fitted on the training rows alone
choose the network       table.py, image.py     by the number of rows; whatever the caller gave comes first
train                    training/              early stopping on the validation rows, the best epoch kept
score, beside a baseline scores.py              the test rows are looked at here, once
write the run's folder   run_folder.py          whole, or not at all
"""

from __future__ import annotations

import csv
import importlib.util
import io
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import chainrule
from chainrule.data import BUILTINS, TargetEncoder
from chainrule.errors import ArgumentError, FileError, nearest
from chainrule.insight.report import write_report
from chainrule.nn import Module
from chainrule.tasks import run_folder
from chainrule.tasks.config import NO_LIMIT, Config, DataConfig, TrainingConfig, changed
from chainrule.tasks.image import image_defaults, prepare_images
from chainrule.tasks.keep_state import KeepState
from chainrule.tasks.model_file import SavedModel, num_outputs
from chainrule.tasks.network import build_network, check_activation, outputs, softmax
from chainrule.tasks.parts import Part, Prepared
from chainrule.tasks.run import Run, load_run
from chainrule.tasks.run_folder import RunFolder
from chainrule.tasks.scores import scores_of
from chainrule.tasks.summary import parts_lines, summarize
from chainrule.tasks.table import prepare_table, table_defaults
from chainrule.tasks.toml_file import read_toml, to_toml
from chainrule.training import History, Metric, Trainer, metrics
from chainrule.training.checkpoint import environment
from chainrule.training.optimizers import check_optimizer, check_schedule

RUNS = Path("runs")
UNFINISHED = ("interrupted", "time")  # why a run stopped that can go on
EXTRAS = {"tomli_w": "tomli-w, which writes config.toml", "jinja2": "Jinja2, which lays out the report"}

Say = Callable[[str], None]


def train(
    data: DataConfig,
    *,
    source: object = None,
    network: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    resume: bool = False,
    report: bool = True,
    progress: bool | None = None,
    say: Say | None = None,
) -> Run:
    """Train a network on data and return the run.

    Args:
        data: which data, and how they are read and cut into parts.
        source: data in memory that take the place of the file; ``data.source`` is then their name.
        network: settings of ``NetworkConfig`` that shall differ from the default ones, by name.
        training: settings of ``TrainingConfig``, likewise.
        seed: of the parts, the starting weights, the order of rows and dropout.
        out: the run's folder (default: a new one in ``runs``).
        overwrite: replace a run that is there.
        resume: go on with a run to ``out`` that was killed, interrupted, or stopped by its time limit.
        report: write ``report.html``.
        progress: show a bar or a line for each epoch (None: yes).
        say: called with each line that a user should read.

    Raises:
        DataError: the data cannot be learned from; file, line and column are named.
        ArgumentError: a setting makes no sense, or ``out`` is taken.
        FileError: the folder cannot be written.
        NotFiniteError: a NaN or an infinity appeared.
    """
    tell = say or (lambda line: None)
    if seed < 0:
        raise ArgumentError(f"seed={seed}", expected="0 or more")
    _check_settings(network or {}, training or {})
    _check_extras(report=report)
    path = Path(out) if out is not None else run_folder.free_name(RUNS, _name_of(data))
    if not resume:
        run_folder.check_free(path, overwrite=overwrite)
    elif out is None:
        raise ArgumentError("resume=True without out=", expected="the folder of the run that shall go on")
    prepared = _prepare(data, seed, data.source if source is None else source)
    for line in (*prepared.notes, *parts_lines(prepared)):
        tell(line)
    config = _resolve(prepared, seed, network or {}, training or {})
    model = build_network(config.network, prepared.inputs.num_inputs, num_outputs(prepared.target), seed)
    trainer = make_trainer(model, config.training, prepared, seed, progress)
    tell(f"network: {_layers(config, prepared)}, {sum(p.numel() for p in model.parameters()):,} parameters")
    folder = _resumed(path, config, trainer) if resume else RunFolder.begin(path, overwrite=overwrite)
    keep_state = KeepState(folder.partial / run_folder.STATE)
    try:
        folder.write(run_folder.CONFIG, to_toml(config.to_dict()))
        trainer.callbacks.append(keep_state)
        val = prepared.validation
        trainer.fit((prepared.train.X, prepared.train.y), val=None if val is None else (val.X, val.y))
        run = _write(folder, config, prepared, model, trainer.history, report=report)
        folder.finish()
    except BaseException as error:
        kept = folder.give_up(keep_state=isinstance(error, (KeyboardInterrupt, FileError, MemoryError)))
        if kept and isinstance(error, FileError):
            error.fix += f"{'. ' * bool(error.fix)}What was trained is in {folder.partial}: go on with it (resume=True)"
        if isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt(_what_is_left(folder, keep_state.epochs if kept else 0, kept=kept)) from None
        raise
    return run


def _what_is_left(folder: RunFolder, epochs: int, *, kept: bool) -> str:
    """Say what Ctrl-C left of a run."""
    if kept:
        trained = f"{epochs} trained epoch{'s' * (epochs != 1)}" if epochs else "what was trained before"
        return f"{trained} and no scores yet: kept in {folder.partial}. Go on with it (resume=True)"
    if run_folder.is_run(folder.path) and not folder.partial.exists():
        return f"the run in {folder.path} is complete"
    return "no epoch was done, and nothing is kept"


def make_trainer(
    model: Module, config: TrainingConfig, prepared: Prepared, seed: int, progress: bool | None
) -> Trainer:
    """Return the trainer of a configuration."""
    regression = prepared.target.task == "regression"
    monitor = config.monitor if prepared.validation is not None else "train_loss"
    return Trainer(
        model,
        loss=config.loss,
        optimizer=config.optimizer,
        lr=config.lr,
        weight_decay=config.weight_decay,
        batch_size=config.batch_size,
        epochs=config.epochs,
        metrics=[_rmse(prepared.target)] if regression else ["accuracy"],
        monitor=monitor,
        patience=config.patience or None,
        time_limit=None if config.time_limit == NO_LIMIT else config.time_limit,
        schedule=config.schedule,
        clip_norm=None if config.clip_norm == NO_LIMIT else config.clip_norm,
        class_weight=None if config.class_weight == "none" else config.class_weight,
        seed=seed,
        progress=progress,
    )


def _rmse(target: TargetEncoder) -> Metric:
    """Return the root of the mean squared error in the target's unit."""
    return Metric("rmse", lambda y, found: target.scale * metrics.rmse(y, found), higher_is_better=False)


def _check_settings(network: Mapping[str, Any], training: Mapping[str, Any]) -> None:
    """Refuse settings that make no sense before the data are read; whatever the defaults will be, they make sense."""
    layers, learning = table_defaults(1, "classification")
    learning = changed(learning, training)
    check_activation(changed(layers, network).activation)
    check_optimizer(learning.optimizer)
    check_schedule(learning.schedule)


def _check_extras(*, report: bool) -> None:
    """Say before training, not after it, that something to write the run is not installed."""
    for package in ("tomli_w", "jinja2") if report else ("tomli_w",):
        if importlib.util.find_spec(package) is None:
            fix = 'install it: pip install "chainrule[command]"'
            without = ", or train without a report (report=False)" if package == "jinja2" else ""
            raise FileError(f"{EXTRAS[package]}, is not installed", fix=fix + without)


def _name_of(data: DataConfig) -> str:
    return os.path.basename(os.path.normpath(data.source)).split(".")[0] or "run"


def _prepare(data: DataConfig, seed: int, source: object) -> Prepared:
    kind = kind_of(source) if data.kind == "auto" else data.kind
    return prepare_images(data, seed, source) if kind == "images" else prepare_table(data, seed, source)


def kind_of(source: object) -> str:
    """Say what data are: "images" for a built-in name, a folder, or labelled images, else "table"."""
    if isinstance(source, (str, os.PathLike)):
        path = os.fspath(source)
        if path in BUILTINS or os.path.isdir(path):
            return "images"
        if not os.path.exists(path) and os.path.basename(path) == path and "." not in path:
            fix = nearest(path, BUILTINS) or "check the name"
            raise ArgumentError(
                f"there is no file and no built-in data set {path!r}",
                expected=f"a file, a folder of IDX files, or one of {', '.join(BUILTINS)}",
                fix=fix,
            )
        return "table"
    return "images" if hasattr(source, "images") else "table"


def _resolve(prepared: Prepared, seed: int, network: Mapping[str, Any], training: Mapping[str, Any]) -> Config:
    num_rows = len(prepared.train)
    if prepared.config.kind == "images":
        layers, learning = image_defaults(num_rows)
    else:
        layers, learning = table_defaults(num_rows, prepared.target.task)
    if prepared.validation is None:
        learning = replace(learning, monitor="train_loss", patience=0)
    versions = {"chainrule": chainrule.__version__, "python": environment()["python"], "numpy": np.__version__}
    return Config(prepared.config, changed(layers, network), changed(learning, training), seed, versions)


def _layers(config: Config, prepared: Prepared) -> str:
    sizes = (prepared.inputs.num_inputs, *config.network.hidden, num_outputs(prepared.target))
    return "-".join(map(str, sizes))


def _resumed(path: Path, config: Config, trainer: Trainer) -> RunFolder:
    """Take up a run's folder, and let the trainer go on where it was."""
    if path.is_dir() and not run_folder.partial_of(path).is_dir():
        stopped = load_run(path).history.stopped
        if stopped not in UNFINISHED:
            raise ArgumentError(
                f"the run {path} is complete: it stopped by {stopped!r}", expected="one that was killed or interrupted"
            )
    folder = RunFolder.go_on(path)
    written = folder.partial / run_folder.CONFIG
    differences = Config.from_dict(read_toml(written), str(written)).differences(config)
    if differences:
        raise ArgumentError(
            f"the run {path} was started with other settings ({'; '.join(differences)})",
            expected="the same, the time limit apart",
        )
    trainer.resume(folder.partial / run_folder.STATE)
    trainer.history.notes.append(f"resumed after epoch {len(trainer.history)}")
    if trainer.time_limit is not None:
        trainer.time_limit += trainer.history.seconds
    return folder


def _write(
    folder: RunFolder, config: Config, prepared: Prepared, model: Module, history: History, *, report: bool
) -> Run:
    """Score the network on the parts that it did not learn from, and write everything; the test rows are looked at here."""
    kind, target = prepared.config.kind, prepared.target
    saved = SavedModel(kind, config.network, prepared.inputs, target, model)
    for name, contents in saved.to_files().items():
        folder.write(name, contents)
    parts = {"test": prepared.test, "validation": prepared.validation}
    held_out = {name: part for name, part in parts.items() if part is not None} or {"training": prepared.train}
    found = {name: outputs(model, part.X) for name, part in held_out.items()}
    scores = {name: scores_of(target, found[name], part.y, part.actual) for name, part in held_out.items()}
    notes = [*prepared.notes, *parts_lines(prepared)]
    schema = {**prepared.schema, "target": target.report(), "fingerprints": prepared.fingerprints, "notes": notes}
    about_training = {name: value for name, value in history.to_dict().items() if name != "rows"}
    folder.write_json(run_folder.SCHEMA, schema)
    folder.write(run_folder.HISTORY, history.to_csv())
    folder.write_json(
        run_folder.METRICS,
        {"scores": {name: one.to_dict() for name, one in scores.items()}, "history": about_training},
    )
    folder.write(run_folder.PREDICTIONS, predictions_csv(target, held_out, found))
    folder.write_json(run_folder.ENVIRONMENT, {**config.versions, **environment()})
    if report:
        summary = summarize(config, prepared, model, history, scores, found, {**config.versions, **environment()})
        write_report(folder.partial / run_folder.REPORT, summary)
    return Run(folder.path, config, schema, history, scores, saved, tuple(notes))


def predictions_csv(target: TargetEncoder, parts: Mapping[str, Part], outputs: Mapping[str, npt.NDArray[Any]]) -> str:
    """Return a row for each row of the parts: where it is, its target, and what the network said."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    classes = target.task == "classification"
    place_name = next(iter(parts.values())).place_name
    writer.writerow(["part", "source", place_name, "actual", "predicted", "probability" if classes else "error"])
    for name, part in parts.items():
        if classes:
            probabilities = softmax(outputs[name])
            predicted = target.decode(probabilities.argmax(axis=1))
            last = probabilities.max(axis=1)
        else:
            predicted = target.decode(outputs[name][:, 0])
            last = predicted - part.actual
        columns = (part.places.tolist(), part.actual.tolist(), predicted.tolist(), last.tolist())
        for place, actual, answer, more in zip(*columns, strict=True):
            writer.writerow([name, part.source, place, actual, answer, f"{more:.6g}"])
    return text.getvalue()
