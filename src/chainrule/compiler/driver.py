"""The native function that runs a list of records: no Python between the kernels of a step."""

from __future__ import annotations

from chainrule.compiler.emit import I64, Emitter, Module, Value
from chainrule.compiler.target import Target

RUN = "run"
RECORD_WORDS = 3  # of a record in memory: the kernel's address, that of its args, the number of items
FLUSH = 32832  # bits 15 and 6 of MXCSR: denormal results and operands are zero


def write_driver(module: Module, machine: Target) -> None:
    """Write ``i64 run(ptr frame, ptr records, i64 count)``: the number of records done; fewer if a check failed."""
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
