"""Hooks, parts and buffers of modules that a compiled function changes: refused by name and put back, or done by each run."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import TraceError

X = np.array([[1.0, -2.0], [3.0, 5.0]], np.float32)
Change = Callable[[Any], object]


@pytest.fixture(params=["interpreted", "native"], autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test on both engines."""
    monkeypatch.setenv("CHAINRULE_COMPILE", str(int(request.param == "native")))


@pytest.fixture(autouse=True)
def settings() -> Iterator[None]:
    """Let no test leave a default dtype or a grad mode behind."""
    yield
    cr.set_default_dtype(cr.float32)
    cr.set_grad_enabled(True)


class Doubled(nn.Module):
    def forward(self, x: Any) -> Any:
        return x * 2


def doubled(module: Any, args: Any, output: Any) -> Any:
    return output * 2


def network() -> Any:
    model = nn.Sequential(nn.Linear(2, 2), Doubled(), nn.Linear(2, 2))
    model[1].register_forward_hook(doubled)
    model[1].register_forward_pre_hook(lambda module, args, kwargs: None, with_kwargs=True)
    model[1].register_forward_hook(lambda *_: None, with_kwargs=True, always_call=True)
    model[2].register_buffer("scale", cr.ones(2))
    model[2].register_buffer("shift", cr.zeros(2), persistent=False)
    return model


def structure(model: Any) -> list[Any]:
    """Return all dicts of all modules, and what is in them, in order, by identity."""
    return [
        (path, kind, list(held.items()) if isinstance(held, dict) else held.copy())
        for path, module in model.named_modules()
        for kind, held in vars(module).items()
        if isinstance(held, (dict, set))
    ] + [module._hooked for module in model.modules()]


def moved(model: Any) -> None:
    model._modules["0"] = model._modules.pop("0")


REFUSED: dict[str, tuple[Change, str]] = {
    "forward hook": (lambda m: m[0].register_forward_hook(doubled), r"a forward hook of 0 \(Linear\) was added"),
    "prepended": (
        lambda m: m[1].register_forward_hook(doubled, prepend=True),
        r"a forward hook of 1 \(Doubled\) was added",
    ),
    "pre-hook": (
        lambda m: m[0].register_forward_pre_hook(lambda *_: None, with_kwargs=True),
        r"a forward pre-hook of 0 \(Linear\) was added",
    ),
    "backward hook": (
        lambda m: m[0].register_full_backward_hook(lambda *_: None),
        r"a backward hook of 0 \(Linear\) was added",
    ),
    "backward pre-hook": (
        lambda m: m[0].register_full_backward_pre_hook(lambda *_: None),
        r"a backward pre-hook of 0 \(Linear\) was added",
    ),
    "hooks cleared": (lambda m: m[1]._forward_hooks.clear(), r"a forward hook of 1 \(Doubled\) was taken away"),
    "append": (lambda m: m.append(Doubled()), "the module '3' of Sequential was added"),
    "insert": (lambda m: m.insert(0, Doubled()), "the module '3' of Sequential was added"),
    "add_module": (lambda m: m[1].add_module("more", Doubled()), r"the module 'more' of 1 \(Doubled\) was added"),
    "pop": (lambda m: m.pop(0), "the module '0' of Sequential was replaced"),
    "replaced past the module": (
        lambda m: m._modules.__setitem__("1", Doubled()),
        "the module '1' of Sequential was replaced",
    ),
    "order": (moved, "the module '1' of Sequential was moved"),
    "no bias": (
        lambda m: m[0]._parameters.__setitem__("bias", None),
        r"the parameter 'bias' of 0 \(Linear\) was replaced",
    ),
    "register_parameter": (
        lambda m: m[0].register_parameter("w", None),
        r"the parameter 'w' of 0 \(Linear\) was added",
    ),
    "a buffer deleted": (
        lambda m: delattr(m[2], "shift"),
        r"(the buffer 'shift' of 2 \(Linear\) was taken away|2 \(Linear\) saves the buffer 'shift' was changed)",
    ),
    "a buffer of None": (lambda m: m[2].register_buffer("none", None), r"the buffer 'none' of 2 \(Linear\) was added"),
    "saved or not": (
        lambda m: m[2].register_buffer("shift", cr.ones(2)),
        r"whether 2 \(Linear\) saves the buffer 'shift' was changed",
    ),
}


@pytest.mark.parametrize(("change", "told"), REFUSED.values(), ids=REFUSED)
def test_a_change_is_refused_by_name_and_put_back(change: Change, told: str) -> None:
    model = network()
    before = structure(model)

    @cr.compile
    def step(x: Any) -> Any:
        y = model(x)
        change(model)
        return y

    for _ in range(2):
        with pytest.raises(TraceError, match=f"{told} while 'step' was traced: Python would do so once"):
            step(X)
        assert structure(model) == before
    assert cr.compile(model)(X).tolist() == model(cr.tensor(X)).tolist()


def test_a_hook_that_removes_itself_is_refused_and_still_there() -> None:
    model = Doubled()

    def once(module: Any, args: Any, output: Any) -> Any:
        handle.remove()
        return output * 5

    handle = model.register_forward_hook(once)
    with pytest.raises(TraceError, match=r"a forward hook of Doubled was taken away.*registered and removed within it"):
        cr.compile(model)(X)
    assert model._hooked
    assert [model(cr.tensor(X)).tolist() for _ in range(2)] == [(X * 10).tolist(), (X * 2).tolist()]


def test_a_change_is_put_back_also_where_something_else_is_refused() -> None:
    model = network()
    before = structure(model)

    @cr.compile
    def step(x: Any) -> Any:
        model.append(Doubled())
        return model(x).sum().item()

    with pytest.raises(TraceError, match="item"):
        step(X)
    assert structure(model) == before


class Captures(nn.Module):
    """Captures an activation with a hook that it registers and removes in each call."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(2, 3), nn.Linear(3, 1)

    def forward(self, x: Any) -> Any:
        handle = self.first.register_forward_hook(self.keep)
        y = self.second(self.first(x))
        handle.remove()
        with self.second.register_forward_hook(lambda module, args, kwargs, y: y * 2, with_kwargs=True):
            return y + self.second(self.kept)

    def keep(self, module: Any, args: Any, output: Any) -> None:
        self.kept = output


def test_hooks_of_one_call_go_on_working() -> None:
    model = Captures()
    expected = model(cr.tensor(X)).detach().numpy()
    kept = model.kept.detach().numpy()
    compiled = cr.compile(model)
    for _ in range(3):
        model.kept = None
        np.testing.assert_allclose(compiled(X).detach().numpy(), expected, rtol=1e-5)
        np.testing.assert_allclose(model.kept.detach().numpy(), kept, rtol=1e-5)
    assert not model.first._hooked
    assert len(compiled.graphs) == 1


def test_parts_that_are_swapped_and_put_back_go_on_working() -> None:
    class Weighted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w, self.b = nn.Parameter(cr.ones(2)), nn.Parameter(cr.zeros(2))
            self.inner = Doubled()

        def forward(self, x: Any) -> Any:
            return self.inner(x) * self.w + self.b

    model = Weighted()

    @cr.compile
    def step(x: Any) -> Any:
        w, inner = model._parameters.pop("w"), model.inner
        model.w, model._modules["inner"] = w * 3, nn.Identity()
        y = model(x)
        del model.w
        model._parameters["w"], model._modules["inner"] = w, inner  # the order of parameters is another one now
        return y

    for _ in range(3):
        assert step(X).tolist() == (X * 3).tolist()
        assert sorted(model.state_dict()) == ["b", "w"]


def test_modules_that_the_code_makes_or_copies_may_be_changed() -> None:
    outside = nn.Sequential(Doubled())

    def step(x: Any) -> Any:
        made = nn.Sequential(Doubled())
        for model in (made, copy.deepcopy(outside)):
            model.append(Doubled())
            model.register_forward_hook(doubled)
            model.register_buffer("mean", x.mean(0), persistent=False)
            x = model(x) - model.mean
        return x

    expected = step(cr.tensor(X)).tolist()
    compiled = cr.compile(step)
    assert [compiled(X).tolist() for _ in range(3)] == [expected] * 3
    assert len(outside) == 1
    assert len(compiled.graphs) == 1


# -- buffers -----------------------------------------------------------------------------------------------------------


class Lazy(nn.Module):
    """Registers a buffer when it runs first."""

    def __init__(self, *, is_saved: bool = True) -> None:
        super().__init__()
        self.is_saved = is_saved

    def forward(self, x: Any) -> Any:
        if not hasattr(self, "mean"):
            self.register_buffer("mean", x.mean(0, keepdim=True), persistent=self.is_saved)
        return x - self.mean


class Always(Lazy):
    """Registers a buffer in every call."""

    def forward(self, x: Any) -> Any:
        self.register_buffer("mean", x.mean(0), persistent=self.is_saved)
        return x - self.mean


class AlwaysThere(Always):
    """Registers one that it has in every call."""

    def __init__(self, *, is_saved: bool = True) -> None:
        super().__init__(is_saved=is_saved)
        self.register_buffer("mean", cr.zeros(2), persistent=is_saved)


def assert_close(ours: Any, expected: Any) -> None:
    np.testing.assert_allclose(ours.detach().numpy(), expected.detach().numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [Lazy, Always, AlwaysThere])
@pytest.mark.parametrize("is_saved", [True, False])
def test_a_buffer_that_is_registered_inside_is_kept_as_in_eager_mode(kind: Any, is_saved: bool) -> None:
    eager, model = kind(is_saved=is_saved), kind(is_saved=is_saved)
    compiled = cr.compile(model)
    for k in range(4):
        x = cr.tensor(X * (k + 1))
        assert_close(compiled(x), eager(x))
        assert_close(model.mean, eager.mean)
        assert list(model.state_dict()) == list(eager.state_dict()) == (["mean"] if is_saved else [])
        assert [name for name, _ in model.named_buffers()] == ["mean"]
    assert len(compiled.graphs) <= 2


@pytest.mark.parametrize("kind", [Lazy, Always, AlwaysThere])
def test_many_runs_in_one_call_keep_it_too(kind: Any) -> None:
    eager, model = kind(is_saved=False), kind(is_saved=False)
    rows = cr.tensor(np.arange(16, dtype=np.float32).reshape(8, 2) ** 2)
    found = cr.compile(model).over(rows, batch_size=2)
    for k in range(4):
        assert_close(found[k], eager(rows[2 * k : 2 * k + 2]))
    assert_close(model.mean, eager.mean)
    assert not model.state_dict()
    assert [name for name, _ in model.named_buffers()] == ["mean"]


def test_a_buffer_that_is_registered_where_the_code_decides_on_a_size_is_kept() -> None:
    model = Always()
    compiled = cr.compile(lambda x: model(x) * (2 if len(x) == 2 else 1))
    assert_close(compiled(X), cr.tensor((X - X.mean(0)) * 2))
    assert_close(model.mean, cr.tensor(X.mean(0)))


def test_a_buffer_that_is_put_past_the_module_is_refused_and_put_back() -> None:
    model = AlwaysThere()
    before = model.mean

    @cr.compile
    def step(x: Any) -> Any:
        vars(model)["_buffers"]["mean"] = x.mean(0)
        return x * 1

    with pytest.raises(TraceError, match="mean"):
        step(X)
    assert model.mean is before
    assert before.tolist() == [0, 0]


# -- settings of all code that follows -------------------------------------------------------------------------------------


def test_a_default_dtype_that_is_left_behind_is_refused_and_put_back() -> None:
    @cr.compile
    def step(x: Any) -> Any:
        cr.set_default_dtype(cr.float64)
        return x * 2

    with pytest.raises(TraceError, match=r"'step' left set_default_dtype\(chainrule.float64\) behind"):
        step(X)
    assert cr.get_default_dtype() is cr.float32


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize(
    "change", [cr.set_grad_enabled, lambda on: (cr.enable_grad if on else cr.no_grad)().__enter__()]
)
def test_a_grad_mode_that_is_left_behind_is_refused(before: bool, change: Any) -> None:
    cr.set_grad_enabled(before)

    @cr.compile
    def step(x: Any) -> Any:
        change(not before)
        return x * 2

    with pytest.raises(
        TraceError, match=rf"'step' left set_grad_enabled\({not before}\) behind.*with set_grad_enabled"
    ):
        step(X)
    assert cr.is_grad_enabled() is before


def test_settings_that_are_put_back_within_the_call_are_no_matter() -> None:
    weight = cr.ones(2, requires_grad=True)

    @cr.compile
    def step(x: Any) -> Any:
        cr.set_default_dtype(cr.float64)
        wide = cr.ones(2)
        cr.set_default_dtype(cr.float32)
        cr.set_grad_enabled(False)
        first = weight * x
        cr.set_grad_enabled(True)
        with cr.set_grad_enabled(False):
            second = weight * x
        (first + second + weight).sum().backward()
        return wide * 2

    result = step(X)
    assert result.dtype is cr.float64
    assert weight.grad is not None
    assert weight.grad.tolist() == [2, 2]
