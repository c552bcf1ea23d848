"""Writing LLVM's textual language: a function under construction. Operators of its values write instructions:

    y = e.fma(a, b, c) * 2 + e.select(a < b, a, b)

Nothing is fused, reordered or approximated unless it is written so: no fast-math flags, explicit ``fma``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from chainrule.compiler.module import Module
from chainrule.compiler.value import BOOL, I32, I64, LANES, U8, Dtype, Value, literal, suffix_of, type_of


class Emitter:
    """One function under construction. Parameters are given as ("ptr", "args") pairs and named ``%args``."""

    def __init__(
        self,
        module: Module,
        name: str,
        parameters: Sequence[tuple[str, str]],
        *,
        result: str = "void",
        internal: bool = False,
    ) -> None:
        self.module = module
        self.name = name
        self.parameters = parameters
        self.result = result
        self.internal = internal
        self.lines: list[str] = []
        self.at_entry: list[str] = []  # stack memory
        self.widened: dict[tuple[str, int], Value] = {}  # what stands in every lane from the entry on
        self.lanes = LANES  # of a vector, unless it is said
        self.neighbour = (
            0,
            1,
        )  # the number of a vector among those side by side of a tile's row, and how many they are
        self.block = "entry"
        self._came_from = ""  # the last block of the body of the last when()
        self._count = 0

    # -- the text ------------------------------------------------------------------------------------------------------

    def line(self, text: str) -> None:
        """Write one instruction that gives nothing."""
        self.lines.append("  " + text)

    def fresh(self, prefix: str = "v") -> str:
        """Return a new name."""
        self._count += 1
        return f"%{prefix}{self._count}"

    def op(self, text: str, dtype: Dtype, lanes: int = 1) -> Value:
        """Write one instruction and return what it gives."""
        name = self.fresh()
        self.lines.append(f"  {name} = {text}")
        return Value(self, name, dtype, lanes)

    def raw(self, text: str) -> str:
        """Write one instruction and return the name of what it gives, of whatever type."""
        name = self.fresh()
        self.lines.append(f"  {name} = {text}")
        return name

    def label(self, name: str) -> None:
        """Begin a block."""
        self.lines.append(f"{name}:")
        self.block = name

    def finish(self, value: Value | None = None) -> None:
        """Return from the function, and put its text into the module."""
        self.line("ret void" if value is None else f"ret {value!r}")
        parameters = ", ".join(f"{kind} %{name}" for kind, name in self.parameters)
        linkage = "internal " if self.internal else ""
        head = f"define {linkage}{self.result} @{self.name}({parameters}) #0 {{\nentry:"
        self.module.functions[self.name] = "\n".join([head, *self.at_entry, *self.lines, "}"])

    # -- constants and widths --------------------------------------------------------------------------------------------

    def constant(self, number: Any, dtype: Dtype) -> Value:
        """Return a constant; it is as wide as what it meets."""
        return Value(self, literal(number, dtype), dtype, 1, constant=True)

    def index(self, number: int) -> Value:
        """Return a constant for counting and addressing."""
        return self.constant(number, I64)

    def wide(self, x: Value, lanes: int = 0) -> Value:
        """Return ``x`` in every lane, of which there are as many as vectors have now if no number is given."""
        lanes = lanes or self.lanes
        if x.lanes == lanes:
            return x
        kind = type_of(x.dtype, lanes)
        if x.constant:
            return Value(self, f"splat ({x!r})", x.dtype, lanes, constant=True)
        if (x.name, lanes) in self.widened:
            return self.widened[x.name, lanes]
        first = self.raw(f"insertelement {kind} poison, {x!r}, i64 0")
        return self.op(f"shufflevector {kind} {first}, {kind} poison, <{lanes} x i32> zeroinitializer", x.dtype, lanes)

    def together(self, *operands: Any) -> list[Value]:
        """Return the operands (Python numbers too) in one width; numbers take the dtype of the last value among them."""
        dtype = next(o.dtype for o in reversed(operands) if isinstance(o, Value))
        values = [o if isinstance(o, Value) else self.constant(o, dtype) for o in operands]
        lanes = max(v.lanes for v in values)
        return [v if v.lanes == lanes else self.wide(v, lanes) for v in values]

    # -- arithmetic --------------------------------------------------------------------------------------------------------

    def arithmetic(self, name: str, a: Any, b: Any) -> Value:
        """Return a + b, a - b, a b or a / b: of floats rounded once, of integers modulo their range; ``div`` truncates."""
        a, b = self.together(a, b)
        kind = a.dtype.kind
        if kind == "f":
            word = "f" + name
        elif kind == "b":  # as NumPy: a + b is or, a b is and
            word = {"add": "or", "mul": "and", "sub": "xor"}[name]
        elif name == "div":
            word = "udiv" if kind == "u" else "sdiv"
        else:
            word = name
        return self.op(f"{word} {a!r}, {b.name}", a.dtype, a.lanes)

    def remainder(self, a: Any, b: Any) -> Value:
        """Return what division of integers truncated towards 0 leaves (of floats: frem, a call into libm: avoid)."""
        a, b = self.together(a, b)
        word = {"f": "frem", "u": "urem"}.get(a.dtype.kind, "srem")
        return self.op(f"{word} {a!r}, {b.name}", a.dtype, a.lanes)

    def quotient(self, a: Value, b: Value) -> Value:
        """Return a / b of counts below 2³², for wide integers are divided slowly. ``Items.divided`` sees to it that they are."""
        x, y = self.op(f"trunc {a!r} to i32", I32), self.op(f"trunc {b!r} to i32", I32)
        return self.op(f"zext i32 {self.raw(f'udiv {x!r}, {y.name}')} to i64", I64)

    def neg(self, x: Value) -> Value:
        """Return -x."""
        if x.dtype.kind == "f":
            return self.op(f"fneg {x!r}", x.dtype, x.lanes)
        return self.arithmetic("sub", self.constant(0, x.dtype), x)

    def bits(self, name: str, a: Any, b: Any) -> Value:
        """Return and, or, xor, shl, lshr or ashr of integers or truth values."""
        a, b = self.together(a, b)
        return self.op(f"{name} {a!r}, {b.name}", a.dtype, a.lanes)

    def compare(self, name: str, a: Any, b: Any) -> Value:
        """Return the truth of eq, ne, lt, le, gt, ge; with a NaN only ``ne`` is true."""
        a, b = self.together(a, b)
        kind = a.dtype.kind
        if kind == "f":
            word = "fcmp " + ("une" if name == "ne" else "o" + name)
        elif name in ("eq", "ne"):
            word = "icmp " + name
        else:
            word = "icmp " + ("u" if kind in "ub" else "s") + name
        return self.op(f"{word} {a!r}, {b.name}", BOOL, a.lanes)

    def eq(self, a: Any, b: Any) -> Value:
        """Return a = b."""
        return self.compare("eq", a, b)

    def ne(self, a: Any, b: Any) -> Value:
        """Return a ≠ b: true if one is NaN."""
        return self.compare("ne", a, b)

    def is_nan(self, x: Value) -> Value:
        """Return whether a float is NaN."""
        return self.op(f"fcmp uno {x!r}, {x.name}", BOOL, x.lanes)

    def select(self, mask: Value, a: Any, b: Any) -> Value:
        """Return ``a`` where ``mask`` is true, else ``b``."""
        a, b = self.together(a, b)
        lanes = max(mask.lanes, a.lanes)
        mask, a, b = self.wide(mask, lanes), self.wide(a, lanes), self.wide(b, lanes)
        return self.op(f"select {mask!r}, {a!r}, {b!r}", a.dtype, lanes)

    def intrinsic(self, name: str, *operands: Any) -> Value:
        """Return what one of LLVM's own functions of floats or integers gives: fma, sqrt, fabs, floor, rint, copysign …"""
        values = self.together(*operands)
        x = values[0]
        full = f"llvm.{name}.{suffix_of(x.dtype, x.lanes)}"
        kinds = ", ".join(v.type for v in values)
        self.module.declare(full, f"declare {x.type} @{full}({kinds})")
        return self.op(f"call {x.type} @{full}({', '.join(map(repr, values))})", x.dtype, x.lanes)

    def fma(self, a: Any, b: Any, c: Any) -> Value:
        """Return a b + c, rounded once."""
        return self.intrinsic("fma", a, b, c)

    def sqrt(self, x: Value) -> Value:
        """Return the square root, exactly rounded."""
        return self.intrinsic("sqrt", x)

    def abs(self, x: Value) -> Value:
        """Return |x|."""
        if x.dtype.kind == "f":
            return self.intrinsic("fabs", x)
        return self.select(x < 0, -x, x) if x.dtype.kind == "i" else x

    def maximum(self, a: Any, b: Any) -> Value:
        """Return the larger, NaN if one is NaN."""
        a, b = self.together(a, b)
        if a.dtype.kind != "f":
            return self.select(a > b, a, b)
        return self.select(self.op(f"fcmp ugt {a!r}, {b.name}", BOOL, a.lanes) & ~self.is_nan(b), a, b)

    def minimum(self, a: Any, b: Any) -> Value:
        """Return the smaller, NaN if one is NaN."""
        a, b = self.together(a, b)
        if a.dtype.kind != "f":
            return self.select(a < b, a, b)
        return self.select(self.op(f"fcmp ult {a!r}, {b.name}", BOOL, a.lanes) & ~self.is_nan(b), a, b)

    # -- between dtypes ----------------------------------------------------------------------------------------------------

    def cast(self, x: Value, dtype: Dtype) -> Value:
        """Return ``x`` in another dtype: floats to integers towards 0, to truth values by ≠ 0."""
        if x.dtype == dtype:
            return x
        old, new = x.dtype, dtype
        if new.kind == "b":
            return self.compare("ne", x, self.constant(0, old))
        to = type_of(new, x.lanes)
        if old.kind == "f" and new.kind == "f":
            word = "fpext" if new.itemsize > old.itemsize else "fptrunc"
        elif old.kind == "f":
            if new.itemsize < 8:  # by way of a wide integer, as NumPy wraps
                return self.cast(self.cast(x, I64), new)
            name = f"llvm.fptosi.sat.{suffix_of(new, x.lanes)}.{suffix_of(old, x.lanes)}"
            self.module.declare(name, f"declare {to} @{name}({x.type})")
            return self.op(f"call {to} @{name}({x!r})", new, x.lanes)
        elif new.kind == "f":
            word = "uitofp" if old.kind in "bu" else "sitofp"
        else:
            old_size = 0 if old.kind == "b" else old.itemsize
            if old_size == new.itemsize:
                return Value(self, x.name, new, x.lanes, x.constant)
            word = "trunc" if old_size > new.itemsize else ("zext" if old.kind in "bu" else "sext")
        return self.op(f"{word} {x!r} to {to}", new, x.lanes)

    def bitcast(self, x: Value, dtype: Dtype) -> Value:
        """Return the same bits as another dtype of the same size."""
        return self.op(f"bitcast {x!r} to {type_of(dtype, x.lanes)}", dtype, x.lanes)

    # -- memory -----------------------------------------------------------------------------------------------------------

    def offset(self, pointer: str, count: Value | int, dtype: Dtype) -> str:
        """Return the address ``count`` elements after ``pointer``."""
        if isinstance(count, int):
            count = self.index(count)
        if count.constant and count.name == "0":
            return pointer
        kind = "i8" if dtype.kind == "b" else type_of(dtype)
        return self.raw(f"getelementptr inbounds {kind}, ptr {pointer}, i64 {count.name}")

    def load(self, pointer: str, dtype: Dtype, lanes: int = 1, mask: Value | None = None) -> Value:
        """Return what stands at ``pointer``; of lanes that ``mask`` leaves out, zeros. Truth values are bytes there."""
        if dtype.kind == "b":
            return self.ne(self.load(pointer, U8, lanes, mask), 0)
        kind = type_of(dtype, lanes)
        align = dtype.itemsize
        if mask is None or lanes == 1:
            return self.op(f"load {kind}, ptr {pointer}, align {align}", dtype, lanes)
        name = f"llvm.masked.load.{suffix_of(dtype, lanes)}.p0"
        operands = ((f"ptr align {align}", pointer), (mask.type, mask.name), (kind, "zeroinitializer"))
        return self.op(self.module.masked(name, kind, *operands), dtype, lanes)

    def store(self, x: Value, pointer: str, mask: Value | None = None) -> None:
        """Write ``x`` to ``pointer``, in the lanes of ``mask`` only."""
        if x.dtype.kind == "b":
            self.store(self.cast(x, U8), pointer, mask)
            return
        align = x.dtype.itemsize
        if mask is None or x.lanes == 1:
            self.line(f"store {x!r}, ptr {pointer}, align {align}")
            return
        name = f"llvm.masked.store.{suffix_of(x.dtype, x.lanes)}.p0"
        operands = ((x.type, x.name), (f"ptr align {align}", pointer), (mask.type, mask.name))
        self.line(self.module.masked(name, "void", *operands))

    def stack(self, dtype: Dtype, count: int) -> str:
        """Return memory for ``count`` elements that lasts as long as the call."""
        name = self.fresh("stack")
        kind = "i8" if dtype.kind == "b" else type_of(dtype)
        self.at_entry.append(f"  {name} = alloca [{count} x {kind}], align 64")
        return name

    def prefetch(self, pointer: str, *, write: bool = False, locality: int = 2) -> None:
        """Ask for the line at ``pointer`` ahead of its use."""
        self.module.declare("llvm.prefetch.p0", "declare void @llvm.prefetch.p0(ptr, i32, i32, i32)")
        self.line(f"call void @llvm.prefetch.p0(ptr {pointer}, i32 {int(write)}, i32 {locality}, i32 1)")

    # -- lanes --------------------------------------------------------------------------------------------------------------

    def lane_numbers(self, dtype: Dtype = I64, lanes: int = 0) -> Value:
        """Return 0, 1, 2, … in the lanes."""
        lanes = lanes or self.lanes
        digits = ", ".join(f"{type_of(dtype)} {literal(k, dtype)}" for k in range(lanes))
        return Value(self, f"<{digits}>", dtype, lanes, constant=True)

    def lane(self, x: Value, k: int) -> Value:
        """Return one lane."""
        return self.op(f"extractelement {x!r}, i64 {k}", x.dtype)

    def with_lane(self, x: Value, k: int, y: Value) -> Value:
        """Return ``x`` with one lane replaced."""
        return self.op(f"insertelement {x!r}, {y!r}, i64 {k}", x.dtype, x.lanes)

    def shuffle(self, a: Value, b: Value | None, order: Sequence[int]) -> Value:
        """Return lanes of ``a`` (0, 1, …) and ``b`` (after those of a) in a new order."""
        mask = ", ".join(f"i32 {k}" for k in order)
        other = "poison" if b is None else b.name
        return self.op(f"shufflevector {a!r}, {a.type} {other}, <{len(order)} x i32> <{mask}>", a.dtype, len(order))

    def fold(self, x: Value, combine: Callable[[Value, Value], Value]) -> Value:
        """Return all lanes combined into one number: halves with halves, always in this order."""
        half = x.lanes // 2
        while half:
            low = self.shuffle(x, None, range(half)) if half > 1 else self.lane(x, 0)
            high = self.shuffle(x, None, range(half, 2 * half)) if half > 1 else self.lane(x, 1)
            x = combine(low, high)
            half //= 2
        return x

    # -- control ------------------------------------------------------------------------------------------------------------

    def loop(
        self,
        start: Value | int,
        stop: Value | int,
        step: int,
        body: Callable[..., Sequence[Value] | None],
        carry: Sequence[Value] = (),
        *,
        at_least_once: bool = False,
    ) -> list[Value]:
        """Write ``for i in range(start, stop, step): carry = body(i, *carry)``; return the last ``carry``."""
        first = self.index(start) if isinstance(start, int) else start
        last = self.index(stop) if isinstance(stop, int) else stop
        self._count += 1
        number = self._count
        head, done, before = f"loop{number}", f"done{number}", self.block
        i = Value(self, f"%i{number}", I64)
        current = [Value(self, f"%c{number}.{k}", v.dtype, v.lanes) for k, v in enumerate(carry)]
        if at_least_once:
            self.line(f"br label %{head}")
        else:
            any_turn = self.compare("lt", first, last)
            self.line(f"br {any_turn!r}, label %{head}, label %{done}")
        self.label(head)
        place = len(self.lines)  # of the phis, known after the body
        new = list(body(i, *current) or [])
        following = self.op(f"add nsw i64 {i.name}, {step}", I64)
        again = self.compare("lt", following, last)
        phis = [f"  {i.name} = phi i64 [ {first.name}, %{before} ], [ {following.name}, %{self.block} ]"]
        for now, old, then in zip(current, carry, new, strict=True):
            phis.append(f"  {now.name} = phi {now.type} [ {old.name}, %{before} ], [ {then.name}, %{self.block} ]")
        self.lines[place:place] = phis
        back = self.block
        self.line(f"br {again!r}, label %{head}, label %{done}")
        self.label(done)
        if at_least_once:
            return new
        ends = []
        for old, then in zip(carry, new, strict=True):
            ends.append(
                self.op(f"phi {then.type} [ {old.name}, %{before} ], [ {then.name}, %{back} ]", then.dtype, then.lanes)
            )
        return ends

    def when(self, condition: Value, body: Callable[[], None]) -> None:
        """Write ``if condition: body()``."""
        self._count += 1
        then, done = f"then{self._count}", f"after{self._count}"
        self.line(f"br {condition!r}, label %{then}, label %{done}")
        self.label(then)
        body()
        self._came_from = self.block
        self.line(f"br label %{done}")
        self.label(done)

    def either(self, condition: Value, body: Callable[[], Sequence[Value]], values: Sequence[Value]) -> list[Value]:
        """Write ``values = body() if condition else values``; return them."""
        before = self.block
        made: list[Value] = []
        self.when(condition, lambda: made.extend(body()))
        then = self._came_from
        return [
            self.op(f"phi {y.type} [ {x.name}, %{before} ], [ {y.name}, %{then} ]", y.dtype, y.lanes)
            for x, y in zip(values, made, strict=True)
        ]

    def call(self, name: str, *operands: str, result: str = "void") -> str:
        """Call a function; operands are "type value" texts. Return the name of the result ("" if none)."""
        text = f"call {result} @{name}({', '.join(operands)})"
        if result == "void":
            self.line(text)
            return ""
        return self.raw(text)
