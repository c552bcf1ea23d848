"""One step of back-propagation with every number: the published worked example of a 2-2-2 network.

    python examples/worked_example.py

Inputs .05 and .10, targets .01 and .99, sigmoid units, error Σ ½ (t - o)², learning rate .5; the biases are left alone.
The five steps: forward, error, backward, gradients, update.

After the update the error is 0.291027774. The page where this example was first published (M. Mazur, "A step by step
backpropagation example", 2015) prints 0.291027924; double precision gives …774, and so does PyTorch.
"""

from __future__ import annotations

import chainrule as cr


def network() -> dict[str, cr.Tensor]:
    """Return inputs, targets, weights (row = unit of the next layer) and biases, in double precision."""
    numbers = {
        "x": [0.05, 0.10],
        "t": [0.01, 0.99],
        "W1": [[0.15, 0.20], [0.25, 0.30]],
        "W2": [[0.40, 0.45], [0.50, 0.55]],
        "b1": 0.35,
        "b2": 0.60,
    }
    return {name: cr.tensor(value, dtype=cr.float64) for name, value in numbers.items()}


def forward(net: dict[str, cr.Tensor]) -> dict[str, cr.Tensor]:
    """Return the sums z and outputs of both layers, and the error."""
    z1 = net["W1"] @ net["x"] + net["b1"]
    h = z1.sigmoid()
    z2 = net["W2"] @ h + net["b2"]
    o = z2.sigmoid()
    error = (0.5 * (net["t"] - o) ** 2).sum()
    return {"z1": z1, "h": h, "z2": z2, "o": o, "error": error}


def show(name: str, values: cr.Tensor) -> None:
    """Print numbers with nine digits."""
    print(f"  {name:<12} " + "  ".join(f"{value:.9f}" for value in values.detach().reshape(-1).tolist()))


def main() -> dict[str, cr.Tensor]:
    """Print the five steps and return the updated weights and both errors."""
    net = network()
    weights = [net["W1"].requires_grad_(), net["W2"].requires_grad_()]

    print("1. Forward: each layer's sums z, then its outputs σ(z)")
    run = forward(net)
    show("z hidden", run["z1"])
    show("h = σ(z)", run["h"])
    show("z output", run["z2"])
    show("o = σ(z)", run["o"])

    print("2. Error: Σ ½ (t - o)²")
    show("error", run["error"])

    print("3. Backward: δ = ∂error/∂z, the output layer first; the hidden layer uses the output layer's δ again")
    delta2, delta1 = cr.autograd.grad(run["error"], [run["z2"], run["z1"]], retain_graph=True)
    show("δ output", delta2)
    show("δ hidden", delta1)
    o, h, t = (value.detach() for value in (run["o"], run["h"], net["t"]))
    show("(by hand)", (o - t) * o * (1 - o))
    show("(by hand)", (delta2 @ net["W2"].detach()) * h * (1 - h))

    print("4. Gradients: ∂error/∂w = δ of the unit times the input of the weight")
    run["error"].backward()
    show("∂/∂w1…w4", net["W1"].grad)
    show("∂/∂w5…w8", net["W2"].grad)

    print("5. Update: w ← w - 0.5 ∂error/∂w")
    optimizer = cr.optim.SGD(weights, lr=0.5)
    optimizer.step()
    show("w1…w4", net["W1"])
    show("w5…w8", net["W2"])
    after = forward(net)["error"]
    show("error now", after)
    return {"before": run["error"], "after": after, "W1": net["W1"], "W2": net["W2"]}


if __name__ == "__main__":
    main()
