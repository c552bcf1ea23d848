"""Programs for 64-bit ARM on any machine: an object file linked to a main in C, run by an emulator.

The memory of a run is one file: the frame, the records, their args, inputs and outputs, with offsets for addresses. The main
(emulated.c) reads it, turns offsets into addresses, runs the records and writes the file back.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from chainrule.compiler import loader, object_file, target
from chainrule.compiler.interface import ARENA, FIRST_INPUT, RUN, RUN_TEAM, STATUS, Given, Team
from chainrule.compiler.llvm import object_code
from chainrule.compiler.pipeline import Compilation
from chainrule.compiler.straight import write_straight
from chainrule.graph import Graph
from chainrule.graph.sizes import Size, evaluate
from chainrule.run.program import late_calls

MAIN = Path(__file__).with_name("emulated.c")
HEADER = 32  # words of the memory, as in emulated.c
STRAIGHT = -1  # for a number of threads: the straight-line code
BASE = 0x12_3456_7000  # where the loader's image stands
OUTSIDE = {"memcpy": "copy", "memmove": "move", "memset": "fill"}  # by which names of the main the loader's code calls


class Commands(NamedTuple):
    """What makes a program for 64-bit ARM, and what runs it."""

    compiler: str
    emulator: str


def call(folder: Path, *command: str) -> str:
    """Return what a command says."""
    found = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert found.returncode == 0, (command, found.returncode, found.stderr)
    return found.stdout


def link(compiler: str, folder: Path, *arguments: str) -> None:
    words = [f"-DTEAM_{word.name}={word.value}" for word in Team]
    call(
        folder,
        compiler,
        "-O1",
        "-Wall",
        "-Werror",
        "-static",
        "-pthread",
        *words,
        "-I.",
        "-o",
        "program",
        str(MAIN),
        *arguments,
    )


class Emulated:
    """A graph compiled for 64-bit ARM: linked to a main of its own, and as the loader would place it in memory."""

    def __init__(
        self, commands: Commands, folder: Path, graph: Graph, in_place: Mapping[int, int], hints: dict[str, int]
    ) -> None:
        self.commands = commands
        self.folder = folder
        self.in_place = in_place
        machine = target.aarch64()
        self.compilation = Compilation(graph, late_calls(graph), in_place, machine, hints)
        self.kernels = sorted({record.kernel for record in self.compilation.records})
        self.code = object_code(self.compilation.ir, machine)
        folder.mkdir()
        (folder / "kernels.o").write_bytes(self.code)
        externs = "".join(f"extern char {name}[];\n" for name in self.kernels)
        names = ", ".join(self.kernels) or "0"
        (folder / "kernels.h").write_text(f"{externs}static void *const kernels[] = {{{names}}};\n")
        link(commands.compiler, folder, "-DLINKED", "kernels.o")
        self.loading: Path | None = None

    def link_straight(self, sizes: dict[str, int]) -> None:
        """Link the straight-line code for these sizes too. Raises Unsuitable if there is none."""
        outputs = [k for k in range(len(self.compilation.lowered.outputs)) if k not in self.in_place]
        given = Given({}, frozenset(), 0)
        ir, _ = write_straight(self.compilation.targets, sizes, given, outputs, self.compilation.machine)
        (self.folder / "straight.o").write_bytes(object_code(ir, self.compilation.machine))
        link(self.commands.compiler, self.folder, "-DLINKED", "kernels.o", "straight.o")

    def load(self, folder: Path) -> None:
        """Let the loader's image of the code run from now on, with a main that knows no kernels, made in ``folder``."""
        if not folder.exists():
            folder.mkdir()
            link(self.commands.compiler, folder)
        listed = call(folder, self.commands.compiler.removesuffix("gcc") + "nm", "program")
        addresses = {words[2]: int(words[0], 16) for line in listed.splitlines() if len(words := line.split()) == 3}
        layout = loader.lay_out(object_file.read(self.code))
        image = bytearray(layout.size)
        loader.write(layout, memoryview(image), BASE, {name: addresses[ours] for name, ours in OUTSIDE.items()})
        (self.folder / "image").write_bytes(image)
        self.layout, self.loading = layout, folder

    def run(self, inputs: Sequence[Any], sizes: dict[str, int], threads: int = 0) -> list[Any]:
        """Return the outputs for these inputs: of kernels, with ``threads`` of so many that share them, or of ``STRAIGHT``."""
        compilation, targets = self.compilation, self.compilation.targets
        layout = compilation.recipe().layout(sizes)
        memory = bytearray()

        def put(array: Any) -> int:
            memory.extend(bytes(-len(memory) % 64))
            at = len(memory)
            memory.extend(np.ascontiguousarray(array).tobytes())
            return at

        put(np.zeros(HEADER, np.int64))
        frame = np.zeros(targets.num_slots, np.int64)
        frame[STATUS] = put(np.zeros(8, np.int64))
        arrays = [np.asarray(x, source.dtype) for x, source in zip(inputs, targets.sources, strict=True)]
        for k, x in enumerate(arrays):
            frame[FIRST_INPUT + k] = put(x)
        for fixed in targets.fixed:
            frame[targets.slot[fixed]] = put(fixed.array)
        places: list[tuple[int, Any]] = []  # of the outputs, and arrays like them
        for k, (field, distinct) in enumerate(
            zip(compilation.lowered.outputs, compilation.regions.outputs, strict=True)
        ):
            if k in self.in_place:
                places.append((int(frame[FIRST_INPUT + self.in_place[k]]), arrays[self.in_place[k]]))
                continue
            shape = [int(evaluate(n, sizes)) if isinstance(n, Size) else int(n) for n in field.shape]
            like = np.zeros(shape, field.dtype)
            frame[targets.slot[distinct]] = put(like)
            places.append((int(frame[targets.slot[distinct]]), like))
        args = put(layout.args)
        if self.loading:
            starts = [BASE + self.layout.exported[name] for name in self.kernels]
        else:
            starts = list(range(len(self.kernels)))
        records = [
            (starts[self.kernels.index(record.kernel)], args + 8 * start, items)
            for record, start, items in zip(compilation.records, layout.starts, layout.items, strict=True)
        ]
        records_at = put(np.array(records, np.int64))
        frame_at = put(frame)
        memory.extend(bytes(-len(memory) % 4096))
        frame[ARENA] = len(memory)
        memory[frame_at : frame_at + frame.nbytes] = frame.tobytes()
        head = [len(memory), layout.arena_size, frame_at, len(frame), records_at, len(records), threads]
        if self.loading:
            exported, pages = self.layout.exported, self.layout.pages
            head += [BASE, self.layout.size, len(pages), BASE + exported[RUN], BASE + exported[RUN_TEAM]]
            head += [word for page in pages for word in page]
        memory[: 8 * len(head)] = np.array(head, np.int64).tobytes()
        (self.folder / "memory").write_bytes(memory)
        program = (self.loading or self.folder) / "program"
        call(self.folder, self.commands.emulator, str(program), "memory", "image")
        after = (self.folder / "memory").read_bytes()
        return [np.frombuffer(after, y.dtype, y.size, at).reshape(y.shape) for at, y in places]
