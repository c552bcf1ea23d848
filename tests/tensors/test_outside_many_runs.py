"""What code keeps in attributes, in many runs of one native call: what the last run would have left there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import IndexingError, NotFiniteError

F = nn.functional
ROWS = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
CLASSES = np.random.default_rng(1).integers(0, 2, 64)


@pytest.fixture(autouse=True)
def native(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", "1")


class Network(nn.Module):
    """A network whose ``keep`` is called with itself, its input, what is between its layers and what it gives."""

    def __init__(self, keep: Callable[..., None]) -> None:
        super().__init__()
        self.first, self.second, self.keep = nn.Linear(3, 8), nn.Linear(8, 2), keep
        self.seen: Any = None

    def forward(self, x: Any) -> Any:
        h = self.first(x).tanh()
        y = self.second(h)
        self.keep(self, x, h, y)
        return y


def keeps_nothing(network: Any, x: Any, h: Any, y: Any) -> None:
    pass


def keeps_what_it_gives(network: Any, x: Any, h: Any, y: Any) -> None:
    network.seen = y.detach()


def keeps_what_is_between_with_its_gradient(network: Any, x: Any, h: Any, y: Any) -> None:
    h.retain_grad()
    network.seen = h


def keeps_several(network: Any, x: Any, h: Any, y: Any) -> None:
    network.seen = {"h": h.detach(), "sums": (y.detach().sum(), h.detach().amax(0)), "input": x}


def keeps_its_input_alone(network: Any, x: Any, h: Any, y: Any) -> None:
    network.seen = [x]


def keeps_in_two_places(network: Any, x: Any, h: Any, y: Any) -> None:
    network.seen = network.first.seen = h.detach()


def keeps_what_it_found(network: Any, x: Any, h: Any, y: Any) -> None:
    network.seen = [network.first.weight.detach(), y.detach()]


def reads_what_it_set(network: Any, x: Any, h: Any, y: Any) -> None:
    network.seen = h.detach() + 1
    network.twice = network.seen * 2


KEPT_OF_THE_LAST = [
    keeps_what_it_gives, keeps_what_is_between_with_its_gradient, keeps_several, keeps_its_input_alone,
    keeps_in_two_places, keeps_what_it_found,
    reads_what_it_set,
]  # fmt: skip


def grows(network: Any, x: Any, h: Any, y: Any) -> None:
    network.seen = y.detach() if network.seen is None else y.detach() + network.seen.sum()


def swaps(network: Any, x: Any, h: Any, y: Any) -> None:
    """The state is a pair, which is not carried from run to run."""
    before = (h.detach().sum(), y.detach().sum()) if network.seen is None else network.seen
    network.seen = (before[1], before[0] + y.detach().sum())


def numbers(value: Any) -> Any:
    if isinstance(value, cr.Tensor):
        return value.detach().tolist(), None if value.grad is None else value.grad.tolist()
    if isinstance(value, dict):
        return {key: numbers(part) for key, part in value.items()}
    return [numbers(part) for part in value] if isinstance(value, (list, tuple)) else value


def trained(keep: Any, how: str, batch: int, *, returns_loss_in: str = "") -> tuple[Any, Any, Any]:
    """Return what was kept, the losses, and the step, after three passes in one of two ways."""
    cr.manual_seed(0)
    network = Network(keep)
    optimizer = cr.optim.Adam(network.parameters(), lr=0.01)

    @cr.compile
    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = F.cross_entropy(network(x), y)
        loss.backward()
        optimizer.step()
        if returns_loss_in:
            setattr(network, returns_loss_in, loss)
        return loss

    losses = []
    for _ in range(3):
        if how == "over":
            losses += step.over(ROWS, CLASSES, batch_size=batch).tolist()
            continue
        for k in range(0, len(ROWS), batch):
            losses.append(step(ROWS[k : k + batch], CLASSES[k : k + batch]).item())
    kept = [getattr(owner, name, None) for owner in (network, network.first) for name in ("seen", "twice", "loss")]
    return numbers(kept), losses, step


def runs_together(step: Any) -> bool:
    return bool(step._traces.entries[-1].traced.can_run_steps())


@pytest.mark.parametrize("batch", [16, 24, 64])
@pytest.mark.parametrize("keep", KEPT_OF_THE_LAST, ids=lambda keep: keep.__name__)
def test_many_runs_leave_what_the_last_of_them_keeps(keep: Any, batch: int) -> None:
    expected, losses, _ = trained(keep, "calls", batch)
    found, our_losses, step = trained(keep, "over", batch)
    assert runs_together(step)
    assert our_losses == losses
    assert found == expected


def test_a_result_that_is_kept_too_is_that_of_the_last_run() -> None:
    expected, losses, _ = trained(keeps_nothing, "calls", 16, returns_loss_in="loss")
    found, our_losses, step = trained(keeps_nothing, "over", 16, returns_loss_in="loss")
    assert runs_together(step)
    assert (found, our_losses) == (expected, losses)
    assert found[2][0] == losses[-1]


@pytest.mark.parametrize("keep", [grows, swaps], ids=lambda keep: keep.__name__)
def test_what_is_read_before_it_is_set_is_not_that_of_another_run(keep: Any) -> None:
    expected, losses, _ = trained(keep, "calls", 16)
    found, our_losses, _ = trained(keep, "over", 16)
    np.testing.assert_allclose(our_losses, losses, rtol=1e-6)
    assert str(found) == str(expected)


def test_repeat_leaves_it_too_and_what_was_there_is_left_alone() -> None:
    model = Network(keeps_what_it_gives)
    call = cr.compile(model)
    first = call(ROWS[:4])
    held, before = model.seen, model.seen.tolist()
    outputs = call.repeat(ROWS[4:8], times=100)
    assert runs_together(call)
    assert model.seen is not held
    assert held.tolist() == before == first.tolist()
    assert model.seen.tolist() == outputs[-1].tolist()
    outputs[-1] += 1
    assert model.seen.tolist() != outputs[-1].tolist()  # it has memory of its own


@pytest.mark.parametrize("batch", [16, 24])
@pytest.mark.parametrize(
    "keep", [keeps_what_it_gives, keeps_several, keeps_its_input_alone], ids=lambda keep: keep.__name__
)
def test_fit_keeps_what_the_last_batch_left(keep: Any, batch: int) -> None:
    kept = []
    for compiled in (False, True):
        cr.manual_seed(0)
        network = Network(keep)
        trainer = cr.Trainer(
            network,
            loss="cross_entropy",
            optimizer="sgd",
            lr=0.1,
            batch_size=batch,
            epochs=3,
            progress=False,
            compile=compiled,
        )
        trainer.fit((ROWS, CLASSES))
        seen = network.seen
        values = seen.values() if isinstance(seen, dict) else seen
        parts = [seen] if isinstance(seen, cr.Tensor) else list(values)
        kept.append([x.numpy() for part in parts for x in (part if isinstance(part, tuple) else (part,))])
        if compiled:
            assert trainer.engine().startswith("native")
    for ours, expected in zip(*kept, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-6)


def test_after_a_run_that_fails_the_attribute_holds_what_a_finished_one_left() -> None:
    table = nn.Embedding(5, 3)
    seen = []

    class Looks(nn.Module):
        last: Any = None

        def forward(self, places: Any) -> Any:
            y = table(places)
            self.last = y.detach()
            return y.sum()

    model = Looks()
    call = cr.compile(model)
    places = np.arange(40) % 5
    call(places[:4])
    seen.append(model.last.tolist())
    places[22] = 7
    with pytest.raises(IndexingError, match="7"):
        call.over(places, batch_size=4)
    finished = [table.weight[np.arange(k, k + 4) % 5].tolist() for k in range(0, 20, 4)]
    assert model.last.tolist() in finished


def test_where_a_run_is_not_finite_the_attribute_holds_what_the_one_before_left() -> None:
    rows = np.ones((40, 3), np.float32)
    rows[22] = np.nan
    model = Network(keeps_what_it_gives)
    twin = Network(keeps_what_it_gives)
    twin.load_state_dict(model.state_dict())
    with pytest.raises(NotFiniteError, match="batch 6"):
        cr.compile(model).over(rows, batch_size=4, check_finite=True)
    twin(cr.tensor(rows[16:20]))
    np.testing.assert_allclose(model.seen.numpy(), twin.seen.numpy(), rtol=1e-6)
