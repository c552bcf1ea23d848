"""Functions on tensors: PyTorch's ``torch.nn.functional``, for what is here.

linear          linear, bilinear
activations     relu … softmax
dropout, normalization, embedding, padding, distance
regression, classification, binary, likelihood, margin: losses
"""

from __future__ import annotations

from typing import Any

from chainrule.errors import NameUnknown, nearest
from chainrule.nn.functional.activations import (
    celu,
    celu_,
    elu,
    elu_,
    gelu,
    glu,
    hardshrink,
    hardsigmoid,
    hardswish,
    hardtanh,
    hardtanh_,
    leaky_relu,
    leaky_relu_,
    log_softmax,
    logsigmoid,
    mish,
    prelu,
    relu,
    relu6,
    relu_,
    selu,
    selu_,
    silu,
    softmax,
    softmin,
    softplus,
    softshrink,
    softsign,
    tanhshrink,
    threshold,
    threshold_,
)
from chainrule.nn.functional.binary import binary_cross_entropy, binary_cross_entropy_with_logits
from chainrule.nn.functional.classification import cross_entropy, nll_loss
from chainrule.nn.functional.distance import cosine_similarity, normalize, pairwise_distance
from chainrule.nn.functional.dropout import alpha_dropout, dropout
from chainrule.nn.functional.embedding import embedding, one_hot
from chainrule.nn.functional.likelihood import gaussian_nll_loss, kl_div, poisson_nll_loss
from chainrule.nn.functional.linear import bilinear, linear
from chainrule.nn.functional.margin import (
    cosine_embedding_loss,
    hinge_embedding_loss,
    margin_ranking_loss,
    soft_margin_loss,
    triplet_margin_loss,
)
from chainrule.nn.functional.normalization import batch_norm, layer_norm
from chainrule.nn.functional.padding import pad
from chainrule.nn.functional.regression import huber_loss, l1_loss, mse_loss, smooth_l1_loss
from chainrule.tensors.arithmetic import sigmoid, tanh

__all__ = [
    "alpha_dropout", "batch_norm", "bilinear", "binary_cross_entropy", "binary_cross_entropy_with_logits", "celu",
    "celu_", "cosine_embedding_loss", "cosine_similarity", "cross_entropy", "dropout", "elu", "elu_", "embedding",
    "gaussian_nll_loss", "gelu", "glu", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "hardtanh_",
    "hinge_embedding_loss", "huber_loss", "kl_div", "l1_loss", "layer_norm", "leaky_relu", "leaky_relu_", "linear",
    "log_softmax", "logsigmoid", "margin_ranking_loss", "mish", "mse_loss", "nll_loss", "normalize", "one_hot", "pad",
    "pairwise_distance", "poisson_nll_loss", "prelu", "relu", "relu6", "relu_", "selu", "selu_", "sigmoid", "silu",
    "smooth_l1_loss", "soft_margin_loss", "softmax", "softmin", "softplus", "softshrink", "softsign", "tanh",
    "tanhshrink", "threshold", "threshold_", "triplet_margin_loss",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    raise NameUnknown(f"chainrule.nn.functional has no {name!r}", fix=nearest(name, __all__))
