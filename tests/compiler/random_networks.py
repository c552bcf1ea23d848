"""Random small networks with everything around them, trained alike here and in PyTorch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch

import chainrule as cr

from .random_graphs import bits

STEPS = 5
NEAR = 2e-5  # a draw with an input of a kink nearer to it than this is drawn again: the sides have other gradients
SMALL_GRADIENT = 1e-5  # adaptive rates divide by it: what is left of rounding would decide

WIDTHS = (1, 2, 3, 5, 7, 9, 13, 15, 16, 17, 31, 33)
SIZES = (2, 3, 5, 8, 15, 16, 17, 20, 31, 33)
ACTIVATIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("ReLU", {}), ("Tanh", {}), ("Sigmoid", {}), ("GELU", {"approximate": "tanh"}), ("SiLU", {}), ("LeakyReLU", {}),
    ("Softmax", {"dim": 1}), ("LogSoftmax", {"dim": 1}), ("Hardtanh", {}), ("Identity", {}), ("GELU", {}), ("ELU", {}),
    ("Softplus", {}), ("SELU", {}), ("CELU", {}), ("Mish", {}), ("LogSigmoid", {}), ("Softsign", {}), ("Tanhshrink", {}),
)  # fmt: skip
KINKS = {
    "ReLU": (0.0,), "LeakyReLU": (0.0,), "SELU": (0.0,), "Hardtanh": (-1.0, 1.0), "Softsign": (), "PReLU": (0.0,),
}  # fmt: skip
ADAPTIVE = ("Adam", "AdamW", "RMSprop", "Adagrad", "Adadelta", "Adamax", "NAdam", "RAdam")


class Plan(NamedTuple):
    """What a network is made of. ``labels``: "classes", "numbers" or "truths"."""

    layers: list[tuple[str, tuple[Any, ...], dict[str, Any]]]
    loss: tuple[str, dict[str, Any]]
    labels: str
    optimizer: tuple[str, dict[str, Any]]
    clip: tuple[str, float] | None
    penalty: float
    sizes: tuple[int, ...]
    inputs: int
    words: int
    outputs: int

    def __str__(self) -> str:
        layers = "\n    ".join(f"{name}{args} {named or ''}" for name, args, named in self.layers)
        return (
            f"  layers:\n    {layers}\n  loss: {self.loss}\n  optimizer: {self.optimizer}\n  clip: {self.clip},"
            f" penalty: {self.penalty}, batches: {self.sizes}"
        )


def plan(seed: int) -> Plan:
    """Return a random network."""
    r = np.random.default_rng(seed)

    def one(things: Any) -> Any:
        return things[int(r.integers(len(things)))]

    def chance(p: float) -> bool:
        return bool(r.random() < p)

    width = inputs = int(one(WIDTHS))
    words = int(one((2, 5, 11))) if chance(0.2) else 0
    layers: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
    if words:
        size = int(one((1, 2, 3, 8)))
        layers += [("Embedding", (words, size), {}), ("Flatten", (), {})]
        width *= size
    for _ in range(int(r.integers(0, 4))):
        wider = int(one(WIDTHS))
        normalize = one((None, None, "BatchNorm1d", "LayerNorm")) if wider > 1 else None
        layers.append(("Linear", (width, wider), {"bias": normalize is None and chance(0.85)}))
        width = wider
        if normalize:
            affine = {"affine": False} if normalize == "BatchNorm1d" and chance(0.2) else {}
            layers.append((normalize, (width,), affine))
        name, named = one(ACTIVATIONS)
        layers.append((name, (), named))
    outputs = int(one((1, 2, 3, 10, 17)))
    loss = one(("CrossEntropyLoss", "CrossEntropyLoss", "NLLLoss", "MSELoss", "L1Loss", "HuberLoss", "SmoothL1Loss",
                "BCEWithLogitsLoss"))  # fmt: skip
    named = {}
    labels = "numbers"
    if loss in ("CrossEntropyLoss", "NLLLoss"):
        labels, outputs = "classes", max(outputs, 2)
        if chance(0.3):
            named["weight"] = r.uniform(0.5, 2, outputs)
        if chance(0.3):
            named["ignore_index"] = int(one((-100, 0, outputs - 1)))
        if chance(0.3) and loss == "CrossEntropyLoss":
            named["label_smoothing"] = float(one((0.1, 0.3)))
    elif loss == "BCEWithLogitsLoss":
        labels = "truths"
        if chance(0.3):
            named["pos_weight"] = r.uniform(0.5, 2, outputs)
    elif loss == "HuberLoss":
        named["delta"] = float(one((0.5, 1.0, 3.0)))
    if chance(0.25):
        named["reduction"] = "sum"
    layers.append(("Linear", (width, outputs), {}))
    if loss == "NLLLoss":
        layers.append(("LogSoftmax", (), {"dim": 1}))
    clip = one((None, None, None, ("norm", float(one((0.1, 1.0, 10.0)))), ("value", float(one((0.01, 0.3))))))
    penalty = float(one((0.0, 0.0, 0.0, 0.01)))
    sizes = tuple(int(one(SIZES)) for _ in range(STEPS))
    return Plan(layers, (loss, named), labels, optimizer(r), clip, penalty, sizes, inputs, words, outputs)


def optimizer(r: Any) -> tuple[str, dict[str, Any]]:
    """Return the name of an optimizer and its options."""

    def one(*things: Any) -> Any:
        return things[int(r.integers(len(things)))]

    name = one("SGD", "SGD", "SGD", "SGD", *ADAPTIVE)
    options: dict[str, Any] = {"lr": one(0.01, 0.1, 0.3) if name == "SGD" else one(0.001, 0.01, 0.03)}
    if one(True, False, False):
        options["weight_decay"] = one(0.001, 0.1)
    if name == "SGD" and one(True, True, False):
        options["momentum"] = one(0.5, 0.9)
        options |= one({}, {"nesterov": True}, {"dampening": 0.3})
    if name in ("Adam", "AdamW"):
        options |= one({}, {}, {"amsgrad": True}, {"betas": (0.5, 0.9)})
    if name == "RMSprop":
        options |= one({}, {"momentum": 0.9}, {"centered": True})
    return name, options


class Data(NamedTuple):
    """Weights by name, and the batches of all steps, as arrays of float64 and int64."""

    state: dict[str, Any]
    batches: list[tuple[Any, Any]]


def data(p: Plan, seed: int) -> Data:
    """Return random weights and batches."""
    r = np.random.default_rng(seed)
    state = {}
    for name, x in build(torch.nn, p).state_dict().items():
        value = x.numpy()
        if value.dtype.kind == "f" and "running" not in name:
            scale = 1.0 if value.ndim < 2 else 1.5 / np.sqrt(value.shape[-1])
            value = r.normal(0.0, 1.0, value.shape) * scale * 0.8 + (value.ndim < 2 and "weight" in name)
        state[name] = value.astype(np.float32) if value.dtype.kind == "f" else value
    batches = []
    for n in p.sizes:
        x = r.integers(0, p.words, (n, p.inputs)) if p.words else r.normal(size=(n, p.inputs)).astype(np.float32)
        if p.labels == "classes":
            y = r.integers(0, p.outputs, n)
            if "ignore_index" in p.loss[1]:
                y = np.where(r.random(n) < 0.3, p.loss[1]["ignore_index"], y)
                y[0] = 1 if p.loss[1]["ignore_index"] != 1 else 0
        elif p.labels == "truths":
            y = r.integers(0, 2, (n, p.outputs)).astype(np.float32)
        else:
            y = r.normal(size=(n, p.outputs)).astype(np.float32)
        batches.append((x, y))
    return Data(state, batches)


def build(nn: Any, p: Plan) -> Any:
    return nn.Sequential(*[getattr(nn, name)(*args, **named) for name, args, named in p.layers])


class Result(NamedTuple):
    """Losses of the steps, and the state after them."""

    losses: Any
    state: dict[str, Any]


class Redraw(Exception):  # a draw too near to where rounding decides
    pass


def in_torch(p: Plan, d: Data, dtype: Any, *, watch: bool = False) -> Result:
    """Train in PyTorch; with ``watch`` raise Redraw where rounding would decide."""
    model = build(torch.nn, p)
    model.load_state_dict({name: torch.tensor(x) for name, x in d.state.items()})
    model.to(dtype)
    if watch:
        for layer in model:
            for kink in KINKS.get(type(layer).__name__, ()):
                layer.register_forward_hook(lambda _, given, __, kink=kink: refuse_near(given[0] - kink))

    def converted(x: Any) -> Any:
        return torch.tensor(x, dtype=dtype if np.asarray(x).dtype.kind == "f" else None)

    loss, named = p.loss
    options = {k: converted(v) if isinstance(v, np.ndarray) else v for k, v in named.items()}
    criterion = getattr(torch.nn, loss)(**options)
    name, given = p.optimizer
    update = getattr(torch.optim, name)(model.parameters(), **given)
    losses = []
    for x, y in d.batches:
        update.zero_grad()
        output, target = model(converted(x)), converted(y)
        if watch and loss in ("L1Loss",):
            refuse_near(output - target)
        value = criterion(output, target)
        if p.penalty:
            value = value + p.penalty * sum((w * w).sum() for w in model.parameters())
        value.backward()
        if p.clip is not None:
            kind, limit = p.clip
            clip = torch.nn.utils.clip_grad_norm_ if kind == "norm" else torch.nn.utils.clip_grad_value_
            clip(model.parameters(), limit)
        if watch and name in ADAPTIVE:
            for w in model.parameters():
                refuse_near(w.grad[w.grad != 0], SMALL_GRADIENT)
        update.step()
        losses.append(value.detach().numpy())
    return Result(np.array(losses), {name: x.numpy() for name, x in model.state_dict().items()})


def refuse_near(x: Any, near: float = NEAR) -> None:
    if x.numel() and float(x.detach().abs().min()) < near:
        raise Redraw


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
        found.append({"losses": np.array(losses, np.float32), **weights(model)})
    for name, a in found[0].items():
        assert (bits(a) == bits(found[1][name])).all(), f"network {seed}: {name}\n{p}"


def judge(ours: Result, single: Sequence[Result], double: Result, engine: str) -> None:
    """Fail unless every number is as near to float64 as four times PyTorch's float32, and a little."""
    for name in ("losses", *double.state):
        a, c, *singles = [
            np.asarray(r.losses if name == "losses" else r.state[name], np.float64) for r in (ours, double, *single)
        ]
        b = singles[0]
        allowed = 4 * max([np.abs(x - c).max(initial=0.0) for x in singles]) + 1e-6 * np.abs(c).max(initial=0.0)
        far = ~(np.abs(a - c) <= allowed)
        if far.any():
            at = tuple(int(k) for k in np.argwhere(far)[0])
            raise AssertionError(
                f"{engine}: {name}{list(at)}: {a[at]!r} instead of {c[at]!r} (PyTorch's float32: {b[at]!r}),"
                f" {np.abs(a - c).max():.3g} > {allowed:.3g}; {far.sum()} of {far.size}"
            )


def disturbed(d: Data, seed: int) -> Data:
    """Return the data with every weight moved by at most one unit in its last place."""
    r = np.random.default_rng(seed)
    state = {
        name: x * (1 + r.choice(np.array([-1, 0, 1], np.float32), x.shape) * np.float32(2**-23))
        if x.dtype.kind == "f"
        else x
        for name, x in d.state.items()
    }
    return d._replace(state=state)


def drawn(seed: int) -> tuple[Plan, Data, list[Result], Result]:
    """Return a network, its data, and what PyTorch makes of it in float32 (also of disturbed weights) and float64."""
    for k in range(60):
        p = plan(seed * 1000 + k // 12)
        d = data(p, seed * 1000 + k)
        try:
            double = in_torch(p, d, torch.float64, watch=True)
        except Redraw:
            continue
        single = [in_torch(p, x, torch.float32) for x in (d, *[disturbed(d, k) for k in range(4)])]
        if np.isfinite(double.losses).all() and np.abs(double.losses).max() < 1e4:
            return p, d, single, double
    raise Redraw


def check_network(seed: int) -> str:
    """Train one network everywhere; return what the step reports."""
    p, d, single, double = drawn(seed)
    try:
        ours, report = here(p, d, native=True)
        if "native:" in report:
            judge(ours, single, double, "native")
        interpreted, _ = here(p, d, native=False)
        judge(interpreted, single, double, "interpreter")
    except Exception as error:
        raise AssertionError(f"network {seed}: {type(error).__name__}: {error}\n{p}") from error
    return report
