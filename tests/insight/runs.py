"""Runs to report on: one trained on real digits, others made up to be hard to draw."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.datasets import load_digits

import chainrule as cr
from chainrule import nn
from chainrule.insight import ErrorFlow, LayerFlow, Summary, WorstError, error_flow
from chainrule.training import Trainer, confusion_matrix

LONG = "a very long name that goes on and on, ünïcödé Ωμέγα <script>alert('1')</script> & \"more\""


def digits_run() -> Summary:
    """A small network trained on scikit-learn's digits for a few epochs, on parts for training, validation and test."""
    data = load_digits()
    X, y = (data.data / 16).astype(np.float32), data.target
    order = np.random.default_rng(0).permutation(len(X))
    train, val, test = order[:1150], order[1150:1437], order[1437:]
    cr.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)
    )  # fmt: skip
    trainer = Trainer(model, epochs=12, lr=3e-3, metrics=["accuracy"], schedule="cosine", progress=False)
    history = trainer.fit((X[train], y[train]), (X[val], y[val]))
    outputs = np.asarray(trainer.predict(X[test]), np.float64)
    chances = np.exp(outputs - outputs.max(1, keepdims=True))
    chances /= chances.sum(1, keepdims=True)
    guess, rows = chances.argmax(1), np.arange(len(test))
    losses = -np.log(chances[rows, y[test]])
    worst = [
        WorstError(
            place=f"row {test[k]}",
            actual=y[test][k],
            predicted=guess[k],
            loss=losses[k],
            probability=chances[k, guess[k]],
            image=data.images[test[k]],
        )
        for k in np.argsort(-losses)[:12]
    ]
    return Summary(
        title="digits",
        task="classification",
        target="digit",
        metric="accuracy",
        score=float((guess == y[test]).mean()),
        baseline="always 3",
        baseline_score=float((y[test] == 3).mean()),
        metrics={"balanced_accuracy": 0.97, "f1": 0.97},
        num_train=len(train),
        num_validation=len(val),
        num_test=len(test),
        class_names=[str(k) for k in range(10)],
        history={name: history[name] for name in history.names},
        best_epoch=history.best_epoch,
        seconds=history.seconds,
        num_parameters=sum(p.numel() for p in model.parameters()),
        confusion=confusion_matrix(y[test], guess, 10),
        error_flow=error_flow(model, X[test], y[test]),
        worst=worst,
        data_notes=["64 columns used: the pixels of 8 x 8 images", "No missing cells."],
        config={"seed": 0, "model": {"hidden": [64, 32], "dropout": 0.2}, "training": {"epochs": 12, "lr": 0.003}},
        environment={"chainrule": cr.__version__, "NumPy": np.__version__},
    )


def layer(name: str, units: int, classes: int, activation: str = "ReLU", *, silent: bool = False) -> LayerFlow:
    """A layer with made-up numbers; every tenth unit is dead, the last class has no rows."""
    rng = np.random.default_rng(units)
    contribution = rng.normal(size=units) * 0.01 * (not silent)
    inactive = rng.random(units) * 0.8
    if activation:
        contribution[9::10], inactive[9::10] = 0.0, 1.0
    by_class = rng.normal(size=(classes, units)) * 0.05
    if classes:
        by_class[-1] = np.nan
    total = np.abs(contribution).sum()
    return LayerFlow(
        name=name,
        kind="Linear",
        units=units,
        activation=activation,
        delta=None,
        mean_delta=rng.normal(size=units) * 0.01,
        mean_abs_delta=np.abs(rng.normal(size=units)) * 0.03,
        delta_by_class=by_class,
        abs_delta_by_class=np.abs(by_class),
        contribution=contribution,
        share=np.abs(contribution) / total if total else np.zeros(units),
        mean_activation=rng.random(units),
        inactive=inactive,
    )


def flow_of(*layers: LayerFlow, classes: tuple[str, ...] = (), rows: int = 1000) -> ErrorFlow:
    counts = (rows // len(classes),) * len(classes) if classes else ()
    return ErrorFlow(layers, classes, rows, counts, 0.43, "cross_entropy", ("layer odd is left out: no axis of rows",))


def hard_run() -> Summary:
    """50 classes with long names, one never predicted, one absent; NaN in the history; 1 to 1,000 units."""
    names = (*[f"class {k}" for k in range(48)], LONG, "Ω")
    rng = np.random.default_rng(3)
    confusion = rng.poisson(0.4, (50, 50))
    confusion[np.arange(50), np.arange(50)] = rng.poisson(40, 50)
    confusion[49] = 0
    confusion[:, 7] = 0
    epochs = np.arange(500)
    history = {
        "train_loss": (2 * np.exp(-epochs / 60) + 0.02 * rng.random(500)).tolist(),
        "val_loss": (2 * np.exp(-epochs / 50) + 0.1 + 0.0008 * epochs).tolist(),
        "val_accuracy": (0.9 - 0.8 * np.exp(-epochs / 50)).tolist(),
        "lr": [0.001] * 500,
    }
    history["train_loss"][200] = history["train_loss"][202] = float("nan")
    history["val_loss"][100] = float("inf")
    cells: dict[str, Any] = {f"column {k}": float(k) / 7 for k in range(14)} | {"name <i>": LONG, "missing": None}
    layers = [layer("encoder.0", 200, 50), layer("one", 1, 50), layer("head", 1000, 50, "")]
    return Summary(
        title=LONG,
        task="classification",
        target="species <b>",
        metric="accuracy",
        score=0.06,
        baseline=f"always {LONG}",
        baseline_score=0.07,
        num_train=120,
        num_validation=40,
        num_test=150,
        class_names=names,
        history=history,
        best_epoch=101,
        confusion=confusion,
        error_flow=flow_of(*layers, layer("out", 50, 50, "", silent=True), classes=names),
        worst=[WorstError(place=f"line {k}", actual=names[48], predicted="Ω", loss=3.2, cells=cells) for k in range(4)],
        data_notes=["<b>x</b>: 3 of 100 cells missing"],
        config={"a": 1, "empty": {}, "deep": {"x": {"y": {"z": [1, 2.5, None]}}, "long": LONG}},
        environment={"python": "3.11"},
    )


def numbers_run(rows: int = 5000) -> Summary:
    """A regression of one epoch, with NaN among the predictions."""
    rng = np.random.default_rng(4)
    actual = np.exp(rng.normal(size=rows)) * 2e5
    predicted = actual * np.exp(rng.normal(size=rows) * 0.2)
    predicted[:5] = np.nan
    return Summary(
        title="houses",
        task="regression",
        target="value",
        metric="rmse",
        score=47730.2,
        baseline="the mean",
        baseline_score=115312.9,
        higher_is_better=False,
        metrics={"mae": 31000.3, "r2": 0.83},
        num_train=14448,
        num_test=rows,
        history={"train_loss": [0.4], "val_loss": [0.38], "val_rmse": [60000.0]},
        best_epoch=1,
        actual=actual,
        predicted=predicted,
        error_flow=flow_of(layer("0", 64, 0), layer("2", 1, 0, "", silent=True)),
        worst=[
            WorstError(place="line 2", actual=500001.0, predicted=-123456.7, loss=12.3, cells={"longitude": -122.2})
        ],
    )
