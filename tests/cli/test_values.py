from __future__ import annotations

from argparse import ArgumentTypeError

import pytest

from chainrule.cli.values import character, fraction_or_file, pair, quote, seconds, sizes


@pytest.mark.parametrize(("text", "value"), [("45", 45), ("1.5h", 5400), ("2m30s", 150), (" 10M ", 600)])
def test_a_duration_may_have_units(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "0", "-5", "10x", "m", "1s1h"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="is no duration"):
        seconds(text)


def test_layers_may_be_written_with_several_signs() -> None:
    assert sizes("128,64") == sizes("128-64") == sizes("128x64") == (128, 64)
    assert sizes("0") == sizes("none") == ()


def test_a_pair_is_cut_at_its_last_equals_sign() -> None:
    assert pair("a=b=categorical") == ("a=b", "categorical")


def test_a_part_is_a_number_or_else_a_file() -> None:
    assert fraction_or_file("0") == 0.0
    assert fraction_or_file("5%") == 0.05
    assert fraction_or_file("50%.csv") == "50%.csv"


def test_signs_have_names() -> None:
    assert character("semicolon") == ";"
    assert character("auto") == "auto"
    assert quote("none") == ""
    with pytest.raises(ArgumentTypeError, match="not one character"):
        character("::")
