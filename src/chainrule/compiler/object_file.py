"""An object file (ELF64, relocatable) as LLVM writes it: its sections, symbols and relocations.

Source: System V ABI, chapter 4, "Object files".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from chainrule.errors import NativeError

MACHINES = {62: "x86_64", 183: "aarch64"}  # e_machine
RELOCATABLE = 1  # e_type
SYMTAB, RELA, NOBITS = 2, 4, 8  # sh_type
RUN_BY_OTHERS = (14, 15, 16)  # sh_type: tables of functions that run at the start or the end
WRITE, ALLOC, EXECUTE, TLS = 1, 2, 4, 0x400  # sh_flags
UNDEFINED, ABSOLUTE = 0, 0xFFF1  # st_shndx
LOCAL, WEAK = 0, 2  # binding of a symbol

HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
SECTION = struct.Struct("<IIQQQQIIQQ")
SYMBOL = struct.Struct("<IBBHQQ")
RELOCATION = struct.Struct("<QIIq")


class Section(NamedTuple):
    """A part of the file that has a name. ``info``: of relocations, the number of the section they change."""

    name: str
    kind: int
    flags: int
    offset: int
    size: int
    link: int
    info: int
    align: int


class Symbol(NamedTuple):
    """A name for a place: ``value`` bytes into the section of that number."""

    name: str
    binding: int
    section: int
    value: int


class Relocation(NamedTuple):
    """A place, ``offset`` bytes into a section, that wants the address of a symbol (by number) plus ``addend``."""

    section: int
    offset: int
    kind: int
    symbol: int
    addend: int


class ObjectFile(NamedTuple):
    """The file, read."""

    machine: str
    data: bytes
    sections: tuple[Section, ...]
    symbols: tuple[Symbol, ...]

    def contents(self, section: Section) -> bytes:
        """Return the bytes of a section."""
        return _part(self.data, section.offset, section.size)

    def relocations(self) -> Iterator[Relocation]:
        """Yield the relocations of all sections."""
        for table in self.sections:
            if table.kind == RELA:
                for offset, kind, symbol, addend in RELOCATION.iter_unpack(self.contents(table)):
                    yield Relocation(table.info, offset, kind, symbol, addend)


def read(data: bytes) -> ObjectFile:
    """Read an object file.

    Raises:
        NativeError: it is none, or for a machine that is not known.
        struct.error, ValueError, IndexError: it is damaged.
    """
    if data[:6] != b"\x7fELF\x02\x01" or len(data) < HEADER.size:
        raise NativeError("this is no object file", expected="a 64-bit, little-endian ELF file")
    _, kind, machine, _, _, _, table, _, _, _, _, _, num, of_names = HEADER.unpack_from(data)
    if kind != RELOCATABLE:
        raise NativeError(f"this ELF file is of type {kind}", expected=f"a relocatable file, type {RELOCATABLE}")
    if machine not in MACHINES:
        raise NativeError(f"the object file is for machine {machine}", expected=f"one of {MACHINES}")
    rows = list(SECTION.iter_unpack(_part(data, table, num * SECTION.size)))
    names = _part(data, rows[of_names][4], rows[of_names][5])
    sections = tuple(
        Section(_text(names, name), kind, flags, offset, size, link, info, align)
        for name, kind, flags, _, offset, size, link, info, align, _ in rows
    )
    symbols = []
    for section in sections:
        if section.kind == SYMTAB:
            names = _part(data, sections[section.link].offset, sections[section.link].size)
            for name, info, _, where, value, _ in SYMBOL.iter_unpack(_part(data, section.offset, section.size)):
                symbols.append(Symbol(_text(names, name), info >> 4, where, value))
    return ObjectFile(MACHINES[machine], data, sections, tuple(symbols))


def _part(data: bytes, start: int, size: int) -> bytes:
    if start + size > len(data):
        raise NativeError(f"the object file is cut off after {len(data)} bytes", expected=f"{start + size} or more")
    return data[start : start + size]


def _text(names: bytes, start: int) -> str:
    return names[start : names.index(b"\0", start)].decode()
