"""scikit-learn's MLPClassifier and MLPRegressor: ``fit`` on all rows, as many iterations as passes, in their order."""

from __future__ import annotations

from typing import Any

import images
import numpy as np
import sklearn
from networks import BETAS, EPS, MOMENTUM, Network
from sklearn.neural_network import MLPClassifier, MLPRegressor

ACTIVATIONS = {"relu": "relu", "tanh": "tanh", "sigmoid": "logistic"}
NEVER = 10**9  # iterations without improvement after which it stops


def versions() -> str:
    return f"scikit-learn {sklearn.__version__}"


def refuses(network: Network) -> str:
    hidden = {layer.activation for layer in network.layers[:-1]}
    if not network.is_plain or network.categories:
        return "has linear maps and activations alone"
    if len(hidden) != 1 or not hidden <= ACTIVATIONS.keys() or network.layers[-1].activation:
        return "has one activation for all hidden layers"
    if network.rule.name not in ("sgd", "momentum", "adam"):
        return f"has no {network.rule.name}"
    return ""


class Peer:
    def __init__(self, network: Network) -> None:
        rows, rule = network.rows(), network.rule
        self.x = rows.features.reshape(-1, network.features)
        self.y = rows.targets.reshape(len(self.x), -1).squeeze(1) if network.outputs == 1 else rows.targets
        if network.loss == "cross_entropy":
            self.y = rows.targets.reshape(-1)
        elif network.outputs > 1:
            self.y = rows.targets.reshape(len(self.x), -1)
        self.factor = 2.0 if network.loss == "mse" else 1.0  # it has half the squared error
        kind: Any = MLPRegressor if network.loss == "mse" else MLPClassifier
        self.model = kind(
            hidden_layer_sizes=[layer.width for layer in network.layers[:-1]],
            activation=ACTIVATIONS[network.layers[0].activation],
            solver="adam" if rule.name == "adam" else "sgd",
            alpha=0.0,
            batch_size=network.batch,
            learning_rate_init=rule.lr,
            beta_1=BETAS[0],
            beta_2=BETAS[1],
            epsilon=EPS,
            momentum=MOMENTUM if rule.name == "momentum" else 0.0,
            nesterovs_momentum=False,
            shuffle=False,
            warm_start=True,
            max_iter=1,
            n_iter_no_change=NEVER,
        )
        # `fit` knows the classes that it sees; where some have no row, `partial_fit` is told of all, and goes over the
        # rows once at a time.
        self.classes = None
        if network.loss == "cross_entropy" and len(np.unique(self.y)) < network.outputs:
            self.classes = np.arange(network.outputs)
            self.model.warm_start = False  # which refuses classes without a row; `partial_fit` goes on without it
            self.model.partial_fit(self.x, self.y, classes=self.classes)
            del self.model._optimizer  # begins anew, as in `fit`
        else:
            self.model.fit(self.x, self.y)  # makes the arrays of the weights
        for name, values in network.weights().items():
            if name.startswith("weight"):
                self.model.coefs_[int(name.removeprefix("weight"))][...] = values.T
            else:
                self.model.intercepts_[int(name.removeprefix("bias"))][...] = values

    def run(self, passes: int) -> Any:
        seen = len(self.model.loss_curve_)
        if self.classes is not None:
            for _ in range(passes):
                self.model.partial_fit(self.x, self.y)
        else:
            self.model.max_iter = passes
            self.model.fit(self.x, self.y)
        return self.factor * np.array(self.model.loss_curve_[seen:])


class Images:
    """An epoch of images by ``partial_fit``, which goes over all rows once, shuffled; then ``score``."""

    def __init__(self, found: images.Images) -> None:
        network = images.NETWORK
        self.x, self.val_x, self.y, self.val_y = (
            images.as_floats(found.x),
            images.as_floats(found.val_x),
            found.y,
            found.val_y,
        )
        self.model = MLPClassifier(
            [layer.width for layer in network.layers[:-1]],
            alpha=0.0,
            batch_size=images.BATCH,
            learning_rate_init=network.rule.lr,
            random_state=0,
        )

    def run(self, epochs: int) -> list[float]:
        found = []
        for _ in range(epochs):
            self.model.partial_fit(self.x, self.y, classes=np.arange(10))
            found.append(self.model.score(self.val_x, self.val_y))
        return found
