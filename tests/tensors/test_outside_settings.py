"""Numbers, flags and texts of modules that compiled code sets for a while; what it leaves so is refused at its line and put back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import TraceError
from chainrule.nn import functional as F
from tests.tensors.toggle_samples import flags_of, frozen, in_use, innermost_line

X = np.array([[1.0, -2.0], [3.0, 5.0], [0.5, 1.0]], np.float32)


@pytest.fixture(params=["interpreted", "native"], autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test on both engines."""
    monkeypatch.setenv("CHAINRULE_COMPILE", str(int(request.param == "native")))


class Scaled(nn.Module):
    power = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.k: Any = 2.0
        self.kind: Any = "plain"
        self.window: Any = (1, 2)
        self.h: Any = None
        self.act: Any = F.relu

    def forward(self, x: Any) -> Any:
        y = x * self.k * self.window[0] ** self.power
        return -y if self.kind == "other" else y


def sets_a_number(m: Any) -> None:
    m.k = 3.0


def sets_a_text(m: Any) -> None:
    m.kind = "other"


def sets_a_tuple(m: Any) -> None:
    m.window = (4, 5)


def sets_what_the_class_has(m: Any) -> None:
    m.power = 2.0


RESTORED: dict[str, tuple[Callable[[Any], None], Callable[[Any], None]]] = {
    "a number": (sets_a_number, lambda m: setattr(m, "k", 2.0)),
    "a number twice": (lambda m: (sets_a_number(m), setattr(m, "k", 7.0))[0], lambda m: setattr(m, "k", 2.0)),
    "a text": (sets_a_text, lambda m: setattr(m, "kind", "pl" + "ain")),
    "a tuple": (sets_a_tuple, lambda m: setattr(m, "window", (1, 2))),
    "what the class has": (sets_what_the_class_has, lambda m: setattr(m, "power", 1.0)),
    "what the class has, deleted": (sets_what_the_class_has, lambda m: delattr(m, "power")),
    "deleted": (lambda m: delattr(m, "h"), lambda m: setattr(m, "h", None)),
    "new": (lambda m: setattr(m, "new", 1), lambda m: delattr(m, "new")),
    "a tensor in between": (lambda m: setattr(m, "h", cr.ones(1)), lambda m: setattr(m, "h", None)),
}


@pytest.mark.parametrize(("change", "restore"), RESTORED.values(), ids=RESTORED)
def test_what_is_put_back_may_be_set(change: Callable[[Any], Any], restore: Callable[[Any], Any]) -> None:
    m = Scaled()

    def step(x: Any) -> Any:
        a = m(x)
        change(m)
        b = m(x)
        restore(m)
        return a, b, m(x)

    compiled = cr.compile(step)
    for _ in range(2):
        for a, b in zip(compiled(X), step(cr.tensor(X)), strict=True):
            assert a.tolist() == b.tolist()
    assert len(compiled.graphs) == 1, compiled.report()
    assert (m.k, m.kind, m.window, m.power, m.h) == (2.0, "plain", (1, 2), 1.0, None)


def test_a_function_that_was_taken_away_may_be_put_back() -> None:
    m = Scaled()

    @cr.compile
    def step(x: Any) -> Any:
        act, m.act = m.act, None
        y = x if m.act is None else m.act(x)
        m.act = act
        return y, m.act(x)

    assert [y.tolist() for y in step(X)] == [X.tolist(), np.maximum(X, 0).tolist()]
    assert m.act is F.relu


def leaves_a_number(m: Any) -> None:
    m.k = 3.0
    m.k = 2.0
    m.k = 7.0  # here


def leaves_one_that_the_class_had(m: Any) -> None:
    m.power = 2.0  # here


def leaves_what_looks_equal(m: Any) -> None:
    m.k = 2  # here


def leaves_none(m: Any) -> None:
    m.act = None  # here


def leaves_it_deleted(m: Any) -> None:
    m.k = 1.0
    del m.k  # here


def leaves_an_object(m: Any) -> None:
    m.act = F.tanh  # here


def leaves_it_switched(m: Any) -> None:
    m.eval()
    m.train()
    m.eval()  # here


LEFT: dict[str, tuple[Callable[[Any], None], str]] = {
    "a number": (leaves_a_number, r"Scaled\.k = 7\.0 inside a compiled function.*register_buffer\('k'"),
    "of a class": (leaves_one_that_the_class_had, r"Scaled\.power = 2\.0 inside"),
    "int for float": (leaves_what_looks_equal, r"Scaled\.k = 2 inside"),
    "None": (leaves_none, r"Scaled\.act = None inside"),
    "deleted": (leaves_it_deleted, r"del Scaled\.k inside"),
    "an object": (leaves_an_object, r"assigning Scaled\.act inside"),
    "the mode": (leaves_it_switched, r"eval\(\) on Scaled inside a compiled function, which leaves it so"),
}


@pytest.mark.parametrize(("leave", "told"), LEFT.values(), ids=LEFT)
def test_what_is_left_otherwise_is_refused_at_the_last_line_and_put_back(
    leave: Callable[[Any], None], told: str
) -> None:
    m = Scaled()
    before = dict(vars(m))

    @cr.compile
    def step(x: Any) -> Any:
        y = m(x)
        leave(m)
        return y

    for _ in range(2):
        with pytest.raises(TraceError, match=told) as e:
            step(X)
        assert innermost_line(e.value, __file__).endswith("# here")
        assert {k: v for k, v in vars(m).items() if k != "_label"} == before


def test_a_number_that_changed_outside_is_noticed_though_code_sets_it_first() -> None:
    m = Scaled()

    @cr.compile
    def step(x: Any) -> Any:
        m.k = 5.0
        y = m(x)
        m.k = 2.0
        return y

    assert step(X).tolist() == (5 * X).tolist()
    m.k = 9.0
    with pytest.raises(TraceError, match=r"Scaled\.k = 2\.0 inside"):
        step(X)
    assert m.k == 9.0
    m.k = 2.0
    assert step(X).tolist() == (5 * X).tolist()
    assert len(step.graphs) == 1


def test_code_that_is_traced_for_each_size_switches_back_each_time() -> None:
    m = nn.Sequential(nn.Dropout(0.5))

    @cr.compile
    def step(x: Any) -> Any:
        with in_use(m):
            return m(x) * (2 if x.shape[0] > 2 else 3)

    assert step(X).tolist() == (2 * X).tolist()
    assert step(X[:2]).tolist() == (3 * X[:2]).tolist()
    assert m.training
    assert m[0].training


def test_random_numbers_are_those_of_eager_mode() -> None:
    found = []
    for wrap in (lambda f: f, cr.compile):
        cr.manual_seed(0)
        m = nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.2))

        def step(x: Any, m: Any = m) -> Any:
            a = m(x)
            with in_use(m[1]):
                b = m(x)
            with in_use(m):
                c = m(x)
            return a, b, c, m(x)

        run = wrap(step)
        found.append([[y.tolist() for y in run(cr.tensor(X))] for _ in range(3)])
    assert found[0] == found[1]
    assert found[0][0][2] == X.tolist()


def test_a_module_that_the_code_makes_may_be_switched_for_good() -> None:
    assert cr.compile(lambda x: nn.Dropout(0.5).eval()(x))(X).tolist() == X.tolist()


def test_a_tensor_is_kept_where_an_attribute_was_cleared_first() -> None:
    m = Scaled()

    @cr.compile
    def step(x: Any) -> Any:
        m.h = None
        m.h = m(x).sum(0)
        return x

    for k in (1, 2):
        step(k * X)
        assert m.h.tolist() == (2 * k * X).sum(0).tolist()


def test_hooks_may_switch_a_module_around_its_forward() -> None:
    m = nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.5))
    m.register_forward_pre_hook(lambda module, _: module.eval() and None)
    m.register_forward_hook(lambda module, *_: module.train() and None)
    step = cr.compile(m)
    assert step(X).tolist() == m(cr.tensor(X)).tolist()
    assert m[1].training


def test_what_is_kept_by_a_method_is_refused_at_once() -> None:
    class Holding(nn.Module):
        held = property(lambda self: vars(self)["it"], lambda self, it: vars(self).update(it=it))

    m = Holding()
    m.held = 1

    @cr.compile
    def step(x: Any) -> Any:
        m.held = 2  # here
        m.held = 1
        return x

    with pytest.raises(TraceError, match=r"Holding\.held = 2 inside") as e:
        step(X)
    assert innermost_line(e.value, __file__).endswith("# here")
    assert m.held == 1


# -- fit ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compiled", [True, False])
def test_fit_takes_a_loss_that_switches_a_teacher_and_freezes_the_model(compiled: bool) -> None:
    def trained(*, compiled: bool) -> Any:
        cr.manual_seed(0)
        model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))
        teacher = nn.Sequential(nn.Linear(1, 3), nn.Dropout(0.5), nn.Linear(3, 1))
        modes = []

        class Looking(cr.Callback):
            def on_epoch_end(self, *_: Any) -> None:
                modes.append((teacher.training, flags_of(model, teacher)))

        def loss(output: Any, target: Any) -> Any:
            with in_use(teacher), frozen(teacher):
                wanted = teacher(target)
            with frozen(model):
                assert not model[0].weight.requires_grad
            return ((output - wanted) ** 2).mean()

        x = np.random.default_rng(0).normal(size=(32, 2)).astype(np.float32)
        settings = {"epochs": 3, "batch_size": 8, "progress": False, "seed": 0, "callbacks": [Looking()]}
        history = cr.fit(model, (x, x[:, :1]), loss=loss, optimizer="sgd", lr=0.1, compile=compiled, **settings)
        assert modes == [(True, [True] * 8)] * 3
        return history, [p.detach().numpy() for p in model.parameters()]

    (history, found), (_, wanted) = trained(compiled=compiled), trained(compiled=False)
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert not history.notes


@pytest.mark.filterwarnings("ignore:not compiled")
def test_fit_runs_uncompiled_where_a_loss_leaves_a_flag_behind_and_says_why() -> None:
    model, teacher = nn.Linear(2, 1), nn.Linear(1, 1)

    def loss(output: Any, target: Any) -> Any:
        teacher.requires_grad_(False)
        return ((output - teacher(target)) ** 2).mean()

    history = cr.fit(model, (X, X[:, :1]), loss=loss, optimizer="sgd", lr=0.1, epochs=2, progress=False, seed=0)
    assert "not compiled: requires_grad_(False) on a tensor from outside" in history.notes[0]
    assert flags_of(teacher) == [False, False]  # as eager mode does
