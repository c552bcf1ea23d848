"""Groups, state and steps of optimizers: what is refused and why, and what stays as it was."""

from __future__ import annotations

import copy
import inspect
import json
import warnings
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import optim
from chainrule.errors import ArgumentError, ArgumentTypeError, ChainruleError, GradientError, InPlaceError
from chainrule.graph import Node, op, show
from chainrule.optim import SGD, Adam, Optimizer

OPTIMIZERS = [
    getattr(optim, name)
    for name in optim.__all__
    if inspect.isclass(getattr(optim, name)) and getattr(optim, name) is not Optimizer
]
each_optimizer = pytest.mark.parametrize("kind", OPTIMIZERS, ids=lambda kind: kind.__name__)


def parameter(*shape: int, seed: int = 0) -> cr.Tensor:
    p = cr.tensor(np.random.default_rng(seed).standard_normal(shape).astype(np.float32), requires_grad=True)
    p.grad = cr.tensor(np.random.default_rng(seed + 1).standard_normal(shape).astype(np.float32))
    return p


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda p: SGD(p), ArgumentTypeError, r"SGD: got one tensor as params; expected an iterable.*\[tensor\]"),
        (lambda p: SGD([]), ArgumentError, "got an empty parameter list; expected at least one tensor"),
        (lambda p: SGD(x for x in ()), ArgumentError, "generator can be read only once"),
        (lambda p: SGD([3.0]), ArgumentTypeError, "SGD, parameter group 0: parameter 0 is a float; expected a tensor"),
        (lambda p: SGD({"params": [p]}), ArgumentTypeError, "parameter 0 is a str"),
        (lambda p: SGD([{"params": {p}}]), ArgumentTypeError, "a set of parameters.*Use a list"),
        (lambda p: SGD([{"lr": 1.0}]), ArgumentError, r"got the keys \['lr'\]; expected 'params' among them"),
        (
            lambda p: SGD([p * 2]),
            ArgumentError,
            r"parameter 0 \(shape \(2,\)\) was made by an operation; expected a leaf",
        ),
        (
            lambda p: SGD([{"params": [p]}, {"params": [p]}]),
            ArgumentError,
            "group 1: parameter 0 .* is already in group 0",
        ),
        (lambda p: SGD([("a", p), parameter(3)]), ArgumentError, "1 of 2 parameters have names; expected all, or none"),
        (lambda p: SGD([{"params": [("a", p)]}, {"params": [parameter(1)]}]), ArgumentError, "some have none"),
        (lambda p: SGD([p], lr=-1), ArgumentError, "SGD: got lr=-1; expected a number of at least 0"),
        (lambda p: SGD([p], lr=float("nan")), ArgumentError, "got lr=nan"),
        (lambda p: SGD([p], lr="0.1"), ArgumentTypeError, "got lr='0.1'; expected a number"),
        (lambda p: SGD([p], lr=cr.ones(2)), ArgumentTypeError, r"got lr=a tensor of shape \(2,\); expected a number"),
        (lambda p: SGD([p], momentum=-0.5), ArgumentError, "got momentum=-0.5"),
        (lambda p: SGD([p], weight_decay=-0.5), ArgumentError, "got weight_decay=-0.5"),
        (
            lambda p: SGD([p], nesterov=True),
            ArgumentError,
            "nesterov=True with momentum=0 .*expected a momentum above 0",
        ),
        (lambda p: SGD([p], fused=True), ArgumentError, "got fused=True, which chooses among .*Leave it out"),
        (lambda p: SGD([{"params": [p], "lr": -2}], lr=1), ArgumentError, "SGD, parameter group 0: got lr=-2"),
        (lambda p: Adam([p], betas=(1.0, 0.9)), ArgumentError, r"betas\[0\]=1.0; expected .* at least 0 and below 1"),
        (lambda p: Adam([p], betas=(0.9, -0.1)), ArgumentError, r"betas\[1\]=-0.1"),
        (lambda p: Adam([p], betas=0.9), ArgumentError, "got betas=0.9; expected two numbers"),
        (lambda p: Adam([p], eps=-1e-8), ArgumentError, "got eps=-1e-08"),
        (lambda p: optim.Adadelta([p], rho=1.1), ArgumentError, "got rho=1.1"),
        (lambda p: optim.Adagrad([p], lr_decay=-0.5), ArgumentError, "got lr_decay=-0.5"),
        (lambda p: optim.NAdam([p], momentum_decay=-0.2), ArgumentError, "got momentum_decay=-0.2"),
        (lambda p: optim.RMSprop([p], alpha=-0.2), ArgumentError, "got alpha=-0.2"),
    ],
)
def test_a_bad_argument_is_told_with_its_value(make: Any, error: type[ChainruleError], text: str) -> None:
    with pytest.raises(error, match=text):
        make(parameter(2))


CHOICES = [
    pytest.param(kind, name, id=f"{kind.__name__}-{name}")
    for kind in OPTIMIZERS
    for name in ("foreach", "fused", "capturable", "differentiable")
    if name in inspect.signature(kind).parameters
]


@pytest.mark.parametrize(("kind", "name"), CHOICES)
def test_choices_among_pytorchs_implementations_are_refused(kind: Any, name: str) -> None:
    kind([parameter(2)], **{name: False})
    with pytest.raises(ArgumentError, match=f"got {name}=True"):
        kind([parameter(2)], **{name: True})


def test_a_parameter_twice_in_a_group_warns() -> None:
    p = parameter(2)
    with pytest.warns(UserWarning, match="stands there twice, and is updated twice per step"):
        SGD([p, p])


def test_a_gradient_of_another_dtype_is_refused_and_nothing_has_changed() -> None:
    p = parameter(2)
    before = p.detach().numpy().copy()
    p.grad = cr.ones(2, dtype=cr.float64)
    with pytest.raises(ArgumentError, match=r"the gradient is float64 .*expected that of its parameter, float32"):
        SGD([p]).step()
    assert np.array_equal(p.detach().numpy(), before)


def test_read_only_memory_is_told_before_anything_is_written() -> None:
    p = parameter(2)
    optimizer = Adam([p])
    p.detach().numpy().flags.writeable = False
    with pytest.raises(InPlaceError, match=r"a parameter of shape \(2,\) has read-only memory\. clone\(\) it first"):
        optimizer.step()
    assert optimizer.state[p]["exp_avg"].tolist() == [0, 0]


def test_an_optimizer_without_a_rule_says_what_to_write() -> None:
    class Nothing(Optimizer):
        """Says nothing."""

    with pytest.raises(ArgumentTypeError, match=r"Nothing has no rule\. Write update"):
        Nothing([parameter(2)], {"lr": 0.1}).step()


# -- groups and gradients ----------------------------------------------------------------------------------------------


def test_generators_of_parameters_and_of_named_parameters_are_read() -> None:
    p, q = parameter(2), parameter(3)
    assert SGD(x for x in (p, q)).param_groups[0]["params"] == [p, q]
    named = SGD((name, x) for name, x in (("p", p), ("q", q)))
    assert named.param_groups[0]["params"][1] is q
    assert named.param_groups[0]["param_names"] == ["p", "q"]


def test_a_group_added_later_takes_the_defaults() -> None:
    optimizer = SGD([parameter(2)], lr=0.5, momentum=0.9)
    optimizer.add_param_group({"params": parameter(3), "lr": 0.25})
    assert optimizer.param_groups[1]["momentum"] == 0.9
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.25]


def test_gradients_are_dropped_or_filled_with_zeros() -> None:
    p, q = parameter(2), parameter(3)
    q.grad = None
    optimizer = SGD([p, q])
    kept = p.grad
    optimizer.zero_grad(set_to_none=False)
    assert p.grad is not None
    assert p.grad.tolist() == [0, 0]
    assert kept is not None
    assert kept.tolist() == [0, 0]
    assert q.grad is None
    optimizer.zero_grad()
    assert p.grad is None


def test_a_gradient_that_is_the_parameter_itself_is_read_before_it_is_written() -> None:
    p = cr.tensor([1.0, 2.0], requires_grad=True)
    p.grad = p.detach()
    SGD([p], lr=0.5, momentum=0.5).step()
    assert p.tolist() == [0.5, 1.0]
    p.grad = p.detach().view(2)
    SGD([p], lr=0.5).step()
    assert p.tolist() == [0.25, 0.5]


def test_a_closure_computes_the_loss_with_a_tape() -> None:
    p = cr.tensor([3.0], requires_grad=True)
    optimizer = SGD([p], lr=0.25)

    def closure() -> cr.Tensor:
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    with cr.no_grad():
        loss = optimizer.step(closure)
    assert float(loss) == 9.0
    assert p.tolist() == [1.5]


def test_hooks_run_before_and_after_a_step_until_removed() -> None:
    p = cr.tensor([1.0], requires_grad=True)
    p.grad = cr.ones(1)
    optimizer = SGD([p], lr=1.0)
    seen: list[tuple[str, float]] = []
    before = optimizer.register_step_pre_hook(lambda o, args, kwargs: seen.append(("before", float(p))))
    optimizer.register_step_post_hook(lambda o, args, kwargs: seen.append(("after", float(p))))
    optimizer.step()
    before.remove()
    before.remove()
    optimizer.step()
    assert seen == [("before", 1.0), ("after", 0.0), ("after", -1.0)]


def test_a_step_is_a_write_that_a_later_backward_pass_notices() -> None:
    p = cr.tensor([2.0], requires_grad=True)
    loss = (p * p).sum()
    p.grad = cr.ones(1)
    SGD([p]).step()
    with pytest.raises(cr.ChainruleError, match="changed in place"):
        loss.backward()


def test_a_parameter_collects_gradients_after_a_step() -> None:
    p = cr.tensor([2.0], requires_grad=True)
    optimizer = SGD([p], lr=0.5)
    for expected in (4.0, 0.0):
        optimizer.zero_grad()
        (p * p).sum().backward()
        assert p.grad is not None
        assert p.grad.tolist() == [expected]
        optimizer.step()


@each_optimizer
def test_the_rule_of_an_optimizer_is_a_readable_graph(kind: Any) -> None:
    p = parameter(2)
    optimizer = kind([p])
    optimizer.step()
    (body,) = optimizer._bodies.values()
    text = show(body)
    assert "input lr" in text
    assert "constant 0.001" not in text


@each_optimizer
def test_rates_and_steps_do_not_record_another_rule(kind: Any) -> None:
    p = parameter(2)
    optimizer = kind([p])
    for k in range(5):
        optimizer.param_groups[0]["lr"] = 0.1 / (k + 1)
        optimizer.step()
    assert len(optimizer._bodies) == 1


# -- state -------------------------------------------------------------------------------------------------------------


@each_optimizer
def test_a_saved_state_continues_with_the_same_bits(kind: Any) -> None:
    def run(steps: int, reload_at: int) -> bytes:
        p = parameter(3, 4)
        optimizer = kind([p], **({"momentum": 0.9} if kind is SGD else {}))
        for k in range(steps):
            if k == reload_at:
                state = copy.deepcopy(optimizer.state_dict())
                optimizer = kind([p])
                optimizer.load_state_dict(state)
            p.grad = cr.tensor(np.random.default_rng(k).standard_normal((3, 4)).astype(np.float32))
            optimizer.step()
        return bytes(p.detach().numpy().tobytes())

    assert run(8, reload_at=-1) == run(8, reload_at=4)


def test_dampening_spares_the_first_step_only() -> None:
    p = cr.tensor([0.0], requires_grad=True)
    optimizer = SGD([p], lr=1.0, momentum=0.5, dampening=0.75)
    steps = []
    for _ in range(3):
        p.grad = cr.ones(1)
        optimizer.step()
        steps.append(float(p))
    # b = 1; then 0.5 b + 0.25
    assert steps == [-1.0, -1.75, -2.375]


def test_loading_writes_into_the_tensors_that_are_there() -> None:
    p = parameter(2)
    optimizer = Adam([p])
    optimizer.step()
    state = copy.deepcopy(optimizer.state_dict())
    held, group = optimizer.state[p]["exp_avg"], optimizer.param_groups[0]
    optimizer.step()
    group["lr"] = 77.0
    optimizer.load_state_dict(state)
    assert optimizer.state[p]["exp_avg"] is held
    assert held.tolist() == state["state"][0]["exp_avg"].tolist()
    assert optimizer.param_groups[0] is group
    assert group["lr"] == 1e-3


def test_tensors_of_the_optimizer_itself_may_be_loaded_in_each_others_place() -> None:
    optimizer = Adam([parameter(2), parameter(2)])
    for p, value in zip(optimizer.param_groups[0]["params"], (1.0, 2.0), strict=True):
        p.grad = cr.full((2,), value)
    optimizer.step()
    state = optimizer.state_dict()
    first, second = state["state"][0], state["state"][1]
    expected = first["exp_avg"].tolist(), second["exp_avg"].tolist()
    state["state"] = {0: second, 1: {**first, "exp_avg": first["exp_avg"].view(2)}}
    optimizer.load_state_dict(state)
    loaded = [optimizer.state[p]["exp_avg"].tolist() for p in optimizer.param_groups[0]["params"]]
    assert (loaded[1], loaded[0]) == expected


def test_what_was_loaded_is_a_copy() -> None:
    first, second = Adam([parameter(2)]), Adam([parameter(2)])
    for optimizer in (first, second):
        (p,) = optimizer.param_groups[0]["params"]
        p.grad = cr.ones(2)
        optimizer.step()
    for other in (second, Adam([parameter(2)])):  # with tensors of its own, and without
        other.load_state_dict(first.state_dict())
        before = first.state_dict()["state"][0]["exp_avg"].tolist()
        (p,) = other.param_groups[0]["params"]
        other.state[p]["exp_avg"].zero_()
        assert first.state_dict()["state"][0]["exp_avg"].tolist() == before


def test_options_survive_a_way_through_json() -> None:
    optimizer = Adam([parameter(2)], betas=(0.5, 0.75))
    groups = json.loads(json.dumps(optimizer.state_dict()["param_groups"]))
    other = Adam([parameter(2)])
    other.load_state_dict({"state": {}, "param_groups": groups})
    assert other.param_groups[0]["betas"] == (0.5, 0.75)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda s: s.pop("state"), r"got \['param_groups'\]; expected a dict with 'state' and 'param_groups'"),
        (lambda s: s["param_groups"].append(s["param_groups"][0]), "got 2 parameter groups; expected 1"),
        (lambda s: s["param_groups"][0]["params"].append(5), "group 0 has 2 parameters; expected 1"),
        (lambda s: s["param_groups"][0].update(lr=-1), "load_state_dict, parameter group 0: got lr=-1"),
        (
            lambda s: s["state"].update({7: {}}),
            "a state for parameter 7; expected numbers that the groups' params name",
        ),
        (lambda s: s["state"][0].update(exp_avg=cr.ones(3)), r"state 0, 'exp_avg' has shape \(3,\); expected \(2,\)"),
        (lambda s: s["state"][0].update(step=cr.ones(2)), r"state 0, 'step' has shape \(2,\); expected \(\)"),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(change: Any, text: str) -> None:
    p = parameter(2)
    optimizer = Adam([p])
    optimizer.step()
    before = copy.deepcopy(optimizer.state_dict())
    bad = copy.deepcopy(before)
    change(bad)
    with pytest.raises(ChainruleError, match=text):
        optimizer.load_state_dict(bad)
    after = optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"]
    assert after["state"][0]["exp_avg"].tolist() == before["state"][0]["exp_avg"].tolist()
    assert float(after["state"][0]["step"]) == 1.0


def test_an_option_that_needs_more_state_gets_it_when_it_is_switched_on() -> None:
    p = parameter(2)
    optimizer = Adam([p])
    optimizer.step()
    optimizer.param_groups[0]["amsgrad"] = True
    optimizer.step()
    assert set(optimizer.state[p]) == {"step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"}


def test_a_copy_is_an_optimizer_of_copied_parameters() -> None:
    p = parameter(2)
    optimizer = Adam([p])
    optimizer.step()
    other = copy.deepcopy(optimizer)
    (q,) = other.param_groups[0]["params"]
    assert q is not p
    before = p.detach().numpy().copy()
    q.grad = cr.ones(2)
    other.step()
    assert np.array_equal(p.detach().numpy(), before)
    assert float(other.state[q]["step"]) == 2.0
    assert float(optimizer.state[p]["step"]) == 1.0


# -- rules of one's own ------------------------------------------------------------------------------------------------


class SignedMomentum(Optimizer):
    """m ← β m + (1 - β) g,  p ← p - γ sign m"""

    numbers = ("lr", "beta")

    def __init__(self, params: Any, lr: float = 0.5, beta: float = 0.5) -> None:
        super().__init__(params, {"lr": lr, "beta": beta})

    def init(self, parameter: cr.Tensor, group: dict[str, Any]) -> dict[str, cr.Tensor]:
        return {"mean": cr.zeros_like(parameter)}

    def update(self, p: Node, g: Node, state: dict[str, Node], hyper: dict[str, Any]) -> Any:
        mean = hyper["beta"] * state["mean"] + (1 - hyper["beta"]) * g
        return p - hyper["lr"] * op.sign(mean), {"mean": mean}


def test_a_rule_of_ones_own_runs_eager_and_compiled() -> None:
    p = cr.tensor([1.0, -1.0], requires_grad=True)
    optimizer = SignedMomentum([p])

    def step() -> cr.Tensor:
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        optimizer.step()
        return loss

    step()
    assert p.tolist() == [0.5, -0.5]
    cr.compile(step)()
    assert p.tolist() == [0.0, 0.0]
    assert optimizer.state[p]["mean"].tolist() == [1.0, -1.0]


# -- compiled ----------------------------------------------------------------------------------------------------------

COMPILED = [(kind, {}) for kind in OPTIMIZERS] + [
    (SGD, {"momentum": 0.9, "dampening": 0.3}),
    (SGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    (Adam, {"amsgrad": True, "weight_decay": 0.1, "maximize": True}),
    (optim.RMSprop, {"centered": True, "momentum": 0.5}),
    (optim.NAdam, {"weight_decay": 0.1, "decoupled_weight_decay": True}),
]


@pytest.mark.parametrize(("kind", "options"), COMPILED)
def test_a_compiled_step_has_the_bits_of_an_eager_one(kind: Any, options: dict[str, Any]) -> None:
    rng = np.random.default_rng(3)
    data = [(rng.standard_normal((6, 3)), rng.standard_normal((6, 2))) for _ in range(6)]

    def train(*, trace: bool) -> list[bytes]:
        w, b = parameter(3, 2), parameter(2)
        optimizer = kind([{"params": [w]}, {"params": [b], "lr": 0.1}], **options)

        def step(x: cr.Tensor, y: cr.Tensor) -> cr.Tensor:
            optimizer.zero_grad()
            loss = ((cr.tanh(x @ w + b) - y) ** 2).mean()
            loss.backward()
            optimizer.step()
            return loss

        run = cr.compile(step) if trace else step
        for k, (x, y) in enumerate(data):
            optimizer.param_groups[0]["lr"] = 0.1 / (k + 1)
            run(cr.tensor(x.astype(np.float32)), cr.tensor(y.astype(np.float32)))
        if trace:
            assert len(run.graphs) == 1
        tensors = [w, b, *[t for held in optimizer.state.values() for t in held.values()]]
        return [t.detach().numpy().tobytes() for t in tensors]

    assert train(trace=True) == train(trace=False)


def test_a_trace_holds_one_call_per_parameter() -> None:
    p, q = parameter(2), parameter(3)
    optimizer = Adam([p, q])

    @cr.compile
    def step() -> cr.Tensor:
        optimizer.zero_grad()
        loss = (p * p).sum() + (q * q).sum()
        loss.backward()
        optimizer.step()
        return loss

    step()
    calls = [node for node in step.graph.nodes if node.primitive.name == "call"]
    assert len(calls) == 2
    assert calls[0].attributes["body"] is calls[1].attributes["body"]


def test_state_is_made_with_values_also_while_tracing() -> None:
    p = parameter(2)
    optimizer = Adam([p])

    @cr.compile
    def step() -> None:
        optimizer.step()

    step()
    assert float(optimizer.state[p]["step"]) == 1.0
    step()
    assert float(optimizer.state[p]["step"]) == 2.0


def test_eager_steps_continue_a_compiled_one_and_the_other_way_round() -> None:
    def train(order: str) -> bytes:
        p = parameter(4)
        optimizer = SGD([p], momentum=0.5, dampening=0.5)
        run = {"e": optimizer.step, "c": cr.compile(optimizer.step)}
        for which in order:
            run[which]()
        return bytes(p.detach().numpy().tobytes())

    assert train("ececc") == train("eeeee") == train("ccccc")


def test_a_changed_option_that_selects_the_rule_is_traced_again() -> None:
    def train(*, trace: bool) -> bytes:
        p = parameter(2)
        optimizer = SGD([p], momentum=0.5)
        step = cr.compile(optimizer.step) if trace else optimizer.step
        step()
        optimizer.param_groups[0]["weight_decay"] = 0.5
        step()
        q = parameter(3)
        optimizer.add_param_group({"params": [q]})
        step()
        if trace:
            assert len(step.graphs) == 3
        return bytes(p.detach().numpy().tobytes() + q.detach().numpy().tobytes())

    assert train(trace=True) == train(trace=False)


def test_two_steps_in_one_trace_are_two_steps() -> None:
    def train(*, trace: bool) -> bytes:
        p = parameter(4)
        optimizer = SGD([p], momentum=0.5, dampening=0.5)

        def twice() -> None:
            optimizer.step()
            optimizer.step()

        run = cr.compile(twice) if trace else twice
        run()
        run()
        return bytes(p.detach().numpy().tobytes())

    assert train(trace=True) == train(trace=False)


def test_a_gradient_that_a_compiled_function_did_not_keep_is_asked_for() -> None:
    p = parameter(2)
    optimizer = SGD([p])

    @cr.compile
    def backward() -> cr.Tensor:
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    backward()
    with pytest.raises(GradientError, match="keep_gradients=True"):
        optimizer.step()


def test_no_warning_comes_from_numbers_that_are_not_finite() -> None:
    p = parameter(2)
    p.grad = cr.tensor([float("inf"), float("nan")])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Adam([p]).step()
    assert np.isnan(p.detach().numpy()).all()


def test_gradients_filled_with_zeros_are_so_in_a_compiled_step_too() -> None:
    def train(*, trace: bool) -> list[float]:
        p = cr.ones(3, requires_grad=True)
        optimizer = SGD([p], lr=0.25)

        def step() -> None:
            optimizer.zero_grad(set_to_none=False)
            (p * p).sum().backward()
            optimizer.step()

        step()
        run = cr.compile(step) if trace else step
        run()
        run()
        values: list[float] = p.tolist()
        return values

    assert train(trace=True) == train(trace=False) == [0.125, 0.125, 0.125]


def test_a_name_that_is_not_here_is_told_with_those_that_are() -> None:
    with pytest.raises(AttributeError, match=r"chainrule\.optim has no 'LBFGS'; expected one of Optimizer, SGD, Adam"):
        _ = optim.LBFGS
    with pytest.raises(AttributeError, match="Did you mean StepLR"):
        _ = optim.lr_scheduler.StepLr
    with pytest.raises(AttributeError, match="Did you mean DataLoader"):
        _ = cr.utils.data.Dataloader
