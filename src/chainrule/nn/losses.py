"""Losses as modules: each calls the function of nn.functional with the arguments it was made with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from chainrule.errors import ArgumentError
from chainrule.graph.numeric import as_int, as_number
from chainrule.nn import functional as F
from chainrule.nn.functional.reduction import reduction_of
from chainrule.nn.module import Module
from chainrule.tensors.tensor import Tensor


class Loss(Module):
    """A function of an input and a target. ``arguments`` names the attributes that it is called with.

    ``reduction`` is 'mean', 'sum' or 'none'.
    """

    function: ClassVar[Callable[..., Tensor]]
    arguments: ClassVar[tuple[str, ...]] = ()

    def __init__(self, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean") -> None:
        super().__init__()
        self.reduction = self._reduction(reduction, size_average, reduce)

    def _reduction(self, reduction: str, size_average: bool | None, reduce: bool | None) -> str:
        return reduction_of(reduction, size_average, reduce)

    def forward(self, *tensors: Any, **named: Any) -> Tensor:
        """Return the loss of these tensors."""
        options = {name: getattr(self, name) for name in self.arguments}
        return type(self).function(*tensors, **named, reduction=self.reduction, **options)


class WeightedLoss(Loss):
    """A loss with weights, kept in the buffer ``weight``."""

    weight: Tensor | None
    arguments: ClassVar[tuple[str, ...]] = ("weight",)

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)


class MSELoss(Loss):
    """(input - target)²"""

    function = staticmethod(F.mse_loss)


class L1Loss(Loss):
    """|input - target|"""

    function = staticmethod(F.l1_loss)


class SmoothL1Loss(Loss):
    """d² / (2 beta) where |d| is below beta, |d| - beta / 2 beyond, d = input - target"""

    function = staticmethod(F.smooth_l1_loss)
    arguments = ("beta",)

    def __init__(
        self,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
        beta: float = 1.0,
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.beta = as_number(beta)


class HuberLoss(Loss):
    """d² / 2 where |d| is below delta, delta · (|d| - delta / 2) beyond, d = input - target"""

    function = staticmethod(F.huber_loss)
    arguments = ("delta",)

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(None, None, reduction)
        self.delta = as_number(delta)


class CrossEntropyLoss(WeightedLoss):
    """-log softmax(input) at the target class: for outputs (N, C) and class numbers (N,), or probabilities (N, C)

    >>> import chainrule as cr
    >>> cr.nn.CrossEntropyLoss()(cr.tensor([[0.0, 0.0]]), cr.tensor([1]))
    tensor(0.6931)
    """

    function = staticmethod(F.cross_entropy)
    arguments = ("weight", "ignore_index", "label_smoothing")

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(weight, size_average, reduce, reduction)
        self.ignore_index = as_int(ignore_index)
        self.label_smoothing = as_number(label_smoothing)


class NLLLoss(WeightedLoss):
    """-input at the target class, for an input of log-probabilities"""

    function = staticmethod(F.nll_loss)
    arguments = ("weight", "ignore_index")

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, size_average, reduce, reduction)
        self.ignore_index = as_int(ignore_index)


class BCELoss(WeightedLoss):
    """-t log p - (1 - t) log(1 - p), for probabilities p and targets t from 0 to 1"""

    function = staticmethod(F.binary_cross_entropy)


class BCEWithLogitsLoss(WeightedLoss):
    """BCELoss of σ(input), without overflow; ``pos_weight`` multiplies the part of the positive targets"""

    pos_weight: Tensor | None
    function = staticmethod(F.binary_cross_entropy_with_logits)
    arguments = ("weight", "pos_weight")

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
        pos_weight: Tensor | None = None,
    ) -> None:
        super().__init__(weight, size_average, reduce, reduction)
        self.register_buffer("pos_weight", pos_weight)


class KLDivLoss(Loss):
    """target · (log target - input), for an input of log-probabilities; 'batchmean' divides the sum by the rows"""

    function = staticmethod(F.kl_div)
    arguments = ("log_target",)

    def __init__(
        self,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
        log_target: bool = False,
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.log_target = log_target

    def _reduction(self, reduction: str, size_average: bool | None, reduce: bool | None) -> str:
        return reduction if reduction == "batchmean" else super()._reduction(reduction, size_average, reduce)


class PoissonNLLLoss(Loss):
    """rate - target · log rate, for counts as target; the input is log rate, or the rate"""

    function = staticmethod(F.poisson_nll_loss)
    arguments = ("log_input", "full", "eps")

    def __init__(
        self,
        log_input: bool = True,
        full: bool = False,
        size_average: bool | None = None,
        eps: float = 1e-8,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.log_input = log_input
        self.full = full
        self.eps = as_number(eps)


class GaussianNLLLoss(Loss):
    """½ (log var + (input - target)² / var): called with input, target and var"""

    function = staticmethod(F.gaussian_nll_loss)
    arguments = ("full", "eps")

    def __init__(self, *, full: bool = False, eps: float = 1e-6, reduction: str = "mean") -> None:
        super().__init__(None, None, reduction)
        self.full = full
        self.eps = as_number(eps)


class HingeEmbeddingLoss(Loss):
    """input where the target is 1, max(0, margin - input) where it is -1"""

    function = staticmethod(F.hinge_embedding_loss)
    arguments = ("margin",)

    def __init__(
        self,
        margin: float = 1.0,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.margin = as_number(margin)


class MarginRankingLoss(Loss):
    """max(0, -target · (input1 - input2) + margin): called with input1, input2 and target"""

    function = staticmethod(F.margin_ranking_loss)
    arguments = ("margin",)

    def __init__(
        self,
        margin: float = 0.0,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.margin = as_number(margin)


class CosineEmbeddingLoss(Loss):
    """1 - cos for target 1, max(0, cos - margin) for -1: called with input1, input2 and target"""

    function = staticmethod(F.cosine_embedding_loss)
    arguments = ("margin",)

    def __init__(
        self,
        margin: float = 0.0,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.margin = as_number(margin)


class TripletMarginLoss(Loss):
    """max(0, d(anchor, positive) - d(anchor, negative) + margin): called with anchor, positive and negative"""

    function = staticmethod(F.triplet_margin_loss)
    arguments = ("margin", "p", "eps", "swap")

    def __init__(
        self,
        margin: float = 1.0,
        p: float = 2.0,
        eps: float = 1e-6,
        swap: bool = False,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        if margin <= 0:
            raise ArgumentError(f"TripletMarginLoss: got margin={margin}", expected="a number above 0")
        self.margin = as_number(margin)
        self.p = as_number(p)
        self.eps = as_number(eps)
        self.swap = swap


class SoftMarginLoss(Loss):
    """log(1 + e^(-target · input)), for targets 1 and -1"""

    function = staticmethod(F.soft_margin_loss)
