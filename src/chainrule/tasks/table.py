"""Tables: rows of a file or frame → a network's inputs, a target, and settings that fit their number."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from chainrule.data import Encoded, Schema, Table, TableEncoder, TargetEncoder, fingerprint, infer_schema, read_table
from chainrule.data.delimited import no_file
from chainrule.errors import ArgumentError, DataError
from chainrule.insight.figures import counted
from chainrule.tasks.config import NO_LIMIT, DataConfig, NetworkConfig, TrainingConfig, data_config
from chainrule.tasks.parts import TEST_FRACTION, Array, Part, Prepared, fraction, split

MOST_NOTES = 12  # columns with missing cells or unseen categories that are named one by one


@dataclass(frozen=True, slots=True)
class TableInputs:
    """Reads tables as the training table was read, and encodes them as it was encoded."""

    config: DataConfig
    target_column: str
    encoder: TableEncoder

    @property
    def num_inputs(self) -> int:
        """How many numbers a row has."""
        return self.encoder.num_features

    def load(self, source: object) -> Table:
        """Read a table from a file, a frame, a dict or an array; its target column may be absent."""
        try:
            table = read(source, self.config)
        except DataError as error:
            if FORM_ADVICE.search(error.fix):  # the form was given in training, and cannot be given again
                error.fix = f"write it in the form of the training data: {form_of(self.config)}"
            raise
        return with_names(table, self.config, self.config.names, self.target_column)

    def encode(self, data: Table) -> tuple[Array, list[str]]:
        """Return the inputs, float32 [rows, inputs], and what was met in them."""
        encoded = self.encoder.encode(data)
        return encoded.features, encoded.report().splitlines()

    def targets(self, data: Table, target: TargetEncoder, labels: str = "") -> Part:
        """Return the rows as a part to be scored."""
        if target.column not in data:
            raise data.lacks(target.column, purpose="the target")
        y = target.encode(data, labels=labels or None)
        return self.part(data, self.encoder.encode(data), target, y)

    def part(self, data: Table, encoded: Encoded, target: TargetEncoder, y: Array) -> Part:
        """Return rows with their encoded inputs and targets."""
        place_name, places = self.places(data)
        used = data.select(self.encoder.columns)
        return Part(
            X=encoded.features,
            y=y,
            actual=data.numbers(target.column) if target.task == "regression" else target.decode(y),
            source=data.source,
            place_name=place_name,
            places=places,
            cells=lambda row: {name: column.cell(row) for name, column in used.columns.items()},
            notes=notes_of(encoded),
        )

    def places(self, data: Table) -> tuple[str, Array]:
        """Return what counts the rows ("line" or "row"), and the number of each."""
        return "line" if data.in_file else "row", data.places

    def to_dict(self) -> dict[str, Any]:
        """Return everything as values that JSON can hold."""
        return {
            "data": asdict(self.config),
            "target_column": self.target_column,
            "encoder": self.encoder.to_dict(),
        }

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> TableInputs:
        """Make the same again from what ``to_dict`` returned."""
        encoder = TableEncoder.from_dict(saved["encoder"])
        return cls(data_config(saved["data"]), saved["target_column"], encoder)


FORM_ADVICE = re.compile(r"\b(header|delimiter|encoding|decimal|quote)(=|\))")


def form_of(config: DataConfig) -> str:
    """Say in words how the training data were written."""
    header = "with" if config.header else "without"
    delimiter = "any delimiter" if config.delimiter == "auto" else f"the delimiter {config.delimiter!r}"
    return f"{config.encoding}, {header} a header, {delimiter}"


def read(source: object, config: DataConfig) -> Table:
    """Read a table as a configuration says."""
    return read_table(
        source,
        header=config.header,
        delimiter=None if config.delimiter == "auto" else config.delimiter,
        encoding=config.encoding,
        decimal=config.decimal,
        quote=config.quote or None,
        missing=config.missing,
    )


def with_names(table: Table, config: DataConfig, columns: Sequence[str], target_column: str = "") -> Table:
    """Name the columns of a table that has no header; the target may be absent from it."""
    if config.header or table.header:
        return table
    without_target = [name for name in columns if name != target_column]
    for names in (columns, without_target):
        if len(names) == len(table.names):
            renamed = dict(zip(names, table.columns.values(), strict=True))
            return Table(renamed, source=table.source, places=table.places, in_file=table.in_file, header=False)
    what = f"{table.source}: {len(table.names)} columns, without a header"
    raise DataError(what, expected=f"{len(columns)}: {', '.join(columns)}")


def prepare_table(config: DataConfig, seed: int, source: object) -> Prepared:
    """Read the tables that a configuration names, cut them into parts, and encode them.

    ``source`` is the configuration's file, or data in memory that it describes.
    """
    _check_files(source, config)
    table = read(source, config)
    table = with_names(table, config, config.names or table.names)
    if not config.target:
        shown = ", ".join(table.names[:20]) + (", …" if len(table.names) > 20 else "")
        raise ArgumentError(
            f"no target is given: which column of {table.source} is to be predicted", expected=f"target= one of {shown}"
        )
    missing = "drop" if config.skip_missing_target else "error"
    target = TargetEncoder.fit(table, config.target, task=config.task, labels=config.labels or None, missing=missing)
    notes = [f"{table.source}: {len(table):,} rows, {len(table.names)} columns"]
    whole, table = table, table.take(target.filled_rows(table))
    if len(table) < len(whole):
        notes.append(f"{len(whole) - len(table):,} rows without a target are left out")
    schema = infer_schema(table, target=target.column, kinds=config.kinds, drop=config.drop)
    classes = target.encode(table) if target.task == "classification" else None

    named = {"training": whole}
    rest, held_out = split(classes, len(table), fraction(config.test), seed, "test", source=table.source)
    kept, stopped_by = split(
        None if classes is None else classes[rest],
        len(rest),
        fraction(config.validation),
        seed,
        "validation",
        source=table.source,
    )
    train = table.take(rest[kept])
    target = TargetEncoder.fit(train, config.target, task=target.task, labels=target.renamed)
    encoder = TableEncoder.fit(train, schema)
    test = TEST_FRACTION if config.test == "auto" else config.test
    config = replace(config, kind="table", task=target.task, names=whole.names, test=test, augment="none")
    inputs = TableInputs(config, target.column, encoder)

    def part(rows: Table) -> Part:
        if config.skip_missing_target:
            rows = rows.take(target.filled_rows(rows))
        return inputs.targets(rows, target)

    def other(chosen: float | str, rows: Table, name: str) -> Part | None:
        if not isinstance(chosen, str) or chosen == "auto":
            return part(rows) if len(rows) else None
        named[name] = inputs.load(chosen)
        return part(named[name])

    prepared = Prepared(
        config=config,
        inputs=inputs,
        target=target,
        train=part(train),
        validation=other(config.validation, table.take(rest[stopped_by]), "validation"),
        test=other(config.test, table.take(held_out), "test"),
        schema={"table": schema.to_dict(), "features": list(encoder.feature_names), "encoding": encoder.report()},
        fingerprints={name: fingerprint(part_table) for name, part_table in named.items()},
        notes=notes + column_notes(schema, encoder) + [target.report()],
    )
    if target.renamed:
        for line in target.unused_labels(named.values()):  # the files of all parts, now that they are read
            warnings.warn(line, stacklevel=2)
    return prepared


def _check_files(source: object, config: DataConfig) -> None:
    """Name the first file that is not there, before the others are read."""
    for path in (source, config.validation, config.test):
        if isinstance(path, str) and path != "auto" and not os.path.exists(path):
            raise no_file(path)


def column_notes(schema: Schema, encoder: TableEncoder) -> list[str]:
    """Say which columns are used and which are not, and why."""
    used = ", ".join(f"{column.name} ({column.kind})" for column in schema.used[:20])
    more = f" and {len(schema.used) - 20} more" if len(schema.used) > 20 else ""
    columns, inputs = (counted(len(schema.used), "column"), counted(encoder.num_features, "input"))
    give = "gives" if len(schema.used) == 1 else "give"
    notes = [f"{columns} {give} {inputs}: {used}{more}"]
    return notes + [f"column {column.name} is not used: {column.reason}" for column in schema.dropped]


def notes_of(encoded: Encoded) -> tuple[str, ...]:
    """Say what cells were missing or unseen in training, a line for each column; the lines of few columns alone."""
    met = [replace(note, num_outside=0) for note in encoded.notes if note.num_missing or note.unseen]
    lines = [line for note in met for line in note.lines(len(encoded.features))]
    if len(lines) > MOST_NOTES:
        return (*lines[:MOST_NOTES], f"and {len(lines) - MOST_NOTES} more such columns")
    return tuple(lines)


def table_defaults(num_rows: int, task: str) -> tuple[NetworkConfig, TrainingConfig]:
    """Return the settings for a number of training rows.

    They were chosen by the error on rows held out of the training parts of five tables of 300 to 30,000 rows; neighbours
    (twice the units, three times the rate, other dropout) differ by less than seeds do.
    """
    if num_rows < 2_000:
        hidden, dropout, batch_size, epochs, patience = (64, 32), 0.2, 32, 150, 25
    elif num_rows < 20_000:
        hidden, dropout, batch_size, epochs, patience = (128, 64), 0.1, 128, 60, 12
    else:
        hidden, dropout, batch_size, epochs, patience = (128, 64), 0.1, 256, 30, 8
    network = NetworkConfig(hidden=hidden, activation="relu", dropout=dropout, input_dropout=0.0)
    training = TrainingConfig(
        loss="cross_entropy" if task == "classification" else "mse",
        optimizer="adamw",
        lr=1e-3,
        weight_decay=1e-2,
        schedule="cosine",
        batch_size=batch_size,
        epochs=epochs,
        patience=patience,
        clip_norm=NO_LIMIT,
        class_weight="none",
        time_limit=NO_LIMIT,
        monitor="val_loss",
    )
    return network, training
