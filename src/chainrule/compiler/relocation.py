"""Relocations: how an address is written into an instruction, for the kinds that LLVM's code has.

In the notation of the ABIs: S the address of the symbol, A the addend, P the address of the place that is written, Page(x) the
4 KB page of x. Sources: psABI of x86-64, table 4.9; ELF for the Arm 64-bit Architecture, section 5.7.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

WORD, HALF = struct.Struct("<Q"), struct.Struct("<I")
Image = bytearray | memoryview

# Kinds that call, for which a jump to the symbol is as good as the symbol.
CALLS = {"x86_64": {4}, "aarch64": {282, 283}}

# Kinds that want not the symbol but a place where its address stands: S is that place.
BY_SLOT = {"x86_64": {9, 41, 42}, "aarch64": {311, 312}}

# A jump to the address in the 8 bytes after it. Calls reach 2 GB on x86-64 and 128 MB on ARM; this reaches everything.
JUMPS = {
    "x86_64": bytes.fromhex("ff2502000000 9090"),  # jmp *2(%rip); nop; nop
    "aarch64": bytes.fromhex("50000058 00021fd6"),  # ldr x16, .+8; br x16
}
JUMP_SIZE = 16


class Refused(Exception):
    """A relocation that cannot be applied."""


def apply_x86(image: Image, at: int, place: int, value: int, kind: int) -> None:
    """Write ``value`` (S + A) into the image at ``at``, whose address is ``place`` (P)."""
    match kind:
        case 1:  # R_X86_64_64: S + A
            WORD.pack_into(image, at, value % 2**64)
        case 2 | 4 | 9 | 41 | 42:  # PC32, PLT32, GOTPCREL, GOTPCRELX, REX_GOTPCRELX: S + A - P
            HALF.pack_into(image, at, signed(value - place, 32))
        case 10:  # 32: S + A
            if not 0 <= value < 2**32:
                raise Refused(f"{value:#x} does not fit into 32 bits: the code is not position-independent")
            HALF.pack_into(image, at, value)
        case 11:  # 32S: S + A
            HALF.pack_into(image, at, signed(value, 32))
        case 24:  # PC64: S + A - P
            WORD.pack_into(image, at, (value - place) % 2**64)
        case 0:  # NONE
            pass
        case _:
            raise Refused("its kind is not known here")


def apply_arm(image: Image, at: int, place: int, value: int, kind: int) -> None:
    """Write ``value`` (S + A) into the image at ``at``, whose address is ``place`` (P)."""
    match kind:
        case 257:  # R_AARCH64_ABS64: S + A
            WORD.pack_into(image, at, value % 2**64)
        case 260:  # PREL64: S + A - P
            WORD.pack_into(image, at, (value - place) % 2**64)
        case 261:  # PREL32: S + A - P
            HALF.pack_into(image, at, signed(value - place, 32))
        case 274:  # ADR_PREL_LO21: S + A - P
            put_adr(image, at, signed(value - place, 21))
        case 275 | 311:  # ADR_PREL_PG_HI21, ADR_GOT_PAGE: Page(S + A) - Page(P)
            put_adr(image, at, signed((value >> 12) - (place >> 12), 21))
        case 277 | 278 | 284 | 285 | 286 | 299 | 312:  # the low 12 bits of S + A, in units of what is loaded
            # ADD_ABS_LO12_NC, LDST8, LDST16, LDST32, LDST64, LDST128 (…_ABS_LO12_NC), LD64_GOT_LO12_NC
            scale = {277: 0, 278: 0, 284: 1, 285: 2, 286: 3, 299: 4, 312: 3}[kind]
            low = value & 0xFFF
            if low % (1 << scale):
                raise Refused(f"{value:#x} is no multiple of {1 << scale}")
            put(image, at, low >> scale, 10, 12)
        case 279:  # TSTBR14: S + A - P
            put(image, at, signed(words(value - place), 14), 5, 14)
        case 273 | 280:  # LD_PREL_LO19, CONDBR19: S + A - P
            put(image, at, signed(words(value - place), 19), 5, 19)
        case 282 | 283:  # JUMP26, CALL26: S + A - P
            put(image, at, signed(words(value - place), 26), 0, 26)
        case 0 | 256:  # NONE
            pass
        case _:
            raise Refused("its kind is not known here")


APPLY: dict[str, Callable[[Image, int, int, int, int], None]] = {"x86_64": apply_x86, "aarch64": apply_arm}


def signed(value: int, bits: int) -> int:
    """Return a signed number as a field of so many bits."""
    if not -(1 << bits - 1) <= value < 1 << bits - 1:
        raise Refused(f"{value:#x} does not fit into {bits} bits")
    return value & ((1 << bits) - 1)


def words(distance: int) -> int:
    """Return a distance between instructions in instructions."""
    if distance % 4:
        raise Refused(f"{distance:#x} is no multiple of 4")
    return distance // 4


def put(image: Image, at: int, value: int, shift: int, bits: int) -> None:
    """Put a field into an instruction."""
    (instruction,) = HALF.unpack_from(image, at)
    HALF.pack_into(image, at, instruction & ~(((1 << bits) - 1) << shift) | value << shift)


def put_adr(image: Image, at: int, value: int) -> None:
    """Put the 21 bits of ``adr`` or ``adrp``: the lowest two stand apart."""
    put(image, at, value & 3, 29, 2)
    put(image, at, value >> 2, 5, 19)
