"""Every schedule sets PyTorch's rates, epoch by epoch, and continues from PyTorch's state."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest

import chainrule as cr
from chainrule import optim
from chainrule.optim import lr_scheduler

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.oracle

EPOCHS = 65
CLOSE = {"rel": 1e-12, "abs": 1e-15}


def optimizer_of(library: Any, kind: str = "SGD") -> Any:
    """An optimizer with two groups of different rates."""
    modules = {"here": (cr, optim), "torch": (torch, torch.optim)}
    tensors, optimizers = modules[library]
    groups = [
        {"params": [tensors.zeros(2, requires_grad=True)]},
        {"params": [tensors.zeros(1, requires_grad=True)], "lr": 0.5},
    ]
    options = {"momentum": 0.9} if kind == "SGD" else {}
    return getattr(optimizers, kind)(groups, lr=0.1, **options)


def halving(epoch: int) -> float:
    return 0.95**epoch


SCHEDULES: dict[str, list[dict[str, Any]]] = {
    "LambdaLR": [{"lr_lambda": halving}, {"lr_lambda": [halving, lambda t: 1 / (t + 1)]}],
    "MultiplicativeLR": [{"lr_lambda": lambda t: 0.95}, {"lr_lambda": [lambda t: 0.9, lambda t: 1 - 1 / (t + 5)]}],
    "StepLR": [{"step_size": 3}, {"step_size": 1, "gamma": 0.9}, {"step_size": 100}],
    "MultiStepLR": [{"milestones": [3, 3, 9, 20]}, {"milestones": [5], "gamma": 0.5}, {"milestones": []}],
    "ConstantLR": [{}, {"factor": 0.5, "total_iters": 10}, {"factor": 1.0}],
    "LinearLR": [{}, {"start_factor": 0.1, "end_factor": 0.7, "total_iters": 13}, {"start_factor": 1.0, "end_factor": 0.0}],
    "ExponentialLR": [{"gamma": 0.93}],
    "PolynomialLR": [{}, {"total_iters": 30, "power": 2.0}, {"total_iters": 60, "power": 0.5}],
    "CosineAnnealingLR": [{"T_max": 10}, {"T_max": 7, "eta_min": 0.01}, {"T_max": 60}, {"T_max": 1}],
    "CosineAnnealingWarmRestarts": [{"T_0": 7}, {"T_0": 3, "T_mult": 2, "eta_min": 0.01}, {"T_0": 1}],
    "OneCycleLR": [
        {"max_lr": 0.3, "total_steps": 70},
        {"max_lr": [0.3, 1.0], "epochs": 7, "steps_per_epoch": 10, "anneal_strategy": "linear", "three_phase": True},
        {"max_lr": 0.3, "total_steps": 70, "cycle_momentum": False, "pct_start": 0.1, "div_factor": 3.0},
    ],
    "CyclicLR": [
        {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 7},
        {"base_lr": 0.01, "max_lr": [0.1, 0.2], "step_size_up": 7, "step_size_down": 3, "mode": "triangular2"},
        {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 5, "mode": "exp_range", "gamma": 0.99, "cycle_momentum": False},
        {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 5, "scale_fn": lambda x: 1 / x**0.5},
        {"base_lr": 0.1, "max_lr": 0.2, "step_size_up": 5, "scale_fn": lambda x: 0.9**x, "scale_mode": "iterations"},
    ],
}  # fmt: skip
CASES = [
    pytest.param(name, options, id=f"{name}-{k}") for name, many in SCHEDULES.items() for k, options in enumerate(many)
]


def assert_same_groups(ours: Any, theirs: Any) -> None:
    for mine, other in zip(ours.param_groups, theirs.param_groups, strict=True):
        assert set(mine) == set(other)
        for key, value in other.items():
            if key != "params":
                is_rate = isinstance(value, (float, tuple))
                assert mine[key] == (pytest.approx(value, **CLOSE) if is_rate else value), key


def run(ours: Any, theirs: Any, epochs: int = EPOCHS) -> None:
    """Step both for some epochs and compare after each."""
    for _ in range(epochs):
        assert_same_groups(ours.optimizer, theirs.optimizer)
        assert ours.get_last_lr() == [group["lr"] for group in ours.optimizer.param_groups]
        ours.optimizer.step()
        theirs.optimizer.step()
        ours.step()
        theirs.step()


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
@pytest.mark.parametrize(("name", "options"), CASES)
def test_the_rates_of_many_epochs_are_pytorchs(name: str, options: dict[str, Any], kind: str) -> None:
    ours = getattr(lr_scheduler, name)(optimizer_of("here", kind), **options)
    theirs = getattr(torch.optim.lr_scheduler, name)(optimizer_of("torch", kind), **options)
    run(ours, theirs)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_state_goes_both_ways_and_through_json(name: str, options: dict[str, Any]) -> None:
    def fresh() -> tuple[Any, Any]:
        ours = getattr(lr_scheduler, name)(optimizer_of("here"), **options)
        return ours, getattr(torch.optim.lr_scheduler, name)(optimizer_of("torch"), **options)

    first_ours, first_theirs = fresh()
    run(first_ours, first_theirs, 11)
    ours, theirs = fresh()
    state = first_theirs.state_dict()
    ours.load_state_dict(state if name == "OneCycleLR" else json.loads(json.dumps(state)))
    theirs.load_state_dict(first_ours.state_dict())
    ours.optimizer.load_state_dict(first_ours.optimizer.state_dict())
    theirs.optimizer.load_state_dict(first_theirs.optimizer.state_dict())
    run(ours, theirs, 20)
    assert set(first_ours.state_dict()) == set(first_theirs.state_dict())


@pytest.mark.parametrize("name", [*SCHEDULES, "ReduceLROnPlateau", "SequentialLR", "ChainedScheduler"])
def test_signatures_are_pytorchs(name: str) -> None:
    def arguments(kind: Any) -> list[Any]:
        return [(p.name, p.kind, p.default) for p in inspect.signature(kind).parameters.values()]

    assert arguments(getattr(lr_scheduler, name)) == arguments(getattr(torch.optim.lr_scheduler, name))


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_schedule_continues_at_an_epoch(name: str, options: dict[str, Any]) -> None:
    def start(library: str, module: Any) -> Any:
        optimizer = optimizer_of(library)
        first = getattr(module, name)(optimizer, **options)
        for _ in range(5):
            optimizer.step()
            first.step()
        return getattr(module, name)(optimizer, **options, last_epoch=first.last_epoch)

    run(start("here", lr_scheduler), start("torch", torch.optim.lr_scheduler), 15)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"patience": 2},
        {"mode": "max", "patience": 1, "factor": 0.5},
        {"patience": 1, "threshold": 0.05, "threshold_mode": "abs"},
        {"mode": "max", "patience": 1, "threshold": 0.05, "threshold_mode": "abs", "cooldown": 3},
        {"patience": 0, "cooldown": 2, "min_lr": [0.01, 0.1]},
        {"patience": 0, "min_lr": 0.05, "eps": 0.01},
    ],
)
def test_a_plateau_is_seen_where_pytorch_sees_it(options: dict[str, Any]) -> None:
    ours = lr_scheduler.ReduceLROnPlateau(optimizer_of("here"), **options)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer_of("torch"), **options)
    for epoch in range(EPOCHS):
        metric = 1 / (1 + epoch % 17) + 0.01 * (epoch % 5)
        ours.step(cr.tensor(metric, dtype=cr.float64))
        theirs.step(torch.tensor(metric, dtype=torch.float64))
        assert_same_groups(ours.optimizer, theirs.optimizer)
        assert ours.num_bad_epochs == theirs.num_bad_epochs
        assert ours.in_cooldown == theirs.in_cooldown
        if epoch == 30:
            state = theirs.state_dict()
            assert ours.state_dict() == state
            ours.load_state_dict(state)


def sequence(module: Any, optimizer: Any) -> Any:
    parts = [
        module.LinearLR(optimizer, 0.1, total_iters=5),
        module.ExponentialLR(optimizer, 0.9),
        module.StepLR(optimizer, 3),
        module.CosineAnnealingLR(optimizer, 8),
    ]
    return module.SequentialLR(optimizer, parts, [5, 20, 40])


def chain(module: Any, optimizer: Any) -> Any:
    parts = [
        module.ConstantLR(optimizer, 0.1, 4),
        module.ExponentialLR(optimizer, 0.9),
        module.MultiStepLR(optimizer, [7]),
    ]
    return module.ChainedScheduler(parts)


def chain_in_sequence(module: Any, optimizer: Any) -> Any:
    warm = module.ChainedScheduler([module.LinearLR(optimizer, 0.5), module.StepLR(optimizer, 2)])
    return module.SequentialLR(optimizer, [warm, module.ExponentialLR(optimizer, 0.9)], [6])


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")  # PyTorch's, for the chain in a sequence
@pytest.mark.parametrize("make", [sequence, chain, chain_in_sequence])
def test_combined_schedules_are_pytorchs(make: Any) -> None:
    run(make(lr_scheduler, optimizer_of("here")), make(torch.optim.lr_scheduler, optimizer_of("torch")))


@pytest.mark.parametrize("make", [sequence, chain])
def test_combined_schedules_continue_from_a_state(make: Any) -> None:
    first, theirs = make(lr_scheduler, optimizer_of("here")), make(torch.optim.lr_scheduler, optimizer_of("torch"))
    run(first, theirs, 12)
    ours = make(lr_scheduler, optimizer_of("here"))
    ours.load_state_dict(first.state_dict())
    ours.optimizer.load_state_dict(first.optimizer.state_dict())
    run(ours, theirs, 30)


def test_warm_restarts_take_fractions_of_epochs() -> None:
    ours = lr_scheduler.CosineAnnealingWarmRestarts(optimizer_of("here"), 3, 2)
    theirs = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer_of("torch"), 3, 2)
    for step in range(100):
        ours.step(step / 4)
        theirs.step(step / 4)
        assert_same_groups(ours.optimizer, theirs.optimizer)
        assert ours.last_epoch == theirs.last_epoch


@pytest.mark.filterwarnings("ignore:The epoch parameter")  # PyTorch's
@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_jump_to_an_epoch_is_pytorchs(name: str, options: dict[str, Any]) -> None:
    ours = getattr(lr_scheduler, name)(optimizer_of("here"), **options)
    theirs = getattr(torch.optim.lr_scheduler, name)(optimizer_of("torch"), **options)
    for epoch in (4, 2, 17, 0):
        ours.optimizer.step()
        theirs.optimizer.step()
        ours.step(epoch)
        theirs.step(epoch)
        assert_same_groups(ours.optimizer, theirs.optimizer)
