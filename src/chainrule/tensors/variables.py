"""What the functions of functions share: nests of tensors, and the variables that a function is given in place of its arguments."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from chainrule.errors import ArgumentError, ArgumentTypeError, DtypeError, ShapeError
from chainrule.graph import Node
from chainrule.graph.numeric import as_int, as_ints
from chainrule.graph.sizes import numel, same_shape
from chainrule.tensors import autograd
from chainrule.tensors.apply import traced
from chainrule.tensors.arithmetic import clone
from chainrule.tensors.autograd import enable_grad, is_grad_enabled
from chainrule.tensors.creation import zeros_like
from chainrule.tensors.state import STATE, TRACE
from chainrule.tensors.tensor import NO_ATTRIBUTES, STOP, Tensor, current_node, numpy_dtype, shared_storage

Function = Callable[..., Any]


def map_nest(function: Callable[[Any], Any], nest: Any) -> Any:
    """Return the nest with each leaf replaced."""
    if type(nest) in (dict, OrderedDict):
        return type(nest)((key, map_nest(function, part)) for key, part in nest.items())
    if isinstance(nest, tuple) and hasattr(nest, "_fields"):
        return type(nest)(*[map_nest(function, part) for part in nest])
    if type(nest) in (list, tuple):
        return type(nest)([map_nest(function, part) for part in nest])
    return function(nest)


def leaves(nest: Any) -> Iterator[Any]:
    """Yield what is inside dicts, lists and tuples, from left to right."""
    if type(nest) in (dict, OrderedDict):
        for part in nest.values():
            yield from leaves(part)
    elif type(nest) in (list, tuple) or (isinstance(nest, tuple) and hasattr(nest, "_fields")):
        for part in nest:
            yield from leaves(part)
    else:
        yield nest


def tensors_of(output: Any, name: str) -> list[Tensor]:
    """Return the leaves of what a function gave; raise if one is no tensor."""
    outputs = list(leaves(output))
    for y in outputs:
        if not isinstance(y, Tensor):
            raise ArgumentTypeError(f"{name}: the function gave a {type(y).__name__}", expected="tensors")
    return outputs


def with_aux(output: Any, has_aux: bool) -> tuple[Any, Any]:
    """Return (output, aux) of what a function gave."""
    if not has_aux:
        return output, None
    if not isinstance(output, tuple) or len(output) != 2:
        raise ArgumentTypeError(
            f"has_aux=True: the function gave a {type(output).__name__}", expected="a tuple (output, something else)"
        )
    return output


def check_fit(what: str, vectors: Sequence[Any], tensors: Sequence[Tensor]) -> None:
    """Raise unless there is one vector of the same shape for each tensor."""
    if len(vectors) != len(tensors):
        raise ArgumentError(f"{what}: got {len(vectors)} tensors", expected=f"{len(tensors)}, one for each")
    for k, (v, x) in enumerate(zip(vectors, tensors, strict=True)):
        if not isinstance(v, Tensor):
            raise ArgumentTypeError(f"{what}: number {k} is a {type(v).__name__}", expected="a tensor")
        if not same_shape(tuple(v.shape), tuple(x.shape)):
            raise ShapeError(f"{what}: number {k} has shape {tuple(v.shape)}", expected=f"{tuple(x.shape)}")


def zeros_of(shape: tuple[Any, ...], like: Tensor) -> Tensor:
    """Return zeros in the dtype of ``like``."""
    return Tensor(np.zeros(shape, numpy_dtype(like)))


def units(y: Tensor) -> Iterator[Tensor]:
    """Yield the tensors of the shape of ``y`` that are 1 at one element and 0 elsewhere."""
    shape = tuple(map(int, y.shape))
    for k in range(int(numel(shape))):
        unit = np.zeros(shape, numpy_dtype(y))
        unit.reshape(-1)[k] = 1
        yield Tensor(unit)


# -- variables ---------------------------------------------------------------------------------------------------------


class Level:
    """One transformation of one call: the variables it gives the function, and the gradients that arrive at them."""

    def __init__(self, func: Function, name: str) -> None:
        self.func = func
        self.name = name
        self.outside = is_grad_enabled()
        self.own: set[Node] = set()
        self.variables: list[Tensor] = []
        self.nest: Any = None

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any], argnums: int | tuple[int, ...]) -> Any:
        """Call the function with variables in place of the arguments to differentiate by."""
        argnums = as_ints(argnums) if isinstance(argnums, (tuple, list)) else as_int(argnums)
        numbers: tuple[Any, ...] = (argnums,) if isinstance(argnums, int) else tuple(argnums)
        places = []
        for number in numbers:
            if not isinstance(number, int) or not -len(args) <= number < len(args):
                raise ArgumentError(
                    f"{self.name}: argnums has {number}, but the function is called with {len(args)} positional arguments"
                )
            places.append(number % len(args))
        if len(set(places)) < len(places):
            raise ArgumentError(f"{self.name}: argnums={argnums} names an argument twice", expected="different numbers")
        with enable_grad():
            replaced = {place: map_nest(self.variable, args[place]) for place in places}
            chosen = tuple([replaced[place] for place in places])
            self.nest = chosen[0] if isinstance(argnums, int) else chosen
            return self.func(*[replaced.get(place, arg) for place, arg in enumerate(args)], **kwargs)

    def variable(self, x: Any) -> Tensor:
        """Return a tensor with the value of ``x`` whose node is this level's own, above that of ``x``."""
        if not isinstance(x, Tensor):
            raise ArgumentTypeError(
                f"{self.name}: an argument to differentiate by is a {type(x).__name__}", expected="tensors"
            )
        if numpy_dtype(x).kind != "f":
            raise DtypeError(
                f"{self.name}: an argument to differentiate by is of {numpy_dtype(x)}",
                expected="a floating-point dtype",
                fix="convert it with .float()",
            )
        below = current_node(x)
        if STATE.mode == TRACE or (below is not None and below.requires_grad):
            y = clone(x)
            node = current_node(y)
            if node is None:
                raise ArgumentTypeError(f"{self.name}: an argument without a node", expected="a tensor of this trace")
            node.requires_grad = True  # in a trace nothing below may want a gradient: the variable does
        else:  # no copy: the memory is watched through the storage that both share
            y = Tensor(x._value)
            y._storage = shared_storage(x)
            node = y._node = Node(None, (), NO_ATTRIBUTES, x._value.shape, x._value.dtype, True)
        self.own.add(node)
        self.variables.append(Tensor(y._value, node))  # the function may write to its own: this one stays what it was
        return y

    def gradients(
        self, outputs: list[Tensor], vectors: list[Tensor] | None, *, retain: bool, flat: bool = False
    ) -> Any:
        """Return the gradients at the variables, arranged as the arguments (or ``flat``); 0 where nothing arrives."""
        wanted = [k for k, y in enumerate(outputs) if y.requires_grad]
        found: Sequence[Tensor | None] = [None] * len(self.variables)
        tracked = is_grad_enabled() and (
            self.leads_outside(outputs) or (vectors is not None and any(v.requires_grad for v in vectors))
        )
        if wanted:
            found = autograd.grad(
                [outputs[k] for k in wanted],
                self.variables,
                None if vectors is None else [vectors[k] for k in wanted],
                retain_graph=retain or tracked,
                create_graph=tracked,
                allow_unused=True,
            )
        filled = [zeros_like(x) if g is None else g for g, x in zip(found, self.variables, strict=True)]
        return filled if flat else self.arranged(filled)

    def arranged(self, values: Iterable[Any]) -> Any:
        """Return one value per variable in the nest that the arguments have."""
        each = iter(values)
        return map_nest(lambda _: next(each), self.nest)

    def left(self, nest: Any) -> Any:
        """Return the results as they leave: with a tape only if it leads to something outside that wants a gradient."""
        return map_nest(self._left, nest)

    def _left(self, y: Any) -> Any:
        if not isinstance(y, Tensor) or not y.requires_grad or (self.outside and self.leads_outside([y])):
            return y
        if STATE.mode == TRACE:
            return traced(STOP, (y,), NO_ATTRIBUTES)
        cut = Tensor(y._value)
        cut._storage = shared_storage(y)
        return cut

    def leads_outside(self, outputs: Iterable[Tensor]) -> bool:
        """Return whether a node below ``outputs`` that wants a gradient is a source, and none of this level's own."""
        stack = [node for y in outputs if (node := current_node(y)) is not None and node.requires_grad]
        seen = set(stack)
        while stack:
            node = stack.pop()
            below = [child for child in node.inputs or () if child.requires_grad]
            if not below and node not in self.own:
                return True
            for child in below:
                if child not in seen:
                    seen.add(child)
                    stack.append(child)
        return False


class Push:
    """The linear map tangents ↦ J tangents of one call of a function."""

    def __init__(self, level: Level, output: Any, name: str) -> None:
        self.level = level
        self.output = output
        self.outputs = [y for y in tensors_of(output, name) if y.requires_grad]
        self.name = name
        duals = Level(level.func, name)
        with enable_grad():
            self.vectors = [duals.variable(zeros_like(y).detach()) for y in self.outputs]
            pulled: Sequence[Tensor | None] = ()
            if self.outputs:
                pulled = autograd.grad(
                    self.outputs, level.variables, self.vectors, create_graph=True, allow_unused=True
                )
        self.pulled = [(k, g) for k, g in enumerate(pulled) if g is not None and g.requires_grad]
        self.leads_outside = level.leads_outside(self.outputs)

    def __call__(self, tangents: Sequence[Any]) -> Any:
        check_fit(f"{self.name}: the tangent", tangents, self.level.variables)
        each = iter(self.flat(tangents))
        return map_nest(lambda _: next(each), self.output)

    def flat(self, tangents: Sequence[Tensor]) -> list[Tensor]:
        """Return one tensor per output."""
        tracked = is_grad_enabled() and (self.leads_outside or any(v.requires_grad for v in tangents))
        moved: Sequence[Tensor | None] = [None] * len(self.vectors)
        if self.pulled:
            moved = autograd.grad(
                [g for _, g in self.pulled],
                self.vectors,
                [tangents[k] for k, _ in self.pulled],
                retain_graph=True,
                create_graph=tracked,
                allow_unused=True,
            )
        found = dict(zip(map(id, self.outputs), moved, strict=True))
        return [zeros_like(y) if found.get(id(y)) is None else found[id(y)] for y in leaves(self.output)]  # type: ignore[misc]  # None was replaced


def linearized(
    func: Function, args: tuple[Any, ...], kwargs: dict[str, Any], argnums: Any, has_aux: bool, name: str
) -> tuple[Any, Push, Any]:
    """Call the function; return its output, its linear map at the arguments, and its aux."""
    level = Level(func, name)
    output, aux = with_aux(level.call(args, kwargs, argnums), has_aux)
    push = Push(level, output, name)
    return level.left(output), push, level.left(aux)
