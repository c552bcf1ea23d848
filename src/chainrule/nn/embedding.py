"""Embedding: a table of learned rows, looked up by index."""

from __future__ import annotations

from typing import Any, Self

from chainrule.errors import ArgumentError, ShapeError
from chainrule.graph.numeric import as_int, as_number
from chainrule.nn import functional as F
from chainrule.nn import init
from chainrule.nn.linear import checked_sizes
from chainrule.nn.module import Module
from chainrule.nn.parameter import Parameter
from chainrule.tensors.autograd import no_grad
from chainrule.tensors.creation import empty
from chainrule.tensors.tensor import Tensor


class Embedding(Module):
    """Give each of ``num_embeddings`` indices a learned vector of ``embedding_dim`` numbers: (…) to (…, embedding_dim).

    ``padding_idx``         the row of this index starts as zeros and is never learned
    ``max_norm``            rows that are looked up and longer (in the ``norm_type``-norm) are first shortened
    ``scale_grad_by_freq``  divide a row's gradient by how often it is looked up in the batch
    ``sparse``              taken for PyTorch's sake: gradients are as large as the table in any case

    ``weight`` starts standard normal.
    """

    weight: Parameter

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: Tensor | None = None,
        _freeze: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        num_embeddings, embedding_dim = checked_sizes(
            "Embedding", num_embeddings=num_embeddings, embedding_dim=embedding_dim
        )
        padding_idx = as_int(padding_idx)
        if padding_idx is not None:
            if not -num_embeddings <= padding_idx < num_embeddings:
                raise ArgumentError(
                    f"Embedding: got padding_idx={padding_idx} for {num_embeddings} rows", expected="one of the rows"
                )
            padding_idx %= num_embeddings
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = padding_idx
        self.max_norm = as_number(max_norm)
        self.norm_type = as_number(norm_type)
        self.scale_grad_by_freq = scale_grad_by_freq
        self.sparse = sparse
        if _weight is None:
            table = empty(num_embeddings, embedding_dim, device=device, dtype=dtype)
            self.weight = Parameter(table, requires_grad=not _freeze)
            self.reset_parameters()
        else:
            if tuple(_weight.shape) != (num_embeddings, embedding_dim):
                raise ShapeError(
                    f"Embedding: got a table of shape {tuple(_weight.shape)}",
                    expected=f"({num_embeddings}, {embedding_dim})",
                )
            self.weight = Parameter(_weight, requires_grad=not _freeze)

    def reset_parameters(self) -> None:
        """Write starting values."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            with no_grad():
                self.weight[self.padding_idx].fill_(0)

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Tensor,
        freeze: bool = True,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> Self:
        """Return an embedding with this table (rows, features), which is not learned unless ``freeze`` is False."""
        if embeddings.ndim != 2:
            raise ShapeError(f"Embedding: got a table of shape {tuple(embeddings.shape)}", expected="(rows, features)")
        rows, columns = embeddings.shape
        return cls(
            rows, columns, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse,
            _weight=embeddings, _freeze=freeze,
        )  # fmt: skip

    def forward(self, input: Tensor) -> Tensor:
        """Return the rows at these indices."""
        return F.embedding(
            input, self.weight, self.padding_idx, self.max_norm, self.norm_type, self.scale_grad_by_freq, self.sparse
        )

    def extra_repr(self) -> str:
        """Return sizes and what differs from the defaults."""
        text = f"{self.num_embeddings}, {self.embedding_dim}"
        usual = {"padding_idx": None, "max_norm": None, "norm_type": 2, "scale_grad_by_freq": False, "sparse": False}
        for name, default in usual.items():
            if (value := getattr(self, name)) != default:
                text += f", {name}={value}"
        return text
