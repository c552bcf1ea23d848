"""Training steps under ``compile``: the same bits as eager, step after step, one trace for all batch sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.errors import GradientError, TraceError
from chainrule.nn import functional as F
from tests.tolerances import assert_close

from .beside_eager import BATCHES, batch, same_as_eager


def network(*middle: Any) -> nn.Sequential:
    return nn.Sequential(nn.Linear(5, 7), *middle, nn.Linear(7, 3))


def training(
    model: Any, optimizer: Any, loss: Callable[..., Any] = F.cross_entropy, between: Callable[[], Any] = lambda: None
) -> Callable[..., Any]:
    """Return one step: clear, forward, backward, whatever comes between, update."""

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        value = loss(model(x), y)
        value.backward()
        between()
        optimizer.step()
        return value

    return step


# -- layers, losses, optimizers ------------------------------------------------------------------------------------------

ACTIVATIONS = [
    nn.ReLU(), nn.Sigmoid(), nn.Tanh(), nn.LeakyReLU(0.2), nn.ELU(), nn.SELU(), nn.GELU(), nn.GELU("tanh"), nn.SiLU(),
    nn.Softplus(), nn.Softmax(dim=1), nn.LogSoftmax(dim=1), nn.PReLU(), nn.Hardtanh(),
]  # fmt: skip
LAYERS = {
    "batch norm": lambda: [nn.BatchNorm1d(7)],
    "batch norm without momentum": lambda: [nn.BatchNorm1d(7, momentum=None)],
    "batch norm without statistics": lambda: [nn.BatchNorm1d(7, track_running_stats=False)],
    "layer norm": lambda: [nn.LayerNorm(7)],
    "dropout": lambda: [nn.Dropout(0.3)],
    "two dropouts": lambda: [nn.Dropout(0.3), nn.Tanh(), nn.Dropout(0.5)],
    "all of them": lambda: [nn.BatchNorm1d(7), nn.ReLU(), nn.Dropout(0.2), nn.LayerNorm(7), nn.Tanh()],
}


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
def test_every_activation_trains_with_the_same_bits(activation: Any) -> None:
    def build() -> Any:
        model = network(type(activation)(**_arguments(activation)))
        return training(model, optim.SGD(model.parameters(), 0.1)), model

    same_as_eager(build, BATCHES)


def _arguments(layer: Any) -> dict[str, Any]:
    return {"dim": layer.dim} if hasattr(layer, "dim") else {}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_with_state_and_with_chance_train_with_the_same_bits(name: str) -> None:
    def build() -> Any:
        model = network(*LAYERS[name]())
        optimizer = optim.Adam(model.parameters())
        return training(model, optimizer), model, optimizer

    same_as_eager(build, BATCHES)


def test_an_embedding_trains_with_the_same_bits() -> None:
    def build() -> Any:
        model = nn.Sequential(nn.Embedding(3, 5, padding_idx=1), nn.Tanh(), nn.Linear(5, 2))
        optimizer = optim.Adam(model.parameters())
        step = training(model, optimizer, lambda y, x: F.mse_loss(y, x[:, :2]))
        return lambda x, i: step(i, x), model, optimizer

    same_as_eager(build, BATCHES)


LOSSES: dict[str, Callable[..., Any]] = {
    "cross entropy": F.cross_entropy,
    "weighted": lambda z, y: F.cross_entropy(z, y, weight=cr.tensor([1.0, 2.0, 0.5])),
    "smoothed": lambda z, y: F.cross_entropy(z, y, label_smoothing=0.1),
    "ignoring a class": lambda z, y: F.cross_entropy(z, y, ignore_index=1),
    "probabilities": lambda z, y: F.cross_entropy(z, F.one_hot(y, 3).float()),
    "sum": lambda z, y: F.cross_entropy(z, y, reduction="sum"),
    "rows": lambda z, y: F.cross_entropy(z, y, reduction="none").mean(),
    "nll": lambda z, y: F.nll_loss(z.log_softmax(1), y),
    "mse": lambda z, y: F.mse_loss(z, F.one_hot(y, 3).float()),
    "l1": lambda z, y: F.l1_loss(z, F.one_hot(y, 3).float()),
    "huber": lambda z, y: F.huber_loss(z, F.one_hot(y, 3).float(), delta=0.3),
    "smooth l1": lambda z, y: F.smooth_l1_loss(z, F.one_hot(y, 3).float(), beta=0.3),
    "bce": lambda z, y: F.binary_cross_entropy(z.sigmoid(), F.one_hot(y, 3).float()),
    "bce with logits": lambda z, y: F.binary_cross_entropy_with_logits(
        z, F.one_hot(y, 3).float(), pos_weight=cr.tensor([1.0, 2.0, 3.0])
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_trains_with_the_same_bits(name: str) -> None:
    def build() -> Any:
        model = network(nn.Tanh())
        return training(model, optim.SGD(model.parameters(), 0.1), LOSSES[name]), model

    same_as_eager(build, BATCHES)


OPTIMIZERS: list[tuple[type[optim.Optimizer], dict[str, Any]]] = [
    (optim.SGD, {"lr": 0.1}),
    (optim.SGD, {"lr": 0.1, "weight_decay": 0.1, "maximize": True}),
    (optim.SGD, {"lr": 0.1, "momentum": 0.9}),
    (optim.SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.5}),
    (optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    (optim.Adam, {}),
    (optim.Adam, {"amsgrad": True, "weight_decay": 0.1, "betas": (0.8, 0.99), "eps": 1e-4}),
    (optim.AdamW, {"weight_decay": 0.1}),
    (optim.RMSprop, {}),
    (optim.RMSprop, {"momentum": 0.9, "centered": True, "weight_decay": 0.1}),
    (optim.Adagrad, {"lr_decay": 0.1, "weight_decay": 0.1}),
    (optim.Adadelta, {}),
    (optim.Adamax, {"weight_decay": 0.1}),
    (optim.NAdam, {"weight_decay": 0.1}),
    (optim.RAdam, {"weight_decay": 0.1}),
]


@pytest.mark.parametrize(("kind", "options"), OPTIMIZERS, ids=lambda v: getattr(v, "__name__", str(v)))
def test_every_optimizer_takes_the_same_steps(kind: Any, options: dict[str, Any]) -> None:
    def build() -> Any:
        model = network(nn.Tanh())
        optimizer = kind(model.parameters(), **options)
        return training(model, optimizer), model, optimizer

    same_as_eager(build, BATCHES * 2)


def test_parameter_groups_have_their_own_options() -> None:
    def build() -> Any:
        model = network(nn.Tanh())
        groups = [
            {"params": model[0].parameters(), "lr": 0.5, "weight_decay": 0.1},
            {"params": [model[2].weight], "momentum": 0.9},
            {"params": [model[2].bias], "lr": 0.0},
        ]
        optimizer = optim.SGD(groups, lr=0.1)
        return training(model, optimizer), model, optimizer

    same_as_eager(build, BATCHES)


# -- rates ---------------------------------------------------------------------------------------------------------------

SCHEDULES: dict[str, Callable[[Any], Any]] = {
    "step": lambda o: optim.lr_scheduler.StepLR(o, 2, 0.5),
    "exponential": lambda o: optim.lr_scheduler.ExponentialLR(o, 0.9),
    "cosine": lambda o: optim.lr_scheduler.CosineAnnealingLR(o, 4),
    "one cycle": lambda o: optim.lr_scheduler.OneCycleLR(o, 0.5, total_steps=20),
    "warm restarts": lambda o: optim.lr_scheduler.CosineAnnealingWarmRestarts(o, 3),
    "chained": lambda o: optim.lr_scheduler.ChainedScheduler(
        [optim.lr_scheduler.LinearLR(o), optim.lr_scheduler.ExponentialLR(o, 0.9)]
    ),
    "in sequence": lambda o: optim.lr_scheduler.SequentialLR(
        o, [optim.lr_scheduler.ConstantLR(o), optim.lr_scheduler.ExponentialLR(o, 0.9)], [2]
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("place", ["inside, after the step", "inside, before the step", "outside"])
def test_a_schedule_changes_the_rate_inside_and_outside(name: str, place: str) -> None:
    def build() -> Any:
        model = network(nn.Tanh())
        optimizer = optim.Adam(model.parameters(), lr=0.1)
        schedule = SCHEDULES[name](optimizer)
        step = training(model, optimizer)

        def whole(x: Any, y: Any) -> Any:
            if place == "inside, before the step":
                optimizer._stepped = True  # else it warns
                schedule.step()
            value = step(x, y)
            if place == "inside, after the step":
                schedule.step()
            return value

        return whole, model, optimizer, schedule

    if place == "outside":
        _check_schedule_outside(name)
    else:
        same_as_eager(build, BATCHES * 2)


def _check_schedule_outside(name: str) -> None:
    made = []
    for wrap in (lambda f: f, cr.compile):
        cr.manual_seed(0)
        model = network(nn.Tanh())
        optimizer = optim.Adam(model.parameters(), lr=0.1)
        schedule = SCHEDULES[name](optimizer)
        step = wrap(training(model, optimizer))
        rng = np.random.default_rng(0)
        for _ in range(6):
            step(*batch(4)(rng))
            schedule.step()
        made.append([p.detach().numpy().tobytes() for p in model.parameters()])
    assert made[0] == made[1]


def test_a_schedule_between_two_steps_of_one_function_is_refused() -> None:
    model = network()
    optimizer = optim.SGD(model.parameters(), 0.1)
    schedule = optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    step = training(model, optimizer)

    @cr.compile
    def two(x: Any, y: Any) -> Any:
        step(x, y)
        schedule.step()
        return step(x, y)

    with pytest.raises(TraceError, match="reads the rates once"):
        two(*batch(4)(np.random.default_rng(0)))


def test_an_assigned_rate_counts_from_the_next_call_on() -> None:
    def build() -> Any:
        model = network(nn.Tanh())
        optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.5)
        return training(model, optimizer), model, optimizer

    made = []
    for wrap in (lambda f: f, cr.compile):
        cr.manual_seed(0)
        step, model, optimizer = build()
        step = wrap(step)
        rng = np.random.default_rng(0)
        for lr, momentum in ((0.1, 0.5), (0.5, 0.5), (0.5, 0.9), (0.0, 0.1)):
            optimizer.param_groups[0]["lr"] = lr
            optimizer.param_groups[0]["momentum"] = momentum
            step(*batch(4)(rng))
        made.append([p.detach().numpy().tobytes() for p in model.parameters()])
    assert made[0] == made[1]
    assert len(step.graphs) == 1


def test_an_option_that_selects_the_rule_traces_again_and_going_back_does_not() -> None:
    made = []
    for wrap in (lambda f: f, cr.compile):
        cr.manual_seed(0)
        model = network(nn.Tanh())
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        step = wrap(training(model, optimizer))
        rng = np.random.default_rng(0)
        for decay in (0.0, 0.1, 0.0, 0.2, 0.0):
            optimizer.param_groups[0]["weight_decay"] = decay
            step(*batch(4)(rng))
        made.append([p.detach().numpy().tobytes() for p in model.parameters()])
    assert made[0] == made[1]
    assert len(step.graphs) == 2, step.report()
    assert "what selects the rule of SGD" in step.report()


def test_a_rate_that_is_a_tensor_is_read_at_each_run() -> None:
    def build() -> Any:
        model = network(nn.Tanh())
        optimizer = optim.Adam(model.parameters(), lr=cr.tensor(0.1))
        schedule = optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        step = training(model, optimizer)

        def whole(x: Any, y: Any) -> Any:
            value = step(x, y)
            schedule.step()
            return value

        return whole, model, optimizer

    same_as_eager(build, BATCHES)


# -- gradients -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", [1.0, 2.0, float("inf")])
def test_clipping_by_norm_and_by_value(norm: float) -> None:
    def build() -> Any:
        model = network(nn.Tanh())
        optimizer = optim.Adam(model.parameters())

        def clip() -> None:
            nn.utils.clip_grad_norm_(model.parameters(), 0.1, norm)
            nn.utils.clip_grad_value_(model.parameters(), 0.01)

        return training(model, optimizer, between=clip), model, optimizer

    same_as_eager(build, BATCHES)


def test_two_backwards_into_one_step() -> None:
    def build() -> Any:
        model = network(nn.Tanh())
        optimizer = optim.Adam(model.parameters())

        def step(x: Any, y: Any) -> Any:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            second = model(x * 2).square().mean()
            second.backward()
            optimizer.step()
            return second

        return step, model, optimizer

    same_as_eager(build, BATCHES)


@pytest.mark.parametrize(("kind", "options"), OPTIMIZERS, ids=lambda v: getattr(v, "__name__", str(v)))
def test_two_steps_in_one_function(kind: Any, options: dict[str, Any]) -> None:
    def build() -> Any:
        model = network(nn.Tanh())
        optimizer = kind(model.parameters(), **options)
        step = training(model, optimizer)
        return lambda x, y: (step(x, y), step(x * 2, y)), model, optimizer

    same_as_eager(build, BATCHES)


@pytest.mark.parametrize("set_to_none", [True, False])
@pytest.mark.parametrize("place", ["start", "end"])
def test_gradients_cleared_at_the_start_or_at_the_end(place: str, set_to_none: bool) -> None:
    def build() -> Any:
        model = network(nn.Tanh())
        optimizer = optim.Adam(model.parameters())

        def step(x: Any, y: Any) -> Any:
            if place == "start":
                optimizer.zero_grad(set_to_none)
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            if place == "end":
                model.zero_grad(set_to_none)
            return loss

        return step, model, optimizer

    same_as_eager(build, BATCHES * 2, traces=1 if set_to_none else 2)  # at first there are no gradients


def test_gradients_accumulate_over_calls_in_the_memory_they_have() -> None:
    def build() -> Any:
        model = network(nn.Tanh())

        def step(x: Any, y: Any) -> Any:
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            return loss

        return step, model

    step = same_as_eager(build, BATCHES * 3, traces=2)
    assert "gradient" in step.report()
    step, model = build()
    step = cr.compile(step)
    rng = np.random.default_rng(0)
    step(*batch(4)(rng))
    kept = model[0].weight.grad
    before = kept.clone()
    step(*batch(4)(rng))
    assert model[0].weight.grad is kept
    assert not cr.equal(kept, before)


def test_accumulation_over_four_calls_with_a_step_outside() -> None:
    made = []
    for wrap in (lambda f: f, cr.compile):
        cr.manual_seed(0)
        model = network(nn.Dropout(0.2))
        optimizer = optim.Adam(model.parameters())

        @wrap
        def accumulate(x: Any, y: Any) -> Any:
            loss = F.cross_entropy(model(x), y) / 4  # noqa: B023 - called within the loop
            loss.backward()
            return loss

        rng = np.random.default_rng(0)
        for k in range(16):
            accumulate(*batch(4 + k % 3)(rng))
            if k % 4 == 3:
                optimizer.step()
                optimizer.zero_grad()
        made.append([p.detach().numpy().tobytes() for p in model.parameters()])
    assert made[0] == made[1]
    assert len(accumulate.graphs) == 2, accumulate.report()


def test_a_gradient_that_is_not_kept_says_so() -> None:
    model = network()
    step = cr.compile(training(model, optim.SGD(model.parameters(), 0.1)))
    step(*batch(4)(np.random.default_rng(0)))
    with pytest.raises(GradientError, match="keep_gradients=True"):
        model[0].weight.grad
    model.zero_grad()
    assert model[0].weight.grad is None


@pytest.mark.parametrize("compiled", [True, False])
def test_what_is_added_to_a_gradient_that_was_not_kept_is_not_kept_either(compiled: bool) -> None:
    model = network()
    rng = np.random.default_rng(0)
    optimizer = optim.SGD(model.parameters(), 0.1)
    cr.compile(training(model, optimizer))(*batch(4)(rng))
    before = [p.detach().numpy().copy() for p in model.parameters()]

    def more(x: Any, y: Any) -> Any:
        x = x.clone().requires_grad_()
        x.retain_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        return x.grad * 1

    more = cr.compile(more) if compiled else more
    x, y = (cr.tensor(part) for part in batch(4)(rng))
    saliency = more(x, y)
    for _ in range(2):
        assert more(x, y).numpy().tobytes() == saliency.numpy().tobytes()
    if compiled:
        assert len(more.graphs) == 1
        assert "contract" in str(more.show())
    with pytest.raises(GradientError, match=r"did not keep.*zero_grad\(\) first"):
        model[0].weight.grad
    with pytest.raises(GradientError, match="did not keep"):
        optimizer.step()
    with pytest.raises(GradientError, match="did not keep"):
        cr.compile(lambda: optimizer.step())()
    assert all((p.detach().numpy() == b).all() for p, b in zip(model.parameters(), before, strict=True))
    model.zero_grad()
    assert more(x, y).numpy().tobytes() == saliency.numpy().tobytes()
    assert model[0].weight.grad is not None  # it is known again, as what a call adds to nothing
    if compiled:
        assert len(more.graphs) == 2


def test_a_function_that_reads_what_it_added_to_a_gradient_that_was_not_kept_says_so() -> None:
    model = network()
    optimizer = optim.SGD(model.parameters(), 0.1)
    rng = np.random.default_rng(0)
    cr.compile(training(model, optimizer))(*batch(4)(rng))

    @cr.compile
    def update(x: Any, y: Any) -> Any:
        F.cross_entropy(model(x), y).backward()
        optimizer.step()

    with pytest.raises(GradientError, match="did not keep"):
        update(*batch(4)(rng))

    @cr.compile
    def late(x: Any, y: Any) -> Any:
        F.cross_entropy(model(x), y).backward()
        model.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()

    late(*batch(4)(rng))


@pytest.mark.parametrize("compiled", [True, False])
def test_a_gradient_that_was_not_kept_is_filled_with_zeros_on_demand(compiled: bool) -> None:
    made = []
    for is_lost in (True, False):
        cr.manual_seed(0)
        model = network()
        optimizer = optim.SGD(model.parameters(), 0.1)
        rng = np.random.default_rng(0)
        cr.compile(training(model, optimizer), keep_gradients=not is_lost)(*batch(4)(rng))

        def step(x: Any, y: Any, model: Any = model, optimizer: Any = optimizer) -> Any:
            optimizer.zero_grad(set_to_none=False)
            F.cross_entropy(model(x), y).backward()
            optimizer.step()

        step = cr.compile(step) if compiled else step
        for _ in range(3):
            step(*(cr.tensor(part) for part in batch(4)(rng)))
        model.zero_grad(set_to_none=False)
        assert not any(p.grad.any() for p in model.parameters())
        made.append([p.detach().numpy() for p in model.parameters()])
    for a, b in zip(*made, strict=True):
        assert_close(a, b)


@pytest.mark.parametrize("discriminator_first", [True, False])
def test_two_compiled_steps_of_a_gan_share_the_discriminator(discriminator_first: bool) -> None:
    made = []
    for compiled in (True, False):
        cr.manual_seed(0)
        G, D = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 3)), nn.Linear(3, 1)
        of_G, of_D = optim.Adam(G.parameters(), 0.01), optim.Adam(D.parameters(), 0.01)
        one, zero = cr.ones(5, 1), cr.zeros(5, 1)

        def step_d(
            real: Any, z: Any, G: Any = G, D: Any = D, of_D: Any = of_D, one: Any = one, zero: Any = zero
        ) -> Any:
            of_D.zero_grad()
            loss = F.binary_cross_entropy_with_logits(D(real), one)
            loss = loss + F.binary_cross_entropy_with_logits(D(G(z).detach()), zero)
            loss.backward()
            of_D.step()
            return loss.detach()

        def step_g(z: Any, G: Any = G, D: Any = D, of_G: Any = of_G, one: Any = one) -> Any:
            of_G.zero_grad()
            loss = F.binary_cross_entropy_with_logits(D(G(z)), one)
            loss.backward()
            of_G.step()
            return loss.detach()

        if compiled:
            step_d, step_g = cr.compile(step_d), cr.compile(step_g)
        rng = np.random.default_rng(0)
        for k in range(4):
            real, z = (cr.tensor(rng.normal(size=(5, n)).astype(np.float32)) for n in (3, 2))
            if k or discriminator_first:
                step_d(real, z)
            step_g(z)
        made.append([p.detach().numpy() for p in (*G.parameters(), *D.parameters())])
        if compiled:
            last = step_g.graphs[-1]
            assert len(last.outputs) == 1 + 4 * len([*G.parameters()])  # nothing of the discriminator's gradients
            assert len(step_g.graphs) <= 2
    for a, b in zip(*made, strict=True):
        assert_close(a, b)


def test_gradients_are_kept_on_demand() -> None:
    def build() -> Any:
        model = network(nn.Tanh())
        return training(model, optim.SGD(model.parameters(), 0.1)), model

    cr.manual_seed(0)
    kept = same_as_eager(build, BATCHES, keep_gradients=True)
    assert kept.keep_gradients
    step, model = build()
    step = cr.compile(step, keep_gradients=True)
    step(*batch(4)(np.random.default_rng(0)))
    grads = [p.grad for p in model.parameters()]
    assert all(g is not None for g in grads)
    grads[0].mul_(0)  # their own memory
    assert not any(np.shares_memory(g._value, h._value) for g in grads for h in grads if g is not h)


def test_frozen_and_unused_parameters_get_no_gradient() -> None:
    def build() -> Any:
        model = network(nn.Tanh())
        model[0].weight.requires_grad_(False)
        model.unused = nn.Parameter(cr.ones(3))
        optimizer = optim.Adam(model.parameters())
        return training(lambda x: model[2](model[1](model[0](x))), optimizer), model, optimizer

    same_as_eager(build, BATCHES)


def test_tied_weights_collect_both_gradients() -> None:
    def build() -> Any:
        model = nn.Sequential(nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 5), nn.Linear(5, 3))
        model[2].weight = model[0].weight
        optimizer = optim.Adam(model.parameters())
        return training(model, optimizer), model, optimizer

    same_as_eager(build, BATCHES)


def test_a_penalty_on_the_weights() -> None:
    def build() -> Any:
        model = network(nn.Tanh())

        def loss(z: Any, y: Any) -> Any:
            return F.cross_entropy(z, y) + 0.01 * sum(p.abs().sum() + p.square().sum() for p in model.parameters())

        return training(model, optim.SGD(model.parameters(), 0.1), loss), model

    same_as_eager(build, BATCHES)


def test_a_penalty_on_the_gradient_needs_the_second_derivative() -> None:
    def build() -> Any:
        model = network(nn.Tanh())
        optimizer = optim.Adam(model.parameters())

        def step(x: Any, y: Any) -> Any:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            grads = cr.autograd.grad(loss, list(model.parameters()), create_graph=True)
            (loss + sum(g.square().sum() for g in grads)).backward()
            optimizer.step()
            return loss

        return step, model, optimizer

    same_as_eager(build, BATCHES)


def test_create_graph_inside_lets_gradients_have_gradients() -> None:
    def build() -> Any:
        w = cr.tensor([1.0, 2.0], requires_grad=True)

        def third(x: Any) -> Any:
            (w**3 * x).sum().backward(create_graph=True)
            first = w.grad
            w.grad = None
            (first * first).sum().backward()
            return first, w.grad

        return third, w

    same_as_eager(build, [(cr.tensor([3.0, -1.0]),)] * 2, traces=2)


def test_the_gradient_of_a_value_in_between_is_there_when_asked_for() -> None:
    def build() -> Any:
        model = network(nn.Tanh())

        def step(x: Any, y: Any) -> Any:
            hidden = model[0](x)
            hidden.retain_grad()
            model.zero_grad()
            F.cross_entropy(model[2](hidden.tanh()), y).backward()
            return hidden.grad, hidden.grad.abs().mean(0)

        return step, model

    same_as_eager(build, BATCHES)


def test_the_gradient_of_a_returned_value_comes_with_it() -> None:
    @cr.compile
    def step(x: Any) -> Any:
        y = x * 2
        y.retain_grad()
        y.square().sum().backward()
        return y

    y = step(cr.tensor([1.0, -3.0], requires_grad=True))
    assert y.grad.tolist() == [4.0, -12.0]


def test_a_leaf_made_inside_collects_its_gradient() -> None:
    def build() -> Any:
        model = network(nn.Tanh())
        optimizer = optim.SGD(model.parameters(), 0.1)

        def adversarial(x: Any, y: Any) -> Any:
            probe = x.detach().requires_grad_()
            F.cross_entropy(model(probe), y).backward()
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x + 0.1 * probe.grad.sign()), y)
            loss.backward()
            optimizer.step()
            return loss, probe.grad

        return adversarial, model

    same_as_eager(build, BATCHES, traces=2)  # the first backward adds to gradients, of which there are none at first


def test_arguments_that_require_grad_collect_it_and_accumulate() -> None:
    def call(rng: np.random.Generator) -> Any:
        return (cr.tensor(rng.standard_normal((4, 2)).astype(np.float32), requires_grad=True),)

    def step(x: Any) -> Any:
        y = (x**3).sum()
        y.backward()
        return y

    same_as_eager(lambda: step, [call, call])
    x = cr.ones(2, 2, requires_grad=True)
    compiled = cr.compile(step)
    for _ in range(3):
        compiled(x)
    assert x.grad.tolist() == [[9.0, 9.0], [9.0, 9.0]]


def test_functional_gradients_inside() -> None:
    def build() -> Any:
        w = cr.tensor([1.0, -2.0, 0.5])

        def step(x: Any) -> Any:
            g = cr.func.grad(lambda v: (v.tanh() * x).sum())(w)
            w.sub_(0.1 * g)
            return g, cr.func.hessian(lambda v: (v**3).sum())(w)

        return step, w

    same_as_eager(build, [lambda r: (cr.tensor(r.standard_normal((4, 3)).astype(np.float32)),)] * 3)


# -- Python around it ----------------------------------------------------------------------------------------------------


def test_detach_and_no_grad_inside() -> None:
    def build() -> Any:
        model = network(nn.Tanh())
        average = cr.zeros(3)

        def loss(z: Any, y: Any) -> Any:
            with cr.no_grad():
                average.mul_(0.9).add_(0.1 * z.mean(0))
            return F.cross_entropy(z - z.detach().mean() + average, y)

        return training(model, optim.SGD(model.parameters(), 0.1), loss), model, average

    same_as_eager(build, BATCHES)


def test_an_average_of_the_weights_follows_them() -> None:
    def build() -> Any:
        model, averaged = network(nn.Tanh()), network(nn.Tanh())
        step = training(model, optim.SGD(model.parameters(), 0.1))

        def both(x: Any, y: Any) -> Any:
            loss = step(x, y)
            with cr.no_grad():
                for mean, p in zip(averaged.parameters(), model.parameters(), strict=True):
                    mean.mul_(0.9).add_(p, alpha=0.1)
            return loss, averaged(x)

        return both, model, averaged

    same_as_eager(build, BATCHES)


def test_an_optimizer_written_by_hand() -> None:
    def build() -> Any:
        model = network(nn.Tanh())
        velocity = [cr.zeros_like(p) for p in model.parameters()]

        def step(x: Any, y: Any) -> Any:
            loss = F.cross_entropy(model(x), y)
            model.zero_grad()
            loss.backward()
            with cr.no_grad():
                for p, v in zip(model.parameters(), velocity, strict=True):
                    v.mul_(0.9).add_(p.grad)
                    p -= 0.1 * v
            return loss

        return step, model, velocity

    same_as_eager(build, BATCHES)


def test_hooks_that_use_tensors_only_are_traced() -> None:
    def build() -> Any:
        model = network(nn.Tanh())
        seen = cr.zeros(())

        def watch(module: Any, args: Any, y: Any) -> None:
            seen.add_(y.detach().abs().sum())

        model[0].register_forward_pre_hook(lambda module, args: (args[0] * 1.5,))
        model[1].register_forward_hook(lambda module, args, y: y + 0.1)
        model[1].register_forward_hook(watch)
        model[2].register_full_backward_pre_hook(lambda module, g: (g[0] * 2,))
        model[2].register_full_backward_hook(lambda module, gx, gy: (gx[0] * 0.5,))
        return training(model, optim.SGD(model.parameters(), 0.1)), model, seen

    same_as_eager(build, BATCHES)


def test_random_functions_make_the_same_draws() -> None:
    def build() -> Any:
        own = cr.Generator().manual_seed(5)

        def step(x: Any) -> Any:
            noise = cr.randn_like(x) + cr.rand(3, generator=own) + cr.rand(3)
            return noise, cr.randperm(4), cr.bernoulli(cr.full((3,), 0.5)), F.dropout(x, 0.5)

        return step

    same_as_eager(build, [(cr.ones(n, 3),) for n in (4, 4, 2, 7)])


def test_draws_come_from_the_generator_that_the_caller_uses() -> None:
    def noise(x: Any) -> Any:
        return x + cr.randn(3)

    compiled = cr.compile(noise)
    first, second = cr.Generator().manual_seed(1), cr.Generator().manual_seed(2**64 - 2)
    before = cr.get_rng_state()
    for generator in (first, second, first):
        state = generator.get_state()
        with cr.tensors.generator.drawing_from(generator):
            expected = noise(cr.zeros(3))
            generator.set_state(state)
            assert cr.equal(compiled(cr.zeros(3)), expected)
        assert generator.draw == state["draw"] + 1
    assert cr.get_rng_state() == before
    assert len(compiled.graphs) == 1


def test_a_compiled_function_inside_another_is_part_of_it() -> None:
    made = []
    for inner, outer in ((lambda f: f, lambda f: f), (cr.compile, cr.compile)):
        cr.manual_seed(0)
        model = network(nn.Dropout(0.2))
        step = outer(training(inner(model), optim.SGD(model.parameters(), 0.1)))
        rng = np.random.default_rng(0)
        made.append([step(*batch(n)(rng)).item() for n in (4, 4, 3)])
    assert made[0] == made[1]
    assert len(step.graphs) == 1


def test_a_method_is_compiled_for_each_object_by_itself() -> None:
    class Net(nn.Module):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.factor = factor
            self.fc = nn.Linear(2, 2)

        @cr.compile
        def forward(self, x: Any) -> Any:
            return self.fc(x) * self.factor

    cr.manual_seed(0)
    nets = [Net(2.0), Net(3.0)]
    x = cr.ones(4, 2)
    for net in nets:
        expected = F.linear(x, net.fc.weight, net.fc.bias) * net.factor
        assert cr.equal(net(x), expected)
        assert cr.equal(net(x), expected)
    assert nets[0].forward is not nets[1].forward
    assert len(nets[0].forward.graphs) == 1


def test_called_under_no_grad_nothing_is_recorded() -> None:
    model = network(nn.Tanh())
    forward = cr.compile(model)
    x = cr.ones(4, 5)
    with cr.no_grad():
        y = forward(x)
    assert not y.requires_grad
    assert cr.equal(y, model(x))
    z = forward(x)
    assert z.requires_grad
    with pytest.raises(GradientError, match="its tape stayed inside"):
        z.sum().backward()
    assert len(forward.graphs) == 2
