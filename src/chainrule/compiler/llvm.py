"""LLVM, asked for one thing: machine code for a text in its language. The only file that imports llvmlite.

What comes here is written for the target already (vectors of its width, explicit fused multiply-add), so that the passes which
optimise have nothing to add and are not run: on a training step they took longer than code generation and changed nothing.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterator
from typing import Any

from chainrule.compiler.target import Target
from chainrule.errors import NativeError
from chainrule.forks import rlock_of_process, undisturbed

LEVEL = 2  # of code generation. 0 takes half as long and makes code 5 times slower; 1 and 2 take the same time

# Loop strength reduction takes a quarter of the time of code generation, and what prepares for it a sixteenth; on loops as
# they are written here they change nothing that can be measured at run time. (Preparation would also split each division of
# wide integers in two: see ``Emitter.quotient``.) Of LLVM's options they are the only such: machine scheduling, the next,
# keeps registers free that large tiles need.
OPTIONS = ("-disable-lsr", "-disable-cgp")
KNOWN_VERSIONS = range(20, 23)  # of LLVM: an option that LLVM does not know ends the process

_ONE_AT_A_TIME = rlock_of_process()


def object_code(ir: str, target: Target) -> bytes:
    """Return the object file (ELF, position-independent) of a text in LLVM's language.

    Raises:
        NativeError: the text is not LLVM's language, with its lines at fault; or there is no llvmlite.
    """
    with _ONE_AT_A_TIME, undisturbed():
        return _object_code(_llvm(target.machine), ir, target)


def _object_code(llvm: Any, ir: str, target: Target) -> bytes:
    with _parsed(llvm, ir) as module, _machine(llvm, target, module) as machine, _options(llvm):
        code: bytes = machine.emit_object(module)
    return code


def assembly(ir: str, target: Target) -> str:
    """Return the same code as text of the target's assembler."""
    with _ONE_AT_A_TIME, undisturbed():
        return _assembly(_llvm(target.machine), ir, target)


def _assembly(llvm: Any, ir: str, target: Target) -> str:
    with _parsed(llvm, ir) as module, _machine(llvm, target, module) as machine, _options(llvm):
        text: str = machine.emit_assembly(module)
    return text


def verify(ir: str) -> None:
    """Raise NativeError if a text is not LLVM's language or breaks its rules."""
    with _ONE_AT_A_TIME, undisturbed(), _parsed(_llvm(), ir):
        pass


def version() -> str:
    """Return the version of LLVM."""
    return ".".join(map(str, _llvm().llvm_version_info))


@functools.cache
def _llvm(machine: str = "") -> Any:
    """Load llvmlite, and what it needs to write code for a family of processors."""
    try:
        with undisturbed():
            import llvmlite.binding as llvm
    except (ImportError, OSError) as error:
        raise NativeError(f"llvmlite, which native code is made with, cannot be loaded: {error}") from error
    own = llvm.get_process_triple().partition("-")[0]
    if machine in ("", own):
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
    else:
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
    return llvm


@contextlib.contextmanager
def _parsed(llvm: Any, ir: str) -> Iterator[Any]:
    """Parse and check a text, in a context of its own: constants and types go when it goes."""
    with llvm.create_context() as context:
        try:
            module = llvm.parse_assembly(ir, context)
        except RuntimeError as error:
            raise NativeError(f"LLVM cannot read what was written for it:\n{_where(str(error), ir)}") from error
        with module:
            try:
                module.verify()
            except RuntimeError as error:
                raise NativeError(f"what was written for LLVM breaks its rules:\n{_where(str(error), ir)}") from error
            yield module


@contextlib.contextmanager
def _machine(llvm: Any, target: Target, module: Any) -> Iterator[Any]:
    """Make a code generator for the target, and tell the module of it."""
    made = llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=LEVEL, reloc="pic", codemodel="small"
    )
    with made as machine:
        module.triple = target.triple
        module.data_layout = str(machine.target_data)
        yield machine


@contextlib.contextmanager
def _options(llvm: Any) -> Iterator[None]:
    """Set LLVM's options for the code generated inside, and set them back.

    They belong to the process, and numba may compile in another thread: llvmlite's lock, which each of its calls takes, is
    held all the while, so that nobody else's code is generated with them. Where there is no such lock nothing is set.
    """
    lock = getattr(llvm.ffi.lib, "_lock", None)
    if lock is None or llvm.llvm_version_info[0] not in KNOWN_VERSIONS:
        yield
        return
    with lock:
        for option in OPTIONS:
            llvm.set_option("", f"{option}=true")
        try:
            yield
        finally:
            for option in OPTIONS:
                llvm.set_option("", f"{option}=false")


def _where(message: str, ir: str, around: int = 2) -> str:
    """Return the lines that a message of LLVM's is about, and then the message."""
    lines = ir.splitlines()
    numbers = [int(number) for number in re.findall(r"<string>:(\d+):\d+: error", message)][:1]
    shown = [
        f"{'>' if row == number else ' '}{row:6} {lines[row - 1]}"
        for number in numbers
        for row in range(max(1, number - around), min(len(lines), number + around) + 1)
    ]
    said = re.sub(r"^LLVM IR parsing error\s*|<string>:\d+:\d+: error: ", "", message)
    return "\n".join([*shown, said.partition("\n")[0] if shown else said.strip()])
