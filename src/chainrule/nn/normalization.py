"""Layers that shift and scale numbers to mean 0 and variance 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chainrule.errors import ShapeError
from chainrule.graph.numeric import as_int, as_ints, as_number
from chainrule.nn import functional as F
from chainrule.nn import init
from chainrule.nn.linear import checked_sizes
from chainrule.nn.module import Module
from chainrule.nn.parameter import Parameter
from chainrule.tensors.autograd import no_grad
from chainrule.tensors.creation import empty, ones, tensor, zeros
from chainrule.tensors.dtypes import int64
from chainrule.tensors.tensor import Tensor


class BatchNorm1d(Module):
    """Normalize each feature over the batch (Ioffe and Szegedy 2015): inputs (N, C) or (N, C, L).

    ``momentum``             how far the running statistics move towards the batch's each time; None: their mean so far
    ``affine``               learn a scale (``weight``) and a shift (``bias``) for each feature
    ``track_running_stats``  keep ``running_mean``, ``running_var`` and ``num_batches_tracked``, used in eval mode;
                             without them the batch's own statistics are used always

    >>> import chainrule as cr
    >>> norm = cr.nn.BatchNorm1d(2)
    >>> norm(cr.tensor([[1.0, 10.0], [3.0, 30.0]])).round(decimals=2)
    tensor([[-1., -1.],
            [ 1.,  1.]], grad_fn=<...>)
    >>> norm.running_mean
    tensor([0.2000, 2.0000])
    """

    weight: Parameter | None
    bias: Parameter | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        [num_features] = checked_sizes("BatchNorm1d", num_features=num_features)
        self.num_features = num_features
        self.eps = as_number(eps)
        self.momentum = as_number(momentum)
        self.affine = affine
        self.track_running_stats = track_running_stats
        made = {"device": device, "dtype": dtype}
        self.register_parameter("weight", Parameter(empty(num_features, **made)) if affine else None)
        self.register_parameter("bias", Parameter(empty(num_features, **made)) if affine and bias else None)
        self.register_buffer("running_mean", zeros(num_features, **made) if track_running_stats else None)
        self.register_buffer("running_var", ones(num_features, **made) if track_running_stats else None)
        self.register_buffer("num_batches_tracked", tensor(0, dtype=int64) if track_running_stats else None)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Forget the batches seen."""
        with no_grad():
            if self.running_mean is not None:
                self.running_mean.zero_()
            if self.running_var is not None:
                self.running_var.fill_(1)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Write starting values: scale 1, shift 0, no batch seen."""
        self.reset_running_stats()
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """Return the input, each feature normalized."""
        if input.ndim not in (2, 3):
            raise ShapeError(
                f"got an input of shape {tuple(input.shape)}",
                expected=f"(N, {self.num_features}) or (N, {self.num_features}, L)",
            )
        momentum: Any = self.momentum
        if self.training and self.num_batches_tracked is not None:
            with no_grad():
                self.num_batches_tracked.add_(1)
            if momentum is None:
                momentum = 1.0 / self.num_batches_tracked.to(input.dtype)
        follow = self.track_running_stats
        by_batch = self.training or (self.running_mean is None and self.running_var is None)
        return F.batch_norm(
            input,
            self.running_mean if follow or not self.training else None,
            self.running_var if follow or not self.training else None,
            self.weight,
            self.bias,
            by_batch,
            0.0 if momentum is None else momentum,
            self.eps,
        )

    def extra_repr(self) -> str:
        """Return the arguments."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


class LayerNorm(Module):
    """Normalize each row over its last axes (Ba et al. 2016), whose sizes are ``normalized_shape``.

    ``elementwise_affine`` learns a scale (``weight``) and, with ``bias``, a shift for each element.
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        shape = as_int(normalized_shape)
        self.normalized_shape = (shape,) if isinstance(shape, int) else as_ints(shape)
        self.eps = as_number(eps)
        self.elementwise_affine = elementwise_affine
        made = {"device": device, "dtype": dtype}
        scaled, shifted = elementwise_affine, elementwise_affine and bias
        self.register_parameter("weight", Parameter(empty(self.normalized_shape, **made)) if scaled else None)
        self.register_parameter("bias", Parameter(empty(self.normalized_shape, **made)) if shifted else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Write starting values: scale 1, shift 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """Return the input, each row normalized."""
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """Return the arguments."""
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}, "
            f"bias={self.bias is not None}"
        )
