"""Helpers around the parameters of a network: PyTorch's ``torch.nn.utils``, for what is here, and penalties.

clipping   gradients limited in length or size
vectors    all parameters as one vector
penalty    the L1 and L2 norms that regularize
"""

from __future__ import annotations

from chainrule.nn.utils.clipping import clip_grad_norm_, clip_grad_value_, clip_grads_with_norm_, get_total_norm
from chainrule.nn.utils.penalty import l1_penalty, l2_penalty
from chainrule.nn.utils.vectors import parameters_to_vector, vector_to_parameters

__all__ = [
    "clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_", "get_total_norm", "l1_penalty", "l2_penalty",
    "parameters_to_vector", "vector_to_parameters",
]  # fmt: skip
