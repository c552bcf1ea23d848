"""Programs for 64-bit ARM on any machine: an object file linked to a main in C, run by an emulator.

The memory of a run is one file: the frame, the records, their args, inputs and outputs, with offsets for addresses. The main
reads it, turns offsets into addresses, calls ``run`` and writes the file back.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from chainrule.compiler import target
from chainrule.compiler.llvm import object_code
from chainrule.compiler.pipeline import Compilation
from chainrule.compiler.plan import ARENA, FIRST_INPUT, STATUS, Layout
from chainrule.graph import Graph
from chainrule.graph.sizes import Size, evaluate
from chainrule.run.program import late_calls

MAIN = """
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

extern int64_t run(void *frame, void *records, int64_t count);
%(externs)s
static void *kernels[] = {%(names)s};

enum { SIZE, ARENA_SIZE, FRAME, SLOTS, RECORDS, COUNT, HEADER };

int main(int argc, char **argv) {
  int64_t head[HEADER];
  FILE *file = argc > 1 ? fopen(argv[1], "r+b") : 0;
  if (!file || fread(head, sizeof head, 1, file) != 1) return 2;
  char *memory = aligned_alloc(4096, (head[SIZE] + head[ARENA_SIZE] + 4095) / 4096 * 4096);
  rewind(file);
  if (!memory || fread(memory, head[SIZE], 1, file) != 1) return 3;
  int64_t *frame = (int64_t *)(memory + head[FRAME]);
  int64_t *records = (int64_t *)(memory + head[RECORDS]);
  for (int64_t k = 0; k < head[SLOTS]; k++) frame[k] += (int64_t)memory;
  for (int64_t k = 0; k < head[COUNT]; k++) {
    records[3 * k] = (int64_t)kernels[records[3 * k]];
    records[3 * k + 1] += (int64_t)memory;
  }
  uint64_t before, after;
  __asm__ volatile("mrs %%0, fpcr" : "=r"(before));
  if (run(frame, records, head[COUNT]) != head[COUNT]) return 4;
  __asm__ volatile("mrs %%0, fpcr" : "=r"(after));
  if (before != after) return 5;
  rewind(file);
  return fwrite(memory, head[SIZE], 1, file) == 1 && fclose(file) == 0 ? 0 : 6;
}
"""


class Commands(NamedTuple):
    """What makes a program for 64-bit ARM, and what runs it."""

    compiler: str
    emulator: str


class Emulated:
    """A graph compiled for 64-bit ARM and linked to a main of its own."""

    def __init__(
        self, commands: Commands, folder: Path, graph: Graph, in_place: Mapping[int, int], hints: dict[str, int]
    ) -> None:
        self.commands = commands
        self.folder = folder
        self.in_place = in_place
        machine = target.aarch64()
        self.compilation = Compilation(graph, late_calls(graph), in_place, machine, hints)
        self.kernels = sorted({record.kernel for record in self.compilation.records})
        folder.mkdir()
        (folder / "kernels.o").write_bytes(object_code(self.compilation.ir, machine))
        externs = "\n".join(f"extern char {name}[];" for name in self.kernels)
        (folder / "main.c").write_text(MAIN % {"externs": externs, "names": ", ".join(self.kernels) or "0"})
        self._call(commands.compiler, "-O1", "-static", "-o", "program", "main.c", "kernels.o")

    def _call(self, *command: str) -> None:
        found = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        assert found.returncode == 0, (command, found.returncode, found.stderr)

    def run(self, inputs: Sequence[Any], sizes: dict[str, int]) -> list[Any]:
        """Return the outputs for these inputs."""
        compilation, targets = self.compilation, self.compilation.targets
        layout = Layout(targets, compilation.records, compilation.build.scratch, sizes)
        memory = bytearray()

        def put(array: Any) -> int:
            memory.extend(bytes(-len(memory) % 64))
            at = len(memory)
            memory.extend(np.ascontiguousarray(array).tobytes())
            return at

        put(np.zeros(6, np.int64))
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
        records = [
            (self.kernels.index(record.kernel), args + 8 * start, items)
            for record, start, items in zip(compilation.records, layout.starts, layout.items, strict=True)
        ]
        records_at = put(np.array(records, np.int64))
        frame_at = put(frame)
        memory.extend(bytes(-len(memory) % 4096))
        frame[ARENA] = len(memory)
        memory[frame_at : frame_at + frame.nbytes] = frame.tobytes()
        head = [len(memory), layout.arena_size, frame_at, len(frame), records_at, len(records)]
        memory[:48] = np.array(head, np.int64).tobytes()
        (self.folder / "memory").write_bytes(memory)
        self._call(self.commands.emulator, "./program", "memory")
        after = (self.folder / "memory").read_bytes()
        return [np.frombuffer(after, y.dtype, y.size, at).reshape(y.shape) for at, y in places]
