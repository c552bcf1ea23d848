"""Everything that a run was made by, spelled out: no default hides in the code that reads it.

>>> NetworkConfig(hidden=(64, 32), activation="relu", dropout=0.2, input_dropout=0.0)
NetworkConfig(hidden=(64, 32), activation='relu', dropout=0.2, input_dropout=0.0)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, TypeVar

from chainrule.data import MISSING
from chainrule.data.comparison import check_label_map
from chainrule.data.schema import check_kinds
from chainrule.errors import ArgumentError, DataError, nearest

FORMAT = 1  # of to_dict
KINDS = ("auto", "table", "images")
CLASS_WEIGHTS = ("none", "balanced")
AUGMENTATIONS = ("auto", "none", "shifts")
NO_LIMIT = math.inf


@dataclass(frozen=True, slots=True)
class DataConfig:
    """Which data, and how they are read and cut into parts.

    ``source``      a file, a folder of IDX files, or the name of a built-in data set
    ``kind``        "table" or "images" ("auto": found out)
    ``target``      a column, or a comparison such as "num > 0" (tables)
    ``task``        "classification" or "regression" ("auto": found out)
    ``header``      whether the first line of a table names its columns; else ``names``, or "0", "1", …
    ``delimiter``   one character ("auto": found out for each file)
    ``missing``     the cells that count as missing, beside empty ones
    ``labels``      labels renamed, "old=new,…"
    ``drop, kinds`` columns that are not used; columns whose kind is given
    ``validation``  a fraction of the rows that are not for testing, or a file; 0 for none
    ``test``        a fraction of all rows, or a file; 0 for none ("auto": the test files of a folder of images, else 0.2)
    ``augment``     "shifts": each training image also moved by a pixel in four directions
    """

    source: str
    kind: str = "auto"
    target: str = ""
    task: str = "auto"
    header: bool = True
    names: tuple[str, ...] = ()
    delimiter: str = "auto"
    encoding: str = "utf-8"
    decimal: str = "."
    quote: str = '"'
    missing: tuple[str, ...] = MISSING
    labels: str = ""
    drop: tuple[str, ...] = ()
    kinds: Mapping[str, str] = field(default_factory=dict)
    skip_missing_target: bool = False
    validation: float | str = 0.2
    test: float | str = "auto"
    augment: str = "auto"

    def __post_init__(self) -> None:
        _one_of("kind", self.kind, KINDS)
        _one_of("augment", self.augment, AUGMENTATIONS)
        check_kinds(self.kinds)
        check_label_map(self.labels)
        for name, part in (("val", self.validation), ("test", self.test)):
            if not isinstance(part, str) and not 0.0 <= part < 1.0:
                raise ArgumentError(f"{name}={part:g}", expected="0 or more and less than 1, or a file")


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """Layers: ``hidden`` units, each layer followed by ``activation`` and dropout; dropout on the inputs first."""

    hidden: tuple[int, ...]
    activation: str
    dropout: float
    input_dropout: float

    def __post_init__(self) -> None:
        for units in self.hidden:
            if units < 1:
                raise ArgumentError(f"hidden={_listed(self.hidden)}", expected="whole numbers of at least 1")
        for name, value in (("dropout", self.dropout), ("input_dropout", self.input_dropout)):
            if not 0.0 <= value < 1.0:
                raise ArgumentError(f"{name}={value:g}", expected="0 or more and less than 1")


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """How the network learns; ``patience`` 0 never stops early, ``clip_norm`` and ``time_limit`` inf set no limit."""

    loss: str
    optimizer: str
    lr: float
    weight_decay: float
    schedule: str
    batch_size: int
    epochs: int
    patience: int
    clip_norm: float
    class_weight: str
    time_limit: float
    monitor: str

    def __post_init__(self) -> None:
        for name, least in (("batch_size", 1), ("epochs", 1), ("patience", 0)):
            value = getattr(self, name)
            if value < least:
                raise ArgumentError(f"{name}={value}", expected=f"a whole number of at least {least}")
        for name in ("lr", "clip_norm", "time_limit"):
            value = getattr(self, name)
            if not value > 0.0:
                raise ArgumentError(f"{name}={value:g}", expected="a number above 0")
        if not math.isfinite(self.lr):
            raise ArgumentError(f"lr={self.lr:g}", expected="a finite number")
        if not 0.0 <= self.weight_decay < math.inf:
            raise ArgumentError(f"weight_decay={self.weight_decay:g}", expected="a finite number of at least 0")
        _one_of("class_weight", self.class_weight, CLASS_WEIGHTS)


@dataclass(frozen=True, slots=True)
class Config:
    """A run's whole configuration."""

    data: DataConfig
    network: NetworkConfig
    training: TrainingConfig
    seed: int
    versions: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Return it as nested plain values, as ``config.toml`` holds them."""
        values = asdict(self)
        return {"format": FORMAT, "seed": values.pop("seed"), **_plain(values)}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any], where: str = "the configuration") -> Config:
        """Make the configuration again from what ``to_dict`` returned; ``where`` names it in an error."""
        if saved.get("format") != FORMAT:
            raise DataError(f"{where} has format {saved.get('format')!r}", expected=str(FORMAT))
        try:
            return cls(
                data_config(saved["data"]),
                NetworkConfig(**_tuples(saved["network"])),
                TrainingConfig(**saved["training"]),
                saved["seed"],
                dict(saved["versions"]),
            )
        except (KeyError, TypeError) as error:
            raise DataError(f"{where} is damaged ({error})", fix="use the file as it was written") from None

    def differences(self, other: Config) -> list[str]:
        """Say in which settings two configurations differ, versions and the time limit left out."""
        said = []
        for part in ("data", "network", "training"):
            mine, others = getattr(self, part), getattr(other, part)
            for setting in fields(mine):
                a, b = getattr(mine, setting.name), getattr(others, setting.name)
                if a != b and setting.name != "time_limit":
                    said.append(f"{part}.{setting.name}: {_shown(a)} and {_shown(b)}")
        if self.seed != other.seed:
            said.append(f"seed: {self.seed} and {other.seed}")
        return said


def data_config(saved: Mapping[str, Any]) -> DataConfig:
    """Make it again from saved plain values."""
    return DataConfig(**_tuples(saved))


Settings = TypeVar("Settings", NetworkConfig, TrainingConfig)


def changed(config: Settings, wanted: Mapping[str, Any]) -> Settings:
    """Return a configuration with the settings that the caller gave."""
    names = [setting.name for setting in fields(config)]
    for name in wanted:
        if name not in names:
            raise ArgumentError(f"there is no setting {name!r}", expected=", ".join(names), fix=nearest(name, names))
    return replace(config, **wanted)


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ArgumentError(f"{name}={value!r}", expected=f"one of {', '.join(known)}", fix=nearest(value, known))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, (tuple, list)) else value


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def _listed(values: tuple[int, ...]) -> str:
    return ",".join(map(str, values))


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else repr(value)
