"""What an error says of a name that is not here, and when it is found out."""

from __future__ import annotations

import pickle

import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import NameUnknown


def test_hasattr_looks_for_no_nearest_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chainrule.errors.near_names", lambda name, names: pytest.fail(f"looked for {name}"))
    model, x = nn.Linear(2, 3), cr.ones(2)
    for thing in (cr, cr.autograd, cr.optim, cr.optim.lr_scheduler, cr.utils.data, model, x):
        assert not hasattr(thing, "wieght")


def test_the_advice_is_there_when_it_is_read() -> None:
    with pytest.raises(NameUnknown, match=r"no attribute 'wieght'\. Did you mean weight\?"):
        nn.Linear(2, 3).wieght
    with pytest.raises(NameUnknown) as caught:
        cr.optim.Admam
    found = pickle.loads(pickle.dumps(caught.value))
    assert str(found) == str(caught.value)
    assert "did you mean Adam or" in found.fix
