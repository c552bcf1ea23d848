"""Random networks trained natively, interpreted, and in PyTorch; and in one native call beside batch by batch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

import chainrule as cr

from .native import assert_native
from .random_graphs import bits
from .random_networks import ALLOWED, Data, Plan, Redrawn, Result, build, data, differences, drawn, plan


@contextmanager
def engine(native: bool) -> Iterator[None]:
    before = os.environ.get("CHAINRULE_COMPILE")
    os.environ["CHAINRULE_COMPILE"] = "1" if native else "0"
    try:
        yield
    finally:
        if before is None:
            del os.environ["CHAINRULE_COMPILE"]
        else:
            os.environ["CHAINRULE_COMPILE"] = before


def compiled(p: Plan, d: Data) -> tuple[Any, Any]:
    """Return a network with the weights of ``d``, and its compiled training step."""
    nn = cr.nn
    model = build(nn, p)
    model.load_state_dict({name: cr.tensor(x) for name, x in d.state.items()})
    loss, named = p.loss
    options = {k: cr.tensor(v.astype(np.float32)) if isinstance(v, np.ndarray) else v for k, v in named.items()}
    criterion = getattr(nn, loss)(**options)
    name, given = p.optimizer
    update = getattr(cr.optim, name)(model.parameters(), **given)

    @cr.compile
    def step(x: Any, y: Any) -> Any:
        update.zero_grad()
        value = criterion(model(x), y)
        if p.penalty:
            value = value + p.penalty * sum((w * w).sum() for w in model.parameters())
        value.backward()
        if p.clip is not None:
            kind, limit = p.clip
            clip = nn.utils.clip_grad_norm_ if kind == "norm" else nn.utils.clip_grad_value_
            clip(model.parameters(), limit)
        update.step()
        return value

    return model, step


def here(p: Plan, d: Data, *, native: bool) -> tuple[Result, str]:
    """Train with a compiled step; return also what it reports."""
    model, step = compiled(p, d)
    with engine(native):
        losses = [float(step(cr.tensor(x), cr.tensor(y))) for x, y in d.batches]
        report = step.report()
    return Result(np.array(losses, np.float32), weights(model)), report


def weights(model: Any) -> dict[str, Any]:
    return {name: np.array(x.detach().numpy()) for name, x in model.state_dict().items()}


def check_many_steps(seed: int) -> None:
    """Train one network, with dropout, batch by batch and in one native call; fail unless all bits are the same."""
    p = plan(seed)
    layers = list(p.layers)
    places = [k for k, (name, _, _) in enumerate(layers) if name == "Linear"][1:]
    for k in reversed(places):
        layers.insert(k, ("Dropout", (0.3,), {}))
    count, size = 47, 15
    d = data(p._replace(sizes=(count,)), seed)
    p = p._replace(layers=layers)
    names = iter(build(torch.nn, p).state_dict())
    d = d._replace(state=dict(zip(names, d.state.values(), strict=True)))
    ((x, y),) = d.batches
    found = []
    for at_once in (True, False):
        cr.manual_seed(seed)
        with engine(True):
            model, step = compiled(p, d)
            if at_once:
                losses = step.over(x, y, batch_size=size, passes=2).numpy()
            else:
                starts = [*range(0, count, size)] * 2
                losses = [float(step(cr.tensor(x[k : k + size]), cr.tensor(y[k : k + size]))) for k in starts]
            assert_native(step.report())
        found.append({"losses": np.array(losses, np.float32), **weights(model)})
    for name, a in found[0].items():
        assert (bits(a) == bits(found[1][name])).all(), f"network {seed}: {name}\n{p}"


def judge(ours: Result, single: Result, double: Result, engine: str) -> None:
    """Fail unless every number is as near to float64 as four times the worst of its tensor in PyTorch's float32."""
    if found := differences(ours, single, double, ALLOWED):
        raise AssertionError(f"{engine}: " + "; ".join(found))


def check_network(seed: int) -> Redrawn:
    """Train one network everywhere; return what was drawn again for it."""
    p, d, single, double, redrawn = drawn(seed)
    try:
        ours, report = here(p, d, native=True)
        assert_native(report)
        judge(ours, single, double, "native")
        interpreted, report = here(p, d, native=False)
        assert "not native: CHAINRULE_COMPILE=0" in report, report
        judge(interpreted, single, double, "interpreter")
    except Exception as error:
        raise AssertionError(f"network {seed}: {type(error).__name__}: {error}\n{p}") from error
    return redrawn


def differences_of_planted_faults(seed: int) -> dict[str, list[str]]:
    """Return by name of the tensor what is found where its largest element is off by a ten-thousandth."""
    _, _, single, double, _ = drawn(seed)
    found = {}
    for name, x in double.state.items():
        if x.dtype.kind == "f" and x.size:
            wrong = np.array(x)
            wrong.flat[np.abs(wrong).argmax()] *= 1.0001
            found[name] = differences(Result(double.losses, double.state | {name: wrong}), single, double, ALLOWED)
    return found
