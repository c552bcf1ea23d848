"""Every loss beside PyTorch's: values and derivatives, all reductions and arguments, extreme inputs."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.nn import functional as F
from tests.nn.beside_torch import compare, normal, pair
from tests.tolerances import assert_close

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.oracle
TF = torch.nn.functional

REDUCTIONS = ["none", "mean", "sum"]
each_reduction = pytest.mark.parametrize("reduction", REDUCTIONS)
each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])

X, T = normal(4, 5, seed=1), normal(4, 5, seed=2)
POSITIVE = np.abs(normal(4, 5, seed=3)) + 0.1
UNIT = 1 / (1 + np.exp(-normal(4, 5, seed=4)))
SIGNS = np.where(normal(4, 5, seed=5) > 0, 1.0, -1.0)
SOFT = np.exp(T) / np.exp(T).sum(1, keepdims=True)

CASES: list[tuple[str, dict[str, Any], tuple[Any, ...]]] = [
    ("mse_loss", {}, (X, T)),
    ("l1_loss", {}, (X, T)),
    ("l1_loss", {}, (X, X.copy())),
    ("smooth_l1_loss", {}, (X, T)),
    ("smooth_l1_loss", {"beta": 0.3}, (X, T)),
    ("smooth_l1_loss", {"beta": 0.0}, (X, T)),
    ("huber_loss", {}, (X, T)),
    ("huber_loss", {"delta": 0.4}, (X, T)),
    ("binary_cross_entropy", {}, (UNIT, np.round(UNIT))),
    ("binary_cross_entropy", {}, (UNIT, UNIT[::-1].copy())),
    ("binary_cross_entropy_with_logits", {}, (X, UNIT)),
    ("kl_div", {}, (X, SOFT)),
    ("kl_div", {}, (X, np.where(SOFT > 0.2, SOFT, 0.0))),
    ("kl_div", {"log_target": True}, (X, np.log(SOFT))),
    ("poisson_nll_loss", {}, (X, POSITIVE)),
    ("poisson_nll_loss", {"full": True}, (X, 3 * POSITIVE)),
    ("poisson_nll_loss", {"log_input": False, "full": True}, (POSITIVE, 3 * POSITIVE)),
    ("gaussian_nll_loss", {}, (X, T, POSITIVE)),
    ("gaussian_nll_loss", {"full": True}, (X, T, POSITIVE[:, :1])),
    ("gaussian_nll_loss", {"eps": 0.5}, (X, T, POSITIVE[:, 0])),
    ("gaussian_nll_loss", {}, (X, T, POSITIVE[:1])),
    ("hinge_embedding_loss", {}, (X, SIGNS)),
    ("hinge_embedding_loss", {"margin": 0.3}, (X, SIGNS)),
    ("margin_ranking_loss", {}, (X, T, SIGNS)),
    ("margin_ranking_loss", {"margin": 0.5}, (X, T, SIGNS)),
    ("cosine_embedding_loss", {}, (X, T, SIGNS[:, 0])),
    ("cosine_embedding_loss", {"margin": 0.2}, (X, T, SIGNS[:, 1])),
    ("cosine_embedding_loss", {}, (X[0], T[0], np.float64(-1.0))),
    ("triplet_margin_loss", {}, (X, T, POSITIVE)),
    ("triplet_margin_loss", {"p": 1, "swap": True, "margin": 2.0}, (X, T, POSITIVE)),
    ("triplet_margin_loss", {"p": 3, "swap": True}, (X, T, POSITIVE)),
    ("soft_margin_loss", {}, (X, SIGNS)),
]


@each_dtype
@each_reduction
@pytest.mark.parametrize(("name", "options", "values"), CASES, ids=[f"{n}-{o}" for n, o, _ in CASES])
def test_a_loss_has_pytorchs_values_and_derivatives(
    name: str, options: dict[str, Any], values: tuple[Any, ...], reduction: str, dtype: str
) -> None:
    # targets that are no functions of something else
    fixed = {
        "poisson_nll_loss",
        "hinge_embedding_loss",
        "margin_ranking_loss",
        "cosine_embedding_loss",
        "soft_margin_loss",
    }
    last = len(values) - (name in fixed or (name == "kl_div" and bool((values[1] == 0).any())))

    def call(function: Any, of: Any) -> Any:
        def ours_or_theirs(*tensors: Any) -> Any:
            kept = [x if k < last else x.detach() for k, x in enumerate(tensors)]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # kl_div warns of 'mean'
                return getattr(of, function)(*kept, reduction=reduction, **options)

        return ours_or_theirs

    compare(call(name, F), call(name, TF), *values, dtype=dtype, length=20)


def test_kl_div_by_rows_is_the_divergence() -> None:
    for options in ({}, {"log_target": True}):
        compare(
            lambda x, t: F.kl_div(x, t.detach(), reduction="batchmean", **options),  # noqa: B023 - called at once
            lambda x, t: TF.kl_div(x, t.detach(), reduction="batchmean", **options),  # noqa: B023 - called at once
            X,
            np.log(SOFT) if options else SOFT,
        )


@each_reduction
@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "huber_loss"])
def test_a_weight_for_each_element_weights_the_mean(name: str, reduction: str) -> None:
    compare(
        lambda x, t, w: getattr(F, name)(x, t, weight=w.detach(), reduction=reduction),
        lambda x, t, w: getattr(TF, name)(x, t, weight=w.detach(), reduction=reduction),
        X, T, POSITIVE,
    )  # fmt: skip


# -- classes -----------------------------------------------------------------------------------------------------------

LABELS = np.array([2, 0, 4, 2])
IGNORED = np.array([2, -100, 4, 2])
SPATIAL, SPATIAL_LABELS = normal(3, 5, 2, 4, seed=6), np.random.default_rng(1).integers(0, 5, (3, 2, 4))
WEIGHT = np.array([1.0, 0.5, 2.0, 0.0, 3.0])

TARGETS: list[tuple[str, Any, Any]] = [
    ("rows", X, LABELS),
    ("ignored", X, IGNORED),
    ("one row", X[0], np.array(3)),
    ("spatial", SPATIAL, SPATIAL_LABELS),
    ("spatial ignored", SPATIAL, np.where(SPATIAL_LABELS == 1, -100, SPATIAL_LABELS)),
    ("one axis more", SPATIAL[:, :, 0], SPATIAL_LABELS[:, 0]),
]
each_target = pytest.mark.parametrize(("x", "target"), [t[1:] for t in TARGETS], ids=[t[0] for t in TARGETS])


@each_dtype
@each_reduction
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@each_target
def test_cross_entropy_of_labels(
    x: Any, target: Any, smoothing: float, weight: Any, reduction: str, dtype: str
) -> None:
    def call(of: Any, w: Any) -> Any:
        return lambda x, t: of.cross_entropy(x, t, weight=w, reduction=reduction, label_smoothing=smoothing)

    ours, theirs = (None, None) if weight is None else pair(weight, dtype)
    compare(call(F, ours), call(TF, theirs), x, target, dtype=dtype, length=30)


@each_reduction
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
@each_target
def test_nll_loss_of_labels(x: Any, target: Any, weight: Any, reduction: str) -> None:
    ours, theirs = (None, None) if weight is None else pair(weight)
    compare(
        lambda x, t: F.nll_loss(x, t, weight=ours, reduction=reduction),
        lambda x, t: TF.nll_loss(x, t, weight=theirs, reduction=reduction),
        x, target, order=1,
    )  # fmt: skip


@each_reduction
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_of_probabilities(smoothing: float, weight: Any, reduction: str) -> None:
    ours, theirs = (None, None) if weight is None else pair(weight)
    for x, t in ((X, SOFT), (X[0], SOFT[0]), (SPATIAL, np.abs(normal(3, 5, 2, 4, seed=8)))):
        compare(
            lambda x, t: F.cross_entropy(x, t, weight=ours, reduction=reduction, label_smoothing=smoothing),
            lambda x, t: TF.cross_entropy(x, t, weight=theirs, reduction=reduction, label_smoothing=smoothing),
            x, t,
        )  # fmt: skip


@pytest.mark.parametrize("ignore_index", [2, -1, 0])
def test_any_label_can_be_the_ignored_one(ignore_index: int) -> None:
    target = np.array([2, 0, ignore_index, 4])
    for smoothing in (0.0, 0.3):
        compare(
            lambda x, t: F.cross_entropy(x, t, ignore_index=ignore_index, label_smoothing=smoothing),  # noqa: B023 - called at once
            lambda x, t: TF.cross_entropy(x, t, ignore_index=ignore_index, label_smoothing=smoothing),  # noqa: B023 - called at once
            X, target,
        )  # fmt: skip


def test_a_batch_of_ignored_labels_or_of_no_rows_has_a_mean_of_nan() -> None:
    for x, t in ((X, np.full(4, -100)), (X[:0], LABELS[:0])):
        for reduction in REDUCTIONS:
            compare(
                lambda x, t: F.cross_entropy(x, t, reduction=reduction),  # noqa: B023 - called at once
                lambda x, t: TF.cross_entropy(x, t, reduction=reduction),  # noqa: B023 - called at once
                x, t, order=0,
            )  # fmt: skip


# -- extreme inputs ----------------------------------------------------------------------------------------------------

EXTREME = np.array([[400.0, -400.0, 0.0], [-400.0, 400.0, 0.0], [0.0, 0.0, 0.0], [1e4, 1e4, -1e4]])


@each_dtype
def test_cross_entropy_is_finite_for_logits_hundreds_apart(dtype: str) -> None:
    compare(F.cross_entropy, TF.cross_entropy, EXTREME, np.array([1, 1, 2, 0]), dtype=dtype)
    x = cr.tensor(EXTREME, dtype=dtype, requires_grad=True)
    loss = F.cross_entropy(x, cr.tensor([1, 1, 2, 0]), reduction="none")
    assert loss.tolist()[:2] == [800.0, 0.0]
    loss.sum().backward()
    assert x.grad is not None
    assert np.isfinite(x.grad.numpy()).all()


INFINITE = np.array(
    [[np.inf, 0.0, 1.0], [-np.inf, 0.0, 1.0], [-np.inf, -np.inf, 2.0], [np.nan, 0.0, 1.0], [0.0, 1.0, 2.0]]
)


@each_reduction
def test_infinite_logits_give_what_they_give_in_pytorch(reduction: str) -> None:
    for label in (0, 1, 2):
        compare(
            lambda x, t: F.cross_entropy(x, t, reduction=reduction),
            lambda x, t: TF.cross_entropy(x, t, reduction=reduction),
            INFINITE, np.full(5, label), order=1,
        )  # fmt: skip
    compare(
        lambda x, t: F.binary_cross_entropy_with_logits(x, t.detach(), reduction=reduction),
        lambda x, t: TF.binary_cross_entropy_with_logits(x, t.detach(), reduction=reduction),
        INFINITE, np.tile([0.0, 1.0, 0.3], (5, 1)), order=1,
    )  # fmt: skip


@each_dtype
def test_binary_cross_entropy_with_logits_is_finite_hundreds_apart(dtype: str) -> None:
    target = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.5, 0.0, 1.0], [1.0, 0.0, 0.3]])
    compare(
        F.binary_cross_entropy_with_logits, TF.binary_cross_entropy_with_logits, EXTREME, target, dtype=dtype, order=1
    )


def test_the_gradient_of_binary_cross_entropy_at_logit_0_is_a_half_minus_the_target() -> None:
    x = cr.zeros(3, requires_grad=True)
    F.binary_cross_entropy_with_logits(x, cr.tensor([0.0, 1.0, 0.25]), reduction="sum").backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0.5, -0.5, 0.25]


@each_reduction
def test_binary_cross_entropy_takes_weights_and_positive_weights(reduction: str) -> None:
    for shape in ((5,), (4, 5), (4, 1)):
        w, v = np.abs(normal(*shape, seed=9)), np.abs(normal(*shape, seed=10))
        compare(
            lambda x, t, w, v: F.binary_cross_entropy_with_logits(x, t, w.detach(), pos_weight=v.detach(), reduction=reduction),
            lambda x, t, w, v: TF.binary_cross_entropy_with_logits(x, t, w.detach(), pos_weight=v.detach(), reduction=reduction),
            X, UNIT, w, v, order=1,
        )  # fmt: skip
        compare(
            lambda x, t, w: F.binary_cross_entropy(x, t, w.detach(), reduction=reduction),
            lambda x, t, w: TF.binary_cross_entropy(x, t, w.detach(), reduction=reduction),
            UNIT, SOFT, w,
        )  # fmt: skip


@each_dtype
def test_probabilities_of_0_and_1_have_pytorchs_limited_loss_and_gradient(dtype: str) -> None:
    p = np.array([0.0, 1.0, 0.0, 1.0, 0.5, 1e-20, 1.0 - 1e-9, 1e-13])
    t = np.array([0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.3])
    compare(F.binary_cross_entropy, TF.binary_cross_entropy, p, t, dtype=dtype, order=1)


@each_dtype
@pytest.mark.parametrize("name", ["smooth_l1_loss", "huber_loss", "l1_loss", "soft_margin_loss"])
def test_far_inputs_give_finite_gradients(name: str, dtype: str) -> None:
    x = np.array([-400.0, 400.0, -80.0, 80.0, 1e30, -1e30])
    t = np.array([1.0, -1.0, 1.0, 1.0, 1.0, 1.0])
    mine = cr.tensor(x, dtype=dtype, requires_grad=True)
    getattr(F, name)(mine, cr.tensor(t, dtype=dtype), reduction="sum").backward()
    assert mine.grad is not None
    assert np.isfinite(mine.grad.numpy()).all()
    if name != "soft_margin_loss":  # PyTorch's overflows
        compare(getattr(F, name), getattr(TF, name), x, t, dtype=dtype, order=1)


def test_an_infinite_difference_has_a_huber_loss_of_infinity_and_a_gradient_of_delta() -> None:
    compare(F.huber_loss, TF.huber_loss, np.array([np.inf, -np.inf, 1.0]), np.array([0.0, 0.0, 0.0]), order=1)
    compare(F.smooth_l1_loss, TF.smooth_l1_loss, np.array([np.inf, -np.inf]), np.array([0.0, 0.0]), order=1)


def test_an_input_may_broadcast_against_its_target_as_in_pytorch_with_a_warning() -> None:
    for name in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"):
        with pytest.warns(UserWarning, match="squeeze"):
            y = getattr(F, name)(cr.tensor(X[:, :1]), cr.tensor(T[:, 0]))
        with pytest.warns(UserWarning, match="size"):
            t = getattr(TF, name)(torch.tensor(X[:, :1]), torch.tensor(T[:, 0]))
        assert_close(y, t)


# -- modules -----------------------------------------------------------------------------------------------------------

MODULES: list[tuple[str, dict[str, Any], tuple[Any, ...]]] = [
    ("MSELoss", {}, (X, T)), ("L1Loss", {}, (X, T)), ("SmoothL1Loss", {"beta": 0.5}, (X, T)),
    ("HuberLoss", {"delta": 0.5}, (X, T)), ("CrossEntropyLoss", {"label_smoothing": 0.1, "ignore_index": 2}, (X, LABELS)),
    ("NLLLoss", {"ignore_index": 0}, (X, LABELS)), ("BCELoss", {}, (UNIT, SOFT)), ("BCEWithLogitsLoss", {}, (X, UNIT)),
    ("KLDivLoss", {"log_target": True}, (X, T)), ("PoissonNLLLoss", {"full": True, "eps": 1e-3}, (X, POSITIVE)),
    ("GaussianNLLLoss", {"full": True, "eps": 1e-3}, (X, T, POSITIVE)), ("HingeEmbeddingLoss", {"margin": 2.0}, (X, SIGNS)),
    ("MarginRankingLoss", {"margin": 0.5}, (X, T, SIGNS)), ("CosineEmbeddingLoss", {"margin": 0.1}, (X, T, SIGNS[:, 0])),
    ("TripletMarginLoss", {"p": 1.0, "swap": True}, (X, T, POSITIVE)), ("SoftMarginLoss", {}, (X, SIGNS)),
]  # fmt: skip


@each_reduction
@pytest.mark.parametrize(("name", "options", "values"), MODULES, ids=[m[0] for m in MODULES])
def test_a_loss_module_is_pytorchs(name: str, options: dict[str, Any], values: tuple[Any, ...], reduction: str) -> None:
    ours = getattr(nn, name)(reduction=reduction, **options)
    theirs = getattr(torch.nn, name)(reduction=reduction, **options)
    assert repr(ours) == repr(theirs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # KLDivLoss warns of 'mean'
        compare(ours, theirs, *values, order=0)


def test_weights_of_a_loss_are_buffers_under_pytorchs_names() -> None:
    weight = [1.0, 2.0, 3.0]
    for name in ("CrossEntropyLoss", "NLLLoss", "BCELoss", "BCEWithLogitsLoss"):
        ours = getattr(nn, name)(weight=cr.tensor(weight))
        theirs = getattr(torch.nn, name)(weight=torch.tensor(weight))
        assert list(ours.state_dict()) == list(theirs.state_dict()) == ["weight"]
    assert list(nn.BCEWithLogitsLoss(pos_weight=cr.tensor(weight)).state_dict()) == ["pos_weight"]


def test_the_old_arguments_for_the_reduction_still_work() -> None:
    x, t = cr.tensor(X), cr.tensor(T)
    assert F.mse_loss(x, t, size_average=False).item() == F.mse_loss(x, t, reduction="sum").item()
    assert F.mse_loss(x, t, reduce=False).shape == x.shape
    assert nn.MSELoss(None, True).reduction == "mean"
