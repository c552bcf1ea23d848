"""An object file in memory, ready to be called: what a linker does for one file, without one.

The sections that are code or data are laid out in one map, which is written, and then made executable and no longer
writable. Only what LLVM makes of our text is understood: x86-64, ELF, and calls of our own functions.
"""

from __future__ import annotations

import ctypes
import mmap
import struct
from collections.abc import Mapping
from typing import NamedTuple

from chainrule.errors import FileError

ALLOCATED, NO_BITS, SYMBOLS, RELOCATIONS = 0x2, 8, 2, 4
ABSOLUTE_64, RELATIVE_32, CALL_32, GOT_32, ABSOLUTE_32, SIGNED_32 = 1, 2, 4, 9, 10, 11
READ, EXECUTE = 1, 4


class Section(NamedTuple):
    """One section of an object file."""

    kind: int
    flags: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int


class Library:
    """The functions of an object file: ``library[name]`` is an address. The code lives as long as the object."""

    def __init__(self, code: bytes, symbols: Mapping[str, int] | None = None) -> None:
        if code[:5] != b"\x7fELF\x02" or len(code) < 64:
            raise FileError("the machine code is no ELF object of 64 bits")
        self._code = code
        self._known = dict(symbols or {})
        (first,) = struct.unpack_from("<Q", code, 40)
        size, count, _ = struct.unpack_from("<HHH", code, 58)
        self._sections = []
        for k in range(count):
            words = struct.unpack_from("<IIQQQQIIQQ", code, first + k * size)
            self._sections.append(Section(words[1], words[2], words[4], words[5], words[6], words[7], words[8]))
        self._places = self._lay_out()
        self._map = mmap.mmap(-1, max(self.size, mmap.PAGESIZE))
        self._base = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        self.addresses: dict[str, int] = {}
        self._copy()
        self._relocate()
        self._make_executable()

    def __getitem__(self, name: str) -> int:
        return self.addresses[name]

    def _lay_out(self) -> dict[int, int]:
        places, at = {}, 0
        for k, section in enumerate(self._sections):
            if section.flags & ALLOCATED and section.size:
                alignment = max(section.alignment, 1)
                at = -(-at // alignment) * alignment
                places[k] = at
                at += section.size
        self.size = -(-at // mmap.PAGESIZE) * mmap.PAGESIZE
        return places

    def _copy(self) -> None:
        for k, at in self._places.items():
            section = self._sections[k]
            if section.kind != NO_BITS:
                self._map[at : at + section.size] = self._code[section.offset : section.offset + section.size]
        for section in self._sections:
            if section.kind == SYMBOLS:
                self._symbols = section
                for k in range(section.size // 24):
                    name, address = self._symbol(k)
                    if name and address is not None:
                        self.addresses[name] = address

    def _symbol(self, k: int) -> tuple[str, int | None]:
        """Return a symbol's name and address; None if it is not in this file."""
        table = self._symbols
        name_at, _, _, where, value, _ = struct.unpack_from("<IBBHQQ", self._code, table.offset + 24 * k)
        names = self._sections[table.link].offset + name_at
        name = self._code[names : self._code.index(b"\0", names)].decode()
        if where in self._places:
            return name, self._base + self._places[where] + value
        return name, self._known.get(name)

    def _relocate(self) -> None:
        for section in self._sections:
            if section.kind != RELOCATIONS or section.info not in self._places:
                continue
            at = self._places[section.info]
            for k in range(section.size // 24):
                offset, info, addend = struct.unpack_from("<QQq", self._code, section.offset + 24 * k)
                self._apply(at + offset, info & 0xFFFFFFFF, info >> 32, addend)

    def _apply(self, at: int, kind: int, symbol: int, addend: int) -> None:
        name, target = self._symbol(symbol)
        if target is None:
            raise FileError(f"the machine code calls {name!r}, which is not known")
        if kind == ABSOLUTE_64:
            struct.pack_into("<Q", self._map, at, target + addend)
        elif kind in (RELATIVE_32, CALL_32):
            struct.pack_into("<i", self._map, at, target + addend - (self._base + at))
        else:
            raise FileError(f"the machine code has a relocation of kind {kind}, which is not known")

    def _make_executable(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mprotect(ctypes.c_void_p(self._base), ctypes.c_size_t(len(self._map)), READ | EXECUTE):
            raise FileError(f"the system does not let memory be executed (error {ctypes.get_errno()})")
