"""Tensors that belong to a module: parameters, which are learned, and buffers, which are only kept."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.errors import ArgumentTypeError
from chainrule.tensors.tensor import Tensor, concrete, shared_storage


def _memory(data: Any, kind: str) -> Tensor:
    """Return the tensor whose memory a parameter or buffer takes over; an empty one for None."""
    if data is None:
        return Tensor(np.zeros(0, np.float32))
    if not isinstance(data, Tensor):
        raise ArgumentTypeError(
            f"{kind}: got {type(data).__name__} as data", expected="a tensor", fix="use chainrule.tensor(…) first"
        )
    concrete(data, f"{kind}(…)")
    return data


class Parameter(Tensor):
    """A tensor that a module learns: assigned to an attribute of a module, it is one of its parameters.

    It shares the memory of ``data`` and is a leaf: ``backward`` collects its gradient in ``grad``.

    >>> import chainrule as cr
    >>> cr.nn.Parameter(cr.ones(2))
    Parameter containing:
    tensor([1., 1.], requires_grad=True)
    """

    __slots__ = ()

    def __init__(self, data: Tensor | None = None, requires_grad: bool = True) -> None:
        memory = _memory(data, "Parameter")
        super().__init__(memory._value)
        self._storage = shared_storage(memory)
        if requires_grad:
            self.requires_grad_()

    def __deepcopy__(self, memo: dict[int, Any]) -> Parameter:
        if id(self) not in memo:
            memo[id(self)] = type(self)(Tensor(np.array(concrete(self, "deepcopy"))), self.requires_grad)
        copied: Parameter = memo[id(self)]
        return copied

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"


class Buffer(Tensor):
    """A tensor that a module keeps but does not learn: assigned to an attribute of a module, it is one of its buffers.

    ``persistent`` says whether it is part of the ``state_dict``.
    """

    __slots__ = ("persistent",)

    def __init__(self, data: Tensor | None = None, *, persistent: bool = True) -> None:
        memory = _memory(data, "Buffer")
        super().__init__(memory._value, memory._node)
        self._storage = shared_storage(memory)
        self.persistent = persistent

    def __deepcopy__(self, memo: dict[int, Any]) -> Buffer:
        if id(self) not in memo:
            memo[id(self)] = type(self)(Tensor(np.array(concrete(self, "deepcopy"))), persistent=self.persistent)
        copied: Buffer = memo[id(self)]
        return copied
