from __future__ import annotations

import ctypes
import gc
import math
import mmap
import re
import signal
import struct
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest

from chainrule.compiler import llvm, loader, object_file, relocation, target
from chainrule.compiler.loader import Library, addresses, lay_out, write
from chainrule.compiler.relocation import Refused
from chainrule.errors import NativeError
from tests.compiler.machine_code import MANY_KINDS, TWICE, function, needs_native

F, I, P = ctypes.c_float, ctypes.c_int64, ctypes.c_void_p


@pytest.fixture(scope="module")
def code() -> bytes:
    return llvm.object_code(MANY_KINDS, target.host())


@pytest.fixture
def library(code: bytes) -> Library:
    return Library(code, addresses("sinf"))


def pages() -> dict[int, tuple[int, str]]:
    """Start, end and permissions of each part of this process's memory."""
    found = {}
    for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
        start, end, permissions = re.match(r"(\w+)-(\w+) (\S+)", line).groups()  # type: ignore[union-attr]
        found[int(start, 16)] = (int(end, 16), permissions)
    return found


def permissions(address: int) -> str:
    return next(what for start, (end, what) in pages().items() if start <= address < end)


@needs_native
def test_functions_read_constants_write_variables_and_call_each_other(library: Library) -> None:
    square, count = function(library, "square", F, I), function(library, "count", I)
    assert [square(i) for i in range(4)] == [0, 1, 4, 9]
    assert [count(), count()] == [6, 7]
    assert function(library, "half_sine", F, F)(1.0) == pytest.approx(math.sin(1) / 2, rel=1e-6)
    assert ctypes.c_int64.from_address(library["counter"]).value == 7


@needs_native
def test_what_llvm_calls_of_itself_is_found(library: Library) -> None:
    to, source = ctypes.create_string_buffer(10), ctypes.create_string_buffer(b"123456789", 10)
    function(library, "copy", None, P, P, I)(ctypes.addressof(to), ctypes.addressof(source), 10)
    assert to.value == b"123456789"


@needs_native
def test_two_libraries_of_one_object_have_variables_of_their_own(code: bytes) -> None:
    first, second = (Library(code, addresses("sinf")) for _ in range(2))
    function(first, "count", I)()
    assert function(second, "count", I)() == 6


@needs_native
def test_no_page_is_writable_and_executable(code: bytes) -> None:
    def both() -> set[int]:  # ctypes makes such pages for Python functions that C calls
        return {start for start, (_, what) in pages().items() if "w" in what and "x" in what}

    before = both()
    library = Library(code, addresses("sinf"))
    assert both() <= before
    assert permissions(library["square"]) == "r-xp"
    assert permissions(library["squares"]) == "r--p"
    assert permissions(library["counter"]) == "rw-p"


@needs_native
def test_pages_are_locked_only_after_all_is_written(code: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    events = []
    of_write, of_protect = loader.write, loader._protect
    monkeypatch.setattr(loader, "write", lambda *a: (events.append("write"), of_write(*a)))
    monkeypatch.setattr(loader, "_protect", lambda *a: (events.append(a[2]), of_protect(*a)))
    Library(code, addresses("sinf"))
    assert events == ["write", loader.READ | loader.EXECUTE, loader.READ, loader.READ | loader.WRITE]


@needs_native
def test_memory_is_given_back_when_a_library_is_closed_or_collected(code: bytes) -> None:
    library = Library(code, addresses("sinf"))
    start = library["square"] // mmap.PAGESIZE * mmap.PAGESIZE
    assert start in pages()
    assert library.size % mmap.PAGESIZE == 0
    assert 8000 < library.size < 8000 + 4 * mmap.PAGESIZE
    gone = weakref.ref(library)
    del library
    gc.collect()
    assert gone() is None
    assert start not in pages()
    library = Library(code, addresses("sinf"))
    library.close()
    library.close()
    assert "square" not in library
    with pytest.raises(NativeError, match="'square' is asked of a library that is closed"):
        library["square"]


@needs_native
def test_ctrl_c_is_heard_and_memory_given_back_wherever_it_comes_while_a_library_is_collected(code: bytes) -> None:
    known, before = addresses("sinf"), signal.signal(signal.SIGINT, signal.default_int_handler)
    libraries = []

    def interrupt(frame: Any, event: str, arg: Any) -> None:
        nonlocal events
        events += 1
        if events == at:
            signal.raise_signal(signal.SIGINT)

    try:
        for at in range(10):
            libraries.append(Library(code, known))
            start = libraries[0]["square"] // mmap.PAGESIZE * mmap.PAGESIZE
            events, is_heard = 0, False
            try:
                sys.setprofile(interrupt)
                libraries.clear()
                sys.setprofile(None)
            except KeyboardInterrupt:
                is_heard = True
            finally:
                sys.setprofile(None)
            libraries.clear()
            assert is_heard == (0 < at <= events)
            assert start not in pages()
    finally:
        signal.signal(signal.SIGINT, before)


AT_THE_END = """
import atexit
from pathlib import Path


def look():
    global library
    del library
    starts = [int(line.split("-")[0], 16) for line in Path("/proc/self/maps").read_text().splitlines() if "r-xp" in line]
    print(start in starts)


atexit.register(look)  # what is registered first is called last

from chainrule.compiler import llvm, target
from chainrule.compiler.loader import Library
from tests.compiler.machine_code import TWICE

library = Library(llvm.object_code(TWICE, target.host()))
start = library["twice"]
"""


@needs_native
def test_code_stays_when_the_process_ends_as_a_thread_may_still_run_it() -> None:
    done = subprocess.run([sys.executable, "-c", AT_THE_END], capture_output=True, text=True, check=False)
    assert done.stdout == "True\n", done.stderr


@needs_native
def test_a_thousand_libraries_leave_no_memory_behind(code: bytes) -> None:
    known = addresses("sinf")
    before = len(pages())
    for _ in range(1000):
        Library(code, known)
    gc.collect()
    assert len(pages()) < before + 20


@needs_native
def test_a_library_names_what_it_has(library: Library) -> None:
    assert set(library) == {"square", "count", "half_sine", "copy", "squares", "counter", "pointer"}
    assert len(library) == 7
    assert "half" not in library
    with pytest.raises(NativeError, match="no 'sqare'. Did you mean square"):
        library["sqare"]
    assert "square" in repr(library)


@needs_native
def test_a_function_that_is_missing_is_named(code: bytes) -> None:
    with pytest.raises(NativeError, match="calls sinf, whose address was not given; expected one of cosf, memcpy"):
        Library(code, addresses("cosf"))
    with pytest.raises(NativeError, match="'no_such_function'"):
        addresses("no_such_function")


@needs_native
def test_a_symbol_given_is_taken_before_the_c_library(code: bytes) -> None:
    library = Library(llvm.object_code(TWICE.replace("twice", "memcpy"), target.host()))
    assert twice_of(library, "memcpy", 4) == 8
    ours = ctypes.CFUNCTYPE(F, F)(lambda x: x + 1)
    library = Library(code, {"sinf": ctypes.cast(ours, P).value or 0})
    assert function(library, "half_sine", F, F)(3.0) == 2.0


def twice_of(library: Library, name: str, x: int) -> int:
    found: int = function(library, name, I, I)(x)
    return found


@needs_native
def test_code_for_another_machine_is_refused() -> None:
    other = target.avx2() if loader.machine() == "aarch64" else target.aarch64()
    with pytest.raises(NativeError, match=f"is for {other.machine}; expected {loader.machine()}"):
        Library(llvm.object_code(TWICE, other))


@needs_native
@pytest.mark.parametrize("data", [b"", b"\x7fELF", b"\x7fELF\x02\x01" + bytes(10), b"MZ" + bytes(100), bytes(1000)])
def test_what_is_no_object_file_is_refused(data: bytes) -> None:
    with pytest.raises(NativeError, match="no object file"):
        Library(data)


@needs_native
def test_an_object_cut_off_anywhere_is_refused(code: bytes) -> None:
    for length in range(0, len(code), 37):
        with pytest.raises(NativeError):
            Library(code[:length], addresses("sinf"))


@needs_native
def test_any_byte_may_be_wrong_and_the_loader_says_so_or_loads(code: bytes) -> None:
    known = addresses("sinf")
    num_refused = 0
    for place in range(len(code)):
        damaged = bytearray(code)
        damaged[place] ^= 0x81 if place % 2 else 0xFF
        try:
            Library(bytes(damaged), known)
        except NativeError:
            num_refused += 1
    assert num_refused > 100


@needs_native
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("@x = thread_local global i64 1\ndefine ptr @f() {\n  ret ptr @x\n}", "variables of threads"),
        (
            """
            @llvm.global_ctors = appending global [1 x {i32, ptr, ptr}] [{i32, ptr, ptr} {i32 1, ptr @f, ptr null}]
            define void @f() {
              ret void
            }""",
            "functions to run at its start",
        ),
        ("@x = constant i64 1, align 1048576", "aligned to 1048576"),
    ],
)
def test_what_is_not_served_is_refused(text: str, says: str) -> None:
    with pytest.raises(NativeError, match=says):
        Library(llvm.object_code(text, target.host()))


@needs_native
def test_a_section_to_be_written_and_executed_is_refused(code: bytes) -> None:
    file = object_file.read(code)
    number = next(n for n, section in enumerate(file.sections) if section.name == ".data")
    (table,) = struct.unpack_from("<Q", code, 40)
    damaged = bytearray(code)
    struct.pack_into(
        "<Q", damaged, table + 64 * number + 8, object_file.ALLOC | object_file.WRITE | object_file.EXECUTE
    )
    with pytest.raises(NativeError, match=".data is to be writable and executable"):
        Library(bytes(damaged), addresses("sinf"))


@needs_native
def test_a_weak_function_that_is_missing_has_no_address() -> None:
    text = "declare extern_weak i64 @perhaps()\ndefine ptr @f() nounwind {\n  ret ptr @perhaps\n}\n"
    code = llvm.object_code(text, target.host())
    library = Library(code)
    assert function(library, "f", P)() is None
    library = Library(code, {"perhaps": 4096})
    assert function(library, "f", P)() == 4096


@needs_native
def test_a_system_that_forbids_it_is_named(code: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    assert loader.why_no_code() is None
    monkeypatch.setattr(loader, "EXECUTE", 0x40000000)  # no such permission
    assert "lets this process make no memory executable (EINVAL" in (loader.why_no_code() or "")
    with pytest.raises(NativeError, match="gives no memory for 140737488355328 bytes"):
        loader._map(2**47)


# ARM: what a processor would compute from the instructions, worked out here.


def arm(text: str, base: int, symbols: dict[str, int]) -> tuple[loader.Layout, bytes]:
    layout = lay_out(object_file.read(llvm.object_code(text, target.aarch64())))
    image = bytearray(layout.size)
    write(layout, image, base, symbols)
    return layout, bytes(image)


def instructions(image: bytes, start: int) -> list[int]:
    """The instructions of a function, up to ret."""
    found: list[int] = []
    while not found or found[-1] != 0xD65F03C0:
        found.append(struct.unpack_from("<I", image, start + 4 * len(found))[0])
    return found


def signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) else value


def page_of_adrp(instruction: int, place: int) -> int:
    assert instruction & 0x9F000000 == 0x90000000
    pages = signed((instruction >> 5 & 0x7FFFF) << 2 | instruction >> 29 & 3, 21)
    return (place & ~0xFFF) + (pages << 12)


@pytest.mark.parametrize("base", [0x10000, 0x7F12_3456_0000, 0xFFFF_8000_0000])
def test_arm_addresses_of_pages_and_the_places_in_them(base: int) -> None:
    kinds = {"i8": 0, "i16": 1, "i32": 2, "i64": 3}
    for kind, scale in kinds.items():
        text = f"""
            @table = internal global [600 x {kind}] zeroinitializer
            define {kind} @f() nounwind {{
              %x = load volatile {kind}, ptr getelementptr ({kind}, ptr @table, i64 513)
              ret {kind} %x
            }}"""
        layout, image = arm(text, base, {})
        adrp, load, *_ = instructions(image, layout.exported["f"])
        table = next(layout.places[n] for n, s in enumerate(layout.file.sections) if s.name == ".bss")
        page = page_of_adrp(adrp, base + layout.exported["f"])
        assert page + ((load >> 10 & 0xFFF) << scale) == base + table + (513 << scale)


def test_arm_addresses_through_a_slot_and_calls_through_a_jump() -> None:
    base, near, far = 0x7F12_3456_0000, 0x7F12_3000_0000, 0x4000
    text = """
        @outside = external global i64
        declare i64 @near(i64)
        declare i64 @far(i64)
        define i64 @f() nounwind {
          %x = load i64, ptr @outside
          %y = call i64 @near(i64 %x)
          %z = tail call i64 @far(i64 %y)
          ret i64 %z
        }"""
    layout, image = arm(text, base, {"near": near, "far": far, "outside": 0x1234_5678_9ABC})
    f = layout.exported["f"]
    code = [struct.unpack_from("<I", image, f + 4 * k)[0] for k in range(12)]
    first = next(k for k, instruction in enumerate(code) if instruction & 0x9F000000 == 0x90000000)
    page = page_of_adrp(code[first], base + f + 4 * first)
    load = next(i for i in code[first + 1 :] if i & 0xFFC00000 == 0xF9400000)
    slot = page + ((load >> 10 & 0xFFF) << 3) - base
    assert struct.unpack_from("<Q", image, slot) == (0x1234_5678_9ABC,)
    calls = {}
    for k, instruction in enumerate(code):
        if instruction >> 26 in (0b100101, 0b000101):  # bl, b
            jump = f + 4 * k + 4 * signed(instruction & 0x3FFFFFF, 26)
            assert image[jump : jump + 8] == relocation.JUMPS["aarch64"]
            calls[instruction >> 26] = struct.unpack_from("<Q", image, jump + 8)[0]
    assert calls == {0b100101: near, 0b000101: far}


def test_arm_pointers_in_data_are_whole_addresses() -> None:
    text = "@x = global i64 1\n@p = global ptr getelementptr (i8, ptr @x, i64 5)\n"
    layout, image = arm(text, 0x7F12_3456_0000, {})
    at = layout.exported["p"]
    assert struct.unpack_from("<Q", image, at) == (0x7F12_3456_0000 + layout.exported["x"] + 5,)


@pytest.mark.parametrize(
    ("kind", "value", "place", "field"),
    [
        (260, 0x1000, 0x3000, -0x2000),  # PREL64
        (261, 0x1000, 0x3000, -0x2000),  # PREL32
        (274, 0x1005, 0x1000, 5),  # ADR_PREL_LO21
        (279, 0x1008, 0x1000, 2),  # TSTBR14
        (280, 0x0FF8, 0x1000, -2),  # CONDBR19
        (273, 0x1008, 0x1000, 2),  # LD_PREL_LO19
        (282, 0x0FFC, 0x1000, -1),  # JUMP26
        (256, 5, 0, 0),  # NONE
    ],
)
def test_arm_fields(kind: int, value: int, place: int, field: int) -> None:
    image = bytearray(8)
    relocation.apply_arm(image, 0, place, value, kind)
    (low,), (whole,) = struct.unpack_from("<I", image), struct.unpack("<q", image)
    width, shift = {279: (14, 5), 280: (19, 5), 273: (19, 5), 282: (26, 0)}.get(kind, (32, 0))
    if kind == 260:
        assert whole == field
    elif kind == 274:
        assert signed((low >> 5 & 0x7FFFF) << 2 | low >> 29 & 3, 21) == field
    else:
        assert signed(low >> shift & (1 << width) - 1, width) == field


@pytest.mark.parametrize(
    ("apply", "value", "kind", "says"),
    [
        (relocation.apply_x86, 2**31, 2, "does not fit into 32 bits"),
        (relocation.apply_x86, 2**40, 10, "not position-independent"),
        (relocation.apply_x86, -(2**40), 11, "does not fit"),
        (relocation.apply_x86, 0, 18, "not known"),
        (relocation.apply_arm, 2**28, 283, "does not fit into 26 bits"),
        (relocation.apply_arm, 2**34, 275, "does not fit into 21 bits"),
        (relocation.apply_arm, 2, 283, "no multiple of 4"),
        (relocation.apply_arm, 4, 286, "no multiple of 8"),
        (relocation.apply_arm, 0, 549, "not known"),
    ],
)
def test_a_relocation_that_does_not_fit_is_refused(apply, value: int, kind: int, says: str) -> None:
    with pytest.raises(Refused, match=says):
        apply(bytearray(8), 0, 0, value, kind)


@pytest.mark.parametrize(
    ("kind", "value", "place", "expected"),
    [
        (1, 2**40 + 1, 0, 2**40 + 1),  # R_X86_64_64
        (2, 0x1000, 0x2000, -0x1000 % 2**32),  # PC32
        (10, 2**32 - 1, 0, 2**32 - 1),  # 32
        (11, -5, 0, -5 % 2**32),  # 32S
        (24, 0x1000, 2**40, (0x1000 - 2**40) % 2**64),  # PC64
        (0, 5, 0, 0),  # NONE
    ],
)
def test_x86_fields(kind: int, value: int, place: int, expected: int) -> None:
    image = bytearray(8)
    relocation.apply_x86(image, 0, place, value, kind)
    assert struct.unpack("<Q", image) == (expected,)
