"""δ and contributions against PyTorch's autograd: every activation, several losses, batch norm and dropout."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.insight import error_flow
from tests.tolerances import assert_close

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.oracle

RNG = np.random.default_rng(11)
ROWS = 64
ACTIVATIONS = [
    ("ReLU", {}), ("Tanh", {}), ("Sigmoid", {}), ("GELU", {}), ("SiLU", {}), ("ELU", {}), ("SELU", {}),
    ("LeakyReLU", {"negative_slope": 0.2}), ("Softplus", {}), ("Softmax", {"dim": -1}), ("Hardtanh", {}),
]  # fmt: skip
LOSSES: list[tuple[str, int, Any]] = [
    ("CrossEntropyLoss", 4, RNG.integers(0, 4, ROWS)),
    ("BCEWithLogitsLoss", 1, RNG.integers(0, 2, (ROWS, 1)).astype(np.float64)),
    ("MSELoss", 3, RNG.normal(size=(ROWS, 3))),
    ("HuberLoss", 1, RNG.normal(size=(ROWS, 1))),
    ("L1Loss", 2, RNG.normal(size=(ROWS, 2))),
]


def build(library: Any, activation: str, options: dict[str, Any], outputs: int) -> Any:
    n = library.nn
    return n.Sequential(
        n.Linear(7, 9), n.BatchNorm1d(9), getattr(n, activation)(**options), n.Dropout(0.4),
        n.Linear(9, 6), getattr(n, activation)(**options), n.LayerNorm(6),
        n.Linear(6, outputs),
    )  # fmt: skip


@pytest.mark.parametrize(("activation", "options"), ACTIVATIONS, ids=[name for name, _ in ACTIVATIONS])
@pytest.mark.parametrize(("loss", "outputs", "y"), LOSSES, ids=[name for name, _, _ in LOSSES])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_delta_and_contribution_are_those_of_autograd(
    activation: str, options: dict[str, Any], loss: str, outputs: int, y: Any, dtype: str
) -> None:
    torch.manual_seed(3)
    theirs = build(torch, activation, options, outputs).to(getattr(torch, dtype))
    theirs(torch.from_numpy(RNG.normal(size=(50, 7)).astype(dtype)))  # moves the running statistics
    theirs.eval()
    ours = build(cr, activation, options, outputs).to(getattr(cr, dtype))
    ours.load_state_dict({name: value.numpy() for name, value in theirs.state_dict().items()})
    X = RNG.normal(size=(ROWS, 7)).astype(dtype)

    kept: dict[int, Any] = {}

    def keep(k: int) -> Any:
        def hook(module: Any, args: Any, output: Any) -> None:
            output.retain_grad()
            kept[k] = output

        return hook

    for k in (0, 2, 4, 6, 7):
        theirs[k].register_forward_hook(keep(k))
    output = theirs(torch.from_numpy(X))
    target = torch.from_numpy(y if y.dtype.kind == "i" else y.astype(dtype))
    losses = getattr(torch.nn, loss)(reduction="none")(output, target)
    losses.reshape(ROWS, -1).mean(1).sum().backward()  # each row's own loss

    flow = error_flow(ours, X, y, loss=getattr(nn, loss)(), batch_size=23)
    assert [layer.name for layer in flow] == ["0", "4", "7"]
    length = 64 if dtype == "float32" else 1
    for layer, (z, a) in zip(flow, ((0, 2), (4, 6), (7, 7)), strict=True):
        assert_close(layer.delta, kept[z].grad.numpy(), length=length)
        product = (kept[a] * kept[a].grad).detach().numpy().astype(np.float64).mean(0)
        rounding = np.finfo(dtype).eps * 64 * np.abs((kept[a] * kept[a].grad).detach().numpy()).max()
        assert np.abs(layer.contribution - product).max() <= rounding
        assert layer.share.sum() == pytest.approx(1.0)
    assert flow.loss == pytest.approx(float(losses.detach().mean()), rel=1e-5 if dtype == "float32" else 1e-12)
