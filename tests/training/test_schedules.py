"""The learning rate over time, against PyTorch's schedulers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import ArgumentError, ArgumentTypeError
from chainrule.optim import lr_scheduler
from chainrule.training import Metric
from tests.tolerances import assert_close
from tests.training.problems import Recorder, classes, network, rows_without_times, state_bits, trainer

EPOCHS, BATCHES, LR = 9, 4, 0.05


def rates(schedule: Any, **options: Any) -> tuple[list[float], cr.History]:
    """The rate of every batch."""
    recorder = RatesUsed()
    own = trainer(network(), epochs=EPOCHS, lr=LR, optimizer="sgd", schedule=schedule, callbacks=[recorder], **options)
    history = own.fit(classes(64), val=classes(20, seed=1))
    return recorder.used, history


class RatesUsed(cr.Callback):
    """The rate that each batch was learned with: on_batch_end may see that of the next one."""

    def __init__(self) -> None:
        self.used: list[float] = []

    def on_train_begin(self, trainer: cr.Trainer) -> None:
        trainer.optimizer.register_step_pre_hook(
            lambda optimizer, args, kwargs: self.used.append(optimizer.param_groups[0]["lr"])
        )


PYTORCHS: dict[str, Any] = {
    "cosine": lambda schedules, optimizer: schedules.CosineAnnealingLR(optimizer, T_max=EPOCHS),
    "step": lambda schedules, optimizer: schedules.StepLR(optimizer, step_size=EPOCHS // 3, gamma=0.1),
    "exponential": lambda schedules, optimizer: schedules.ExponentialLR(optimizer, gamma=0.01 ** (1 / EPOCHS)),
    "one_cycle": lambda schedules, optimizer: schedules.OneCycleLR(optimizer, max_lr=LR, total_steps=EPOCHS * BATCHES),
}


@pytest.mark.oracle
@pytest.mark.parametrize("name", PYTORCHS)
def test_every_batch_has_the_rate_that_pytorchs_scheduler_gives_it(name: str) -> None:
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=LR)
    scheduler = PYTORCHS[name](torch.optim.lr_scheduler, optimizer)
    expected = []
    for _ in range(EPOCHS):
        for _ in range(BATCHES):
            expected.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            if name == "one_cycle":
                scheduler.step()
        if name != "one_cycle":
            scheduler.step()
    used, history = rates(name, compile=False)
    assert_close(np.array(used), np.array(expected))
    assert history["lr"] == used[BATCHES - 1 :: BATCHES]


def test_a_constant_rate_stays() -> None:
    assert set(rates("constant", compile=False)[0]) == {LR}


@pytest.mark.filterwarnings("ignore:not compiled:UserWarning")  # its history says it too
@pytest.mark.parametrize("name", ["cosine", "one_cycle", "exponential", "step", "plateau"])
def test_a_compiled_step_follows_the_schedule_to_the_same_bits(name: str) -> None:
    eager = rates(name, compile=False)[1]
    compiled = rates(name, compile=True)[1]
    assert rows_without_times(eager) == rows_without_times(compiled)
    assert len(set(compiled["lr"])) > 1 or name == "plateau"


def test_a_cycle_counts_the_batches_that_there_are() -> None:
    own = trainer(network(), epochs=3, batch_size=4, schedule="one_cycle")
    own.fit(classes(9))  # batches of 4 and 5
    assert isinstance(own.scheduler, lr_scheduler.OneCycleLR)
    assert own.scheduler.total_steps == own.scheduler.last_epoch == 6


@pytest.mark.parametrize("higher", [True, False])
def test_on_a_plateau_the_rate_is_halved_after_three_epochs_without_improvement(higher: bool) -> None:
    values = [0.1, 0.2, 0.2, 0.2, 0.2, 0.2, 0.3, 0.3, 0.3] if higher else [9.0, 5.0, 5.0, 5.0, 5.0, 5.0, 4.0, 4.0, 4.0]
    told = iter(values)
    own = trainer(
        network(), metrics=[Metric("told", lambda y, p: next(told), higher)], monitor="val_told", epochs=9,
        schedule="plateau", lr=0.1,
    )  # fmt: skip
    history = own.fit(classes(), val=classes(20, seed=1))
    assert history["lr"] == [0.1] * 6 + [0.05] * 3


def test_a_schedule_may_be_a_function_or_a_scheduler() -> None:
    def make(optimizer: cr.optim.Optimizer) -> lr_scheduler.LRScheduler:
        return lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)

    assert trainer(network(), lr=0.1, schedule=make).fit(classes())["lr"] == [0.1, 0.05, 0.025]
    model = network()
    optimizer = cr.optim.SGD(model.parameters(), lr=0.1)
    own = trainer(model, optimizer=optimizer, schedule=make(optimizer))
    assert own.fit(classes())["lr"] == [0.1, 0.05, 0.025]
    plateau = trainer(network(), lr=0.1, schedule=lambda optimizer: lr_scheduler.ReduceLROnPlateau(optimizer))
    assert plateau.fit(classes())["lr"] == [0.1] * 3


def test_a_schedule_can_take_a_step_after_each_batch() -> None:
    recorder = Recorder()
    own = trainer(
        network(), lr=0.1, schedule=lambda optimizer: lr_scheduler.LinearLR(optimizer, 0.25, total_iters=4),
        schedule_by="batch", callbacks=[recorder],
    )  # fmt: skip
    own.fit(classes(64))
    assert_close(np.array(recorder.rates[:5]), np.array([0.04375, 0.0625, 0.08125, 0.1, 0.1]))
    by_epoch = trainer(network(), lr=0.1, schedule="one_cycle", schedule_by="epoch")
    by_epoch.fit(classes(64))
    assert by_epoch.scheduler is not None
    assert by_epoch.scheduler.last_epoch == 3
    with pytest.raises(ArgumentError, match="schedule_by='batch' with ReduceLROnPlateau"):
        trainer(network(), schedule="plateau", schedule_by="batch").fit(classes())


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (lambda optimizer: 3, "schedule: got int; expected a scheduler of the trainer's optimizer"),
        (
            lambda optimizer: lr_scheduler.StepLR(cr.optim.SGD(network().parameters(), lr=1.0), 1),
            "schedule: got one of another optimizer",
        ),
    ],
)
def test_what_is_no_schedule_of_the_optimizer_is_refused(schedule: Any, message: str) -> None:
    with pytest.raises(ArgumentTypeError, match=message):
        trainer(network(), schedule=schedule).fit(classes())


def test_a_cycle_cannot_be_longer_than_planned() -> None:
    own = trainer(network(), schedule="one_cycle")
    own.fit(classes())
    own.epochs = 5
    with pytest.raises(ArgumentError, match="epochs=5, and the schedule 'one_cycle' was planned for 3"):
        own.fit(classes())
    assert len(own.history) == 3


@pytest.mark.parametrize("compiled", [True, False])
def test_the_norm_of_the_gradient_is_limited(compiled: bool) -> None:
    X, y = classes()
    model = network()
    before = {name: t.numpy().copy() for name, t in model.state_dict().items()}
    trainer(model, optimizer="sgd", lr=1.0, clip_norm=0.01, batch_size=None, epochs=1, compile=compiled).fit((X, y))
    change = np.concatenate([(t.numpy() - before[name]).ravel() for name, t in model.state_dict().items()])
    assert_close(np.float32(np.linalg.norm(change)), np.float32(0.01), length=60)
    free, loose = network(), network()
    trainer(free).fit((X, y))
    trainer(loose, clip_norm=1e6).fit((X, y))
    assert state_bits(free) == state_bits(loose)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "rmsprop", "adagrad", "adadelta"])
def test_one_cycle_moves_the_momentum_of_optimizers_that_have_one(optimizer: str) -> None:
    momenta: list[Any] = []

    class Sees(cr.Callback):
        def on_batch_end(self, trainer: cr.Trainer, epoch: int, batch: int, loss: float, outputs: cr.Tensor) -> None:
            group = trainer.optimizer.param_groups[0]
            momenta.append(group["betas"][0] if "betas" in group else group.get("momentum"))

    own = trainer(network(), optimizer=optimizer, schedule="one_cycle", callbacks=[Sees()])
    assert np.isfinite(own.fit(classes(64))["train_loss"]).all()
    assert (len(set(momenta)) > 1) == (optimizer not in ("adagrad", "adadelta"))


def test_a_cycle_that_is_made_by_hand_says_what_an_optimizer_lacks() -> None:
    optimizer = cr.optim.Adagrad(network().parameters())
    with pytest.raises(ArgumentError, match="Adagrad has neither momentum nor betas. Pass cycle_momentum=False"):
        lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=5)
