"""Schedules: what is refused and why, and how they go with compiled steps and with one's own rules."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

import chainrule as cr
from chainrule.errors import ArgumentError, ArgumentTypeError, ChainruleError, TraceError
from chainrule.optim import SGD, Adagrad, Adam, lr_scheduler
from chainrule.optim.lr_scheduler import (
    ChainedScheduler,
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    CyclicLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    MultiplicativeLR,
    MultiStepLR,
    OneCycleLR,
    PolynomialLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)


def sgd(lr: float = 1.0, **options: Any) -> SGD:
    p = cr.zeros(2, requires_grad=True)
    p.grad = cr.ones(2)
    return SGD([p], lr=lr, **options)


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: StepLR("sgd", 3), ArgumentTypeError, "StepLR: got str; expected an optimizer"),
        (lambda: StepLR(sgd(), 0), ArgumentError, "StepLR: got step_size=0; expected a number of epochs above 0"),
        (
            lambda: StepLR(sgd(), 3, last_epoch=4),
            ArgumentError,
            "group 0 has no 'initial_lr'.*Load the optimizer's state",
        ),
        (lambda: ConstantLR(sgd(), 1.5), ArgumentError, "got factor=1.5; expected a number from 0 to 1"),
        (lambda: LinearLR(sgd(), 0.0), ArgumentError, "got start_factor=0.0"),
        (lambda: LinearLR(sgd(), 0.5, 2.0), ArgumentError, "got end_factor=2.0"),
        (lambda: PolynomialLR(sgd(), 0), ArgumentError, "got total_iters=0"),
        (lambda: LambdaLR(sgd(), 0.5), ArgumentTypeError, "got lr_lambda=0.5; expected a function of the epoch"),
        (
            lambda: MultiplicativeLR(sgd(), [abs, abs]),
            ArgumentError,
            "got 2 values as lr_lambda; expected one, or one for",
        ),
        (lambda: CosineAnnealingLR(sgd(), 0), ArgumentError, "got T_max=0"),
        (lambda: CosineAnnealingWarmRestarts(sgd(), 0), ArgumentError, "got T_0=0; expected an integer above 0"),
        (
            lambda: CosineAnnealingWarmRestarts(sgd(), 2, 0),
            ArgumentError,
            "got T_mult=0; expected an integer of at least 1",
        ),
        (lambda: CosineAnnealingWarmRestarts(sgd(), 2).step(-1), ArgumentError, "got epoch=-1; expected 0 or more"),
        (lambda: OneCycleLR(sgd(), 0.1), ArgumentError, "got epochs=None; expected total_steps, or both"),
        (lambda: OneCycleLR(sgd(), 0.1, epochs=3), ArgumentError, "got steps_per_epoch=None"),
        (lambda: OneCycleLR(sgd(), 0.1, total_steps=0), ArgumentError, "got total_steps=0"),
        (lambda: OneCycleLR(sgd(), 0.1, 10, pct_start=1.5), ArgumentError, "got pct_start=1.5"),
        (lambda: OneCycleLR(sgd(), 0.1, 10, anneal_strategy="cosine"), ArgumentError, "expected 'cos' or 'linear'"),
        (
            lambda: OneCycleLR(Adagrad([cr.ones(1)]), 0.1, 10),
            ArgumentError,
            "Adagrad has neither momentum nor betas. Pass",
        ),
        (
            lambda: CyclicLR(sgd(), 0.1, 1.0, mode="square"),
            ArgumentError,
            "got mode='square'; expected one of triangular",
        ),
        (lambda: CyclicLR(sgd(), 0.1, [1.0, 2.0]), ArgumentError, "got 2 values as max_lr"),
        (lambda: ReduceLROnPlateau(sgd(), factor=1.0), ArgumentError, "got factor=1.0; expected a number below 1"),
        (lambda: ReduceLROnPlateau(sgd(), mode="low"), ArgumentError, "got mode='low'; expected 'min' or 'max'"),
        (lambda: ReduceLROnPlateau(sgd(), threshold_mode="x"), ArgumentError, "expected 'rel' or 'abs'"),
        (
            lambda: SequentialLR(sgd(), [], []),
            ArgumentError,
            "got 0 schedulers and 0 milestones; expected one milestone",
        ),
        (lambda: ChainedScheduler([]), ArgumentError, "got no scheduler; expected at least one"),
        (
            lambda: ChainedScheduler([ReduceLROnPlateau(sgd())]),
            ArgumentError,
            "needs a metric at each step. Step it itself",
        ),
        (lambda: ChainedScheduler([StepLR(sgd(), 1), StepLR(sgd(), 1)]), ArgumentError, "number 1 belongs to another"),
    ],
)
def test_a_bad_argument_is_told_with_its_value(make: Any, error: type[ChainruleError], text: str) -> None:
    with pytest.raises(error, match=text):
        make()


def test_combining_what_is_no_schedule_is_told() -> None:
    optimizer = sgd()
    with pytest.raises(ArgumentTypeError, match="SequentialLR: number 1 is a float; expected a scheduler"):
        SequentialLR(optimizer, [StepLR(optimizer, 1), 0.5], [3])  # type: ignore[list-item]  # the point of the test


def test_a_cycle_that_is_over_says_so() -> None:
    optimizer = sgd(momentum=0.9)
    scheduler = OneCycleLR(optimizer, 0.1, total_steps=2)
    optimizer.step()
    scheduler.step()
    scheduler.step()
    with pytest.raises(ArgumentError, match=r"step 3 of a cycle of 2 steps\. Make total_steps"):
        scheduler.step()


def test_stepping_the_schedule_before_the_optimizer_warns_once() -> None:
    scheduler = StepLR(sgd(), 3)
    with pytest.warns(UserWarning, match="the first rate of the schedule is never used. Call optimizer.step"):
        scheduler.step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scheduler.step()


def test_groups_added_after_the_schedule_are_told() -> None:
    optimizer = sgd()
    scheduler = ExponentialLR(optimizer, 0.5)
    optimizer.step()
    optimizer.add_param_group({"params": [cr.ones(1)]})
    scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.5]
    later = LambdaLR(sgd(), lambda epoch: 1.0)
    later.optimizer.add_param_group({"params": [cr.ones(1)]})
    later.optimizer.step()
    with pytest.raises(ValueError, match="1 rates for 2 parameter groups"):
        later.step()


def test_a_plateau_with_a_floor_for_each_group_needs_all_groups() -> None:
    optimizer = sgd()
    scheduler = ReduceLROnPlateau(optimizer, patience=0, min_lr=[0.5])
    optimizer.add_param_group({"params": [cr.ones(1)]})
    scheduler.step(1.0)
    with pytest.raises(ArgumentError, match="min_lr has 1 values for 2 parameter groups"):
        scheduler.step(1.0)
    scheduler = ReduceLROnPlateau(sgd(), patience=0, min_lr=0.5)
    scheduler.optimizer.add_param_group({"params": [cr.ones(1)]})
    scheduler.step(1.0)
    scheduler.step(1.0)
    assert scheduler.get_last_lr() == [0.5, 0.5]


def test_a_rate_that_is_a_tensor_is_written_in_place() -> None:
    rate = cr.tensor(1.0)
    optimizer = SGD([cr.zeros(1)], lr=rate)
    scheduler = ExponentialLR(optimizer, 0.5)
    optimizer.step()
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] is rate
    assert float(rate) == 0.5
    assert scheduler.base_lrs == [1.0]


def test_a_schedule_of_ones_own_needs_get_lr_alone() -> None:
    class Halves(LRScheduler):
        """Half of the rate each epoch."""

        def get_lr(self) -> list[float]:
            assert self._get_lr_called_within_step
            return [base * 0.5**self.last_epoch for base in self.base_lrs]

    optimizer = sgd()
    scheduler = Halves(optimizer)
    for rate in (1.0, 0.5, 0.25):
        assert scheduler.get_last_lr() == [rate]
        optimizer.step()
        scheduler.step()
    with pytest.raises(ArgumentTypeError, match=r"LRScheduler has no rule\. Write get_lr"):
        LRScheduler(sgd())


def test_functions_are_not_saved_but_attributes_of_callable_objects_are() -> None:
    class Factor:
        def __init__(self, factor: float) -> None:
            self.factor = factor

        def __call__(self, epoch: float) -> float:
            return self.factor**epoch

    first = LambdaLR(sgd(), Factor(0.5))
    state = first.state_dict()
    assert state["lr_lambdas"] == [{"factor": 0.5}]
    other = LambdaLR(sgd(), Factor(0.25))
    other.load_state_dict(state)
    assert vars(other.lr_lambdas[0]) == {"factor": 0.5}
    assert LambdaLR(sgd(), lambda epoch: 1.0).state_dict()["lr_lambdas"] == [None]

    cyclic = CyclicLR(sgd(), 0.1, 1.0, scale_fn=Factor(0.5), cycle_momentum=False)
    again = CyclicLR(sgd(), 0.1, 1.0, scale_fn=Factor(0.25), cycle_momentum=False)
    again.load_state_dict(cyclic.state_dict())
    assert again.scale_fn(1.0) == 0.5
    assert CyclicLR(sgd(), 0.1, 1.0, cycle_momentum=False).state_dict()["_scale_fn_custom"] is None


def test_a_constant_factor_of_0_returns_to_the_starting_rate() -> None:
    optimizer = sgd()
    scheduler = ConstantLR(optimizer, 0.0, total_iters=2)
    rates = []
    for _ in range(3):
        rates += scheduler.get_last_lr()
        optimizer.step()
        scheduler.step()
    assert rates == [0.0, 0.0, 1.0]


SCHEDULES: list[Any] = [
    lambda o: StepLR(o, 2),
    lambda o: MultiStepLR(o, [1, 3]),
    lambda o: CosineAnnealingLR(o, 4),
    lambda o: CosineAnnealingWarmRestarts(o, 2),
    lambda o: OneCycleLR(o, 1.0, total_steps=10),
    lambda o: CyclicLR(o, 0.1, 1.0, step_size_up=2),
    lambda o: SequentialLR(o, [LinearLR(o), ExponentialLR(o, 0.5)], [2]),
    lambda o: ChainedScheduler([LinearLR(o), ExponentialLR(o, 0.5)]),
]


@pytest.mark.parametrize("make", SCHEDULES)
@pytest.mark.parametrize("inside", [True, False])
def test_a_compiled_step_follows_a_schedule_stepped_inside_or_outside(make: Any, inside: bool) -> None:
    def train(*, compile_it: bool) -> bytes:
        p = cr.ones(3, requires_grad=True)
        optimizer = SGD([p], lr=0.25, momentum=0.5)
        scheduler = make(optimizer)

        def step() -> None:
            optimizer.zero_grad()
            (p * p).sum().backward()
            optimizer.step()
            if inside:
                scheduler.step()

        run = cr.compile(step) if compile_it else step
        for _ in range(8):
            run()
            if not inside:
                scheduler.step()
        return bytes(p.detach().numpy().tobytes())

    assert train(compile_it=True) == train(compile_it=False)


def test_a_metric_has_no_value_inside_a_compiled_function() -> None:
    p = cr.ones(3, requires_grad=True)
    scheduler = ReduceLROnPlateau(Adam([p]))

    @cr.compile
    def step() -> None:
        scheduler.step((p * p).sum())

    with pytest.raises(TraceError, match=r"float\(\)"):
        step()


def test_schedules_at_once_have_no_epoch_of_their_own() -> None:
    optimizer = SGD([cr.ones(3, requires_grad=True)], lr=0.1)
    part = StepLR(optimizer, 2)
    scheduler = ChainedScheduler([part])
    assert not hasattr(scheduler, "last_epoch")
    assert getattr(scheduler, "last_epoch", None) is None
    with pytest.raises(AttributeError, match="ChainedScheduler has no attribute 'last_epoch'.*each counts its own"):
        _ = scheduler.last_epoch
    assert part.last_epoch == 0
    assert cr.compile(lambda x: x * (2 if hasattr(scheduler, "last_epoch") else 3))(cr.ones(2)).tolist() == [3, 3]


def test_every_public_schedule_is_documented() -> None:
    for name in lr_scheduler.__all__:
        assert getattr(lr_scheduler, name).__doc__
