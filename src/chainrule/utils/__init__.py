"""Where PyTorch keeps what belongs to no other place: ``utils.data`` feeds a training loop."""

from chainrule.utils import data

__all__ = ["data"]
