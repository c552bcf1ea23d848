"""Every message of the data layer that names an argument of Python names an option in the command."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import chainrule
from chainrule.cli.main import main
from chainrule.cli.wording import in_options


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("say so (header=False)", "say so (--no-header)"),
        ("say so (encoding='utf-16')", "say so (--encoding utf-16)"),
        ("such as encoding='cp1252' or 'latin-1'", "such as --encoding cp1252 or 'latin-1'"),
        ("another delimiter can be given (delimiter=)", "another delimiter can be given (--delimiter)"),
        ("read quotes as ordinary characters (quote=None)", "read quotes as ordinary characters (--quote none)"),
        ("when reading (decimal=',')", "when reading (--decimal ,)"),
        ("categorical (kinds={'my zip': 'categorical'})", "categorical (--kind 'my zip=categorical')"),
        ("kinds: column 'a' has kind 'b'", "--kind: column 'a' has kind 'b'"),
        ("labels: 'a' is renamed twice", "--labels: 'a' is renamed twice"),
        ("name them as missing (missing='-')", "name them as missing (--missing -)"),
        ("leave these rows out (missing='drop')", "leave these rows out (--skip-missing-target)"),
        ("batch_size=0; expected 1", "--batch-size 0; expected 1"),
        ("limit the gradient (clip_norm=1.0)", "limit the gradient (--clip-norm 1.0)"),
        ("time_limit=0", "--time 0"),
        ("replace that run (overwrite=True)", "replace that run (--overwrite)"),
        ("the column 'kind=x' stays", "the column 'kind=x' stays"),
    ],
)
def test_an_argument_becomes_its_option(message: str, said: str) -> None:
    assert in_options(message) == said


def test_every_option_that_is_named_exists(capsys) -> None:
    assert main(["train", "--help"]) == 0
    options = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    source = (Path(chainrule.__file__).parent / "cli" / "wording.py").read_text(encoding="utf-8")
    named = set(re.findall(r'"(--[a-z-]+)', source))
    assert named <= options
