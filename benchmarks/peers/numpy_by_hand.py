"""Plain NumPy: forward, backward and update written out, into arrays that are made once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from networks import BETAS, DECAY, EPS, MOMENTUM, Floats, Network

BLOCK = 16384  # numbers that an update takes at a time: they and the scratch stay in the cache
ACTIVATIONS = ("", "relu", "tanh", "sigmoid")


def versions() -> str:
    return f"NumPy {np.__version__}"


def refuses(network: Network) -> str:
    if not network.is_plain:
        return "written for linear maps and activations alone"
    if {layer.activation for layer in network.layers} - {*ACTIVATIONS}:
        return f"written for the activations {', '.join(ACTIVATIONS[1:])}"
    return ""


class Peer:
    def __init__(self, network: Network) -> None:
        self.network, self.rows = network, network.rows()
        # All parameters lie in one array, gradients and optimizer state in others of its form.
        weights = network.weights()
        size = network.parameters()
        self.flat, self.flat_gradient = np.empty(size, np.float32), np.zeros(size, np.float32)
        self.w, self.g, start = {}, {}, 0
        for name, values in weights.items():
            values = values.T if name.startswith("weight") else values  # [in, out]
            place = slice(start, start := start + values.size)
            self.w[name] = self.flat[place].reshape(values.shape)
            self.g[name] = self.flat_gradient[place].reshape(values.shape)
            self.w[name][...] = values
        widths = [network.inputs, *[layer.width for layer in network.layers]]
        self.h = [np.empty((network.batch, width), np.float32) for width in widths]
        self.d = [np.empty((network.batch, width), np.float32) for width in widths]
        self.mask = [np.empty((network.batch, width), np.bool_) for width in widths]
        self.m, self.v = np.zeros_like(self.flat), np.zeros_like(self.flat)
        self.a, self.b = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
        self.t = 0
        self.update: Callable[[Floats, Floats, Floats, Floats, Floats, Floats], None] = getattr(
            self, "adam" if network.rule.name == "adamw" else network.rule.name
        )
        self.each = np.arange(network.batch)

    def run(self, passes: int) -> list[float]:
        losses = []
        with np.errstate(all="ignore"):
            for _ in range(passes):
                for k in range(len(self.rows)):
                    losses.append(self.step(k))
        return losses

    def step(self, k: int) -> float:
        network, h, d = self.network, self.h, self.d
        codes = None if self.rows.codes is None else self.rows.codes[k]
        if codes is None:
            h[0] = self.rows.features[k]
        else:
            parts = [self.w[f"table{j}"][codes[:, j]] for j in range(codes.shape[1])]
            np.concatenate([*parts, self.rows.features[k]] if network.features else parts, axis=1, out=h[0])
        last = len(network.layers)
        for i, layer in enumerate(network.layers):
            y = np.matmul(h[i], self.w[f"weight{i}"], out=h[i + 1])
            y += self.w[f"bias{i}"]
            self.activate(layer.activation, y)
        loss = self.error(h[last], self.rows.targets[k], d[last])
        for i in reversed(range(last)):
            g = d[i + 1]
            self.differentiate(network.layers[i].activation, h[i + 1], g, self.mask[i + 1])
            np.matmul(h[i].T, g, out=self.g[f"weight{i}"])
            np.add.reduce(g, axis=0, out=self.g[f"bias{i}"])
            if i or codes is not None:
                np.matmul(g, self.w[f"weight{i}"].T, out=d[i])
        if codes is not None:
            start = 0
            for j, (_, width) in enumerate(network.categories):
                table = self.g[f"table{j}"]
                table.fill(0)
                np.add.at(table, codes[:, j], d[0][:, start : start + width])
                start += width
        self.t += 1
        for start in range(0, self.flat.size, BLOCK):
            part = slice(start, min(start + BLOCK, self.flat.size))
            n = part.stop - start
            self.update(
                self.flat[part], self.flat_gradient[part], self.m[part], self.v[part], self.a[:n], self.b[:n]
            )  # fmt: skip
        return loss

    def activate(self, kind: str, y: Floats) -> None:
        if kind == "relu":
            np.maximum(y, 0, out=y)
        elif kind == "tanh":
            np.tanh(y, out=y)
        elif kind == "sigmoid":
            self.sigmoid(y, y)

    def differentiate(self, kind: str, y: Floats, g: Floats, mask: np.ndarray) -> None:
        if kind == "relu":
            np.multiply(g, np.greater(y, 0, out=mask), out=g)
        elif kind == "tanh":  # d tanh = 1 - y²
            np.multiply(y, y, out=y)
            np.subtract(1, y, out=y)
            g *= y
        elif kind == "sigmoid":  # dσ = y (1 - y)
            g *= y
            np.subtract(1, y, out=y)
            g *= y

    def sigmoid(self, x: Floats, out: Floats) -> None:
        np.negative(x, out=out)
        np.exp(out, out=out)
        out += 1
        np.reciprocal(out, out=out)

    def error(self, x: Floats, targets: np.ndarray, g: Floats) -> float:
        """Return the loss of outputs, and write its gradient into ``g``."""
        if self.network.loss == "cross_entropy":
            np.subtract(x, x.max(axis=1, keepdims=True), out=x)
            np.exp(x, out=g)
            total = g.sum(axis=1, keepdims=True)
            loss = float((np.log(total[:, 0]) - x[self.each, targets]).mean())
            g /= total
            g[self.each, targets] -= 1
            g /= len(x)
            return loss
        if self.network.loss == "bce":
            loss = float((np.logaddexp(np.float32(0), x) - x * targets).mean())
            self.sigmoid(x, g)
            g -= targets
            g /= g.size
            return loss
        np.subtract(x, targets, out=g)
        loss = float(np.square(g).mean())
        g *= 2 / g.size
        return loss

    # -- the rules, on one block: w and g, two kept numbers, two for scratch ---------------------------------------

    def sgd(self, w: Floats, g: Floats, m: Floats, v: Floats, a: Floats, b: Floats) -> None:
        w -= np.multiply(g, self.network.rule.lr, out=a)

    def momentum(self, w: Floats, g: Floats, m: Floats, v: Floats, a: Floats, b: Floats) -> None:
        m *= MOMENTUM
        m += g
        w -= np.multiply(m, self.network.rule.lr, out=a)

    def rmsprop(self, w: Floats, g: Floats, m: Floats, v: Floats, a: Floats, b: Floats) -> None:
        v *= DECAY
        np.multiply(g, g, out=a)
        a *= 1 - DECAY
        v += a
        np.sqrt(v, out=a)
        a += EPS
        np.multiply(g, self.network.rule.lr, out=b)
        b /= a
        w -= b

    def adam(self, w: Floats, g: Floats, m: Floats, v: Floats, a: Floats, b: Floats) -> None:
        beta1, beta2 = BETAS
        c = float(np.sqrt(1 - beta2**self.t))
        if self.network.rule.name == "adamw":
            w *= 1 - self.network.rule.lr * self.network.rule.weight_decay
        m *= beta1
        m += np.multiply(g, 1 - beta1, out=a)
        np.multiply(g, g, out=a)
        a *= 1 - beta2
        v *= beta2
        v += a
        np.sqrt(v, out=a)
        a += EPS * c
        np.divide(m, a, out=b)
        b *= self.network.rule.lr * c / (1 - beta1**self.t)
        w -= b
