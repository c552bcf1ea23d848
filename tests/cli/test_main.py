from __future__ import annotations

import subprocess
import sys

import pytest

import chainrule as cr
from chainrule import cli
from chainrule.cli.main import exit_code
from chainrule.errors import ArgumentError, ArgumentTypeError, DataError, FileError, NotFiniteError
from tests.cli.command import start


def test_help_names_every_command_and_shows_examples(chainrule) -> None:
    for words in (["--help"], ["-h"], ["help"]):
        found = chainrule(*words)
        assert found.code == 0
        assert all(name in found.out for name in cli.COMMANDS)
        assert "chainrule train digits" in found.out


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help_with_examples(chainrule, name: str) -> None:
    for words in ([name, "--help"], ["help", name], [name, "anything", "-h"]):
        found = chainrule(*words)
        assert found.code == 0
        assert f"usage: chainrule {name}" in found.out
        assert f"  chainrule {name}" in found.out.partition("examples:")[2]


def test_version_is_that_of_the_package(chainrule) -> None:
    assert chainrule("--version").out == f"chainrule {cr.__version__}\n"


def test_no_command_shows_help_and_is_a_mistake_in_usage(chainrule) -> None:
    found = chainrule()
    assert found.code == 2
    assert "commands:" in found.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["trian", "a.csv"],
            "no command 'trian'; expected train, predict, evaluate, show, cache, doctor. Did you mean train?",
        ),
        (["--versoin"], "no option '--versoin'"),
        (["train", "a.csv", "--tagret", "y"], "chainrule: train has no option --tagret. Did you mean --target"),
        (["train", "a.csv", "--tagret=y"], "chainrule: train has no option --tagret. Did you mean --target"),
        (["train", "a.csv", "--epoch", "3"], "Did you mean --epochs?"),
        (["train", "--halp"], "no option --halp"),
        (["train", "a.csv", "b.csv"], "chainrule: 'b.csv' was not expected"),
        (["train"], "chainrule: the following arguments are required: DATA. See chainrule train --help"),
        (["train"], "required: DATA"),
        (["train", "a.csv", "--lr", "fast"], "argument --lr: invalid float value: 'fast'"),
        (["train", "a.csv", "--time", "soon"], "'soon' is no duration; expected such as 90s, 10m or 1h30m"),
        (["train", "a.csv", "--hidden", "a,b"], "'a,b' is no list of layers"),
        (["train", "a.csv", "--kind", "zip"], "'zip' is no pair"),
        (["train", "a.csv", "--task", "clasification"], "invalid choice: 'clasification'"),
        (["predict", "runs/x"], "required: DATA"),
    ],
)
def test_a_mistake_in_usage_is_one_line_and_code_2(chainrule, words: list[str], says: str) -> None:
    found = chainrule(*words)
    assert found.code == 2
    assert says in found.err
    assert found.out == ""
    assert "Traceback" not in found.err


def test_errors_have_the_codes_that_are_promised() -> None:
    assert exit_code(DataError("")) == 3
    assert exit_code(ArgumentError("")) == exit_code(ArgumentTypeError("")) == 2
    assert exit_code(FileError("")) == exit_code(NotFiniteError("")) == 1


def test_debug_shows_where_an_error_came_from(chainrule, monkeypatch) -> None:
    with pytest.raises(ArgumentError):
        chainrule("trian", "--debug")
    monkeypatch.setenv("CHAINRULE_DEBUG", "1")
    with pytest.raises(ArgumentError):
        chainrule("trian")
    monkeypatch.setenv("CHAINRULE_DEBUG", "0")
    assert chainrule("trian").code == 2


def test_a_command_that_is_not_there_is_an_error_of_the_package_too() -> None:
    with pytest.raises(AttributeError, match="Did you mean doctor"):
        _ = cli.docter


def test_help_loads_no_command_and_no_package_but_numpy(here) -> None:
    code = "import sys; from chainrule.cli.main import main; main(['--help']); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "chainrule.nn" not in loaded
    assert not {"sklearn", "jinja2", "tqdm", "safetensors", "tomli_w"} & set(loaded)


def test_a_reader_that_goes_away_is_no_traceback(here, run) -> None:
    process = start(here, "predict", run, "table.csv", before="import signal")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()
    process.wait(60)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CHAINRULE_COMPILE", "maybe"),
        ("CHAINRULE_THREADS", "1.5"),
        ("CHAINRULE_TARGET", "axv2"),
        ("CHAINRULE_CACHE", "yes"),
        ("CHAINRULE_DEBUG", "perhaps"),
    ],
)
def test_a_variable_that_means_nothing_is_one_line_before_anything_is_read(chainrule, monkeypatch, name, value) -> None:
    monkeypatch.setenv(name, value)
    found = chainrule("train", "none.csv", "--target", "y")
    assert found.code == 2
    assert found.err.startswith(f"chainrule: {name} is '{value}'")
    assert found.err.count("\n") == 1
    assert found.out == ""
    assert chainrule("train", "--help").code == (2 if name == "CHAINRULE_DEBUG" else 0)
