"""Rates, decays and counts of NumPy's, in optimizers and schedules: as Python's, and kept as Python's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import optim
from chainrule.optim import lr_scheduler as schedules

HALF, TWO = np.float32(0.5), np.int64(2)

OPTIMIZERS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "SGD": (optim.SGD, {"lr": HALF, "momentum": HALF, "dampening": HALF, "weight_decay": np.float64(0.5)}),
    "Adam": (optim.Adam, {"lr": HALF, "betas": (HALF, HALF), "eps": HALF, "weight_decay": HALF}),
    "AdamW": (optim.AdamW, {"lr": TWO, "betas": [HALF, HALF]}),
    "RMSprop": (optim.RMSprop, {"lr": HALF, "alpha": HALF, "eps": HALF, "momentum": HALF}),
    "Adagrad": (optim.Adagrad, {"lr": HALF, "lr_decay": HALF, "initial_accumulator_value": HALF}),
    "Adadelta": (optim.Adadelta, {"lr": HALF, "rho": HALF}),
    "Adamax": (optim.Adamax, {"lr": HALF, "betas": (HALF, HALF)}),
    "NAdam": (optim.NAdam, {"lr": HALF, "momentum_decay": HALF}),
    "RAdam": (optim.RAdam, {"lr": HALF, "weight_decay": HALF}),
}  # fmt: skip

SCHEDULES: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "StepLR": (schedules.StepLR, {"step_size": TWO, "gamma": HALF}),
    "MultiStepLR": (schedules.MultiStepLR, {"milestones": np.array([1, 3]), "gamma": HALF}),
    "ConstantLR": (schedules.ConstantLR, {"factor": HALF, "total_iters": TWO}),
    "LinearLR": (schedules.LinearLR, {"start_factor": HALF, "end_factor": HALF, "total_iters": TWO}),
    "ExponentialLR": (schedules.ExponentialLR, {"gamma": HALF}),
    "PolynomialLR": (schedules.PolynomialLR, {"total_iters": TWO, "power": HALF}),
    "CosineAnnealingLR": (schedules.CosineAnnealingLR, {"T_max": TWO, "eta_min": HALF}),
    "CosineAnnealingWarmRestarts": (
        schedules.CosineAnnealingWarmRestarts, {"T_0": TWO, "T_mult": TWO, "eta_min": HALF},
    ),
    "CyclicLR": (
        schedules.CyclicLR,
        {"base_lr": HALF, "max_lr": TWO, "step_size_up": TWO, "gamma": HALF, "base_momentum": HALF, "max_momentum": HALF},
    ),
    "OneCycleLR": (
        schedules.OneCycleLR,
        {"max_lr": HALF, "epochs": TWO, "steps_per_epoch": np.uint8(200), "pct_start": HALF, "div_factor": HALF},
    ),
    "OneCycleLR, total_steps": (schedules.OneCycleLR, {"max_lr": [HALF], "total_steps": np.int32(9)}),
}  # fmt: skip


def plainly(options: dict[str, Any]) -> dict[str, Any]:
    """Return the same options as Python's numbers."""
    return {
        name: [x.item() for x in value] if isinstance(value, (list, tuple, np.ndarray)) else value.item()
        for name, value in options.items()
    }


def of_numpy(value: Any) -> bool:
    if isinstance(value, dict):
        return any(of_numpy(part) for pair in value.items() for part in pair)
    return any(map(of_numpy, value)) if isinstance(value, (tuple, list)) else isinstance(value, np.generic)


def made(kind: Callable[..., Any], options: dict[str, Any], **more: Any) -> Any:
    p = cr.tensor([1.0, -2.0], requires_grad=True)
    p.grad = cr.tensor([0.25, 3.0])
    return kind([{"params": [p], **more}], **options)


@pytest.mark.parametrize(("kind", "options"), OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_an_optimizer_takes_numbers_of_numpy(kind: Callable[..., Any], options: dict[str, Any]) -> None:
    found, wanted = made(kind, options), made(kind, plainly(options))
    for optimizer in (found, wanted):
        optimizer.step()
    assert found.param_groups[0]["params"][0].tolist() == wanted.param_groups[0]["params"][0].tolist()
    assert not of_numpy(found.state_dict())
    assert not of_numpy(found.defaults)


def test_a_parameter_group_takes_numbers_of_numpy() -> None:
    group = made(optim.Adam, {}, lr=np.float64(0.25), betas=(HALF, HALF)).param_groups[0]
    assert type(group["lr"]) is float
    assert not of_numpy(group["betas"])


@pytest.mark.parametrize(("kind", "options"), SCHEDULES.values(), ids=SCHEDULES)
def test_a_schedule_takes_numbers_of_numpy(kind: Callable[..., Any], options: dict[str, Any]) -> None:
    rates: list[list[float]] = []
    for chosen in (options, plainly(options)):
        optimizer = made(optim.SGD, {"lr": 1.0, "momentum": 0.5})
        schedule = kind(optimizer, **chosen)
        rates.append([])
        for _ in range(6):
            rates[-1] += schedule.get_last_lr()
            optimizer.step()
            schedule.step()
        assert not of_numpy(schedule.state_dict())
        assert not of_numpy(optimizer.state_dict())
    assert rates[0] == rates[1]


def test_a_fall_on_a_plateau_and_a_sequence_take_numbers_of_numpy() -> None:
    optimizer = made(optim.SGD, {"lr": 1.0})
    plateau = schedules.ReduceLROnPlateau(optimizer, factor=HALF, patience=np.int64(0), min_lr=HALF, cooldown=TWO)
    for metric in (1.0, 1.0, 1.0):
        plateau.step(np.float32(metric))
    assert optimizer.param_groups[0]["lr"] == 0.5
    parts = [schedules.ConstantLR(optimizer, 0.5), schedules.ConstantLR(optimizer, 0.25)]
    sequence = schedules.SequentialLR(optimizer, parts, milestones=np.array([2]))  # type: ignore[arg-type]  # on purpose
    assert not of_numpy([plateau.state_dict(), sequence.state_dict(), optimizer.state_dict()])
