from __future__ import annotations

import ctypes
import gc
import sys
import threading
import weakref

import pytest

from chainrule.compiler import call, llvm, target
from chainrule.compiler.loader import Library
from tests.compiler.machine_code import needs_native

pytestmark = needs_native

# Adds 1 to the block's first number. @wait turns until the second one is not 0, a billion times at most.
FUNCTIONS = """
define void @count(ptr %block) nounwind {
  %x = load i64, ptr %block
  %y = add i64 %x, 1
  store i64 %y, ptr %block
  ret void
}
define void @wait(ptr %block) nounwind {
entry:
  %flag = getelementptr i64, ptr %block, i64 1
  br label %turn
turn:
  %i = phi i64 [ 0, %entry ], [ %j, %turn ]
  %j = add i64 %i, 1
  %set = load atomic i64, ptr %flag acquire, align 8
  %waits = icmp eq i64 %set, 0
  %more = icmp slt i64 %j, 1000000000
  %again = and i1 %waits, %more
  br i1 %again, label %turn, label %done
done:
  store i64 %set, ptr %block
  ret void
}
"""
KINDS = ("holding", "releasing")


class Block(ctypes.Structure):
    _fields_ = (("number", ctypes.c_int64), ("flag", ctypes.c_int64))

    @property
    def address(self) -> int:
        return ctypes.addressof(self)


@pytest.fixture(scope="module")
def library() -> Library:
    builtins = [getattr(call, kind)(f"{kind}_{name}", name) for kind in KINDS for name in ("count", "wait")]
    return Library(
        llvm.object_code(call.DECLARATIONS + FUNCTIONS + "".join(builtins), target.host()),
        call.symbols(),
    )


def counts(library: Library) -> list[call.Native]:
    return [call.builtin(library, f"{kind}_count") for kind in KINDS] + [call.through_ctypes(library, "count")]


def test_a_builtin_gets_the_address_of_its_block(library: Library) -> None:
    block = Block()
    for number, function in enumerate(counts(library), 1):
        assert function(block.address) is None
        assert block.number == number
    assert isinstance(counts(library)[0], type(len))
    assert counts(library)[0].__name__ == "holding_count"


def test_a_million_calls_leave_reference_counts_as_they_were(library: Library) -> None:
    block = Block()
    address = block.address
    for function in counts(library):
        function(address)
        watched = (None, address, function, library, getattr(function, "__self__", library))
        before = [sys.getrefcount(thing) for thing in watched]
        for _ in range(1_000_000):
            function(address)
        after = [sys.getrefcount(thing) for thing in watched]
        assert all(abs(a - b) < 100 for a, b in zip(after, before, strict=True))  # of None others take and give too
        assert after[1:] == before[1:]
    assert block.number == 3_000_003


def test_what_is_no_int_is_refused_a_million_times(library: Library) -> None:
    for function in counts(library)[:2]:
        for wrong in ("text", None, 1.5):
            with pytest.raises(TypeError, match="integer"):
                function(wrong)  # type: ignore[arg-type]
        with pytest.raises(OverflowError):
            function(2**63)
        with pytest.raises(TypeError, match="exactly one argument"):
            function()  # type: ignore[call-arg]
        wrong = object()
        before = sys.getrefcount(wrong)
        for _ in range(100_000):
            try:
                function(wrong)  # type: ignore[arg-type]
            except TypeError:
                continue
        assert sys.getrefcount(wrong) == before


def test_other_threads_run_while_a_releasing_builtin_does(library: Library) -> None:
    for function in (call.builtin(library, "releasing_wait"), call.through_ctypes(library, "wait")):
        block = Block(number=-1)
        thread = threading.Thread(target=function, args=(block.address,))
        thread.start()
        block.flag = 7
        thread.join()
        assert block.number == 7


@pytest.mark.parametrize("make", [call.builtin, call.through_ctypes])
def test_a_native_function_keeps_its_code_and_gives_it_back(make) -> None:
    text = call.DECLARATIONS + FUNCTIONS.replace("@count", "@add") + call.holding("count", "add")
    library = Library(llvm.object_code(text, target.host()), call.symbols())
    gone = weakref.ref(library)
    function = make(library, "count" if make is call.builtin else "add")
    del library
    gc.collect()
    assert gone() is not None
    block = Block()
    function(block.address)
    assert block.number == 1
    del function
    gc.collect()
    assert gone() is None


def test_ten_thousand_builtins_may_come_and_go(library: Library) -> None:
    block = Block()
    for _ in range(10_000):
        call.builtin(library, "holding_count")(block.address)
    assert block.number == 10_000


def test_the_text_is_fit_for_every_target() -> None:
    text = call.DECLARATIONS + FUNCTIONS + call.holding("f", "count") + call.releasing("g", "count")
    for machine in (target.avx512(), target.avx2(), target.baseline(), target.aarch64()):
        assert "PyEval_RestoreThread" in llvm.assembly(text, machine)
