"""Networks: modules, layers, activations, losses, and starting values. PyTorch's ``torch.nn``, for what is here.

module, parameter, containers       what networks are built of
linear, normalization, embedding …  layers; nn.functional has the functions that they call
losses                              what training makes small
init                                starting values
utils                               clipping of gradients, penalties, parameters as one vector
summary                             a network as a table: shapes, parameters, memory
"""

from __future__ import annotations

from typing import Any

from chainrule.errors import NameUnknown, nearest
from chainrule.nn import functional as functional
from chainrule.nn import init as init
from chainrule.nn import utils as utils
from chainrule.nn.activations import (
    CELU,
    ELU,
    GELU,
    GLU,
    SELU,
    Hardshrink,
    Hardsigmoid,
    Hardswish,
    Hardtanh,
    LeakyReLU,
    LogSigmoid,
    LogSoftmax,
    Mish,
    PReLU,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softmax,
    Softmin,
    Softplus,
    Softshrink,
    Softsign,
    Tanh,
    Tanhshrink,
    Threshold,
)
from chainrule.nn.containers import ModuleDict, ModuleList, Sequential
from chainrule.nn.distance import CosineSimilarity, PairwiseDistance
from chainrule.nn.dropout import AlphaDropout, Dropout
from chainrule.nn.embedding import Embedding
from chainrule.nn.flatten import Flatten, Unflatten
from chainrule.nn.linear import Bilinear, Identity, Linear
from chainrule.nn.losses import (
    BCELoss,
    BCEWithLogitsLoss,
    CosineEmbeddingLoss,
    CrossEntropyLoss,
    GaussianNLLLoss,
    HingeEmbeddingLoss,
    HuberLoss,
    KLDivLoss,
    L1Loss,
    MarginRankingLoss,
    MSELoss,
    NLLLoss,
    PoissonNLLLoss,
    SmoothL1Loss,
    SoftMarginLoss,
    TripletMarginLoss,
)
from chainrule.nn.module import Module
from chainrule.nn.normalization import BatchNorm1d, LayerNorm
from chainrule.nn.parameter import Buffer, Parameter
from chainrule.nn.parameter_containers import ParameterDict, ParameterList
from chainrule.nn.summary import Summary, summary

__all__ = [
    "Module", "Parameter", "Buffer", "Sequential", "ModuleList", "ModuleDict", "ParameterList", "ParameterDict",
    "Linear", "Bilinear", "Identity", "Flatten", "Unflatten", "Dropout", "AlphaDropout", "BatchNorm1d", "LayerNorm",
    "Embedding", "CosineSimilarity", "PairwiseDistance",
    "Sigmoid", "Tanh", "ReLU", "ReLU6", "LeakyReLU", "ELU", "SELU", "CELU", "GELU", "SiLU", "Mish", "Softplus",
    "Softsign", "Hardtanh", "Hardsigmoid", "Hardswish", "LogSigmoid", "Tanhshrink", "Softshrink", "Hardshrink",
    "Threshold", "Softmax", "LogSoftmax", "Softmin", "PReLU", "GLU",
    "MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss", "CrossEntropyLoss", "NLLLoss", "BCELoss", "BCEWithLogitsLoss",
    "KLDivLoss", "PoissonNLLLoss", "GaussianNLLLoss", "HingeEmbeddingLoss", "MarginRankingLoss",
    "CosineEmbeddingLoss", "TripletMarginLoss", "SoftMarginLoss",
    "functional", "init", "utils", "Summary", "summary",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    raise NameUnknown(
        f"chainrule.nn has no {name!r}", fix=nearest(name, __all__) or "docs/pytorch.md lists what is here"
    )
