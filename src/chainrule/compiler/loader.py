"""Machine code from an object file to memory: sections are laid out, relocations applied, pages locked.

Sections lie in one mapping, in three groups of pages: code, constants, data. All is written first; then code becomes readable
and executable, and constants readable. No page is ever writable and executable at the same time.
"""

from __future__ import annotations

import atexit
import ctypes
import errno
import functools
import mmap
import os
import platform
import struct
import weakref
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from chainrule.compiler import object_file
from chainrule.compiler.object_file import ObjectFile, Relocation, Section
from chainrule.compiler.relocation import APPLY, BY_SLOT, CALLS, JUMP_SIZE, JUMPS, WORD, Image, Refused
from chainrule.errors import NativeError, nearest

MOST = 2**31 - 1  # bytes of one library: code reaches its constants by distances of 32 bits
ALWAYS = ("memcpy", "memmove", "memset")  # LLVM calls these of itself, for a copy or a fill that it makes no loop of

READ, WRITE, EXECUTE = 1, 2, 4  # PROT_READ, PROT_WRITE, PROT_EXEC: Python names them only where they are
PRIVATE = 0x02  # MAP_PRIVATE
GROUPS = (  # flags of the sections in each group of pages, and what may be done with the pages
    (object_file.EXECUTE, READ | EXECUTE),
    (0, READ),
    (object_file.WRITE, READ | WRITE),
)


class Library:
    """The functions of an object file, in memory that can be executed: ``library["name"]`` is an address.

    ``symbols`` gives the addresses of what the code calls and does not contain. The memory is given back when the library is
    closed or collected: whoever keeps an address keeps the library.

    Raises:
        NativeError: the file is damaged or for another machine, or calls what is not in ``symbols``.
    """

    def __init__(self, object_bytes: bytes, symbols: Mapping[str, int] | None = None) -> None:
        try:
            file = object_file.read(object_bytes)
            if file.machine != machine():
                raise NativeError(f"the object file is for {file.machine}", expected=machine())
            layout = lay_out(file)
            self.size = layout.size
            memory = _map(layout.size)
            _mapped[weakref.ref(self, _mapped.pop)] = memory
            base = _address_of(memory)
            write(layout, memoryview(memory), base, symbols or {})
        except (struct.error, IndexError, ValueError) as error:
            raise NativeError(f"the object file is damaged ({error})") from error
        for start, end, protection in layout.pages:
            _protect(base + start, end - start, protection)
        self._addresses = {name: base + offset for name, offset in layout.exported.items()}

    def __getitem__(self, name: str) -> int:
        if name in self._addresses:
            return self._addresses[name]
        if self._is_closed():
            raise NativeError(f"{name!r} is asked of a library that is closed")
        raise NativeError(f"the library has no {name!r}", fix=nearest(name, self._addresses))

    def __iter__(self) -> Iterator[str]:
        return iter(self._addresses)

    def __len__(self) -> int:
        return len(self._addresses)

    def __contains__(self, name: object) -> bool:
        return name in self._addresses

    def __repr__(self) -> str:
        state = "closed" if self._is_closed() else f"{self.size} bytes"
        return f"<Library of {', '.join(self._addresses) or 'nothing'}; {state}>"

    def close(self) -> None:
        """Give the memory back. Nobody may call its addresses any more."""
        self._addresses = {}
        _mapped.pop(weakref.ref(self), None)

    def _is_closed(self) -> bool:
        return weakref.ref(self) not in _mapped


# The memory of each library, which goes with it. No line of Python runs then: Ctrl-C would be lost in it.
_mapped: dict[weakref.ref[Library], mmap.mmap] = {}


@atexit.register
def _keep() -> None:
    """Let all code stay where it is: a thread may still run it when the process ends."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(list(_mapped.values())))


def addresses(*names: str) -> dict[str, int]:
    """Return the addresses of functions of the C library, of its mathematics, or of CPython, for ``Library``.

    Raises:
        NativeError: there is no function of such a name.
    """
    return {name: _address(name) for name in names}


def machine() -> str:
    """Return the family of this processor, as LLVM spells it."""
    name = platform.machine().lower()
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(name, name)


def why_no_code() -> str | None:
    """Say why this process cannot make memory executable, or None: it can."""
    try:
        memory = _map(mmap.PAGESIZE)
        _protect(_address_of(memory), mmap.PAGESIZE, READ | EXECUTE)
    except NativeError as error:
        return error.what
    return None


class Layout(NamedTuple):
    """Where things stand in the image, in bytes from its start."""

    file: ObjectFile
    places: dict[int, int]  # of sections, by number
    jumps: dict[int, int]  # to symbols outside, by number
    slots: dict[int, int]  # with the addresses of symbols, by number
    relocations: list[Relocation]
    pages: list[tuple[int, int, int]]  # start, end, what may be done with them
    exported: dict[str, int]
    size: int


def lay_out(file: ObjectFile) -> Layout:
    """Give each section that is to be loaded its place, and the jumps and slots that the relocations need theirs."""
    loaded = {number: section for number, section in enumerate(file.sections) if _is_loaded(section)}
    relocations = [relocation for relocation in file.relocations() if relocation.section in loaded]
    places: dict[int, int] = {}
    jumps: dict[int, int] = {}
    slots: dict[int, int] = {}
    pages: list[tuple[int, int, int]] = []
    at = 0
    for flags, protection in GROUPS:
        start = at
        for number, section in loaded.items():
            if section.flags & (object_file.EXECUTE | object_file.WRITE) == flags:
                places[number] = at = _multiple(at, max(section.align, 1))
                at += section.size
        at = _multiple(at, JUMP_SIZE)
        for relocation in relocations:
            number = relocation.symbol
            if protection == READ | EXECUTE and number not in jumps and _is_call_outside(file, relocation):
                jumps[number] = at
                at += JUMP_SIZE
            if protection == READ and number not in slots and relocation.kind in BY_SLOT[file.machine]:
                slots[number] = at
                at += WORD.size
        at = _multiple(at, mmap.PAGESIZE)
        if at > start:
            pages.append((start, at, protection))
    if at > MOST:
        raise NativeError(f"the object file asks for {at} bytes of memory", expected=f"at most {MOST}")
    exported = {}
    for symbol in file.symbols:
        if symbol.binding != object_file.LOCAL and symbol.section in places:
            if symbol.value > file.sections[symbol.section].size:
                raise NativeError(f"the object file is damaged: {symbol.name} lies outside its section")
            exported[symbol.name] = places[symbol.section] + symbol.value
    return Layout(file, places, jumps, slots, relocations, pages, exported, max(at, mmap.PAGESIZE))


def _is_loaded(section: Section) -> bool:
    if (
        not section.flags & object_file.ALLOC or section.name == ".eh_frame"
    ):  # for unwinding, which code here never does
        return False
    if section.flags & object_file.TLS:
        raise NativeError(f"the object file has variables of threads ({section.name}), which are not served")
    if section.kind in object_file.RUN_BY_OTHERS or section.name.startswith((".ctors", ".dtors")):
        raise NativeError(f"the object file has functions to run at its start or end ({section.name})")
    if section.flags & object_file.EXECUTE and section.flags & object_file.WRITE:
        raise NativeError(f"{section.name} is to be writable and executable, which no page is here")
    if section.align > mmap.PAGESIZE or section.align & (section.align - 1):
        raise NativeError(f"{section.name} is aligned to {section.align}", expected="a power of 2 up to a page")
    return True


def _is_call_outside(file: ObjectFile, relocation: Relocation) -> bool:
    symbol = file.symbols[relocation.symbol]
    return relocation.kind in CALLS[file.machine] and symbol.section == object_file.UNDEFINED


def _multiple(at: int, of: int) -> int:
    return -(-at // of) * of


def write(layout: Layout, image: Image, base: int, symbols: Mapping[str, int]) -> None:
    """Write sections, and what relocations make of them, into an image that is or will be at the address ``base``."""
    file = layout.file
    for number, place in layout.places.items():
        section = file.sections[number]
        if section.kind != object_file.NOBITS:
            image[place : place + section.size] = file.contents(section)
    values = {r.symbol: _value(layout, r.symbol, base, symbols) for r in layout.relocations}
    for number, place in layout.jumps.items():
        image[place : place + JUMP_SIZE] = JUMPS[file.machine] + WORD.pack(values[number])
    for number, place in layout.slots.items():
        WORD.pack_into(image, place, values[number])
    apply, calls, by_slot = APPLY[file.machine], CALLS[file.machine], BY_SLOT[file.machine]
    for relocation in layout.relocations:
        number, kind = relocation.symbol, relocation.kind
        section = file.sections[relocation.section]
        if relocation.offset >= section.size:
            raise NativeError(f"the object file is damaged: a relocation outside {section.name}")
        target = values[number]
        if kind in calls and number in layout.jumps:
            target = base + layout.jumps[number]
        elif kind in by_slot:
            target = base + layout.slots[number]
        at = layout.places[relocation.section] + relocation.offset
        try:
            apply(image, at, base + at, target + relocation.addend, kind)
        except Refused as refused:
            what = f"relocation {kind} of {file.symbols[number].name or 'a section'} in {section.name}"
            raise NativeError(f"{what} cannot be applied: {refused}") from None


def _value(layout: Layout, number: int, base: int, symbols: Mapping[str, int]) -> int:
    """Return the address of a symbol."""
    symbol = layout.file.symbols[number]
    if symbol.section == object_file.ABSOLUTE:
        return symbol.value
    if symbol.section in layout.places:
        return base + layout.places[symbol.section] + symbol.value
    if symbol.section != object_file.UNDEFINED:
        raise NativeError(f"the code refers to {symbol.name or 'a section'} where nothing is loaded")
    if symbol.name in symbols:
        return symbols[symbol.name]
    if symbol.name in ALWAYS:
        return _address(symbol.name)
    if symbol.binding == object_file.WEAK or number == 0:  # what is weak may be missing; symbol 0 stands for no symbol
        return 0
    known = ", ".join(sorted({*symbols, *ALWAYS}))
    raise NativeError(f"the code calls {symbol.name}, whose address was not given", expected=f"one of {known}")


# Memory.


@functools.cache
def _c_library() -> ctypes.CDLL:
    library = ctypes.CDLL(None, use_errno=True)
    library.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return library


@functools.cache
def _mathematics() -> ctypes.CDLL:
    try:
        return ctypes.CDLL("libm.so.6")
    except OSError:  # musl has its mathematics in the C library
        return ctypes.CDLL(None)


@functools.cache
def _address(name: str) -> int:
    for library in (_c_library(), ctypes.pythonapi, _mathematics()):
        try:
            return ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0
        except AttributeError:
            continue
    raise NativeError(f"neither the C library nor CPython has a function {name!r}")


def _map(size: int) -> mmap.mmap:
    """Return fresh memory that can be written; it is given back when nobody has it any more."""
    try:
        return mmap.mmap(-1, size, flags=PRIVATE, prot=READ | WRITE)
    except OSError as error:
        raise NativeError(f"the system gives no memory for {size} bytes of code ({_why(error.errno or 0)})") from error


def _address_of(memory: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def _protect(address: int, size: int, protection: int) -> None:
    """Set what may be done with pages.

    ARM processors must be told of code that was written as data. Linux does so itself when a page becomes executable for
    the first time, as all pages here do (arch/arm64/mm/flush.c, __sync_icache_dcache).
    """
    if _c_library().mprotect(address, size, protection):
        raise NativeError(f"the system lets this process make no memory executable ({_why(ctypes.get_errno())})")


def _why(number: int) -> str:
    return f"{errno.errorcode.get(number, number)}: {os.strerror(number)}"
