"""Many steps in one native call: the bits of one call after the other. (Of threads and machines: test_native_bits.py.)"""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
import chainrule.nn.functional as F
from chainrule import nn
from chainrule.errors import ArgumentError, ArgumentTypeError, ChainruleError
from chainrule.run import straight, threads
from chainrule.run.steps import Steps
from tests.tolerances import assert_close, tolerance_for
from tests.training_step import training_step

pytestmark = pytest.mark.usefixtures("native")


@pytest.fixture
def native(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", "1")
    monkeypatch.setattr(threads, "_chosen", None)


def build(width: int = 33, dropout: float = 0.2) -> tuple[nn.Module, Any, Any]:
    """Return a model, an optimizer and the compiled step: sums longer than three chunks, sizes that fit no vector."""
    cr.manual_seed(3)
    model = nn.Sequential(
        nn.Linear(1100, width), nn.ReLU(), nn.Dropout(dropout), nn.LayerNorm(width), nn.Linear(width, 5)
    )
    optimizer = cr.optim.Adam(model.parameters(), lr=0.01)

    return model, optimizer, training_step(model, optimizer, clip=1.0)


def rows(count: int = 200) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((count, 1100)).astype(np.float32), rng.integers(0, 5, count)


def everything(model: nn.Module, optimizer: Any) -> bytes:
    state = [p.detach().numpy().tobytes() for p in model.parameters()]
    return b"".join(state) + repr(optimizer.state_dict()).encode()


def trained(run: Callable[[Any], Any]) -> tuple[bytes, Any]:
    model, optimizer, step = build()
    losses = np.asarray(run(step))
    assert "not native" not in step.report(), step.report()
    return everything(model, optimizer), losses


def one_by_one(step: Any) -> Any:
    x, y = rows()
    return [
        float(step(cr.tensor(x[k : k + 32]), cr.tensor(y[k : k + 32]))) for _ in range(2) for k in range(0, len(x), 32)
    ]


def test_over_has_the_bits_of_calling_on_each_batch() -> None:
    state, losses = trained(one_by_one)
    at_once = trained(lambda step: step.over(*rows(), batch_size=32, passes=2).numpy())
    assert state == at_once[0]
    assert np.array_equal(losses, at_once[1])


def test_over_takes_rows_in_the_order_that_is_given() -> None:
    x, y = rows()
    order = np.random.default_rng(1).permutation(len(x))
    given = trained(lambda step: step.over(x, y, batch_size=32, order=order).numpy())
    assert given[0] == trained(lambda step: step.over(x[order], y[order], batch_size=32).numpy())[0]


def test_repeat_has_the_bits_of_calling_again_and_again() -> None:
    x, y = (cr.tensor(part[:40]) for part in rows())
    state, losses = trained(lambda step: [float(step(x, y)) for _ in range(70)])
    again = trained(lambda step: step.repeat(x, y, times=70).numpy())
    assert state == again[0]
    assert np.array_equal(losses, again[1])


def test_a_row_that_cannot_be_used_stops_the_run_before_its_step() -> None:
    model, optimizer, step = build(dropout=0.0)
    x, y = rows()
    step.over(x[:96], y[:96], batch_size=32)
    before = everything(model, optimizer)
    wrong = y[:96].copy()
    wrong[40] = 7
    with pytest.raises(ChainruleError):
        step.over(x[:96], wrong, batch_size=32)
    after_one = everything(model, optimizer)
    assert after_one != before  # the first batch was learned from, as by calling on each
    other, other_optimizer, again = build(dropout=0.0)
    again.over(x[:96], y[:96], batch_size=32)
    again(cr.tensor(x[:32]), cr.tensor(y[:32]))
    assert after_one == everything(other, other_optimizer)


def test_wrong_arguments_are_told() -> None:
    _, _, step = build()
    x, y = rows()
    for call in (
        lambda: step.over(x, y[:5], batch_size=32),
        lambda: step.over(x, y, batch_size=0),
        lambda: step.over(x, y, batch_size=8, order=[0, 500]),
        lambda: step.repeat(x, y, times=0),
    ):
        with pytest.raises(ArgumentError):
            call()
    with pytest.raises(ArgumentError):
        threads.set_num_threads(0)
    with pytest.raises(ArgumentTypeError):
        threads.set_num_threads(2.0)  # type: ignore[arg-type]  # the error is what is tested
    with pytest.raises(ArgumentTypeError, match="got bool; expected an int or None"):
        threads.set_num_threads(True)


def test_no_rows_are_told() -> None:
    _, _, step = build()
    x, y = rows()
    with pytest.raises(ArgumentError, match=r"step.over: got arrays without rows; expected at least one row"):
        step.over(x[:0], y[:0], batch_size=32)
    with pytest.raises(ArgumentError, match=r"step.over: got an empty order; expected the number of at least one row"):
        step.over(x, y, batch_size=32, order=[])
    with pytest.raises(
        ArgumentError, match=r"step.over: got row -1 in the order of 200 rows; expected numbers from 0 to 199"
    ):
        step.over(x, y, batch_size=32, order=[3, -1])


def test_outputs_of_a_smaller_last_batch_cannot_be_stacked() -> None:
    model = nn.Linear(3, 2)
    outputs = cr.compile(model)
    x = np.ones((10, 3), np.float32)
    assert outputs.over(x, batch_size=5).shape == (2, 5, 2)
    with pytest.raises(ArgumentError, match="smaller last batch"):
        outputs.over(x, batch_size=4)


def _history(monkeypatch: pytest.MonkeyPatch, **options: Any) -> tuple[list[float], bytes]:
    cr.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Dropout(0.1), nn.Linear(9, 3))
    rng = np.random.default_rng(0)
    x = rng.standard_normal((150, 6)).astype(np.float32)
    y = (x[:, 0] > 0).astype(int) + (x[:, 1] > 0)
    history = cr.fit(model, (x, y), val=(x[:40], y[:40]), epochs=4, batch_size=16, progress=False, **options)
    return history["train_loss"], b"".join(p.detach().numpy().tobytes() for p in model.parameters())


class Listens(cr.Callback):
    def __init__(self) -> None:
        self.batches = 0

    def on_batch_end(self, *_: Any) -> None:
        self.batches += 1


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"schedule": "cosine", "schedule_by": "batch"},
        {"class_weight": "balanced"},
        {"clip_norm": 0.5, "l2": 0.01},
        {"optimizer": "sgd", "lr": 0.1, "metrics": ["accuracy"]},
    ],
    ids=["plain", "schedule by batch", "weights", "clipped", "metrics"],
)
def test_fit_has_the_same_bits_whether_something_listens_to_each_batch(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    listens = Listens()
    each = _history(monkeypatch, callbacks=[listens], **options)
    assert listens.batches == 40
    calls = []
    run = Steps.run
    monkeypatch.setattr(Steps, "run", lambda self, *args: calls.append(args[2]) or run(self, *args))
    assert _history(monkeypatch, **options) == each
    assert sum(calls) >= 30  # most batches in native calls of several


def test_ctrl_c_ends_a_training_soon() -> None:
    model = nn.Sequential(nn.Linear(100, 64), nn.ReLU(), nn.Linear(64, 1))
    x = np.random.default_rng(0).standard_normal((50_000, 100)).astype(np.float32)
    pressed: list[float] = []

    def press() -> None:
        time.sleep(1.0)
        pressed.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press).start()
    history = cr.fit(model, (x, x[:, :1]), epochs=10_000, batch_size=32, progress=False)
    waited = time.perf_counter() - pressed[0]
    assert history.stopped == "interrupted"
    assert waited < 5  # a tenth of a second, and what a busy machine adds


DECIDING = {
    "len": lambda x: x.sum() * (2 if len(x) == 8 else 1),
    "half": lambda x: x[: len(x) // 2].sum() - x[len(x) // 2 :].exp().sum(),
    "chunk": lambda x: (x.chunk(2)[0] * x.chunk(2)[1]).sum() if len(x) % 2 == 0 else x.sum(),
    "eye": lambda x: (x @ x.T * cr.eye(len(x))).sum(),
    "pairs": lambda x: F.cross_entropy(x @ x.T, cr.arange(len(x))),
    "reshape": lambda x: x.reshape(-1, 6).std(1).sum(),
    "range": lambda x: sum((k * x[k].mean() for k in range(len(x))), cr.zeros(())),
    "row": lambda x: x[-1] * x[0],
    "topk": lambda x: x[:, 0].topk(min(3, len(x)))[0].sum(),
}


@pytest.mark.parametrize("name", DECIDING)
@pytest.mark.parametrize("count", [40, 44])  # whole batches; a smaller last one
def test_batches_of_code_that_decides_on_their_size(name: str, count: int) -> None:
    """Such a trace is of one size: there is no symbol that would say how many rows a batch has."""
    function = DECIDING[name]
    x = cr.tensor(np.random.default_rng(0).standard_normal((count, 6)).astype(np.float32))
    compiled = cr.compile(function)
    found = compiled.over(x, batch_size=8, passes=3)
    expected = [function(x[k : k + 8]) for k in range(0, count, 8)] * 3
    assert_close(found, cr.stack(expected), length=1000)


def test_batches_along_the_first_axis_where_another_one_is_declared() -> None:
    x = np.random.default_rng(0).standard_normal((40, 3, 6)).astype(np.float32)
    compiled = cr.compile(lambda x: (x * x).sum((0, 2)), batch_axis={"x": 1})
    expected = np.stack([(x[k : k + 8].astype(np.float64) ** 2).sum((0, 2)) for k in range(0, 40, 8)])
    assert_close(compiled.over(x, batch_size=8), expected.astype(np.float32), length=100)


class Deciding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 1)

    def forward(self, x: cr.Tensor) -> cr.Tensor:
        return self.linear(x) * (1.0 if len(x) > 16 else 0.5)


def test_fit_and_evaluate_with_a_model_that_decides_on_the_size_of_a_batch() -> None:
    x = np.random.default_rng(0).standard_normal((250, 4)).astype(np.float32)
    y = x[:, :1] * 2 + 1
    ends = []
    for compiled in (False, True):
        cr.manual_seed(0)
        trainer = cr.Trainer(Deciding(), loss="mse", epochs=3, batch_size=64, progress=False, compile=compiled)
        history = trainer.fit((x, y), val=(x[:77], y[:77]))
        ends.append([*history["train_loss"], *history["val_loss"], trainer.evaluate((x, y))["loss"]])
    assert_close(np.array(ends[1]), np.array(ends[0]), tolerance=tolerance_for(np.float32))


class Watching(nn.Module):
    """Writes into tensors that it never reads."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 1)
        self.register_buffer("peak", cr.zeros(()))
        self.kept = cr.zeros(4)

    def forward(self, x: cr.Tensor) -> cr.Tensor:
        y = self.linear(x)
        with cr.no_grad():
            self.peak.copy_(y.abs().max())
        self.kept = x.detach().mean(0)
        return y


def watched(run: Callable[[Any, Any], Any], count: int) -> list[Any]:
    cr.manual_seed(0)
    model, before = Watching(), cr.zeros(1, 4)
    norm = cr.zeros(())
    optimizer = cr.optim.SGD(model.parameters(), lr=0.01)

    def step(x: cr.Tensor) -> cr.Tensor:
        before.copy_(model.linear.weight.detach())
        optimizer.zero_grad()
        loss = (model(x) - 1).square().mean()
        loss.backward()
        norm.copy_(nn.utils.clip_grad_norm_(model.parameters(), 1.0))
        optimizer.step()
        return loss

    x = cr.tensor(np.random.default_rng(0).standard_normal((count, 4)).astype(np.float32))
    run(step, x)
    return [before, norm, model.peak, model.kept, model.linear.weight.detach()]


@pytest.mark.parametrize("count", [40, 44, 4000])  # in 4,000 rows there are steps enough for straight-line code
def test_what_is_written_and_never_read_is_left_by_many_runs_too(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(straight, "MANY", 20)
    monkeypatch.setattr(straight, "WORTH_MAKING", 0.0)

    def eager(step: Any, x: Any) -> None:
        for _ in range(3):
            for k in range(0, len(x), 8):
                step(x[k : k + 8])

    expected = watched(eager, count)
    found = watched(lambda step, x: cr.compile(step).over(x, batch_size=8, passes=3), count)
    for a, b in zip(found, expected, strict=True):
        assert_close(a, b, length=10 * count)


def test_what_a_model_writes_and_never_reads_is_left_by_fit() -> None:
    x = np.random.default_rng(0).standard_normal((250, 4)).astype(np.float32)
    ends = []
    for compiled in (False, True):
        cr.manual_seed(0)
        model = Watching()
        cr.fit(model, (x, x[:, :1]), loss="mse", epochs=2, batch_size=25, progress=False, compile=compiled)
        ends.append([model.peak.item(), *model.kept.tolist()])
    assert_close(np.array(ends[1]), np.array(ends[0]), tolerance=tolerance_for(np.float32))


def test_a_layout_keeps_the_code_that_its_records_have_addresses_in() -> None:
    step = cr.compile(lambda x: cr.tanh(x) * 2)
    step(cr.ones(5))
    ready = step._native().ready({"n": 5})
    library = weakref.ref(step._native().library)
    del step
    gc.collect()
    assert library() is not None
    del ready
    gc.collect()
    assert library() is None
