"""The kernel that makes a batch of rows of the data: named by an order, converted, scaled, and looked at."""

from __future__ import annotations

from chainrule.compiler.emit import Emitter
from chainrule.compiler.module import Module
from chainrule.compiler.value import I64, LANES, Dtype, Value


def write_gather(module: Module, source: Dtype, target: Dtype, *, scaled: bool = False, marked: bool = False) -> str:
    """Write the kernel that copies rows named by an order into a batch, in another dtype; return its name.

    args: the slots of the rows, of the order and of the batch, the offset of the batch in bytes, elements per row,
    and how many rows later in the order memory is asked for ahead of its use. With ``scaled``, also
    what is subtracted from each element and what the difference is multiplied by, each a number of the target's dtype.
    With ``marked``, then the address of marks: a word of 16 bits for 16 elements of a row, a bit for each that is not 0.
    """
    name = f"gather.{source.name}.{target.name}{'.scaled' * scaled}{'.marked' * marked}"
    if name in module.functions:
        return name
    e = Emitter(module, name, [("ptr", "frame"), ("ptr", "args"), ("i64", "begin"), ("i64", "end")])
    words = [e.load(e.offset("%args", k, I64), I64) for k in range(6)]
    rows, order, batch = [e.raw(f"load ptr, ptr {e.offset('%frame', words[k], I64)}, align 8") for k in range(3)]
    batch = e.raw(f"getelementptr i8, ptr {batch}, i64 {words[3].name}")
    length = words[4]
    shift, factor = [e.load(e.offset("%args", 6 + k, I64), target) if scaled else None for k in range(2)]
    marks = e.raw(f"load ptr, ptr {e.offset('%args', 8, I64)}, align 8") if marked else ""

    def put(x: Value, i: Value, j: Value, mask: Value | None) -> None:
        y = e.cast(x, target)
        if shift is not None and factor is not None:
            y = (y - shift) * factor
        e.store(y, e.offset(batch, i * length + j, target), mask)
        if marked:
            found = e.ne(y, 0) if mask is None else e.ne(y, 0) & mask
            bits = e.raw(f"bitcast {found!r} to i{LANES}")
            word = i * (length + (LANES - 1) >> 4) + (j >> 4)
            e.line(f"store i16 {bits}, ptr {e.raw(f'getelementptr i16, ptr {marks}, i64 {word.name}')}, align 2")

    def row(i: Value) -> None:
        place = e.load(e.offset(order, i, I64), I64)
        from_ = e.offset(rows, place * length, source)

        def part(j: Value) -> None:
            mask = e.lane_numbers() < e.wide(length - j)
            put(e.load(e.offset(from_, j, source), source, LANES, mask), i, j, mask)

        whole = e.bits("and", length, -LANES)
        later = e.load(e.offset(order, i + words[5], I64), I64)
        ahead = e.offset(rows, later * length, source)

        def block(j: Value) -> None:
            e.prefetch(e.offset(ahead, j, source), locality=2)
            put(e.load(e.offset(from_, j, source), source, LANES), i, j, None)

        e.loop(0, whole, LANES, block)
        e.loop(whole, length, LANES, part)

    e.loop(Value(e, "%begin", I64), Value(e, "%end", I64), 1, row)
    e.finish()
    return name
