"""Steps that freeze leaves or switch modules for a while. Each takes a library and what compiles, and returns what is to be equal."""

from __future__ import annotations

import contextlib
import itertools
import linecache
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

RANDOM = np.random.default_rng(0)
REAL = [RANDOM.normal(size=(size, 2)) for size in (6, 6, 4)]
NOISE = [RANDOM.normal(size=(len(real), 3)) for real in REAL]
Wrap = Callable[[Any], Any]


def array_of(x: Any) -> Any:
    return None if x is None else np.array(x.detach().numpy())


def given(lib: Any, value: Any) -> Any:
    return lib.tensor(np.asarray(value).tolist(), dtype=lib.float64)


def with_numbers(lib: Any, model: Any, seed: int = 1) -> Any:
    """Return a model in float64 whose parameters are the same in every library."""
    random = np.random.default_rng(seed)
    model = model.double()
    with lib.no_grad():
        for p in model.parameters():
            p.copy_(given(lib, random.normal(size=tuple(p.shape))))
    return model


def network(lib: Any, *sizes: int, seed: int = 1) -> Any:
    nn = lib.nn
    layers: list[Any] = []
    for a, b in itertools.pairwise(sizes):
        layers += [nn.Linear(a, b), nn.Tanh()]
    return with_numbers(lib, nn.Sequential(*layers[:-1]), seed)


def state_of(*models: Any) -> list[Any]:
    return [array_of(x) for m in models for x in (*m.parameters(), *m.buffers())]


def flags_of(*models: Any) -> list[bool]:
    return [p.requires_grad for m in models for p in m.parameters()]


def gradients_of(*models: Any) -> list[Any]:
    return [array_of(p.grad) for m in models for p in m.parameters()]


@contextlib.contextmanager
def frozen(model: Any) -> Iterator[None]:
    flags = [p.requires_grad for p in model.parameters()]
    model.requires_grad_(False)
    try:
        yield
    finally:
        for p, flag in zip(model.parameters(), flags, strict=True):
            p.requires_grad = flag


@contextlib.contextmanager
def in_use(model: Any) -> Iterator[None]:
    was = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was)


# -- frozen leaves -------------------------------------------------------------------------------------------------------


def adversaries(lib: Any, compiled: Wrap, freeze: Callable[[Any, bool], None]) -> Any:
    """Two networks against each other, each with its optimizer."""
    F = lib.nn.functional
    G, D = network(lib, 3, 4, 2), network(lib, 2, 4, 1, seed=2)
    optimizers = lib.optim.Adam(G.parameters(), lr=0.01), lib.optim.Adam(D.parameters(), lr=0.02)

    def step(real: Any, noise: Any) -> Any:
        freeze(D, True)
        optimizers[1].zero_grad()
        of_d = F.softplus(-D(real)).mean() + F.softplus(D(G(noise).detach())).mean()
        of_d.backward()
        optimizers[1].step()
        freeze(D, False)
        optimizers[0].zero_grad()
        of_g = F.softplus(-D(G(noise))).mean()
        of_g.backward()
        optimizers[0].step()
        freeze(D, True)
        return of_d, of_g

    run = compiled(step)
    found = [[array_of(x) for x in run(given(lib, a), given(lib, b))] for a, b in zip(REAL, NOISE, strict=True)]
    return found, state_of(G, D), gradients_of(G, D), flags_of(G, D)


def by_module(model: Any, wanted: bool) -> None:
    model.requires_grad_(wanted)


def by_parameter(model: Any, wanted: bool) -> None:
    for p in model.parameters():
        p.requires_grad_(wanted)


def by_assignment(model: Any, wanted: bool) -> None:
    for p in model[0].parameters():  # a submodule's alone
        p.requires_grad = wanted


def nested(lib: Any, compiled: Wrap) -> Any:
    m = network(lib, 2, 3, 2, 1)

    def step(x: Any) -> Any:
        with frozen(m[2]):
            a = m(x).sum()
            with frozen(m):
                b = (m(x) ** 2).sum()
                seen = [p.requires_grad for p in m.parameters()] + [b.requires_grad, m[0].weight.is_leaf]
            c = (m(x) ** 3).sum()
            seen += [p.requires_grad for p in m.parameters()]
            (a + b + c).backward()
        assert seen == [False] * 7 + [True] + [True, True, False, False, True, True]
        return a, b, c

    run = compiled(step)
    found = [[array_of(x) for x in run(given(lib, x))] for x in REAL]
    return found, gradients_of(m), flags_of(m)


def a_tape_from_before(lib: Any, compiled: Wrap) -> Any:
    """What was computed before, with a tape, goes backward while some leaves are frozen, and once more when they are not."""
    m = network(lib, 2, 3, 1)

    def step(x: Any) -> Any:
        a = (m(x) ** 2).sum()
        with frozen(m[0]):
            a.backward(retain_graph=True)
            held = [None if p.grad is None else p.grad.clone() for p in m.parameters()]
        a.backward()
        return [y for y in held if y is not None]

    run = compiled(step)
    return [[array_of(y) for y in run(given(lib, x))] for x in REAL], gradients_of(m)


def all_frozen(lib: Any, compiled: Wrap) -> Any:
    m = network(lib, 2, 3, 1)

    def step(x: Any) -> Any:
        a = (m(x) ** 2).sum()
        with frozen(m):
            a.backward()
        return a

    run = compiled(step)
    return [array_of(run(given(lib, x))) for x in REAL], gradients_of(m)


def written_while_frozen(lib: Any, compiled: Wrap) -> Any:
    m = network(lib, 2, 3, 1)

    def step(x: Any) -> Any:
        with frozen(m):
            m[0].weight.mul_(0.5)
            with lib.no_grad():
                m[2].weight.add_(1)
            m[0].bias.data.sub_(0.1)
        (m(x) ** 2).sum().backward()
        with frozen(m):
            m[2].bias.add_(m[0].bias.sum())
        return m(x).sum().detach()

    run = compiled(step)
    return [array_of(run(given(lib, x))) for x in REAL], state_of(m), gradients_of(m), flags_of(m)


def thawed(lib: Any, compiled: Wrap) -> Any:
    """A tensor that wants no gradient wants one for a while."""
    w = given(lib, [[1.0, 2.0], [3.0, -1.0]])

    def step(x: Any) -> Any:
        w.requires_grad_()
        y = (x @ w).tanh().sum()
        y.backward()
        w.requires_grad_(False)
        return y, (x @ w).sum()

    run = compiled(step)
    found = [[array_of(y) for y in run(given(lib, x))] for x in REAL]
    return found, array_of(w.grad), w.requires_grad


def views_of_it(lib: Any, compiled: Wrap) -> Any:
    m = network(lib, 2, 3, 1)
    weight = m[0].weight

    def step(x: Any) -> Any:
        before = weight.t()
        with frozen(m):
            a = (x @ weight.t()).sum()
        b = (x @ weight.view(2, 3)).sum() * 2 + (x @ before).sum()
        (a + b).backward()
        return a, b

    run = compiled(step)
    return [[array_of(y) for y in run(given(lib, x))] for x in REAL], gradients_of(m)


def an_argument(lib: Any, compiled: Wrap) -> Any:
    w = given(lib, [[1.0], [2.0]]).requires_grad_()

    def step(x: Any, w: Any) -> Any:
        w.requires_grad_(False)
        a = (x @ w).sum()
        w.requires_grad_(True)
        b = (x @ w).tanh().sum()
        (a * b).backward()
        return a

    run = compiled(step)
    return [array_of(run(given(lib, x), w)) for x in REAL], array_of(w.grad), w.requires_grad


def of_its_own(lib: Any, compiled: Wrap) -> Any:
    """A leaf that the function makes is frozen."""

    def step(x: Any) -> Any:
        w = (x * 2).detach().requires_grad_()
        a = (w**2).sum()
        w.requires_grad_(False)
        b = (w**3).sum()
        w.requires_grad_(True)
        (a + b + (w**4).sum()).backward()
        return w.grad

    run = compiled(step)
    return [array_of(run(given(lib, x))) for x in REAL]


# -- modules that are switched -----------------------------------------------------------------------------------------------


def regular(lib: Any) -> Any:
    nn = lib.nn
    return with_numbers(lib, nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Dropout(0.0), nn.Linear(3, 1)))


def a_teachers_pass(lib: Any, compiled: Wrap) -> Any:
    """BatchNorm takes what it has for the target, and what the batch gives for the output."""
    m = regular(lib)
    optimizer = lib.optim.SGD(m.parameters(), lr=0.1)

    def step(x: Any) -> Any:
        with in_use(m), lib.no_grad():
            target = m(x)
        loss = ((m(x) - target) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss, target

    run = compiled(step)
    found = [[array_of(y) for y in run(given(lib, x))] for x in REAL]
    m.eval()
    found += [[array_of(y) for y in run(given(lib, x))] for x in REAL]
    return found, state_of(m), [part.training for part in m.modules()]


def a_part_of_it(lib: Any, compiled: Wrap) -> Any:
    m = regular(lib)

    def step(x: Any) -> Any:
        m[1].eval()
        a = m(x)
        m[1].train()
        with in_use(m), in_use(m[1]):
            b = m(x)
        return a, b, m(x)

    run = compiled(step)
    found = [[array_of(y) for y in run(given(lib, x))] for x in REAL]
    return found, state_of(m), [part.training for part in m.modules()]


FROZEN: dict[str, Callable[[Any, Wrap], Any]] = {
    "adversaries, by module": lambda lib, compiled: adversaries(lib, compiled, by_module),
    "adversaries, by parameter": lambda lib, compiled: adversaries(lib, compiled, by_parameter),
    "adversaries, a submodule": lambda lib, compiled: adversaries(lib, compiled, by_assignment),
    "nested": nested,
    "a tape from before": a_tape_from_before,
    "all frozen": all_frozen,
    "written while frozen": written_while_frozen,
    "thawed": thawed,
    "views": views_of_it,
    "an argument": an_argument,
    "of its own": of_its_own,
}
SWITCHED: dict[str, Callable[[Any, Wrap], Any]] = {"a teacher": a_teachers_pass, "a part": a_part_of_it}


def innermost_line(error: BaseException, file: str) -> str:
    """Return the source line, in a file, in which an error arose."""
    found = ""
    at = error.__traceback__
    while at is not None:
        if at.tb_frame.f_code.co_filename == file:
            found = linecache.getline(file, at.tb_lineno).strip()
        at = at.tb_next
    return found


def assert_equal(found: Any, wanted: Any, place: str = "") -> None:
    """Check that two nests of arrays and flags are equal, up to rounding."""
    if isinstance(wanted, (list, tuple)):
        assert len(found) == len(wanted), place
        for k, (a, b) in enumerate(zip(found, wanted, strict=True)):
            assert_equal(a, b, f"{place}[{k}]")
    elif isinstance(wanted, np.ndarray):
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12, err_msg=place)
    else:
        assert found is wanted, f"{place}: {found} for {wanted}"
