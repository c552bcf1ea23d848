"""Machine code from an object file to memory: an ELF64 file is laid out, its relocations are applied, its pages are locked.

Sections lie in one mapping, in three groups of pages: code, constants, data. All is written first; then code becomes readable
and executable, and constants readable. No page is ever writable and executable at the same time.

Sources: the System V ABI, "Object files"; the psABI of x86-64, table 4.9; ELF for the Arm 64-bit Architecture, section 5.7.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import mmap
import os
import platform
import struct
import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from chainrule.errors import NativeError, nearest

MACHINES = {62: "x86_64", 183: "aarch64"}  # e_machine
MOST = 2**31 - 1  # bytes of one library: code reaches its constants by distances of 32 bits

HEADER = struct.Struct("<4sBBBB8xHHIQQQIHHHHHH")
SECTION = struct.Struct("<IIQQQQIIQQ")
SYMBOL = struct.Struct("<IBBHQQ")
RELOCATION = struct.Struct("<QIIq")
WORD, HALF = struct.Struct("<Q"), struct.Struct("<I")
PROGBITS, SYMTAB, RELA, NOBITS, INIT_ARRAY, FINI_ARRAY, PREINIT_ARRAY = 1, 2, 4, 8, 14, 15, 16  # sh_type
WRITE, ALLOC, EXECUTE, TLS = 1, 2, 4, 0x400  # sh_flags
UNDEFINED, ABSOLUTE, RESERVED = 0, 0xFFF1, 0xFF00  # st_shndx
LOCAL, WEAK = 0, 2  # binding of a symbol
OF_SECTION = 3  # type of a symbol

# LLVM calls these of itself, for a copy or a fill that it makes no loop of.
ALWAYS = ("memcpy", "memmove", "memset")

# A jump to the address in the 8 bytes at its byte 8 - for calls, which reach 2 GB on x86-64 and 128 MB on ARM.
JUMP_SIZE = 16
ARM_JUMP = bytes.fromhex("5000005800021fd6")  # ldr x16, .+8; br x16
X86_JUMP = bytes.fromhex("ff25020000009090")  # jmp *2(%rip); nop; nop


class Library:
    """The functions of an object file, in memory that can be executed: ``library["name"]`` is an address.

    ``symbols`` gives the addresses of what the code calls and does not contain. The memory is given back when the library is
    closed or collected: whoever keeps an address keeps the library.

    Raises:
        NativeError: the file is damaged or for another machine, or calls what is not in ``symbols``.
    """

    def __init__(self, object_bytes: bytes, symbols: Mapping[str, int] | None = None) -> None:
        try:
            layout = _lay_out(_read(object_bytes))
            self.size = layout.size
            self._base = _map(layout.size)
            self._finalizer = weakref.finalize(self, _unmap, self._base, layout.size)
            self._finalizer.atexit = False  # a thread may still run this code when the process ends
            _write(layout, self._base, symbols or {})
        except (struct.error, IndexError, ValueError) as error:
            raise NativeError(f"the object file is damaged ({error})") from error
        for start, end, protection in layout.pages:
            _protect(self._base + start, end - start, protection)
        self._addresses = {name: self._base + offset for name, offset in layout.exported.items()}

    def __getitem__(self, name: str) -> int:
        if name in self._addresses:
            return self._addresses[name]
        if not self._finalizer.alive:
            raise NativeError(f"{name!r} is asked of a library that is closed")
        raise NativeError(f"the library has no {name!r}", fix=nearest(name, self._addresses))

    def __iter__(self) -> Iterator[str]:
        return iter(self._addresses)

    def __len__(self) -> int:
        return len(self._addresses)

    def __contains__(self, name: object) -> bool:
        return name in self._addresses

    def __repr__(self) -> str:
        state = f"{self.size} bytes" if self._finalizer.alive else "closed"
        return f"<Library of {', '.join(self._addresses) or 'nothing'}; {state}>"

    def close(self) -> None:
        """Give the memory back. Nobody may call its addresses any more."""
        self._addresses = {}
        self._finalizer()


def addresses(*names: str) -> dict[str, int]:
    """Return the addresses of functions of the C library, of its mathematics, or of CPython, for ``Library(symbols=…)``."""
    return {name: _address(name) for name in names}


# The file.


@dataclass
class _Section:
    name: str
    kind: int
    flags: int
    offset: int
    size: int
    link: int
    info: int
    align: int
    place: int = -1  # in the image; -1: not loaded


@dataclass(frozen=True)
class _Symbol:
    name: str
    binding: int
    kind: int
    section: int
    value: int


@dataclass(frozen=True)
class _Relocation:
    section: _Section
    offset: int
    kind: int
    symbol: int
    addend: int


@dataclass(frozen=True)
class _File:
    machine: str
    data: bytes
    sections: list[_Section]
    symbols: list[_Symbol]

    def contents(self, section: _Section) -> bytes:
        return _part(self.data, section.offset, section.size)

    def relocations(self, targets: Iterable[_Section]) -> list[_Relocation]:
        """Return the relocations of the target sections."""
        wanted = set(map(id, targets))
        found = []
        for table in self.sections:
            if table.kind == RELA and id(self.sections[table.info]) in wanted:
                for offset, kind, symbol, addend in RELOCATION.iter_unpack(self.contents(table)):
                    found.append(_Relocation(self.sections[table.info], offset, kind, symbol, addend))
        return found


def _read(data: bytes) -> _File:
    if data[:4] != b"\x7fELF" or data[4:6] != b"\x02\x01" or len(data) < HEADER.size:
        raise NativeError("this is no object file", expected="a 64-bit, little-endian ELF file")
    head = HEADER.unpack_from(data)
    kind, machine, table, num, names_at = (
        head[5],
        MACHINES.get(head[6], f"machine {head[6]}"),
        head[10],
        head[16],
        head[17],
    )
    if kind != 1:
        raise NativeError("this ELF file is no object file", expected=f"a relocatable file (type 1), not type {kind}")
    rows = list(SECTION.iter_unpack(_part(data, table, num * SECTION.size)))
    names = _part(data, rows[names_at][4], rows[names_at][5])
    sections = [
        _Section(_text(names, name), kind, flags, offset, size, link, info, align)
        for name, kind, flags, _, offset, size, link, info, align, _ in rows
    ]
    file = _File(machine, data, sections, [])
    for section in sections:
        if section.kind == SYMTAB:
            names = file.contents(sections[section.link])
            for name, info, _, where, value, _ in SYMBOL.iter_unpack(file.contents(section)):
                file.symbols.append(_Symbol(_text(names, name), info >> 4, info & 15, where, value))
    return file


def _part(data: bytes, start: int, size: int) -> bytes:
    if start + size > len(data):
        raise NativeError(f"the object file is cut off: {len(data)} bytes", expected=f"{start + size} or more")
    return data[start : start + size]


def _text(names: bytes, start: int) -> str:
    return names[start : names.index(b"\0", start)].decode() if start < len(names) else ""


# The layout.


@dataclass
class _Layout:
    """Where things stand in the image. ``jumps`` and ``slots``: by the number of a symbol, its jump and its address's place."""

    file: _File
    relocations: list[_Relocation] = field(default_factory=list)
    jumps: dict[int, int] = field(default_factory=dict)
    slots: dict[int, int] = field(default_factory=dict)
    pages: list[tuple[int, int, int]] = field(default_factory=list)  # start, end, protection
    exported: dict[str, int] = field(default_factory=dict)
    size: int = 0


def _lay_out(file: _File) -> _Layout:
    layout = _Layout(file)
    loaded = [section for section in file.sections if _is_loaded(section)]
    layout.relocations = file.relocations(loaded)
    calls, by_slot = CALLS[file.machine], BY_SLOT[file.machine]
    jumps = dict.fromkeys(r.symbol for r in layout.relocations if r.kind in calls and _is_outside(file, r.symbol))
    slots = dict.fromkeys(r.symbol for r in layout.relocations if r.kind in by_slot)
    at = 0
    for wanted, protection in (
        (EXECUTE, mmap.PROT_READ | mmap.PROT_EXEC),
        (0, mmap.PROT_READ),
        (WRITE, mmap.PROT_READ | mmap.PROT_WRITE),
    ):
        start = at
        for section in loaded:
            if section.flags & (EXECUTE | WRITE) == wanted:
                at = -(-at // section.align) * section.align if section.align > 1 else at
                section.place = at
                at += section.size
        if wanted == EXECUTE:
            at = -(-at // JUMP_SIZE) * JUMP_SIZE
            for number in jumps:
                layout.jumps[number] = at
                at += JUMP_SIZE
        elif wanted == 0:
            at = -(-at // WORD.size) * WORD.size
            for number in slots:
                layout.slots[number] = at
                at += WORD.size
        at = -(-at // mmap.PAGESIZE) * mmap.PAGESIZE
        if at > start:
            layout.pages.append((start, at, protection))
    if at > MOST:
        raise NativeError(f"the object file asks for {at} bytes of memory", expected=f"at most {MOST}")
    layout.size = max(at, mmap.PAGESIZE)
    for symbol in file.symbols:
        if symbol.binding != LOCAL and symbol.name and 0 < symbol.section < RESERVED:
            section = file.sections[symbol.section]
            if section.place >= 0:
                layout.exported[symbol.name] = section.place + symbol.value
    return layout


def _is_loaded(section: _Section) -> bool:
    if not section.flags & ALLOC or section.name == ".eh_frame":  # tables for unwinding, which nobody registers here
        return False
    if section.flags & TLS or section.kind in (INIT_ARRAY, FINI_ARRAY, PREINIT_ARRAY):
        what = "variables of threads" if section.flags & TLS else "functions that run at the start or end"
        raise NativeError(f"the object file has {what} ({section.name}), which are not served")
    if section.flags & EXECUTE and section.flags & WRITE:
        raise NativeError(f"{section.name} is to be writable and executable, which no page is here")
    if section.align > mmap.PAGESIZE or section.align & (section.align - 1):
        raise NativeError(
            f"{section.name} is aligned to {section.align}", expected=f"a power of 2, at most {mmap.PAGESIZE}"
        )
    return True


def _is_outside(file: _File, symbol: int) -> bool:
    return file.symbols[symbol].section == UNDEFINED


# Relocation.


def _write(layout: _Layout, base: int, symbols: Mapping[str, int]) -> None:
    """Write sections and what relocations make of them to the memory at ``base``."""
    file = layout.file
    if file.machine != platform.machine().lower().replace("amd64", "x86_64").replace("arm64", "aarch64"):
        raise NativeError(f"the object file is for {file.machine}", expected=platform.machine())
    image = memoryview((ctypes.c_ubyte * layout.size).from_address(base)).cast("B")
    for section in file.sections:
        if section.place >= 0 and section.kind != NOBITS:
            image[section.place : section.place + section.size] = file.contents(section)
    known: dict[int, int] = {}
    jump = X86_JUMP if file.machine == "x86_64" else ARM_JUMP
    for number, place in layout.jumps.items():
        known[number] = _value(file, number, base, symbols)
        image[place : place + JUMP_SIZE] = jump + WORD.pack(known[number])
    for number, place in layout.slots.items():
        known[number] = _value(file, number, base, symbols)
        WORD.pack_into(image, place, known[number])
    apply = _apply_x86 if file.machine == "x86_64" else _apply_arm
    calls, by_slot = CALLS[file.machine], BY_SLOT[file.machine]
    for relocation in layout.relocations:
        number = relocation.symbol
        if number not in known:
            known[number] = _value(file, number, base, symbols)
        target = known[number]
        if relocation.kind in calls and number in layout.jumps:
            target = base + layout.jumps[number]
        elif relocation.kind in by_slot:
            target = base + layout.slots[number]
        if not 0 <= relocation.offset < relocation.section.size:
            raise NativeError(f"the object file is damaged: a relocation outside {relocation.section.name}")
        place = relocation.section.place + relocation.offset
        try:
            apply(image, place, base + place, target + relocation.addend, relocation.kind)
        except _Refused as refused:
            name = file.symbols[number].name or f"symbol {number}"
            raise NativeError(
                f"relocation {relocation.kind} of {name} in {relocation.section.name}: {refused}"
            ) from None


def _value(file: _File, number: int, base: int, symbols: Mapping[str, int]) -> int:
    """Return the address of a symbol."""
    symbol = file.symbols[number]
    if symbol.section == ABSOLUTE:
        return symbol.value
    if symbol.section == UNDEFINED:
        if number == 0 or symbol.name in symbols:
            return symbols[symbol.name] if number else 0
        if symbol.name in ALWAYS:
            return _address(symbol.name)
        if symbol.binding == WEAK:
            return 0
        known = ", ".join(sorted({*symbols, *ALWAYS}))
        raise NativeError(f"the code calls {symbol.name}, whose address was not given", expected=f"one of {known}")
    section = file.sections[symbol.section]
    if section.place < 0:
        raise NativeError(f"the code refers to {symbol.name or section.name}, in a section that is not loaded")
    return base + section.place + symbol.value


Image = bytearray | memoryview


class _Refused(Exception):
    """A relocation that cannot be applied, without its name."""


# Kinds of relocations whose target may be a jump to it, and those that want the place where the target's address stands.
CALLS = {"x86_64": {4}, "aarch64": {282, 283}}
BY_SLOT = {"x86_64": {9, 41, 42}, "aarch64": {311, 312}}


def _apply_x86(image: Image, place: int, here: int, value: int, kind: int) -> None:
    """Write ``value`` (S + A of the ABI) at ``place``, whose address is ``here`` (P)."""
    match kind:
        case 1:  # R_X86_64_64
            WORD.pack_into(image, place, value % 2**64)
        case 2 | 4 | 9 | 41 | 42:  # PC32, PLT32, GOTPCREL, GOTPCRELX, REX_GOTPCRELX
            HALF.pack_into(image, place, _signed(value - here, 32))
        case 10:  # 32
            if not 0 <= value < 2**32:
                raise _Refused("code for a fixed place; the object was not made position-independent")
            HALF.pack_into(image, place, value)
        case 11:  # 32S
            HALF.pack_into(image, place, _signed(value, 32))
        case 24:  # PC64
            WORD.pack_into(image, place, (value - here) % 2**64)
        case 0:  # NONE
            pass
        case _:
            raise _Refused("of a kind that is not known here")


def _apply_arm(image: Image, place: int, here: int, value: int, kind: int) -> None:
    """Write ``value`` (S + A of the ABI) at ``place``, whose address is ``here`` (P)."""
    match kind:
        case 257:  # R_AARCH64_ABS64
            WORD.pack_into(image, place, value % 2**64)
        case 260:  # PREL64
            WORD.pack_into(image, place, (value - here) % 2**64)
        case 261:  # PREL32
            HALF.pack_into(image, place, _signed(value - here, 32))
        case 274:  # ADR_PREL_LO21
            _page_field(image, place, _signed(value - here, 21))
        case 275 | 311:  # ADR_PREL_PG_HI21, ADR_GOT_PAGE
            _page_field(image, place, _signed((value >> 12) - (here >> 12), 21))
        case 277 | 278 | 284 | 285 | 286 | 299 | 312:  # ADD_ABS_LO12_NC, LDST8, 16, 32, 64, 128 …, LD64_GOT_LO12_NC
            scale = {277: 0, 278: 0, 284: 1, 285: 2, 286: 3, 299: 4, 312: 3}[kind]
            low = value & 0xFFF
            if low % (1 << scale):
                raise _Refused(f"the address is no multiple of {1 << scale}")
            _put(image, place, low >> scale, 10, 12)
        case 279:  # TSTBR14
            _put(image, place, _signed(_words(value - here), 14), 5, 14)
        case 273 | 280:  # LD_PREL_LO19, CONDBR19
            _put(image, place, _signed(_words(value - here), 19), 5, 19)
        case 282 | 283:  # JUMP26, CALL26
            _put(image, place, _signed(_words(value - here), 26), 0, 26)
        case 0 | 256:  # NONE
            pass
        case _:
            raise _Refused("of a kind that is not known here")


def _signed(value: int, bits: int) -> int:
    """Return the bits of a signed number of so many bits."""
    if not -(1 << bits - 1) <= value < 1 << bits - 1:
        raise _Refused(f"{value:#x} does not fit into {bits} bits")
    return value & ((1 << bits) - 1)


def _words(distance: int) -> int:
    if distance % 4:
        raise _Refused("the distance is no multiple of 4")
    return distance // 4


def _put(image: Image, place: int, value: int, shift: int, bits: int) -> None:
    """Put a field into an instruction."""
    (instruction,) = HALF.unpack_from(image, place)
    HALF.pack_into(image, place, instruction & ~(((1 << bits) - 1) << shift) | value << shift)


def _page_field(image: Image, place: int, value: int) -> None:
    """Put the 21 bits of ``adr`` or ``adrp``: the lowest two stand apart."""
    _put(image, place, value & 3, 29, 2)
    _put(image, place, value >> 2, 5, 19)


# Memory.


def why_no_code() -> str | None:
    """Say why this process cannot make memory executable, or None: it can."""
    try:
        base = _map(mmap.PAGESIZE)
        try:
            _protect(base, mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_EXEC)
        finally:
            _unmap(base, mmap.PAGESIZE)
    except NativeError as error:
        return str(error).rstrip(".")
    return None


@functools.cache
def _c_library() -> ctypes.CDLL:
    library = ctypes.CDLL(None, use_errno=True)
    library.mmap.restype = ctypes.c_void_p
    library.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    library.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    library.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return library


def _map(size: int) -> int:
    """Return the address of fresh memory that can be written."""
    protection, flags = mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    address: int | None = _c_library().mmap(None, size, protection, flags, -1, 0)
    if address is None or address == 2**64 - 1:
        raise NativeError(f"no memory for {size} bytes of code: {_why()}")
    return address


def _unmap(address: int, size: int) -> None:
    _c_library().munmap(address, size)


def _protect(address: int, size: int, protection: int) -> None:
    """Set what may be done with pages. Those that become executable were never so before.

    ARM processors must be told of code that was written as data. Linux does so itself when a page is made executable for
    the first time, as all of these are (arch/arm64/mm/flush.c, __sync_icache_dcache).
    """
    if _c_library().mprotect(address, size, protection):
        raise NativeError(f"the system does not let this process make code executable: {_why()}")


def _why() -> str:
    number = ctypes.get_errno()
    return f"{errno.errorcode.get(number, number)} ({os.strerror(number)})"


@functools.cache
def _address(name: str) -> int:
    """Return the address of a function that the process knows."""
    for library in (_c_library(), ctypes.pythonapi, _mathematics()):
        try:
            return ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0
        except AttributeError:
            continue
    raise NativeError(f"neither the C library nor CPython has a function {name!r}")


@functools.cache
def _mathematics() -> ctypes.CDLL:
    try:
        return ctypes.CDLL("libm.so.6")
    except OSError:  # musl has its mathematics in the C library
        return ctypes.CDLL(None)
