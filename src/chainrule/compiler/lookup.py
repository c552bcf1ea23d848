"""Tables of 16 numbers of float32 in registers, looked up by the lanes of a vector.

How a machine does it differs (``Module.lookup``), what it finds does not. One without such an instruction reads memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from chainrule.compiler.emit import Emitter
from chainrule.compiler.value import F32, I64, LANES, U8, Value, literal

Table = Sequence[float]


def lookup(e: Emitter, tables: Sequence[Table], index: Value) -> list[Value]:
    """Return of each table the numbers that the lowest four bits of ``index``, of int32, name."""
    ways = {"avx512": _of_512_bits, "avx2": _of_256_bits, "neon": _of_128_bits}
    way = ways.get(e.module.lookup) if index.lanes > 1 else None
    return (way or _of_memory)(e, tables, index)


def _of_512_bits(e: Emitter, tables: Sequence[Table], index: Value) -> list[Value]:
    lanes = index.lanes
    name = "llvm.x86.avx512.permvar.sf.512"
    e.module.declare(name, f"declare <16 x float> @{name}(<16 x float>, <16 x i32>)")
    if lanes < LANES:
        index = e.shuffle(index, None, [k % lanes for k in range(LANES)])
    found = [e.op(f"call <16 x float> @{name}({_constant(e, table)!r}, {index!r})", F32, LANES) for table in tables]
    return [e.shuffle(x, None, range(lanes)) for x in found] if lanes < LANES else found


def _of_256_bits(e: Emitter, tables: Sequence[Table], index: Value) -> list[Value]:
    name = "llvm.x86.avx2.permps"
    e.module.declare(name, f"declare <8 x float> @{name}(<8 x float>, <8 x i32>)")

    def part(index: Value) -> list[Value]:
        is_upper = e.ne(index & 8, 0)

        def find(half: Table) -> Value:
            return e.op(f"call <8 x float> @{name}({_constant(e, half)!r}, {index!r})", F32, 8)

        return [e.select(is_upper, find(table[8:]), find(table[:8])) for table in tables]

    return _in_parts(e, index, 8, part)


def _of_128_bits(e: Emitter, tables: Sequence[Table], index: Value) -> list[Value]:
    name = "llvm.aarch64.neon.tbl4.v16i8"
    kind = "<16 x i8>"
    e.module.declare(name, f"declare {kind} @{name}({', '.join([kind] * 5)})")

    def part(index: Value) -> list[Value]:
        places = (index & 15) * 0x04040404 + 0x03020100  # of the bytes
        place = e.raw(f"bitcast {places!r} to {kind}")
        found = []
        for table in tables:
            quarters = [e.raw(f"bitcast {_constant(e, table[k : k + 4])!r} to {kind}") for k in range(0, 16, 4)]
            operands = ", ".join([f"{kind} {x}" for x in (*quarters, place)])
            x = Value(e, e.raw(f"call {kind} @{name}({operands})"), U8, 16)
            found.append(Value(e, e.raw(f"bitcast {x!r} to <4 x float>"), F32, 4))
        return found

    return _in_parts(e, index, 4, part)


def _in_parts(e: Emitter, index: Value, size: int, part: Callable[[Value], list[Value]]) -> list[Value]:
    """Look up ``size`` lanes at a time."""
    lanes = index.lanes
    if lanes < size:
        found = part(e.shuffle(index, None, [k % lanes for k in range(size)]))
        return [e.shuffle(x, None, range(lanes)) for x in found]
    parts = [part(e.shuffle(index, None, range(k, k + size))) for k in range(0, lanes, size)]
    while len(parts) > 1:
        parts = [
            [e.shuffle(a, b, range(2 * a.lanes)) for a, b in zip(low, high, strict=True)]
            for low, high in zip(parts[::2], parts[1::2], strict=True)
        ]
    return parts[0]


def _of_memory(e: Emitter, tables: Sequence[Table], index: Value) -> list[Value]:
    places = e.cast(index & 15, I64)
    found = []
    for table in tables:
        name = f"table.{len(e.module.globals)}"
        text = f"private unnamed_addr constant [16 x float] {_digits(table)}"
        name = next((known for known, line in e.module.globals.items() if line.endswith(text)), name)
        e.module.globals[name] = f"@{name} = {text}"
        if index.lanes == 1:
            found.append(e.load(e.offset(f"@{name}", places, F32), F32))
            continue
        x = e.wide(e.constant(0, F32), index.lanes)
        for lane in range(index.lanes):
            x = e.with_lane(x, lane, e.load(e.offset(f"@{name}", e.lane(places, lane), F32), F32))
        found.append(x)
    return found


def _digits(numbers: Table) -> str:
    return f"[{', '.join(f'float {literal(number, F32)}' for number in numbers)}]"


def _constant(e: Emitter, numbers: Table) -> Value:
    return Value(e, f"<{_digits(numbers)[1:-1]}>", F32, len(numbers), constant=True)
