"""Running compiled graphs: the frame of addresses, the records, and one call."""

from __future__ import annotations

import ctypes
import time
import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import compiler
from chainrule.compiler.array_call import address
from chainrule.compiler.cache import load_or_build
from chainrule.compiler.graph_key import graph_key
from chainrule.compiler.interface import ARENA, FIRST_INPUT, RUN, STATUS, TermList, as_number
from chainrule.compiler.llvm import assembly
from chainrule.compiler.recipe import read_recipe
from chainrule.compiler.target import host
from chainrule.forks import lock_of_process
from chainrule.graph import Array, Graph
from chainrule.graph.sizes import evaluate, numel
from chainrule.ops.lines import empty_in_lines
from chainrule.run.memory import allocate, told
from chainrule.run.program import Program, late_calls
from chainrule.run.terms import ListMemory
from chainrule.run.written import check_written

if TYPE_CHECKING:
    from chainrule.compiler import Compilation
    from chainrule.compiler.cache import Loaded
    from chainrule.compiler.recipe import Recipe

MOST_LAYOUTS = 64  # of batch sizes that are kept ready


class Ready:
    """A layout with its memory: what a run needs beside the addresses of inputs and outputs.

    ``beside``: a layout of the same graph and sizes whose memory this one uses too; whoever uses it holds the lock of that one.
    """

    def __init__(self, program: NativeProgram, sizes: dict[str, int], beside: Ready | None = None) -> None:
        recipe = program.recipe
        self.sizes = dict(sizes)
        layout = recipe.layout(sizes)
        self.args = layout.args
        self.arena_size = layout.arena_size
        if beside is None or beside.arena_size < self.arena_size:
            memory = allocate(self.arena_size + 4096, program.graph.name, sizes)
            self.arena = memory[-memory.ctypes.data % 4096 :]
        else:
            self.arena = beside.arena
        self.status = np.zeros(8, dtype=np.int64)
        first = self.args.ctypes.data
        words = [
            (program.library[call.kernel], first + 8 * at, items)
            for call, at, items in zip(recipe.calls, layout.starts, layout.items, strict=True)
        ]
        self.library = program.library  # kept, as the records have addresses in it
        self.records = np.array(words or [(0, 0, 0)], dtype=np.int64)
        self.count = len(words)
        self.frame = np.zeros(recipe.num_slots, dtype=np.int64)
        self.frame[STATUS] = self.status.ctypes.data
        self.frame[ARENA] = self.arena.ctypes.data
        for slot, array in program.constants:
            self.frame[slot] = array.ctypes.data
        self.outputs = [
            (y.slot, program.over.get(k, -1), evaluate(y.shape, sizes), y.dtype) for k, y in enumerate(recipe.results)
        ]
        self.shapes = [shape for _, _, shape, _ in self.outputs]
        self.seen: list[Any] = [None] * len(program.dtypes)  # the arrays whose addresses stand in the frame
        self.numbers = bytearray(8 * len(program.dtypes) + 8)
        self.numbers_at = ctypes.addressof(ctypes.c_char.from_buffer(self.numbers))
        self.lists = [ListMemory(one, program.rows_of(one, sizes)) for one in recipe.lists if program.listed]
        for one in self.lists:
            self.frame[one.listed.slot] = one.memory.ctypes.data
        self._batches: dict[int, Array] = {} if beside is None else beside._batches
        # Of the batches to gather, also of those that are not made yet.
        self.batch_bytes: dict[int, int] = {} if beside is None else beside.batch_bytes
        self.listed: Ready | None = None  # the layout beside this one whose products read lists of terms
        self.lock = lock_of_process()  # of the arena and the frame: one run at a time
        self.frame_at = ctypes.c_void_p(self.frame.ctypes.data)
        self.records_at = ctypes.c_void_p(self.records.ctypes.data)

    def batch(self, k: int, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return the memory into which the rows of input ``k`` are gathered, the same for every call."""
        found = self._batches.get(k)
        if found is None or found.shape != shape or found.dtype != dtype:
            found = self._batches[k] = empty_in_lines(shape, dtype)
            self.batch_bytes[k] = found.nbytes
        return found

    @property
    def size(self) -> int:
        """How many bytes this takes."""
        lists = [] if self.listed is None else self.listed.lists
        return self.arena_size + sum(list(self.batch_bytes.values())) + sum([one.size for one in lists])


class NativeProgram:
    """A graph ready to run natively on NumPy arrays; ``run`` means the same as that of ``Program``.

    ``listed``: its products with data can leave out what is 0 in them (``run/terms.py``); that takes some of their speed where
    they add everything.
    """

    def __init__(
        self,
        graph: Graph,
        in_place: Mapping[int, int] | None = None,
        hints: dict[str, int] | None = None,
        *,
        listed: bool = False,
    ) -> None:
        self.graph = graph
        self.in_place = dict(in_place or {})
        self.hints = dict(hints or {})
        self.listed = listed
        self._with_lists: NativeProgram | None = None
        self._compilation: Compilation | None = None
        start = time.perf_counter()
        self.key = graph_key(graph, self.in_place, self.hints)
        if self.key is not None and listed:
            self.key += b" listed"
        self.loaded, self.recipe = self._load()
        self.seconds = time.perf_counter() - start
        self.library = self.loaded.library
        self.constants = self.recipe.constants(graph)
        function = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
        self.run_address = self.library[RUN]
        self._run = function(self.run_address)
        self._ready: dict[tuple[int, ...], Ready] = {}
        self.last: Ready | None = None  # of the last run
        self._interpreted: Program | None = None
        self.notes: dict[str, str] = {}  # what else was made of it, or why not, for the report
        self.dtypes = [node.dtype for node in graph.inputs]
        self.over = self.in_place
        self.written = frozenset(self.over.values())
        self.slots = [y.slot for y in self.recipe.results]

    def _load(self) -> tuple[Loaded, Recipe]:
        """Return code and recipe, by the graph; by LLVM's text where the graph has no key, after all passes then."""
        if self.key is None:
            ir = self.compilation.ir
            return load_or_build(ir.encode(), lambda: (ir, b""), host()), self.compilation.recipe()
        found: list[Recipe] = []
        loaded = load_or_build(
            self.key,
            lambda: (self.compilation.ir, self.compilation.recipe().to_bytes()),
            host(),
            read=lambda metadata: found.append(read_recipe(metadata)),
        )
        return loaded, found[-1]

    @property
    def compilation(self) -> Compilation:
        """What the passes made, made now if the code came from the disk."""
        if self._compilation is None:
            self._compilation = compiler.Compilation(
                self.graph, late_calls(self.graph), self.in_place, host(), self.hints, listed=self.listed
            )
        return self._compilation

    def with_lists(self) -> NativeProgram:
        """Return the program whose products can leave out what is 0 in the data.

        Raises:
            ChainruleError: it cannot be made: there is no LLVM, say, and this one's code came from the disk.
        """
        if self._with_lists is None:
            self._with_lists = NativeProgram(self.graph, self.in_place, self.hints, listed=True)
        return self._with_lists

    def layout_with_lists(self, beside: Ready) -> Ready:
        """Return the layout of ``with_lists`` that shares memory with one of this program."""
        return Ready(self.with_lists(), beside.sizes, beside)

    def rows_of(self, listed: TermList, sizes: Mapping[str, int]) -> int:
        """Return how many rows of data a list is for."""
        return as_number(numel(self.graph.inputs[listed.input].shape), sizes) // listed.length

    def loops(self) -> str:
        """Return the kernels as text: their loops, what each computes, and where it goes."""
        return compiler.show_loops(self.compilation.targets)

    def llvm(self) -> str:
        """Return LLVM's text of all kernels."""
        return self.compilation.ir

    def assembly(self) -> str:
        """Return the machine's assembly of all kernels."""
        return assembly(self.compilation.ir, self.compilation.machine)

    def report(self) -> list[str]:
        """Say how many kernels there are, and how long compiling took."""
        calls = self.recipe.calls
        kernels = len({call.kernel for call in calls})
        lines = [f"native: {len(calls)} calls of {kernels} kernels, {self.origin()}"]
        if self.loaded.note:
            lines.append(f"not kept on disk: {self.loaded.note}")
        if self._ready:
            lines.append(self.memory())
        lines += [what + note for what, note in self.notes.items()]
        return lines

    def origin(self) -> str:
        """Say where the code came from, and how long that took."""
        return f"{'from the cache' if self.loaded.from_cache else 'compiled'} in {1e3 * self.seconds:.0f} ms"

    @property
    def size(self) -> int:
        """How many bytes runs take beside inputs and results: an arena, and a batch to gather into, for each size there was."""
        return sum([ready.size for ready in list(self._ready.values())])

    def memory(self) -> str:
        """Say how much memory runs take beside inputs and results; "" if it is not known yet."""
        return f"{told(self.size)} of memory beside inputs and results" if self._ready else ""

    def ready(self, sizes: dict[str, int]) -> Ready:
        """Return the layout for these sizes."""
        key = tuple(sizes.values())
        found = self._ready.get(key)
        if found is None:
            if len(self._ready) >= MOST_LAYOUTS:
                self._ready.pop(next(iter(self._ready)))
            found = self._ready[key] = Ready(self, sizes)
        self.last = found
        return found

    def run(self, inputs: Sequence[Any], sizes: dict[str, int] | None = None) -> list[Any]:
        """Return the outputs for these input arrays; ``sizes`` gives a number to each symbol."""
        ready = self.ready(sizes or {})
        with ready.lock:
            found = self._run_in(ready, inputs)
        return self._interpret(inputs, sizes) if found is None else found

    def _run_in(self, ready: Ready, inputs: Sequence[Any]) -> list[Any] | None:
        """Return the outputs; None if a check failed, before anything was written over."""
        frame, seen, dtypes = ready.frame, ready.seen, self.dtypes
        kept = list(inputs)  # alive until the call is over
        for k, x in enumerate(inputs):
            if type(x) is not np.ndarray and not isinstance(x, np.ndarray):
                x = kept[k] = np.asarray(x, dtype=dtypes[k])
                ready.numbers[8 * k : 8 * k + x.itemsize] = x.tobytes()
                frame[FIRST_INPUT + k] = ready.numbers_at + 8 * k
                seen[k] = None
                continue
            before = seen[k]
            if before is not None and before() is x:
                continue
            if k in self.written:
                check_written(self.graph, k, x)
            seen[k] = weakref.ref(x)
            if x.dtype != dtypes[k] or not x.flags.c_contiguous:
                x = kept[k] = np.ascontiguousarray(x, dtype=dtypes[k])
                seen[k] = None
            frame[FIRST_INPUT + k] = address(x)
        outputs: list[Any] = []
        for slot, over, shape, dtype in ready.outputs:
            if over >= 0:
                outputs.append(kept[over])
                continue
            y = np.empty(shape, dtype)
            frame[slot] = address(y)
            outputs.append(y)
        self._run(ready.frame_at, ready.records_at, ready.count)
        if ready.status[0]:
            ready.status[0] = 0
            return None
        return outputs

    def run_records(self, ready: Ready, records: Array) -> bool:
        """Run a table of records in the memory of ``ready``, up to the first whose check fails; say whether none did."""
        self._run(ready.frame_at, ctypes.c_void_p(records.ctypes.data), len(records))
        failed = bool(ready.status[0])
        ready.status[0] = 0
        return not failed

    def _interpret(self, inputs: Sequence[Any], sizes: dict[str, int] | None) -> list[Any]:
        """Let the interpreter say what is wrong."""
        if self._interpreted is None:
            self._interpreted = Program(self.graph, self.in_place)
        return self._interpreted.run(inputs, sizes)
