"""The native function that runs a list of records: no Python between the kernels of a step."""

from __future__ import annotations

from chainrule.compiler.emit import I64, LANES, Dtype, Emitter, Module, Value
from chainrule.compiler.target import Target

RUN, RUN_STEPS = "run", "run_steps"
RECORD_WORDS = 3  # of a record in memory: the kernel's address, that of its args, the number of items
FLUSH = 32832  # bits 15 and 6 of MXCSR: denormal results and operands are zero


def write_driver(module: Module, machine: Target) -> None:
    """Write ``run`` and ``run_steps``: the records once, or many times with some addresses moved on after each time."""
    _write_run(module, machine)
    _write_steps(module)


def _write_run(module: Module, machine: Target) -> None:
    """Write ``i64 run(ptr frame, ptr records, i64 count)``: how many records were done; fewer if a check failed."""
    e = Emitter(module, RUN, [("ptr", "frame"), ("ptr", "records"), ("i64", "count")], result="i64")
    state = _flush_denormals(e, machine)
    word = e.raw("load ptr, ptr %frame, align 8")
    done = e.stack(I64, 1)
    e.store(e.index(0), done)
    e.line("br label %check")
    e.label("check")
    at = e.load(done, I64)
    failed = e.load(word, I64)
    goes_on = (at < Value(e, "%count", I64)) & e.eq(failed, 0)
    e.line(f"br {goes_on!r}, label %call, label %end")
    e.label("call")
    record = e.offset("%records", at * RECORD_WORDS, I64)
    kernel = e.raw(f"load ptr, ptr {record}, align 8")
    args = e.raw(f"load ptr, ptr {e.offset(record, 1, I64)}, align 8")
    items = e.load(e.offset(record, 2, I64), I64)
    e.line(f"call void {kernel}(ptr %frame, ptr {args}, i64 0, {items!r})")
    e.store(at + 1, done)
    e.line("br label %check")
    e.label("end")
    if state:
        e.line(f"call void @llvm.x86.sse.ldmxcsr(ptr {state})")
    e.finish(e.load(done, I64))


def _write_steps(module: Module) -> None:
    """Write ``i64 run_steps(ptr frame, ptr records, i64 count, i64 steps, ptr moves, i64 num_moves)``.

    After each step the address in slot ``moves[2k]`` of the frame goes on by ``moves[2k + 1]`` bytes. Returns how many steps
    were done whole.
    """
    parameters = [
        ("ptr", "frame"),
        ("ptr", "records"),
        ("i64", "count"),
        ("i64", "steps"),
        ("ptr", "moves"),
        ("i64", "num_moves"),
    ]
    e = Emitter(module, RUN_STEPS, parameters, result="i64")
    count, steps = Value(e, "%count", I64), Value(e, "%steps", I64)
    done = e.stack(I64, 1)
    e.store(e.index(0), done)
    e.line("br label %check")
    e.label("check")
    at = e.load(done, I64)
    goes_on = at < steps
    e.line(f"br {goes_on!r}, label %step, label %end")
    e.label("step")
    whole = Value(e, e.call(RUN, "ptr %frame", "ptr %records", "i64 %count", result="i64"), I64)
    is_whole = e.eq(whole, count)
    e.line(f"br {is_whole!r}, label %move, label %end")
    e.label("move")

    def move(k: Value) -> None:
        slot = e.load(e.offset("%moves", k * 2, I64), I64)
        length = e.load(e.offset("%moves", k * 2 + 1, I64), I64)
        place = e.offset("%frame", slot, I64)
        e.store(e.load(place, I64) + length, place)

    e.loop(0, Value(e, "%num_moves", I64), 1, move)
    e.store(at + 1, done)
    e.line("br label %check")
    e.label("end")
    e.finish(e.load(done, I64))


def write_gather(module: Module, source: Dtype, target: Dtype) -> str:
    """Write the kernel that copies rows named by an order into a batch, in another dtype; return its name.

    args: the slots of the rows, of the order and of the batch, the offset of the batch in bytes, elements per row.
    """
    name = f"gather.{source.name}.{target.name}"
    if name in module.functions:
        return name
    e = Emitter(module, name, [("ptr", "frame"), ("ptr", "args"), ("i64", "begin"), ("i64", "end")])
    words = [e.load(e.offset("%args", k, I64), I64) for k in range(5)]
    rows, order, batch = [e.raw(f"load ptr, ptr {e.offset('%frame', words[k], I64)}, align 8") for k in range(3)]
    batch = e.raw(f"getelementptr i8, ptr {batch}, i64 {words[3].name}")
    length = words[4]

    def row(i: Value) -> None:
        place = e.load(e.offset(order, i, I64), I64)
        from_, to = e.offset(rows, place * length, source), e.offset(batch, i * length, target)

        def part(j: Value) -> None:
            mask = e.lane_numbers() < e.wide(length - j)
            x = e.load(e.offset(from_, j, source), source, LANES, mask)
            e.store(e.cast(x, target), e.offset(to, j, target), mask)

        whole = e.bits("and", length, -LANES)

        def block(j: Value) -> None:
            x = e.load(e.offset(from_, j, source), source, LANES)
            e.store(e.cast(x, target), e.offset(to, j, target))

        e.loop(0, whole, LANES, block)
        e.loop(whole, length, LANES, part)

    e.loop(Value(e, "%begin", I64), Value(e, "%end", I64), 1, row)
    e.finish()
    return name


def _flush_denormals(e: Emitter, machine: Target) -> str:
    """Let denormals be zero from here on; return where the former state stands ("" where that is not known)."""
    if not machine.triple.startswith("x86_64"):
        return ""
    for name in ("stmxcsr", "ldmxcsr"):
        e.module.declare(f"llvm.x86.sse.{name}", f"declare void @llvm.x86.sse.{name}(ptr)")
    before, now = e.fresh("mxcsr"), e.fresh("mxcsr")
    e.at_entry += [f"  {before} = alloca i32, align 4", f"  {now} = alloca i32, align 4"]
    e.line(f"call void @llvm.x86.sse.stmxcsr(ptr {before})")
    bits = e.raw(f"load i32, ptr {before}, align 4")
    e.line(f"store i32 {e.raw(f'or i32 {bits}, {FLUSH}')}, ptr {now}, align 4")
    e.line(f"call void @llvm.x86.sse.ldmxcsr(ptr {now})")
    return before
