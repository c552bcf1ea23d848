"""The emitter of the kernels of loops and products: their entries, checks, and functions that stand once in a module."""

from __future__ import annotations

from typing import Any

from chainrule.compiler import vector_math
from chainrule.compiler.emit import Emitter
from chainrule.compiler.fields import Field
from chainrule.compiler.module import Module
from chainrule.compiler.value import BOOL, I64, Value
from chainrule.graph.sizes import Dim, Size

KERNEL = "kernel"  # what each is called while it is written; then it is named by what it does


class KernelEmitter(Emitter):
    """The emitter of a kernel: ``void kernel(ptr frame, ptr args, i64 begin, i64 end)``.

    ``args`` begins with what ``reserved`` entries hold; then a slot of the frame and an offset in bytes for each buffer,
    and the sizes, in the order in which they were first asked for. ``frame[0]`` is the word that a failed check sets.
    """

    def __init__(self, module: Module, name: str, reserved: int = 0) -> None:
        super().__init__(module, name, [("ptr", "frame"), ("ptr", "args"), ("i64", "begin"), ("i64", "end")])
        self.mask: Value | None = None
        self.calls = False  # functions of vectors
        self.places: list[tuple[str, Any]] = []  # what the entries of args are: ("buffer", field) or ("size", dim)
        self._entries = reserved
        self._pointers: dict[Field, str] = {}
        self._sizes: dict[str, Value] = {}

    def _argument(self) -> str:
        """Load the next entry of args, at the entry of the function."""
        k = self._entries
        self._entries += 1
        self.at_entry.append(f"  %arg{k}.at = getelementptr inbounds i64, ptr %args, i64 {k}")
        self.at_entry.append(f"  %arg{k} = load i64, ptr %arg{k}.at, align 8")
        return f"%arg{k}"

    def pointer(self, field: Field) -> str:
        """Return the address of a field's memory."""
        found = self._pointers.get(field)
        if found is None:
            slot, offset = self._argument(), self._argument()
            k = self._entries
            self.at_entry.append(f"  %base{k}.at = getelementptr inbounds ptr, ptr %frame, i64 {slot}")
            self.at_entry.append(f"  %base{k} = load ptr, ptr %base{k}.at, align 8")
            self.at_entry.append(f"  %buffer{k} = getelementptr inbounds i8, ptr %base{k}, i64 {offset}")
            found = self._pointers[field] = f"%buffer{k}"
            self.places.append(("buffer", field))
        return found

    def size(self, size: Dim) -> Value:
        """Return a size; numbers but 0 and 1 are entries of args too, so that layers of other sizes share the kernel."""
        if not isinstance(size, Size) and size in (0, 1, -1):
            return self.index(int(size))
        key = str(size)
        found = self._sizes.get(key)
        if found is None:
            found = self._sizes[key] = Value(self, self._argument(), I64)
            self.places.append(("size", size))
        return found

    def first_lanes(self, count: Value) -> Value:
        """Return the mask of the first ``count`` lanes, a size that is known at the entry of the function."""
        lines, self.lines = self.lines, []
        mask = self.lane_numbers() < self.wide(count)
        self.at_entry += self.lines
        self.lines = lines
        return mask

    def require(self, condition: Value) -> None:
        """Note a failed check unless ``condition`` holds in all lanes that count: the run stops after this kernel."""
        failed = ~condition
        if failed.lanes > 1:
            if self.mask is not None:
                failed = failed & self.mask
            name = f"llvm.vector.reduce.or.v{failed.lanes}i1"
            self.module.declare(name, f"declare i1 @{name}(<{failed.lanes} x i1>)")
            failed = self.op(f"call i1 @{name}({failed!r})", BOOL)
        word = self.raw("load ptr, ptr %frame, align 8")
        before = self.load(word, I64)
        self.store(before | self.cast(failed, I64), word)

    def math(self, name: str, *operands: Any) -> Value:
        """Return a function of vector_math; of single floats by a call, so that its instructions stand once.

        Of vectors too where ``calls`` is set: in kernels that run once in a step, and of which there are several.

        What divides single integers stands here, where a division by 0 can be noted.
        """
        values = self.together(*operands)
        rule = vector_math.function(name)
        dtype, lanes = values[0].dtype, values[0].lanes
        if dtype.kind != "f" or (lanes > 1 and not self.calls):
            return rule(self, *values)
        full = f"{name}.{dtype.name}" if lanes == 1 else f"{name}.{dtype.name}.{lanes}"
        kind = values[0].type
        if full not in self.module.functions:
            parameters = [(kind, f"x{k}") for k in range(len(values))]
            inner = Emitter(self.module, full, parameters, result=kind, internal=True)
            inner.finish(rule(inner, *[Value(inner, f"%x{k}", dtype, lanes) for k in range(len(values))]))
        return Value(self, self.call(full, *map(repr, values), result=kind), dtype, lanes)
