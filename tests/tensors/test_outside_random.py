"""Random numbers that are not chainrule's, and iterators, in a compiled function: refused by name and put back."""

from __future__ import annotations

import itertools
import json
import random
import re
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import TraceError

ONE = np.ones(1, np.float32)

ONE = np.ones(1, np.float32)


class Noisy(nn.Module):
    """Draws from a generator in an attribute."""

    def __init__(self, rng: Any) -> None:
        super().__init__()
        self.linear, self.rng = nn.Linear(3, 2), rng

    def forward(self, x: Any) -> Any:
        return self.linear(x) * (1 + self.rng.random())


def test_random_numbers_of_python_and_numpy_are_refused_and_put_back() -> None:
    generator, old, own = np.random.default_rng(3), np.random.RandomState(3), random.Random(3)
    held = SimpleNamespace(rng=np.random.Generator(np.random.MT19937(1)))
    model = Noisy(random.Random(1))

    draws = {
        "module 'random'": lambda x: x if random.random() < 0.5 else x * 2,
        r"NumPy's global generator": lambda x: x * np.random.randn(),
        "the generator 'generator'": lambda x: x * generator.normal(),
        "the generator 'old'": lambda x: x * old.rand(),
        "the generator 'own'": lambda x: x * own.random(),
        r"the generator 'held\.rng'": lambda x: x * held.rng.random(),
        r"the generator 'model\.rng'": lambda x: x * model.rng.random(),
    }
    states = lambda: (  # noqa: E731 - asked twice
        random.getstate(), str(np.random.get_state()), str(generator.bit_generator.state), str(old.get_state()),
        own.getstate(), str(held.rng.bit_generator.state), model.rng.getstate(),
    )  # fmt: skip
    before = states()
    for told, draw in draws.items():
        with pytest.raises(TraceError, match=f"drew random numbers from .*{told}.*same in every call.*cr.rand"):
            cr.compile(draw)(ONE)
    with pytest.raises(TraceError, match=r"drew random numbers from the generator 'self\.rng'"):
        cr.compile(nn.Sequential(model))(cr.ones(1, 3))
    assert states() == before
    read = cr.compile(lambda x: x * len(str(type(generator))))
    assert read(ONE).item() == read(ONE).item() > 0  # named, and not drawn from


LATE = """
import sys
import numpy as np
import chainrule as cr
from chainrule.errors import TraceError

@cr.compile
def reads(x):
    np.random.PCG64
    return x * 2

@cr.compile
def draws(x):
    return x * float(np.random.rand(312)[0])  # as many as the generator makes at a time

assert "numpy.random" not in sys.modules
if {drawn}:
    try:
        draws(cr.ones(1))
    except TraceError as error:
        print(error)
    seed = np.random.mtrand.get_bit_generator().seed_seq
    print(np.random.rand() == np.random.RandomState(np.random.MT19937(seed)).rand())
else:
    print(reads(cr.ones(1)).item(), "numpy.random" in sys.modules)
"""


@pytest.mark.parametrize("drawn", [False, True])
def test_a_generator_of_numpy_that_is_loaded_while_tracing_is_looked_at(drawn: bool) -> None:
    command = [sys.executable, "-c", LATE.replace("{drawn}", str(drawn))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    expected = r"'draws' drew random numbers from NumPy's global generator.*\nTrue\n" if drawn else r"2\.0 True\n"
    assert re.fullmatch(expected, done.stdout)


@pytest.mark.filterwarnings("ignore:not compiled:UserWarning")  # its history says it too
def test_fit_draws_the_same_noise_as_without_compilation() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 3)).astype(np.float32), rng.integers(0, 2, 40)
    weights = []
    for compiled in (True, False):
        cr.manual_seed(0)
        model = Noisy(np.random.default_rng(5))
        cr.fit(model, (X, y), epochs=2, batch_size=16, compile=compiled, progress=False, seed=0)
        weights.append(model.linear.weight.detach().numpy())
    np.testing.assert_allclose(weights[0], weights[1], rtol=1e-5)


def counted_up() -> Any:
    k = 0
    while True:
        k += 1
        yield k


@pytest.mark.parametrize(
    "make",
    [
        counted_up, itertools.count, lambda: iter([1.0] * 9), lambda: itertools.cycle([1.0, 2.0]),
        lambda: zip([1] * 9, [2] * 9, strict=True), lambda: map(abs, [1] * 9), lambda: enumerate([1] * 9),
        lambda: itertools.product([1, 1], [1, 1], [1]), lambda: itertools.chain(counted_up()), lambda: (1 for _ in range(9)),
        lambda: iter(dict.fromkeys(range(9))),
    ],
    ids=["generator", "count", "list", "cycle", "zip", "map", "enumerate", "product", "chain", "expression", "dict"],
)  # fmt: skip
@pytest.mark.parametrize("taken", [0, 1, 3])
def test_an_iterator_from_which_a_trace_took_is_refused(make: Any, taken: int) -> None:
    it = make()
    for _ in range(taken):
        next(it, None)
    step = cr.compile(lambda x: (next(it, 1), x * 2)[1])
    with pytest.raises(TraceError, match=r"took from the iterator 'it'.*is gone.*pass the item"):
        step(ONE)


@pytest.mark.parametrize("decides", [lambda n: n > 2, lambda n: json.dumps([n])], ids=["compares", "as a number"])
def test_what_was_taken_before_code_decides_on_a_size_is_not_taken_again(decides: Any) -> None:
    def states() -> Any:
        h = cr.zeros(2)
        while True:
            x = yield h
            h = h + x.sum(0) if decides(x.shape[0]) else h

    it = states()
    next(it)
    with pytest.raises(TraceError, match="took from the iterator 'it'"):
        cr.compile(lambda x: it.send(x).sum())(cr.ones(4, 2))


def test_an_error_of_the_codes_own_beside_an_iterator_is_raised_as_it_is() -> None:
    it = iter([1, 2])

    def f(x: Any) -> Any:
        next(it)
        raise ValueError("own")

    with pytest.raises(ValueError, match="own"):
        cr.compile(f)(cr.ones(4, 2))


def test_an_iterator_that_is_only_named_is_none_that_moved() -> None:
    it, model = counted_up(), nn.Sequential(nn.Identity())
    next(it)
    step = cr.compile(lambda x: x * 2 if it is not None else model(x))
    assert step(ONE).item() == step(ONE).item() == 2
    next(it)
    step(ONE)
    assert len(step.graphs) == 1
