from __future__ import annotations

import tomllib

import pytest

from chainrule.errors import ArgumentError, DataError, FileError
from chainrule.tasks.config import Config, DataConfig, NetworkConfig, TrainingConfig, changed
from chainrule.tasks.table import table_defaults
from chainrule.tasks.toml_file import read_toml, to_toml


def config(**data: object) -> Config:
    network, training = table_defaults(100, "classification")
    return Config(DataConfig("a.csv", target="y", **data), network, training, 3, {"numpy": "2.0"})


def test_a_configuration_comes_back_from_its_file() -> None:
    before = config(kinds={"zip": "categorical"}, drop=("a", "b"), test="test.csv", delimiter="\t")
    assert Config.from_dict(tomllib.loads(to_toml(before.to_dict()))) == before


def test_every_setting_is_in_the_file() -> None:
    written = tomllib.loads(to_toml(config().to_dict()))
    for name, kind in (("data", DataConfig), ("network", NetworkConfig), ("training", TrainingConfig)):
        assert set(written[name]) == set(kind.__dataclass_fields__)


def test_a_damaged_configuration_is_an_error() -> None:
    saved = config().to_dict()
    del saved["training"]["lr"]
    with pytest.raises(DataError, match=r"damaged .*lr"):
        Config.from_dict(saved)
    with pytest.raises(DataError, match="format 7"):
        Config.from_dict({**saved, "format": 7})


def test_a_file_that_is_no_toml_is_an_error_with_its_line(tmp_path) -> None:
    (tmp_path / "config.toml").write_text("a = 1\nb =\n", encoding="utf-8")
    with pytest.raises(FileError, match=r"no TOML file.*line 2"):
        read_toml(tmp_path / "config.toml")


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("lr", 0.0, "above 0"),
        ("lr", float("nan"), "above 0"),
        ("lr", float("inf"), "finite"),
        ("epochs", 0, "at least 1"),
        ("patience", -1, "at least 0"),
        ("weight_decay", -1.0, "at least 0"),
        ("time_limit", 0.0, "above 0"),
        ("class_weight", "ballanced", "did you mean balanced|Did you mean balanced"),
    ],
)
def test_a_training_setting_that_makes_no_sense_is_an_error(setting: str, value: object, expected: str) -> None:
    with pytest.raises(ArgumentError, match=f"{setting}.*({expected})"):
        changed(config().training, {setting: value})


@pytest.mark.parametrize(("setting", "value"), [("hidden", (3, 0)), ("dropout", 1.0), ("input_dropout", -0.1)])
def test_a_network_setting_that_makes_no_sense_is_an_error(setting: str, value: object) -> None:
    with pytest.raises(ArgumentError, match=setting):
        changed(config().network, {setting: value})


def test_an_unknown_setting_gets_the_nearest_names() -> None:
    with pytest.raises(ArgumentError, match="Did you mean hidden"):
        changed(config().network, {"hiden": (3,)})


@pytest.mark.parametrize("part", [-0.1, 1.0, 2.0])
def test_a_part_of_the_rows_is_less_than_all_of_them(part: float) -> None:
    with pytest.raises(ArgumentError, match="val="):
        config(validation=part)
    with pytest.raises(ArgumentError, match="test="):
        config(test=part)


def test_differences_name_the_settings_and_leave_out_the_time_limit() -> None:
    one = config()
    longer = changed(one.training, {"time_limit": 5.0, "epochs": 7})
    other = Config(one.data, one.network, longer, 4, {})
    assert one.differences(other) == ["training.epochs: 150 and 7", "seed: 3 and 4"]
    assert one.differences(one) == []
