"""Runs a function eager and compiled, from the same start, and compares every bit of what it returns and leaves behind."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

import chainrule as cr
from chainrule import nn, optim
from chainrule.graph import verify
from chainrule.tensors.compile import Compiled
from chainrule.tensors.tensor import NOT_KEPT, Tensor
from tests.tolerances import assert_close

NATIVE = os.environ["CHAINRULE_COMPILE"] == "1"  # then close is enough: sums are added in another order
Calls = Sequence["tuple[Any, ...] | Callable[[np.random.Generator], tuple[Any, ...]]"]


def batch(size: int, features: int = 5, classes: int = 3) -> Callable[[np.random.Generator], tuple[Any, ...]]:
    """Return the maker of a batch of inputs and labels."""

    def made(rng: np.random.Generator) -> tuple[Any, ...]:
        x = rng.standard_normal((size, features)).astype(np.float32)
        return cr.tensor(x), cr.tensor(rng.integers(0, classes, size))

    return made


BATCHES = (batch(8), batch(8), batch(5), batch(8))


def leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield the parts of a result or a state: arrays, and other things by their text."""
    if isinstance(value, Tensor):
        yield path, np.array(value.detach().numpy())
    elif isinstance(value, np.ndarray):
        yield path, np.array(value)
    elif isinstance(value, nn.Module):
        yield from leaves(dict(value.named_parameters()), path)
        yield from leaves(dict(value.named_buffers()), path)
    elif isinstance(value, optim.Optimizer):
        yield from leaves(value.state_dict(), path)
    elif isinstance(value, dict):
        yield f"{path} keys", list(value)
        for key, part in value.items():
            yield from leaves(part, f"{path}[{key!r}]")
    elif isinstance(value, (list, tuple)):
        yield f"{path} type", type(value).__name__
        for k, part in enumerate(value):
            yield from leaves(part, f"{path}[{k}]")
    elif hasattr(value, "state_dict"):
        yield from leaves(value.state_dict(), path)
    else:
        yield path, repr(value)


def gradients(state: Sequence[Any]) -> Iterator[Tensor]:
    """Yield every tensor of the state that may have a gradient."""
    for part in state:
        if isinstance(part, nn.Module):
            yield from part.parameters()
        elif isinstance(part, Tensor):
            yield part


def record(function: Any, state: Sequence[Any], calls: Calls) -> list[dict[str, Any]]:
    """Return what every call leaves: results, arguments, state, gradients, draws."""
    rng = np.random.default_rng(1)
    story = []
    for call in calls:
        args = call(rng) if callable(call) else call
        result = function(*args)
        seen = dict(leaves(result, "result"))
        seen |= dict(leaves(list(args), "argument"))
        for k, part in enumerate(state):
            seen |= dict(leaves(part, f"state {k}"))
        for k, x in enumerate([*gradients(state), *(a for a in args if isinstance(a, Tensor))]):
            seen[f"gradient {k}"] = x._grad if x._grad is NOT_KEPT or x._grad is None else np.array(x._grad._value)
        seen["draws"] = cr.get_rng_state()["draw"]
        story.append(seen)
    return story


def assert_same(eager: dict[str, Any], compiled: dict[str, Any], place: str) -> None:
    assert list(eager) == list(compiled), place
    for name, a in eager.items():
        b = compiled[name]
        if b is NOT_KEPT:
            assert a is not None, f"{place}: {name}"
        elif isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
            assert (a.dtype, a.shape) == (b.dtype, b.shape), f"{place}: {name}"
            if NATIVE:
                assert_close(b, a, length=100)
            else:
                assert a.tobytes() == b.tobytes(), f"{place}: {name}: eager {a}, compiled {b}"
        else:
            assert (type(a), a) == (type(b), b), f"{place}: {name}: eager {a}, compiled {b}"


def same_as_eager(build: Callable[[], Any], calls: Calls, *, traces: int | None = 1, **options: Any) -> Compiled:
    """Check that a function does the same compiled; return it. ``build`` returns it, and what it changes."""
    stories, made = [], []
    for is_compiled in (False, True):
        cr.manual_seed(0)
        built = build()
        function, *state = built if isinstance(built, tuple) else (built,)
        if is_compiled:
            function = cr.compile(function, **options)
        stories.append(record(function, state, calls))
        made.append(function)
    for k, (eager, compiled) in enumerate(zip(*stories, strict=True)):
        assert_same(eager, compiled, f"call {k}")
    found: Compiled = made[1]
    for graph in found.graphs:
        verify(graph)
    assert "uncompiled" not in found.report(), found.report()
    if traces is not None:
        assert len(found.graphs) == traces, found.report()
    return found
