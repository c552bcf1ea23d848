"""Leaves that compiled code freezes, and attributes of modules that it sets, for a while; what it leaves so is refused and put back."""

from __future__ import annotations

import contextlib
import linecache
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import GradientError, TraceError
from chainrule.nn import functional as F
from tests.tensors.toggle_samples import FROZEN, REAL, SWITCHED, assert_equal, flags_of, frozen, in_use, network

X = np.array([[1.0, -2.0], [3.0, 5.0], [0.5, 1.0]], np.float32)
SAMPLES = FROZEN | SWITCHED


@pytest.fixture(params=["interpreted", "native"], autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test on both engines."""
    monkeypatch.setenv("CHAINRULE_COMPILE", str(int(request.param == "native")))


def innermost_line(error: BaseException) -> str:
    """Return the source line, in this file, in which the error arose."""
    found = ""
    at = error.__traceback__
    while at is not None:
        if at.tb_frame.f_code.co_filename == __file__:
            found = linecache.getline(__file__, at.tb_lineno).strip()
        at = at.tb_next
    return found


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_what_is_put_back_is_compiled_and_does_what_eager_mode_does(sample: Callable[[Any, Any], Any]) -> None:
    made: list[Any] = []

    def compiled(step: Any) -> Any:
        made.append(cr.compile(step, keep_gradients=True))
        return made[-1]

    assert_equal(sample(cr, compiled), sample(cr, lambda step: step))
    assert "uncompiled" not in made[0].report()
    # sizes 6 and 4 share a trace; gradients that are there the second time, and another mode, ask for one more
    assert len(made[0].graphs) <= 2, made[0].report()


def test_many_runs_in_one_call_are_those_of_one_after_the_other() -> None:
    def trained(*, at_once: bool) -> Any:
        cr.manual_seed(0)
        G, D = network(cr, 3, 4, 2), network(cr, 2, 4, 1, seed=2)
        of_g, of_d = cr.optim.Adam(G.parameters(), lr=0.01), cr.optim.SGD(D.parameters(), lr=0.02)

        @cr.compile
        def step(real: Any) -> Any:
            noise = cr.randn(real.shape[0], 3, dtype=cr.float64)
            of_d.zero_grad()
            loss = F.softplus(-D(real)).mean() + F.softplus(D(G(noise).detach())).mean()
            loss.backward()
            of_d.step()
            with frozen(D):
                of_g.zero_grad()
                other = F.softplus(-D(G(noise))).mean()
                other.backward()
                of_g.step()
            return loss, other

        rows = np.concatenate(REAL)
        if at_once:
            losses = [x.numpy() for x in step.over(rows, batch_size=4, passes=2)]
        else:
            found = [step(rows[k : k + 4]) for _ in range(2) for k in range(0, 16, 4)]
            losses = [np.stack([part[k].numpy() for part in found]) for k in range(2)]
        return losses, [p.detach().numpy() for p in (*G.parameters(), *D.parameters())]

    assert_equal(trained(at_once=True), trained(at_once=False))


# -- leaves that are left otherwise -------------------------------------------------------------------------------------------


def left_by_module(m: Any) -> None:
    m.requires_grad_(False)  # here


def left_by_parameter(m: Any) -> None:
    for p in m[0].parameters():
        p.requires_grad_(False)
        p.requires_grad_(True)
        p.requires_grad_(False)  # here


def left_by_assignment(m: Any) -> None:
    with frozen(m):
        pass
    m[2].bias.requires_grad = False  # here


@pytest.mark.parametrize("leave", [left_by_module, left_by_parameter, left_by_assignment])
def test_a_leaf_that_is_left_frozen_is_refused_and_is_as_before(leave: Callable[[Any], None]) -> None:
    m = network(cr, 2, 3, 1)
    left = []

    @cr.compile
    def step(x: Any) -> Any:
        y = (m(x) ** 2).sum()
        y.backward()
        if not left:
            leave(m)
        return y

    with pytest.raises(
        TraceError, match=r"requires_grad_\(False\) on a tensor from outside.*'step', which leaves it so"
    ) as e:
        step(REAL[0])
    assert innermost_line(e.value).endswith("# here")
    assert flags_of(m) == [True] * 4
    assert [p.grad for p in m.parameters()] == [None] * 4
    left.append(1)
    step(REAL[0])
    assert all(p.grad is not None for p in m.parameters())


def test_a_leaf_that_is_left_thawed_is_refused() -> None:
    w = cr.ones(2)

    @cr.compile
    def step(x: Any) -> Any:
        w.requires_grad_()  # here
        (x @ w).sum().backward()
        return w.grad

    with pytest.raises(TraceError, match=r"requires_grad_\(True\) on a tensor from outside.*leaves it so") as e:
        step(X)
    assert innermost_line(e.value).endswith("# here")
    assert not w.requires_grad
    assert w.grad is None


def test_an_argument_that_is_left_frozen_is_refused() -> None:
    w = cr.ones(2, requires_grad=True)

    @cr.compile
    def step(x: Any, w: Any) -> Any:
        w.requires_grad_(False)  # here
        return x @ w

    with pytest.raises(TraceError, match="leaves it so") as e:
        step(X, w)
    assert innermost_line(e.value).endswith("# here")
    assert w.requires_grad


def test_a_frozen_leaf_that_becomes_the_result_of_operations_is_refused() -> None:
    w, v = cr.ones(2, requires_grad=True), cr.ones(2, requires_grad=True)

    @cr.compile
    def step(x: Any) -> Any:
        w.requires_grad_(False)  # here
        w.mul_(v)
        w.requires_grad_(True)
        return x @ w

    with pytest.raises(TraceError, match="written into with a tape while it was frozen") as e:
        step(X)
    assert innermost_line(e.value).endswith("# here")
    assert w.tolist() == [1, 1]


def test_only_leaves_of_numbers_with_a_point_can_be_told() -> None:
    counts = cr.tensor([1, 2])

    def step(x: Any) -> Any:
        counts.requires_grad_()
        return x

    for function in (step, cr.compile(step)):
        with pytest.raises(GradientError, match=r"requires_grad_\(\) on a tensor of int64"):
            function(cr.ones(2))
    with pytest.raises(GradientError, match="that an operation made"):
        cr.compile(lambda x, w: (x * w).requires_grad_(False))(cr.ones(2), cr.ones(2, requires_grad=True))


def test_a_frozen_leaf_outside_has_another_trace() -> None:
    m = network(cr, 2, 3, 1)

    @cr.compile(keep_gradients=True)
    def step(x: Any) -> Any:
        m.zero_grad()
        with frozen(m[0]):
            y = (m(x) ** 2).sum()
        y.backward()
        return y

    step(REAL[0])
    assert [p.grad is None for p in m.parameters()] == [True, True, False, False]
    m[2].bias.requires_grad_(False)
    step(REAL[0])
    assert [p.grad is None for p in m.parameters()] == [True, True, False, True]
    assert flags_of(m) == [True, True, True, False]
    assert len(step.graphs) == 2


def test_no_gradient_reaches_a_leaf_that_was_frozen_after_it_was_used() -> None:
    w = cr.ones(2, requires_grad=True)
    y = (w * 2).sum()
    w.requires_grad_(False)
    y.backward(retain_graph=True)
    assert w.grad is None
    w.requires_grad_(True)
    y.backward()
    assert w.grad.tolist() == [2, 2]


# -- errors between ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [ValueError, TypeError, KeyboardInterrupt])
@pytest.mark.parametrize("is_careful", [True, False])
def test_an_error_in_between_leaves_the_model_as_it_was(kind: type[BaseException], is_careful: bool) -> None:
    m = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 1))
    fails = [True]

    @cr.compile
    def step(x: Any) -> Any:
        with contextlib.ExitStack() as stack:
            if is_careful:
                stack.enter_context(frozen(m))
                stack.enter_context(in_use(m))
            else:
                m.requires_grad_(False)
                m.eval()
            y = m(x).sum()
            if fails:
                raise kind("in between")
            if not is_careful:
                m.requires_grad_(True)
                m.train()
        return y + m(x).sum() * 0

    for _ in range(2):
        with pytest.raises(kind, match="in between"):
            step(X)
        assert flags_of(m) == [True] * 6
        assert all(part.training for part in m.modules())
    fails.clear()
    assert step(X).shape == ()
    assert all(part.training for part in m.modules())


def test_a_caught_error_in_between_is_no_matter() -> None:
    m = network(cr, 2, 3, 1)

    @cr.compile
    def step(x: Any) -> Any:
        try:
            with frozen(m), in_use(m):
                raise ValueError
        except ValueError:
            y = m(x).sum()
        y.backward()
        return y

    step(REAL[0])
    assert all(p.grad is not None for p in m.parameters())
    assert m.training


# -- attributes of modules ------------------------------------------------------------------------------------------------------


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
    "deleted": (leaves_it_deleted, r"assigning Scaled\.k inside"),
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
        assert innermost_line(e.value).endswith("# here")
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


def test_fit_runs_uncompiled_where_a_loss_leaves_a_flag_behind_and_says_why() -> None:
    model, teacher = nn.Linear(2, 1), nn.Linear(1, 1)

    def loss(output: Any, target: Any) -> Any:
        teacher.requires_grad_(False)
        return ((output - teacher(target)) ** 2).mean()

    history = cr.fit(model, (X, X[:, :1]), loss=loss, optimizer="sgd", lr=0.1, epochs=2, progress=False, seed=0)
    assert "not compiled: requires_grad_(False) on a tensor from outside" in history.notes[0]
    assert flags_of(teacher) == [False, False]  # as eager mode does
