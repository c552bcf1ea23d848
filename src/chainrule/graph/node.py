"""A node: one operation with its inputs, and the shape and dtype of what it gives.

Slotted and mutable: a frozen dataclass costs four times as much to make, and its generated hash and repr recurse over
whole graphs. After birth only ``value`` (filled when a gradient will read it) and the fields that freeing clears change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chainrule.errors import GradientError, InPlaceError
from chainrule.graph.primitive import Array, Dtype, Primitive, Spec
from chainrule.graph.recorder import apply
from chainrule.graph.sizes import Shape

if TYPE_CHECKING:
    import weakref
    from collections.abc import Callable


class Storage:
    """The memory that a tensor and its views share: how often it was written, and how often its tape was rebound.

    Where the tensor got other memory since, ``left`` finds the array that is left to the views, and ``heir`` the tensor that
    stands for it: both as long as there are views.
    """

    __slots__ = ("__weakref__", "heir", "left", "rebound", "version")

    def __init__(self) -> None:
        self.version = 0
        self.rebound = 0
        self.left: weakref.ref[Array] | None = None
        self.heir: weakref.ref[Any] | None = None


class Storages:
    """The memories of several outputs of one operation: written if one of them is."""

    __slots__ = ("parts",)

    def __init__(self, parts: list[Storage]) -> None:
        self.parts = parts

    @property
    def version(self) -> int:
        """How often they were written, together."""
        return sum([part.version for part in self.parts])


class Node:
    """One operation of a graph.

    ``primitive``      the operation; None for a leaf (a parameter, an input or a constant of eager mode)
    ``inputs``         the nodes it reads; None once freed by a backward pass
    ``attributes``     keyword arguments of the primitive's rules (axes, shapes, …)
    ``shape, dtype``   of the result; tuples of these for a primitive with several outputs
    ``requires_grad``  whether a leaf that wants a gradient is below
    ``value``          eager mode: the array (several outputs: a tuple), if some gradient reads it; a constant of a trace
                       has its array here
    ``storage, version``  whose memory ``value`` is, and its version when it was kept
    ``owner``          gives the tensor whose ``grad`` collects what arrives here (a leaf, or after ``retain_grad``)
    ``label``          where it was born (module path), for reports
    """

    __slots__ = (
        "__weakref__",
        "attributes",
        "dtype",
        "inputs",
        "label",
        "owner",
        "primitive",
        "requires_grad",
        "shape",
        "storage",
        "value",
        "version",
    )

    def __init__(
        self,
        primitive: Primitive | None,
        inputs: tuple[Node, ...] | None,
        attributes: dict[str, Any],
        shape: Shape | tuple[Shape, ...],
        dtype: Dtype | tuple[Dtype, ...],
        requires_grad: bool,
        value: Any = None,
    ) -> None:
        self.primitive = primitive
        self.inputs = inputs
        self.attributes = attributes
        self.shape: Any = shape
        self.dtype: Any = dtype
        self.requires_grad = requires_grad
        self.value: Any = value
        self.storage: Storage | Storages | None = None
        self.version = 0
        self.owner: Callable[[], Any] | None = None
        self.label = ""

    def __repr__(self) -> str:
        name = self.primitive.name if self.primitive is not None else "leaf"
        return f"<{name} {self.dtype}{list(self.shape)}>" if not isinstance(self.dtype, tuple) else f"<{name}>"

    @property
    def spec(self) -> Spec:
        """Shape and dtype."""
        return Spec(self.shape, self.dtype)

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    def keep(self, value: Any, storage: Storage | Storages | None) -> None:
        """Keep ``value`` for a gradient that will read it, and remember which version of its memory that is."""
        self.value = value
        self.storage = storage
        if storage is not None:
            self.version = storage.version

    def check_unchanged(self) -> None:
        """Raise if the kept value was written in place since it was kept."""
        if self.storage is not None and self.storage.version != self.version:
            raise InPlaceError(
                f"a value of shape {tuple(self.shape)} that the gradient reads was changed in place after it was used "
                f"(it is at version {self.storage.version}; version {self.version} is needed)",
                fix="call clone() on it before writing, or use the operation that returns a new tensor",
            )

    def free(self) -> None:
        """Drop inputs and value: the memory of a tape goes as the backward pass goes."""
        self.inputs = None
        self.value = None
        self.storage = None

    def check_not_freed(self) -> None:
        """Raise if a backward pass has freed this node."""
        if self.inputs is None:
            raise GradientError(
                "backward a second time: the values that the gradient reads were freed by the first pass",
                fix="call the first backward with retain_graph=True",
            )

    # Operators, so that rules read as mathematics.
    def __add__(self, other: Any) -> Node:
        return apply("add", self, other)

    def __radd__(self, other: Any) -> Node:
        return apply("add", other, self)

    def __sub__(self, other: Any) -> Node:
        return apply("sub", self, other)

    def __rsub__(self, other: Any) -> Node:
        return apply("sub", other, self)

    def __mul__(self, other: Any) -> Node:
        return apply("mul", self, other)

    def __rmul__(self, other: Any) -> Node:
        return apply("mul", other, self)

    def __truediv__(self, other: Any) -> Node:
        return apply("div", self, other)

    def __rtruediv__(self, other: Any) -> Node:
        return apply("div", other, self)

    def __pow__(self, other: Any) -> Node:
        return apply("pow", self, other)

    def __neg__(self) -> Node:
        return apply("neg", self)
