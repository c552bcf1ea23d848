"""The tensor: an array (or, in a trace, none yet), the node that says how it came about, and what it shares memory with.

A view has a ``_parent`` and a ``_link`` (the operation that makes it from the parent). Memory is shared, so data written
anywhere is seen everywhere; the *tape* is functional: a write rebinds the base's node, and views derive theirs anew.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import ArgumentTypeError, GradientError, NameUnknown, TraceError, nearest
from chainrule.graph import Array, Node, Primitive, Storage, primitive
from chainrule.graph.sizes import numel
from chainrule.tensors.changes import CHANGES
from chainrule.tensors.dtypes import FROM_NUMPY, DType
from chainrule.tensors.not_kept import gradient_not_kept as gradient_not_kept
from chainrule.tensors.state import STATE, TRACE
from chainrule.tensors.user_line import calling_line

NO_ATTRIBUTES: dict[str, Any] = {}
NOT_KEPT = object()  # stands in ``_grad`` for a gradient that a compiled function did not keep, and for any sum with it


WRITES = "x[…] = … writes into a tensor"
REFLECTED = {
    "add": "__radd__", "subtract": "__rsub__", "multiply": "__rmul__", "divide": "__rtruediv__",
    "floor_divide": "__rfloordiv__", "remainder": "__rmod__", "power": "__rpow__", "matmul": "__rmatmul__",
    "divmod": "__rdivmod__", "equal": "__eq__", "not_equal": "__ne__", "less": "__gt__", "less_equal": "__ge__",
    "greater": "__lt__", "greater_equal": "__le__", "bitwise_and": "__rand__", "bitwise_or": "__ror__",
    "bitwise_xor": "__rxor__", "left_shift": "__rlshift__", "right_shift": "__rrshift__",
}  # fmt: skip
"""Of NumPy's functions behind operators, the tensor's method for its right operand."""


class Leaked:
    """Stands for the value of a tensor whose trace is over: whoever asks is told where the tensor came from."""

    __slots__ = ("function", "place")

    def __init__(self, function: str, place: str = "") -> None:
        self.function, self.place = function, place

    def __getattr__(self, name: str) -> Any:
        raise self.error()

    def error(self) -> TraceError:
        """Return what is raised at whoever asks."""
        return TraceError(
            f"a tensor that was made while tracing '{self.function}'{self._put()} is used after it, and has no value",
            fix="return it from the compiled function",
        )

    def _put(self) -> str:
        return f" and put into {self.place}" if self.place else ""


class Size(tuple[Any, ...]):
    """A shape."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"chainrule.Size({list(self)})"

    def numel(self) -> Any:
        """Return the number of elements."""
        return numel(tuple(self))


class device:  # noqa: N801 - PyTorch's name
    """Where tensors live: the CPU."""

    __slots__ = ("index", "type")
    type: str

    def __init__(self, kind: Any = "cpu", index: int | None = None) -> None:
        name = str(kind)
        if name.partition(":")[0] != "cpu":
            raise ArgumentTypeError(f"device: got {kind!r}", expected="'cpu'", fix="leave the device out")
        self.type = "cpu"
        self.index = index

    def __repr__(self) -> str:
        return "device(type='cpu')"

    def __str__(self) -> str:
        return "cpu"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, device)

    def __hash__(self) -> int:
        return hash("cpu")


CPU = device()


class Tensor:
    """An n-dimensional array of one dtype that can be differentiated. Create one with ``chainrule.tensor``.

    Methods and their arguments are PyTorch's; ``docs/`` lists what is here and where results differ.
    """

    __slots__ = ("__weakref__", "_grad", "_link", "_node", "_parent", "_seen", "_storage", "_value")

    def __init__(self, value: Array | None, node: Node | None = None) -> None:
        self._value: Any = value
        self._node = node
        self._storage: Storage | None = None
        self._parent: Tensor | None = None
        self._link: tuple[Primitive, dict[str, Any]] | None = None
        self._seen = 0
        self._grad: Any = None

    # -- what it is ---------------------------------------------------------------------------------------------

    @property
    def shape(self) -> Size:
        """The size of each axis."""
        if self._value is not None:
            return Size(self._value.shape)
        shape: Any = current_node(self).shape  # type: ignore[union-attr]  # a traced tensor has a node
        return Size(shape if STATE.trace is None else STATE.trace.asked.in_code(shape))

    @property
    def ndim(self) -> int:
        """The number of axes."""
        value = self._value
        return value.ndim if value is not None else len(self.shape)

    @property
    def dtype(self) -> DType:
        """The dtype of every element."""
        return FROM_NUMPY[numpy_dtype(self)]

    @property
    def device(self) -> device:
        """Where it lives: the CPU."""
        return CPU

    @property
    def is_cuda(self) -> bool:
        """False: tensors live on the CPU."""
        return False

    @property
    def requires_grad(self) -> bool:
        """Whether ``backward`` computes a gradient for it, or through it."""
        node = current_node(self)
        return node is not None and node.requires_grad

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        self.requires_grad_(wanted)

    @property
    def grad(self) -> Tensor | None:
        """The gradient that ``backward`` collected here; None before."""
        if STATE.mode == TRACE and STATE.trace is not None:
            return STATE.trace.read_grad(self)
        if self._grad is NOT_KEPT:
            raise gradient_not_kept(self)
        found: Tensor | None = self._grad
        return found

    @grad.setter
    def grad(self, new: Tensor | None) -> None:
        if new is not None and not isinstance(new, Tensor):
            raise ArgumentTypeError(f"grad = {type(new).__name__}", expected="a tensor or None")
        if new is not None and tuple(new.shape) != tuple(self.shape):
            raise GradientError(f"a grad of shape {tuple(new.shape)}", expected=f"the tensor's {tuple(self.shape)}")
        if STATE.mode == TRACE and STATE.trace is not None:
            STATE.trace.assign_grad(self, new)
        else:
            self._grad = new

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded operation made it."""
        if STATE.mode == TRACE and STATE.trace is not None:
            return STATE.trace.is_leaf(self)
        return is_eager_leaf(self)

    @property
    def grad_fn(self) -> Node | None:
        """The node of the recorded operation that made it; None for a leaf."""
        return None if self.is_leaf else current_node(self)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Make this leaf collect its gradient in ``grad`` (or not any more)."""
        if requires_grad == self.requires_grad:
            return self
        if requires_grad and numpy_dtype(self).kind != "f":
            raise GradientError(
                f"requires_grad_() on a tensor of {numpy_dtype(self)}", expected="a floating-point dtype"
            )
        if STATE.mode == TRACE and STATE.trace is not None:
            STATE.trace.require_grad(self, requires_grad)
            return self
        if not self.is_leaf:
            raise GradientError(
                "requires_grad_(False) on a tensor that an operation made", fix="use detach() to cut it off"
            )
        self._node = new_leaf(self) if requires_grad else None
        if self._storage is not None:  # else no trace has ever seen it
            CHANGES.bump()
        return self

    __hash__ = object.__hash__  # by identity, although == compares elements

    # -- protocol -----------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        shape = self.shape
        if not shape:
            raise ArgumentTypeError("len() of a 0-d tensor", expected="at least one axis")
        return int(shape[0])

    def __bool__(self) -> bool:
        return bool(concrete(self, "a truth value (`if`, `and`, `while`)", instead="chainrule.where(…)").item())

    def __float__(self) -> float:
        return float(concrete(self, "float()").item())

    def __int__(self) -> int:
        return int(concrete(self, "int()").item())

    def __index__(self) -> int:
        array = concrete(self, "an index")
        if array.dtype.kind not in "iub" or array.size != 1:
            raise ArgumentTypeError(f"a tensor of {array.dtype} and shape {array.shape} as an index")
        return int(array.item())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        array = concrete(self, "a NumPy array")
        if self.requires_grad:
            raise GradientError("a NumPy array of a tensor that requires grad", fix="use tensor.detach().numpy()")
        if dtype is not None and array.dtype != dtype:
            return array.astype(dtype)
        return array.copy() if copy else array

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        """Answer ``array * tensor``, which NumPy asks as ``np.multiply(array, tensor)``; refuse NumPy's other functions."""
        reflected = REFLECTED.get(ufunc.__name__)
        if method == "__call__" and reflected and not options and not isinstance(inputs[0], Tensor):
            found = getattr(inputs[1], reflected, lambda other: NotImplemented)(inputs[0])
            if found is not NotImplemented:
                return found
        if any(isinstance(x, Tensor) for x in options.get("out", ())):
            raise ArgumentTypeError(f"np.{ufunc.__name__}: got a tensor to write into", expected="an array", fix=WRITES)
        ours = f"write cr.{ufunc.__name__}(…) of tensors, or " if hasattr(Tensor, ufunc.__name__) else ""
        raise ArgumentTypeError(
            f"np.{ufunc.__name__}: got a tensor, whose gradient NumPy would lose",
            expected="arrays",
            fix=f"{ours}give it the array, x.numpy()",
        )

    def __iter__(self) -> Any:
        if not self.shape:
            raise ArgumentTypeError("iteration over a 0-d tensor", expected="at least one axis")
        return iter([self[k] for k in range(len(self))])

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec and not self.shape else str(self)

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise ArgumentTypeError(
            "pickling a tensor: loading a pickle runs code", fix="use chainrule.save and chainrule.load, or numpy()"
        )

    if TYPE_CHECKING:  # the families of functions attach their methods: see tensors/__init__.py

        def __getattr__(self, name: str) -> Any: ...

        def __getitem__(self, index: Any) -> Tensor: ...

        def __setitem__(self, index: Any, value: Any) -> None: ...

        def __add__(self, other: Any) -> Tensor: ...

        def __radd__(self, other: Any) -> Tensor: ...

        def __sub__(self, other: Any) -> Tensor: ...

        def __rsub__(self, other: Any) -> Tensor: ...

        def __mul__(self, other: Any) -> Tensor: ...

        def __rmul__(self, other: Any) -> Tensor: ...

        def __truediv__(self, other: Any) -> Tensor: ...

        def __rtruediv__(self, other: Any) -> Tensor: ...

        def __pow__(self, other: Any) -> Tensor: ...

        def __matmul__(self, other: Any) -> Tensor: ...

        def __neg__(self) -> Tensor: ...

        def __lt__(self, other: Any) -> Tensor: ...

        def __le__(self, other: Any) -> Tensor: ...

        def __gt__(self, other: Any) -> Tensor: ...

        def __ge__(self, other: Any) -> Tensor: ...

        def __and__(self, other: Any) -> Tensor: ...

        def __or__(self, other: Any) -> Tensor: ...

        def __invert__(self) -> Tensor: ...

        def item(self) -> Any: ...
    else:

        def __getattr__(self, name: str) -> Any:
            if name.startswith("__"):  # a protocol, which NumPy asks for with every array; the nearest names cost a ms
                raise AttributeError(name)
            raise NameUnknown(f"a tensor has no attribute {name!r}", fix=lambda: nearest(name, dir(type(self))))


def attach(functions: Iterable[Callable[..., Any]]) -> None:
    """Make functions whose first argument is a tensor its methods."""
    for function in functions:
        setattr(Tensor, function.__name__, function)


def numpy_dtype(x: Tensor) -> Any:
    """Return the NumPy dtype."""
    return x._value.dtype if x._value is not None else current_node(x).dtype  # type: ignore[union-attr]  # traced


def concrete(x: Tensor, asked: str, *, instead: str = "") -> Array:
    """Return the array of a tensor that has one; in a trace no tensor does, and the error says what was asked."""
    if STATE.mode == TRACE:
        advice = f"use {instead}, or move" if instead else "move"
        line = calling_line()
        raise TraceError(
            f"{asked} asks for the value of a tensor inside a compiled function, where it is not known"
            + (f", at{line}" if line else ""),
            fix=f"{advice} this line out of the compiled function",
        )
    value: Any = x._value
    if isinstance(value, Leaked):
        raise value.error()
    found: Array = value
    return found


def is_eager_leaf(x: Tensor) -> bool:
    """Return whether no operation of the tape made ``x``."""
    node = current_node(x)
    return node is None or not node.requires_grad or node.primitive is None


def new_leaf(x: Tensor) -> Node:
    """Return a leaf node that collects the gradient of ``x``."""
    node = Node(None, (), NO_ATTRIBUTES, x._value.shape, x._value.dtype, True)
    node.owner = weakref.ref(x)
    return node


def current_node(x: Tensor) -> Node | None:
    """Return the node that says how ``x`` came about; None for an eager tensor that needs no gradient."""
    if x._value is not None and STATE.mode == TRACE:
        return STATE.trace.node_of(x)  # type: ignore[union-attr]  # mode TRACE has a trace
    if x._parent is None:
        if x._node is None and x._value is None:
            raise TraceError("a tensor without a value or a node")
        return x._node
    if x._storage is not None and x._storage.rebound != x._seen:
        parent = parent_of(x)
        if parent is not None:
            _derive(x, parent, x._storage)
    return x._node


def parent_of(x: Tensor) -> Tensor | None:
    """Return the tensor whose memory a view looks at, or what stands for it since it got other memory; None if there is none."""
    parent = x._parent
    if parent is not None and x._storage is not None and parent._storage is not x._storage:
        parent = x._parent = _heir_of(x._storage)
        if parent is None:
            x._link = None
    return parent


def _heir_of(storage: Storage) -> Tensor | None:
    heir = None if storage.heir is None else storage.heir()
    array = None if storage.left is None else storage.left()
    if heir is None and array is not None:
        heir = Tensor(array)
        heir._storage = storage
        storage.heir = weakref.ref(heir)
    return heir


def _derive(x: Tensor, parent: Tensor, storage: Storage) -> None:
    """Give a view the node that follows from its parent's, which was rebound."""
    made_by, attributes = x._link or (STOP, NO_ATTRIBUTES)
    if made_by is STOP and x._value is not None:
        return  # detached: an eager tensor's own affair
    node = current_node(parent)
    if node is None:
        x._node = None
    elif x._value is None:
        x._node = STATE.trace.recording.apply(made_by, (node,), attributes)  # type: ignore[union-attr]  # traced
    elif node.requires_grad:
        x._node = Node(made_by, (node,), attributes, x._value.shape, x._value.dtype, True)
    x._seen = storage.rebound


def shared_storage(x: Tensor) -> Storage:
    """Return the record of the memory of ``x``, which its views share."""
    storage = x._storage
    if storage is None:
        storage = x._storage = Storage()
    return storage


STOP = primitive("stop")


def is_array(value: Any) -> bool:
    """Return whether ``value`` is a NumPy array or scalar."""
    return isinstance(value, (np.ndarray, np.generic))
