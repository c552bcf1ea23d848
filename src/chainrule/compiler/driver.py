"""The native function that runs a list of records: no Python between the kernels of a step."""

from __future__ import annotations

from chainrule.compiler.emit import Emitter
from chainrule.compiler.interface import RUN, RUN_TEAM, Team
from chainrule.compiler.module import Module
from chainrule.compiler.target import Target
from chainrule.compiler.value import I64, Value

SPINS = 2000  # turns of waiting before the core is offered to others


RECORD_WORDS = 3  # of a record in memory: the kernel's address, that of its args, the number of items
FLUSH = {"x86_64": 32832, "aarch64": 1 << 24}  # denormals are zero: bits 15 and 6 of MXCSR, FZ of FPCR


def write_driver(module: Module, machine: Target) -> None:
    """Write ``run``, for one pass through the records by one thread, and ``run_team``, for many by several."""
    _write_run(module, machine)
    _write_team(module, machine)


def _write_run(module: Module, machine: Target) -> None:
    """Write ``i64 run(ptr frame, ptr records, i64 count)``: how many records were done; fewer if a check failed."""
    e = Emitter(module, RUN, [("ptr", "frame"), ("ptr", "records"), ("i64", "count")], result="i64")
    state = flush_denormals(e, machine)
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
    kernel, args, items = _record(e, "%records", at)
    e.line(f"call void {kernel}(ptr %frame, ptr {args}, i64 0, {items!r})")
    e.store(at + 1, done)
    e.line("br label %check")
    e.label("end")
    restore_denormals(e, machine, state)
    e.finish(e.load(done, I64))


def _record(e: Emitter, records: str, at: Value) -> tuple[str, str, Value]:
    """Return kernel, args and number of items of a record."""
    record = e.offset(records, at * RECORD_WORDS, I64)
    kernel = e.raw(f"load ptr, ptr {record}, align 8")
    args = e.raw(f"load ptr, ptr {e.offset(record, 1, I64)}, align 8")
    return kernel, args, e.load(e.offset(record, 2, I64), I64)


def _write_team(module: Module, machine: Target) -> None:
    """Write ``void run_team(ptr team, i64 member)``, which every thread of a team calls with its number.

    ``team`` holds the words of ``Team``. Each record's items are shared out in equal parts in their order; nobody begins the
    next record before all are done with this one. After each step the address in slot ``moves[2k]`` of each member's frame
    goes on by ``moves[2k + 1]`` bytes. A failed check ends the run for all after the same record.
    """
    e = Emitter(module, RUN_TEAM, [("ptr", "team"), ("i64", "member")])
    state = flush_denormals(e, machine)
    member = Value(e, "%member", I64)

    def word(k: int) -> str:
        return e.offset("%team", k, I64)

    size, count, steps, num_moves = [e.load(word(k), I64) for k in (Team.SIZE, Team.COUNT, Team.STEPS, Team.NUM_MOVES)]
    records, moves, rest = [e.raw(f"load ptr, ptr {word(k)}, align 8") for k in (Team.RECORDS, Team.MOVES, Team.YIELD)]
    frame = e.raw(f"load ptr, ptr {e.offset('%team', member + Team.FRAMES, I64)}, align 8")
    status = e.raw(f"load ptr, ptr {frame}, align 8")
    arrived, released, decision = word(Team.ARRIVED), word(Team.RELEASED), word(Team.DECISION)
    phase, at, step = e.stack(I64, 1), e.stack(I64, 1), e.stack(I64, 1)
    for place in (phase, at, step):
        e.store(e.index(0), place)
    e.line("br label %begin")

    e.label("begin")  # a step
    goes_on = e.load(step, I64) < steps
    e.line(f"br {goes_on!r}, label %next, label %end")
    e.label("next")  # a record
    k = e.load(at, I64)
    kernel, args, items = _record(e, records, k)
    first = e.arithmetic("div", items * member, size)
    last = e.arithmetic("div", items * (member + 1), size)
    e.when(first < last, lambda: e.line(f"call void {kernel}(ptr {frame}, ptr {args}, {first!r}, {last!r})"))
    now = e.load(phase, I64) + 1
    e.store(now, phase)
    e.line(f"{e.fresh('arrived')} = atomicrmw add ptr {arrived}, i64 1 acq_rel")
    before = Value(e, f"%arrived{e._count}", I64)
    is_last = e.eq(before + 1, now * size)
    e.line(f"br {is_last!r}, label %release, label %wait")
    e.label("release")
    e.store(e.load(status, I64), decision)
    e.line(f"store atomic i64 {now.name}, ptr {released} release, align 8")
    e.line("br label %decide")
    e.label("wait")
    turns = e.stack(I64, 1)
    e.store(e.index(0), turns)
    e.line("br label %spin")
    e.label("spin")
    seen = e.op(f"load atomic i64, ptr {released} acquire, align 8", I64)
    is_free = e.compare("ge", seen, now)
    e.line(f"br {is_free!r}, label %decide, label %pause")
    e.label("pause")
    _pause(e, machine)
    turned = e.load(turns, I64) + 1
    e.store(turned, turns)
    is_long = e.compare("gt", turned, SPINS)
    e.line(f"br {is_long!r}, label %yield, label %spin")
    e.label("yield")  # another thread may need this core
    e.line(f"call i32 {rest}()")
    e.line("br label %spin")

    e.label("decide")
    failed = e.ne(e.load(decision, I64), 0)
    e.line(f"br {failed!r}, label %end, label %following")
    e.label("following")
    e.store(k + 1, at)
    more = k + 1 < count
    e.line(f"br {more!r}, label %next, label %move")
    e.label("move")

    def move(j: Value) -> None:
        slot = e.load(e.offset(moves, j * 2, I64), I64)
        length = e.load(e.offset(moves, j * 2 + 1, I64), I64)
        place = e.offset(frame, slot, I64)
        e.store(e.load(place, I64) + length, place)

    e.loop(0, num_moves, 1, move)
    e.store(e.index(0), at)
    done = e.load(step, I64) + 1
    e.store(done, step)
    e.when(e.eq(member, 0), lambda: e.store(done, word(Team.DONE)))
    e.line("br label %begin")
    e.label("end")
    restore_denormals(e, machine, state)
    e.finish()


def _pause(e: Emitter, machine: Target) -> None:
    """Tell the core that this is a loop that waits."""
    if machine.machine == "x86_64":
        e.module.declare("llvm.x86.sse2.pause", "declare void @llvm.x86.sse2.pause()")
        e.line("call void @llvm.x86.sse2.pause()")


def restore_denormals(e: Emitter, machine: Target, state: str) -> None:
    """Undo ``flush_denormals``, which returned ``state``."""
    if machine.machine == "aarch64":
        e.line(f"call void @llvm.aarch64.set.fpcr(i64 {state})")
    else:
        e.line(f"call void @llvm.x86.sse.ldmxcsr(ptr {state})")


def flush_denormals(e: Emitter, machine: Target) -> str:
    """Let denormals be zero from here on; return the former state, or where it stands."""
    flush = FLUSH[machine.machine]
    if machine.machine == "aarch64":
        e.module.declare("llvm.aarch64.get.fpcr", "declare i64 @llvm.aarch64.get.fpcr()")
        e.module.declare("llvm.aarch64.set.fpcr", "declare void @llvm.aarch64.set.fpcr(i64)")
        before = e.raw("call i64 @llvm.aarch64.get.fpcr()")
        e.line(f"call void @llvm.aarch64.set.fpcr(i64 {e.raw(f'or i64 {before}, {flush}')})")
        return before
    for name in ("stmxcsr", "ldmxcsr"):
        e.module.declare(f"llvm.x86.sse.{name}", f"declare void @llvm.x86.sse.{name}(ptr)")
    before, now = e.fresh("mxcsr"), e.fresh("mxcsr")
    e.at_entry += [f"  {before} = alloca i32, align 4", f"  {now} = alloca i32, align 4"]
    e.line(f"call void @llvm.x86.sse.stmxcsr(ptr {before})")
    bits = e.raw(f"load i32, ptr {before}, align 4")
    e.line(f"store i32 {e.raw(f'or i32 {bits}, {flush}')}, ptr {now}, align 4")
    e.line(f"call void @llvm.x86.sse.ldmxcsr(ptr {now})")
    return before
