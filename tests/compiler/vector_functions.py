"""Functions of vectors compiled for arrays: all of a list in one module, with 16 lanes and with one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule.compiler import vector_math
from chainrule.compiler.emit import LANES, Emitter, Module
from tests.compiler.native import HOST, Call, Native

PARAMETERS = [("ptr", "frame"), ("ptr", "args"), ("i64", "begin"), ("i64", "end")]
TWO = ("atan2", "hypot", "logaddexp", "pow", "floor_divide", "trunc_divide", "remainder", "fmod")


class Vectors:
    """Compiled functions by name and dtype."""

    def __init__(self, wanted: Sequence[tuple[str, Any]], target: tuple[str, str] = HOST, lanes: int = LANES) -> None:
        module = Module()
        self.lanes = lanes
        self.instructions: dict[str, int] = {}
        for name, dtype in wanted:
            self._write(module, name, np.dtype(dtype))
        self.native = Native(module, target)

    def _write(self, module: Module, name: str, dtype: Any) -> None:
        e = Emitter(module, f"{name}.{dtype.name}", PARAMETERS)
        inputs = 2 if name in TWO else 1
        places = [e.raw(f"getelementptr ptr, ptr %frame, i64 {k}") for k in range(inputs + 1)]
        pointers = [e.raw(f"load ptr, ptr {place}") for place in places]

        def body(i: Any) -> None:
            values = [e.load(e.offset(p, i, dtype), dtype, self.lanes) for p in pointers[:-1]]
            before = len(e.lines)
            y = vector_math.function(name)(e, *values)
            self.instructions[e.name] = len(e.lines) - before
            e.store(y, e.offset(pointers[-1], i, dtype))

        stop = e.raw("add i64 %end, 0")
        e.loop(0, _value(e, stop), self.lanes, body)
        e.finish()

    def __call__(self, name: str, *operands: Any) -> np.ndarray[Any, Any]:
        x = operands[0]
        count = -(-x.size // LANES) * LANES
        padded = [np.resize(o, count) for o in operands]
        y = np.empty(count, x.dtype)
        Call(self.native, f"{name}.{x.dtype.name}", [*padded, y], [], count)()
        return y[: x.size].reshape(x.shape)

    def call(self, name: str, *arrays: Any) -> Callable[[], None]:
        """Return a call on arrays that are kept: the last is the result."""
        return Call(self.native, f"{name}.{arrays[0].dtype.name}", arrays, [], arrays[0].size)


def _value(e: Emitter, name: str) -> Any:
    from chainrule.compiler.emit import I64, Value

    return Value(e, name, I64)
