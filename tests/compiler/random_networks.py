"""Random small networks with everything around them, and data for them that keep clear of where rounding decides.

What is drawn again, judged in float64 and by PyTorch alone, before anything is trained here:

- a row with the input of a kink within 1e-3 of it, at the weights that the network then has, in any of its steps;
- a row, where an adaptive optimizer meets a gradient below 1e-6 that is not exactly 0, or one that is 0 because signs cancel;
- the network, where tries do not end, where it diverges, or where PyTorch's float32 error is no measure: trained again
  from weights and rows moved by one unit in their last place, PyTorch itself does not keep to half of what is allowed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

STEPS = 5
NEAR = 1e-3  # a row with an input of a kink nearer to it than this is drawn again: the sides have other gradients
SMALL_GRADIENT = 1e-6  # adaptive rates divide by it: what is left of rounding would decide
ALLOWED = 4.0  # times what PyTorch's float32 is off, and a millionth of the largest
MOST_TRIES = 400
MOST_NETWORKS = 60
RERUNS = 8  # of PyTorch

WIDTHS = (1, 2, 3, 5, 7, 9, 13, 15, 16, 17, 31, 33)
SIZES = (2, 3, 5, 8, 15, 16, 17, 20, 31, 33)
ACTIVATIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("ReLU", {}), ("Tanh", {}), ("Sigmoid", {}), ("GELU", {"approximate": "tanh"}), ("SiLU", {}), ("LeakyReLU", {}),
    ("Softmax", {"dim": 1}), ("LogSoftmax", {"dim": 1}), ("Hardtanh", {}), ("Identity", {}), ("GELU", {}), ("ELU", {}),
    ("Softplus", {}), ("SELU", {}), ("CELU", {}), ("Mish", {}), ("LogSigmoid", {}), ("Softsign", {}), ("Tanhshrink", {}),
)  # fmt: skip
KINKS = {
    "ReLU": (0.0,), "LeakyReLU": (0.0,), "SELU": (0.0,), "Hardtanh": (-1.0, 1.0), "PReLU": (0.0,),
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
            named["weight"] = r.uniform(0.5, 2, outputs).astype(np.float32)
        if chance(0.3):
            named["ignore_index"] = int(one((-100, 0, outputs - 1)))
        if chance(0.3) and loss == "CrossEntropyLoss":
            named["label_smoothing"] = float(one((0.1, 0.3)))
    elif loss == "BCEWithLogitsLoss":
        labels = "truths"
        if chance(0.3):
            named["pos_weight"] = r.uniform(0.5, 2, outputs).astype(np.float32)
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


def weights_of(p: Plan, r: Any) -> dict[str, Any]:
    """Return random weights by name."""
    state = {}
    for name, x in build(torch.nn, p).state_dict().items():
        value = x.numpy()
        if value.dtype.kind == "f" and "running" not in name:
            scale = 1.0 if value.ndim < 2 else 1.5 / np.sqrt(value.shape[-1])
            value = r.normal(0.0, 1.0, value.shape) * scale * 0.8 + (value.ndim < 2 and "weight" in name)
        state[name] = value.astype(np.float32) if value.dtype.kind == "f" else value
    return state


def batch_of(p: Plan, n: int, r: Any) -> tuple[Any, Any]:
    """Return ``n`` random rows and what is to be learned of them."""
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
    return x, y


def data(p: Plan, seed: int) -> Data:
    """Return random weights and batches."""
    r = np.random.default_rng(seed)
    state = weights_of(p, r)
    return Data(state, [batch_of(p, n, r) for n in p.sizes])


def build(nn: Any, p: Plan) -> Any:
    return nn.Sequential(*[getattr(nn, name)(*args, **named) for name, args, named in p.layers])


class Result(NamedTuple):
    """Losses of the steps, and the state after them."""

    losses: Any
    state: dict[str, Any]


class Redraw(Exception):  # a draw too near to where rounding decides
    pass


def is_near(x: Any) -> Any:
    return (x.detach().abs() < NEAR).flatten(1).any(1).numpy()


class InTorch:
    """A network and its training step in PyTorch."""

    def __init__(self, p: Plan, state: dict[str, Any], dtype: Any) -> None:
        self.plan, self.dtype = p, dtype
        self.model = build(torch.nn, p)
        self.model.load_state_dict({name: torch.tensor(x) for name, x in state.items()})
        self.model.to(dtype)
        loss, named = p.loss
        options = {k: self.converted(v) if isinstance(v, np.ndarray) else v for k, v in named.items()}
        self.criterion = getattr(torch.nn, loss)(**options)
        name, given = p.optimizer
        self.update = getattr(torch.optim, name)(self.model.parameters(), **given)

    def converted(self, x: Any) -> Any:
        return torch.tensor(x, dtype=self.dtype if np.asarray(x).dtype.kind == "f" else None)

    def watch_kinks(self) -> list[Any]:
        """Return a list that each batch fills with masks of the rows that come near a kink."""
        near: list[Any] = []

        def watch(kink: float) -> Any:
            return lambda _, given, __: near.append(is_near(given[0] - kink))

        for layer in self.model:
            for kink in KINKS.get(type(layer).__name__, ()):
                layer.register_forward_hook(watch(kink))
        if isinstance(self.criterion, torch.nn.L1Loss):
            self.criterion.register_forward_hook(lambda _, given, __: near.append(is_near(given[0] - given[1])))
        return near

    def has_small_gradient(self) -> bool:
        """Say whether a gradient is nearly 0. One that is exactly 0, as behind a dead unit, is so in every arithmetic."""
        return any(bool(((w.grad != 0) & (w.grad.abs() < SMALL_GRADIENT)).any()) for w in self.model.parameters())

    def signs_cancel(self, x: Any, y: Any) -> bool:
        """Say whether a gradient of |error| is 0 as a sum of others: whether it is so in floats is up to their order.

        Such a gradient is not 0 without the first row.
        """
        if not isinstance(self.criterion, torch.nn.L1Loss) or len(x) < 3:  # one row alone has no variance
            return False
        zero = [w.grad == 0 for w in self.model.parameters()]
        if not any(bool(one.any()) for one in zero):
            return False
        buffers = {name: b.clone() for name, b in self.model.named_buffers()}
        self.gradients(x[1:], y[1:])
        cancel = any(bool((one & (w.grad != 0)).any()) for one, w in zip(zero, self.model.parameters(), strict=True))
        self.gradients(x, y)
        for name, b in self.model.named_buffers():
            b.copy_(buffers[name])
        return cancel

    def gradients(self, x: Any, y: Any) -> Any:
        """Leave the gradients of a batch in the parameters; return the loss."""
        p = self.plan
        self.update.zero_grad()
        value = self.criterion(self.model(self.converted(x)), self.converted(y))
        if p.penalty:
            value = value + p.penalty * sum((w * w).sum() for w in self.model.parameters())
        value.backward()
        if p.clip is not None:
            kind, limit = p.clip
            clip = torch.nn.utils.clip_grad_norm_ if kind == "norm" else torch.nn.utils.clip_grad_value_
            clip(self.model.parameters(), limit)
        return value.detach().numpy()

    def state(self) -> dict[str, Any]:
        return {name: np.array(x.detach().numpy()) for name, x in self.model.state_dict().items()}


def in_torch(p: Plan, d: Data, dtype: Any) -> Result:
    """Train in PyTorch."""
    network = InTorch(p, d.state, dtype)
    losses = []
    for x, y in d.batches:
        losses.append(network.gradients(x, y))
        network.update.step()
    return Result(np.array(losses), network.state())


class Redrawn(NamedTuple):
    """How often was drawn again: rows, networks whose rows were never clear, networks that PyTorch's error does not measure."""

    rows: int = 0
    unclear: int = 0
    unmeasured: int = 0


class Draw(NamedTuple):
    """A network and its data, and what PyTorch makes of them in float32 and float64."""

    plan: Plan
    data: Data
    single: Result
    double: Result
    redrawn: Redrawn


def drawn(seed: int) -> Draw:
    """Return a network and its data; raise Redraw if none is found."""
    rows = unclear = unmeasured = 0
    for k in range(MOST_NETWORKS):
        p, r = plan(seed * 1000 + k), np.random.default_rng(seed * 1000 + k)
        try:
            d, double, count = clear_data(p, r)
        except Redraw:
            unclear += 1
            continue
        rows += count
        single = in_torch(p, d, torch.float32)
        if is_measured(p, d, single, double, r):
            return Draw(p, d, single, double, Redrawn(rows, unclear, unmeasured))
        unmeasured += 1
    raise Redraw(f"network {seed}: {unclear} unclear, {unmeasured} unmeasured")


def clear_data(p: Plan, r: Any) -> tuple[Data, Result, int]:
    """Draw weights, then batch by batch rows that are clear at the weights of their step; count the rows drawn again."""
    state = weights_of(p, r)
    network = InTorch(p, state, torch.float64)
    near = network.watch_kinks()
    batches, losses, redrawn = [], [], 0
    for n in p.sizes:
        x, y = batch_of(p, n, r)
        before = {name: b.clone() for name, b in network.model.named_buffers()}
        for _ in range(MOST_TRIES):
            near.clear()
            for name, b in network.model.named_buffers():
                b.copy_(before[name])
            value = network.gradients(x, y)
            bad = np.any(near, axis=0) if near else np.zeros(n, bool)
            is_clear = p.optimizer[0] not in ADAPTIVE or bad.any()
            if not is_clear and (network.has_small_gradient() or network.signs_cancel(x, y)):
                bad[r.integers(n)] = True
            if not bad.any():
                break
            redrawn += int(bad.sum())
            for old, new in zip((x, y), batch_of(p, n, r), strict=True):
                old[bad] = new[bad]
        else:
            raise Redraw
        if not abs(value) < 1e4:
            raise Redraw
        network.update.step()
        batches.append((x, y))
        losses.append(value)
    return Data(state, batches), Result(np.array(losses), network.state()), redrawn


def is_measured(p: Plan, d: Data, single: Result, double: Result, r: Any) -> bool:
    """Say whether PyTorch, trained again from weights and rows moved by a unit in the last place, keeps to half of what is allowed."""

    def moved(x: Any) -> Any:
        if x.dtype.kind != "f":
            return x
        return x * (1 + r.choice(np.array([-1, 0, 1], np.float32), x.shape) * np.float32(2**-23))

    for _ in range(RERUNS):
        again = Data({name: moved(x) for name, x in d.state.items()}, [(moved(x), y) for x, y in d.batches])
        if differences(in_torch(p, again, torch.float32), single, double, ALLOWED / 2):
            return False
    return True


def differences(ours: Result, single: Result, double: Result, factor: float) -> list[str]:
    """Return where |ours - float64| > factor · max|single - float64| + 1e-6 · max|float64|, each tensor for itself."""
    found = []
    for name in ("losses", *double.state):
        a, b, c = [
            np.asarray(r.losses if name == "losses" else r.state[name], np.float64) for r in (ours, single, double)
        ]
        error = np.abs(b - c).max(initial=0.0)
        allowed = factor * error + 1e-6 * np.abs(c).max(initial=0.0)
        far = ~(np.abs(a - c) <= allowed)
        if far.any():
            at = tuple(int(k) for k in np.argwhere(far)[0])
            found.append(
                f"{name}{list(at)}: {a[at]!r} instead of {c[at]!r} (PyTorch's float32: {b[at]!r}, at most {error:.3g} off),"
                f" {np.abs(a - c).max():.3g} > {allowed:.3g}; {far.sum()} of {far.size}"
            )
    return found
