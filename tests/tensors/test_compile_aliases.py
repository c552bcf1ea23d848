"""Views and aliases that code makes of tensors from outside: what is written to one is seen by all, as in eager mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import InPlaceError, TraceError


@pytest.fixture(params=["interpreted", "native"], autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test on both engines."""
    monkeypatch.setenv("CHAINRULE_COMPILE", str(int(request.param == "native")))


ALIASES: dict[str, Callable[[Any], Any]] = {
    "detach": lambda w: w.detach(),
    "data": lambda w: w.data,
    "row": lambda w: w.detach()[0],
    "rows": lambda w: w.data[:1],
    "transposed": lambda w: w.detach().T,
    "reshaped": lambda w: w.detach().view(-1),
    "unbound": lambda w: w.detach().unbind(0)[1],
    "expanded": lambda w: w.detach()[:1].expand(3, 2),
    "of an alias": lambda w: w.detach()[1:][0],
}


def by_the_owner(w: Any, alias: Any) -> None:
    with cr.no_grad():
        w.mul_(3)


def twice(w: Any, alias: Any) -> None:
    with cr.no_grad():
        w.mul_(3)
        w.add_(1)


def by_copy(w: Any, alias: Any) -> None:
    with cr.no_grad():
        w.copy_(w * 2 + 1)


def by_item(w: Any, alias: Any) -> None:
    with cr.no_grad():
        w[0] = 7.0


def by_another_alias(w: Any, alias: Any) -> None:
    w.detach().mul_(5)


def by_the_alias(w: Any, alias: Any) -> None:
    alias.add_(1)


def by_both(w: Any, alias: Any) -> None:
    w.data.mul_(0.5)
    alias.add_(1)
    w.data.mul_(2)


WRITES = [by_the_owner, twice, by_copy, by_item, by_another_alias, by_the_alias, by_both]


def parameter() -> Any:
    return nn.Parameter(cr.tensor([[1.0, 2.0], [3.0, 4.0]]))


def constant() -> Any:
    return cr.tensor([[1.0, 2.0], [3.0, 4.0]])


def run(alias: str, write: Any, owner: Any, *, inside: bool, compiled: bool) -> list[Any]:
    w = owner()

    def function(x: Any) -> Any:
        own = cr.tensor([[1.0, 2.0], [3.0, 4.0]]) if inside else w
        view = ALIASES[alias](own)
        write(own, view)
        with cr.no_grad():
            return view + x.sum(), own * x.sum()

    call = cr.compile(function) if compiled else function
    found = []
    for k in range(3):
        found += [y.tolist() for y in call(cr.tensor([float(k), 1.0]))]
        found.append(w.tolist())
        with cr.no_grad():
            w[1] = k  # outside: eager views and their counts are what they were
    return found


@pytest.mark.parametrize("write", WRITES, ids=lambda write: write.__name__)
@pytest.mark.parametrize("alias", ALIASES)
@pytest.mark.parametrize("owner", [parameter, constant], ids=lambda owner: owner.__name__)
@pytest.mark.parametrize("inside", [False, True], ids=["outside", "inside"])
def test_what_is_written_to_one_is_seen_by_all(alias: str, write: Any, owner: Any, inside: bool) -> None:
    if alias == "expanded" and write in (by_the_alias, by_both):
        with pytest.raises(InPlaceError):
            run(alias, write, owner, inside=inside, compiled=True)
        return
    expected = run(alias, write, owner, inside=inside, compiled=False)
    assert run(alias, write, owner, inside=inside, compiled=True) == expected


@pytest.mark.parametrize("rule", ["SGD", "Adam"])
def test_an_alias_sees_what_the_optimizer_does(rule: str) -> None:
    def lookahead(compiled: bool) -> list[Any]:
        cr.manual_seed(0)
        model = nn.Linear(3, 2)
        slow = [p.detach().clone() for p in model.parameters()]
        optimizer = getattr(cr.optim, rule)(model.parameters(), lr=0.1)

        def step(x: Any) -> Any:
            fast = [p.data for p in model.parameters()]
            optimizer.zero_grad()
            loss = (model(x) ** 2).mean()
            loss.backward()
            optimizer.step()
            with cr.no_grad():
                for s, q in zip(slow, fast, strict=True):
                    s.add_(0.5 * (q - s))
                    q.copy_(s)
            return loss

        call = cr.compile(step) if compiled else step
        x = cr.tensor(np.arange(12, dtype=np.float32).reshape(4, 3) / 10)
        losses = [call(x).item() for _ in range(4)]
        if compiled:
            losses += call.repeat(x, times=3).tolist()
        else:
            losses += [call(x).item() for _ in range(3)]
        return [*losses, *[number for p in (*model.parameters(), *slow) for number in p.flatten().tolist()]]

    np.testing.assert_allclose(lookahead(compiled=True), lookahead(compiled=False), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("compiled", [False, True])
def test_other_data_leave_alone_what_had_the_old_ones(compiled: bool) -> None:
    p = parameter()

    def swap(x: Any) -> Any:
        backup = p.data
        p.data = x
        found = (p * 2).detach()
        with cr.no_grad():
            p.add_(1)
        p.data = backup
        return found, backup

    call = cr.compile(swap) if compiled else swap
    for _ in range(3):
        found, backup = call(cr.full((2, 2), 7.0))
        assert found.tolist() == [[14, 14], [14, 14]]
        assert p.tolist() == backup.tolist() == [[1, 2], [3, 4]]
    assert p.requires_grad
    assert p.is_leaf


def test_weights_may_be_swapped_for_their_average_and_back() -> None:
    model = nn.Linear(2, 2)
    own = {name: p.detach().tolist() for name, p in model.named_parameters()}
    average = {name: 0 * p.data for name, p in model.named_parameters()}
    backup = {}
    for name, p in model.named_parameters():
        backup[name], p.data = p.data, average[name]
    assert model(cr.ones(1, 2)).tolist() == [[0, 0]]
    for name, p in model.named_parameters():
        p.data = backup[name]
    assert {name: p.detach().tolist() for name, p in model.named_parameters()} == own
    assert all(not value.any() for value in average.values())


def test_data_of_another_shape_are_refused_inside() -> None:
    p = parameter()

    @cr.compile
    def function(x: Any) -> Any:
        p.data = x
        return p.sum()

    with pytest.raises(TraceError, match=r"data of shape \(3,\) for a tensor of shape \(2, 2\)"):
        function(cr.ones(3))


class KeepsViews(nn.Module):
    """A layer that keeps views of its weight and of a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(cr.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
        self.register_buffer("count", cr.zeros(4))

    def forward(self, x: Any) -> Any:
        self.turned = self.weight.detach().T
        self.parts = {"last": self.weight.data[1:], "rows": list(self.weight.detach().unbind(0))}
        self.some = self.count[:2]
        if not hasattr(self, "flat"):
            self.flat = self.weight.detach().view(-1)
        with cr.no_grad():
            self.count.add_(1)
        return x @ self.weight


def test_views_that_are_kept_see_what_becomes_of_the_weight() -> None:
    found = []
    for compiled in (False, True):
        model = KeepsViews()
        optimizer = cr.optim.SGD(model.parameters(), lr=0.01)

        def step(x: Any, model: Any = model, optimizer: Any = optimizer) -> Any:
            optimizer.zero_grad()
            loss = (model(x) ** 2).mean()
            loss.backward()
            optimizer.step()
            return loss

        call = cr.compile(step) if compiled else step
        x, rows = cr.ones(4, 3), []
        for k in range(4):
            if compiled and k == 3:
                call.repeat(x, times=3)
            else:
                [call(x) for _ in range(3 if k == 3 else 1)]
            kept = [model.turned, model.parts["last"], *model.parts["rows"], model.some, model.flat]
            rows.append([y.tolist() for y in (*kept, model.weight)])
        model.turned.mul_(2)  # by code outside: they are views of it
        rows.append(model.weight.tolist())
        assert not model.turned.requires_grad
        found.append(rows)
    for ours, expected in zip(found[1], found[0], strict=True):
        for x, y in zip(ours, expected, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-5)
