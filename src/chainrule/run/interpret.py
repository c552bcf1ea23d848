"""The interpreter: NumPy, one operation at a time. Eager mode, every platform, and the oracle for all other engines."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from chainrule.errors import ChainruleError, GradientError, ShapeError
from chainrule.graph import Array, Node, Primitive, Spec

# log(0), overflow and NaN are values, not news. np.errstate around every operation would cost more than many of them;
# this silences NumPy's warnings where our own modules call it, and nowhere else.
warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"chainrule\.")


def evaluate(primitive: Primitive, values: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
    """Return what the operation gives for these arrays (or Python numbers): an array, also for 0-d results.

    Infinities and NaN appear silently, as in the mathematics; errors are told by the shape rule.
    """
    try:
        out = primitive.evaluate(*values, **attributes)
    except ChainruleError:
        raise
    except RuntimeWarning:  # NumPy's floating-point warnings, where the user made warnings into errors
        with np.errstate(all="ignore"):
            out = primitive.evaluate(*values, **attributes)
    except (ValueError, TypeError, IndexError) as error:
        explain(primitive, values, attributes)
        raise ShapeError(f"{primitive.name}: {error}") from error
    if type(out) is not np.ndarray and primitive.outputs == 1:
        out = np.asarray(out)
    return out


def explain(primitive: Primitive, values: tuple[Any, ...], attributes: dict[str, Any]) -> None:
    """Let the shape rule, which eager mode skips, say what is wrong with these values."""
    dtype = next((v.dtype for v in reversed(values) if isinstance(v, np.ndarray)), np.dtype(np.float32))
    specs = [Spec(v.shape, v.dtype) if isinstance(v, np.ndarray) else Spec((), dtype) for v in values]
    primitive.shape(*specs, **attributes)


class Evaluating:
    """The recorder of eager mode: every operation is computed at once; its node carries the value.

    With ``record``, the nodes also keep their inputs, so that what is computed can be differentiated again.
    """

    def __init__(self, *, record: bool) -> None:
        self.record = record

    def apply(self, primitive: Primitive, operands: tuple[Any, ...], attributes: dict[str, Any]) -> Node:
        """Return the node of one operation, with its value."""
        values = []
        for operand in operands:
            if type(operand) is not Node:
                values.append(operand)
            elif operand.value is not None:
                values.append(operand.value)
            else:
                raise GradientError(
                    f"{primitive.name}: a rule reads the value of {operand!r}, which was not kept",
                    expected="every value that a vjp rule reads to be named in `reads`",
                )
        try:
            out = primitive.evaluate(*values, **attributes)
        except (RuntimeWarning, ValueError, TypeError, IndexError):
            out = evaluate(primitive, tuple(values), attributes)
        if primitive.outputs == 1:
            if type(out) is not np.ndarray:
                out = np.asarray(out)
            if not self.record:
                return Node(None, (), attributes, out.shape, out.dtype, False, out)
        requires_grad = False
        inputs: tuple[Node, ...] = ()
        if self.record and primitive.differentiable:
            for operand in operands:
                if type(operand) is Node and operand.requires_grad:
                    requires_grad = True
                    inputs = tuple([o if type(o) is Node else number(o, out.dtype) for o in operands])
                    break
        if primitive.outputs > 1:
            shapes, dtypes = tuple([o.shape for o in out]), tuple([o.dtype for o in out])
            return Node(primitive if requires_grad else None, inputs, attributes, shapes, dtypes, requires_grad, out)
        return Node(primitive if requires_grad else None, inputs, attributes, out.shape, out.dtype, requires_grad, out)


def number(value: float, dtype: Any) -> Node:
    """Return the leaf node of a Python number."""
    return Node(None, (), {}, (), dtype, False, np.asarray(value, dtype))  # a bare number would widen beside another


def value_node(value: Array) -> Node:
    """Return the leaf node of an array that needs no gradient."""
    return Node(None, (), {}, value.shape, value.dtype, False, value)
