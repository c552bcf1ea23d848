"""A training that runs uncompiled says so also where nothing is shown."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

import chainrule as cr
from chainrule import nn
from tests.training.problems import classes


class Deciding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(classes()[0].shape[1], 3)

    def forward(self, x: cr.Tensor) -> cr.Tensor:
        y = self.layer(x)
        return y * 2 if float(y.sum()) > 0 else y


def test_without_progress_one_warning_says_why_at_the_line_of_the_user() -> None:
    with pytest.warns(UserWarning, match="not compiled: .*float") as told:
        history = cr.fit(Deciding(), classes(), val=classes(), epochs=2, progress=False)
    assert len(told) == 1
    assert told[0].filename == __file__
    assert any("not compiled" in note for note in history.notes)


@pytest.mark.parametrize("options", [{"progress": None}, {"progress": False, "compile": False}], ids=str)
def test_nothing_is_warned_of_where_it_is_shown_or_was_asked_for(options: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cr.fit(Deciding(), classes(), epochs=1, **options)
