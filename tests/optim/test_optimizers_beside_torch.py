"""Every optimizer makes PyTorch's steps, for a sweep of its arguments, and keeps PyTorch's state."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import optim
from tests.tolerances import assert_close

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.oracle

STEPS = 50
SHAPES = ((7, 5), (5,), (), (0, 3))

# Per optimizer, the values of each argument beside its default; every argument is tried alone, and the pairs below.
SWEEP: dict[str, dict[str, list[Any]]] = {
    "SGD": {"lr": [0.1], "momentum": [0.9], "weight_decay": [0.1], "maximize": [True]},
    "Adam": {
        "lr": [0.05], "betas": [(0.5, 0.9), (0.0, 0.99)], "eps": [1e-3], "weight_decay": [0.1], "amsgrad": [True],
        "maximize": [True],
    },
    "AdamW": {"lr": [0.05], "betas": [(0.5, 0.9)], "eps": [1e-3], "weight_decay": [0.0, 0.3], "amsgrad": [True],
              "maximize": [True]},
    "Adamax": {"lr": [0.05], "betas": [(0.5, 0.9)], "eps": [1e-3], "weight_decay": [0.1], "maximize": [True]},
    "NAdam": {"lr": [0.05], "betas": [(0.5, 0.9)], "eps": [1e-3], "weight_decay": [0.1], "momentum_decay": [0.05],
              "maximize": [True]},
    "RAdam": {"lr": [0.05], "betas": [(0.5, 0.9), (0.9, 0.7)], "eps": [1e-3], "weight_decay": [0.1], "maximize": [True]},
    "RMSprop": {"lr": [0.001], "alpha": [0.9], "eps": [1e-3], "weight_decay": [0.1], "momentum": [0.9],
                "centered": [True], "maximize": [True]},
    "Adagrad": {"lr": [0.1], "lr_decay": [0.1], "weight_decay": [0.1], "initial_accumulator_value": [0.5], "eps": [1e-3],
                "maximize": [True]},
    "Adadelta": {"lr": [0.1], "rho": [0.5, 1.0], "eps": [1e-3], "weight_decay": [0.1], "maximize": [True]},
}  # fmt: skip

TOGETHER: dict[str, list[dict[str, Any]]] = {
    "SGD": [
        {"momentum": 0.9, "dampening": 0.3},
        {"momentum": 0.9, "nesterov": True},
        {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1, "maximize": True},
        {"momentum": 0.5, "dampening": 1.0, "weight_decay": 0.1},
    ],
    "Adam": [{"weight_decay": 0.1, "decoupled_weight_decay": True}, {"weight_decay": 0.1, "amsgrad": True, "maximize": True}],
    "AdamW": [{"weight_decay": 0.1, "amsgrad": True, "maximize": True}],
    "NAdam": [
        {"weight_decay": 0.1, "decoupled_weight_decay": True},
        {"weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True},
    ],
    "RAdam": [
        {"weight_decay": 0.1, "decoupled_weight_decay": True},
        {"weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True},
    ],
    "RMSprop": [
        {"momentum": 0.9, "centered": True, "weight_decay": 0.1},
        {"momentum": 0.9, "centered": True, "maximize": True},
    ],
}  # fmt: skip

OPTIMIZERS = [
    name
    for name in optim.__all__
    if inspect.isclass(getattr(optim, name)) and name not in ("Optimizer", "lr_scheduler")
]
CASES = [
    pytest.param(name, options, id=f"{name}({', '.join(f'{k}={v}' for k, v in options.items())})")
    for name in OPTIMIZERS
    for options in [{}, *({k: v} for k, values in SWEEP[name].items() for v in values), *TOGETHER.get(name, [])]
]


class Pair:
    """The same parameters and optimizer, here and in PyTorch."""

    def __init__(self, name: str, options: dict[str, Any], dtype: str, shapes: Any = SHAPES) -> None:
        self.rng = np.random.default_rng(7)
        start = [self.rng.standard_normal(shape).astype(dtype) for shape in shapes]
        self.ours = [cr.tensor(x, requires_grad=True) for x in start]
        self.theirs = [torch.tensor(x, requires_grad=True) for x in start]
        self.optimizer: Any = getattr(optim, name)(self.ours, **options)
        self.torch_optimizer = getattr(torch.optim, name)(self.theirs, **options)
        self.dtype = dtype

    def set_gradients(self) -> None:
        for p, q in zip(self.ours, self.theirs, strict=True):
            g = self.rng.standard_normal(tuple(p.shape)).astype(self.dtype)
            p.grad = cr.tensor(g)
            q.grad = torch.tensor(g)

    def step(self) -> None:
        self.set_gradients()
        self.optimizer.step()
        self.torch_optimizer.step()

    def assert_equal(self) -> None:
        for p, q in zip(self.ours, self.theirs, strict=True):
            assert_close(p, q)
        ours, theirs = self.optimizer.state_dict(), self.torch_optimizer.state_dict()
        assert ours["param_groups"] == theirs["param_groups"]
        assert list(ours["state"]) == list(theirs["state"])
        for number, held in theirs["state"].items():
            assert set(ours["state"][number]) == set(held)
            for name, value in held.items():
                assert_close(ours["state"][number][name], value)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("name", "options"), CASES)
def test_fifty_steps_are_pytorchs(name: str, options: dict[str, Any], dtype: str) -> None:
    pair = Pair(name, options, dtype)
    for _ in range(STEPS):
        pair.step()
    pair.assert_equal()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_signatures_are_pytorchs(name: str) -> None:
    ours = inspect.signature(getattr(optim, name)).parameters
    theirs = inspect.signature(getattr(torch.optim, name)).parameters
    assert [(p.name, p.kind, p.default) for p in ours.values()] == [
        (p.name, p.kind, p.default) for p in theirs.values()
    ]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_text_is_pytorchs(name: str) -> None:
    pair = Pair(name, {}, "float32")
    assert repr(pair.optimizer) == repr(pair.torch_optimizer)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_options_changed_between_steps_count_from_then_on(name: str) -> None:
    pair = Pair(name, {}, "float64")
    for k in range(20):
        for group in (pair.optimizer.param_groups[0], pair.torch_optimizer.param_groups[0]):
            group["lr"] = 0.01 / (k + 1)
            group["weight_decay"] = 0.1 if k > 10 else 0.0
            group["maximize"] = k % 7 == 3
        pair.step()
    pair.assert_equal()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_rate_may_be_a_tensor(name: str) -> None:
    pair = Pair(name, {}, "float64")
    pair.optimizer.param_groups[0]["lr"] = cr.tensor(0.25, dtype=cr.float64)
    pair.torch_optimizer.param_groups[0]["lr"] = torch.tensor(0.25, dtype=torch.float64)
    pair.step()
    pair.optimizer.param_groups[0]["lr"].mul_(0.5)
    pair.torch_optimizer.param_groups[0]["lr"].mul_(0.5)
    pair.step()
    for p, q in zip(pair.ours, pair.theirs, strict=True):
        assert_close(p, q)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_parameters_without_a_gradient_stay_and_may_join_later(name: str) -> None:
    pair = Pair(name, {}, "float64", shapes=((3,), (4,)))
    for k in range(6):
        pair.set_gradients()
        if k < 3:
            pair.ours[1].grad = pair.theirs[1].grad = None
        pair.optimizer.step()
        pair.torch_optimizer.step()
    pair.assert_equal()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_groups_have_options_of_their_own(name: str) -> None:
    pair = Pair(name, {}, "float64", shapes=((3,), (4,)))
    groups = [
        [{"params": [p[0]]}, {"params": [p[1]], "lr": 0.3, "weight_decay": 0.2}] for p in (pair.ours, pair.theirs)
    ]
    pair.optimizer = getattr(optim, name)(groups[0], lr=0.1)
    pair.torch_optimizer = getattr(torch.optim, name)(groups[1], lr=0.1)
    for _ in range(5):
        pair.step()
    pair.assert_equal()


def test_a_group_of_adagrad_starts_its_sums_where_it_says_which_pytorchs_does_not() -> None:
    found = []
    for T in (torch, cr):
        own, other = T.nn.Parameter(T.ones(2)), T.nn.Parameter(T.ones(2))
        groups = [{"params": [own], "initial_accumulator_value": 0.5}, {"params": [other]}]
        optimizer = T.optim.Adagrad(groups, lr=0.1, initial_accumulator_value=0.25)
        (own.sum() + other.sum()).backward()
        optimizer.step()
        found.append([optimizer.state[p]["sum"].tolist() for p in (own, other)])
    assert found == [[[1.25, 1.25], [1.25, 1.25]], [[1.5, 1.5], [1.25, 1.25]]]


def as_torch(state: Any) -> Any:
    """A state dict of ours, with PyTorch's tensors in it."""
    if isinstance(state, dict):
        return {key: as_torch(value) for key, value in state.items()}
    return torch.tensor(np.asarray(state)) if isinstance(state, cr.Tensor) else state


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_state_dict_continues_in_either_library(name: str, options: dict[str, Any]) -> None:
    pair = Pair(name, options, "float64")
    for _ in range(5):
        pair.step()
    ours, theirs = pair.optimizer.state_dict(), pair.torch_optimizer.state_dict()
    pair.optimizer = getattr(optim, name)(pair.ours)
    pair.torch_optimizer = getattr(torch.optim, name)(pair.theirs)
    pair.optimizer.load_state_dict(theirs)
    pair.torch_optimizer.load_state_dict(as_torch(ours))
    pair.assert_equal()
    for _ in range(5):
        pair.step()
    pair.assert_equal()


def test_a_rate_that_is_pytorchs_tensor_is_loaded_as_one_of_ours() -> None:
    pair = Pair("Adam", {}, "float64")
    pair.torch_optimizer = torch.optim.Adam(pair.theirs, lr=torch.tensor(0.5, dtype=torch.float64))
    pair.optimizer.load_state_dict(pair.torch_optimizer.state_dict())
    assert isinstance(pair.optimizer.param_groups[0]["lr"], cr.Tensor)
    pair.step()
    for p, q in zip(pair.ours, pair.theirs, strict=True):
        assert_close(p, q)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_names_of_parameters_are_kept_as_in_pytorch(name: str) -> None:
    pair = Pair(name, {}, "float32", shapes=((3,), (4,)))
    ours = getattr(optim, name)(zip("ab", pair.ours, strict=True))
    theirs = getattr(torch.optim, name)(zip("ab", pair.theirs, strict=True))
    assert ours.state_dict()["param_groups"] == theirs.state_dict()["param_groups"]
    assert ours.param_groups[0]["param_names"] == ["a", "b"]


@pytest.mark.parametrize("memory", ["transposed gradient", "transposed parameter", "strided parameter"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_any_order_of_memory_gives_the_same_steps(name: str, memory: str) -> None:
    pair = Pair(name, {}, "float64", shapes=((6, 4),))
    start = pair.ours[0].detach().numpy()
    if memory == "transposed parameter":
        pair.ours = [cr.from_numpy(np.asfortranarray(start)).requires_grad_()]
    if memory == "strided parameter":
        wide = np.zeros((12, 4))
        wide[::2] = start
        pair.ours = [cr.from_numpy(wide[::2]).requires_grad_()]
    pair.optimizer = getattr(optim, name)(pair.ours)
    for _ in range(3):
        pair.set_gradients()
        if memory == "transposed gradient":
            pair.ours[0].grad = cr.from_numpy(np.asfortranarray(np.asarray(pair.ours[0].grad)))
        pair.optimizer.step()
        pair.torch_optimizer.step()
    pair.assert_equal()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_default_dtype_is_that_of_the_step_number(name: str) -> None:
    before = cr.get_default_dtype()
    try:
        cr.set_default_dtype(cr.float64)
        torch.set_default_dtype(torch.float64)
        pair = Pair(name, {}, "float64")
        for _ in range(5):
            pair.step()
        pair.assert_equal()
    finally:
        cr.set_default_dtype(before)
        torch.set_default_dtype(torch.float32)
