"""From regions to kernels and records: each region is written as LLVM's text, and equal kernels stand once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from chainrule.compiler.alike import Made, form_of, records_like
from chainrule.compiler.fields import Field, Number
from chainrule.compiler.interface import Items, TermList
from chainrule.compiler.kernel_emitter import KERNEL, KernelEmitter
from chainrule.compiler.loop_kernel import LoopKernel
from chainrule.compiler.module import Module
from chainrule.compiler.plan import WHOLE, Entry, Record, Targets, Work
from chainrule.compiler.product_kernel import product_records
from chainrule.compiler.region import Region
from chainrule.compiler.special_kernel import copy_record, special_record
from chainrule.compiler.target import Target
from chainrule.compiler.value import Dtype


class Build:
    """The text of all kernels and the records that call them.

    ``scratch``  memory that single records need
    ``lists``    of the terms that products with data go through, or (without ``listed``) could go through
    """

    def __init__(self, targets: Targets, machine: Target, hints: dict[str, int], *, listed: bool = False) -> None:
        self.targets = targets
        self.regions = targets.regions
        self.machine = machine
        self.hints = hints
        self.module = Module(machine.masks, machine.lookup)
        self.records: list[Record] = []
        self.scratch: list[tuple[Field, int]] = []
        self.listed = listed
        self.lists: list[TermList] = []
        self._made: dict[str, Made] = {}  # of products, by their form
        for place, region in enumerate(targets.order):
            self._write(region, place)
        for field, source in targets.copied:
            copy_record(self, field, source, len(targets.order))

    def _write(self, region: Region, place: int) -> None:
        if region.product is not None:
            self._write_product(region, place)
        elif region.special is not None:
            special_record(self, region, place)
        else:
            e = KernelEmitter(self.module, KERNEL)
            kernel = LoopKernel(e, self.regions, region, lambda field: field)
            kernel.write()
            self.add(e, [], Items(kernel.items), place)

    def _write_product(self, region: Region, place: int) -> None:
        """Write the kernels of a product, or find those of one of the same form."""
        form = form_of(self.targets, region)
        made = None if form is None else self._made.get(form.key)
        if form is not None and made is not None:
            records, scratch = records_like(made, form, place)
            self.records += records
            self.scratch += [(x, place) for x in scratch]
            return
        first, first_scratch, first_list = len(self.records), len(self.scratch), len(self.lists)
        product_records(self, region, place)
        if form is not None and len(self.lists) == first_list:  # each has lists of its own
            own = [x for x, _ in self.scratch[first_scratch:]]
            self._made[form.key] = Made(form.fields, tuple(self.records[first:]), tuple(own))

    def add(self, e: KernelEmitter, reserved: Sequence[Entry], items: Items, place: int, work: Work = WHOLE) -> None:
        """Finish a kernel, or find the equal one, and add the record that calls it."""
        if KERNEL not in self.module.functions:
            e.finish()
        text = self.module.functions.pop(KERNEL)
        name = self.named(text)
        entries = [*reserved]
        for kind, what in e.places:
            if kind == "buffer":
                entries += [Entry("slot", what), Entry("offset", what)]
            else:
                entries.append(Entry("size", None, what))
        self.records.append(Record(name, tuple(entries), items, place, work))

    def zero(self, dtype: Dtype) -> Field:
        """Return the number 0."""
        return Number(0, dtype)

    def named(self, text: str) -> str:
        """Put a kernel's text under a name made of what it does; return that name."""
        name = "k" + hashlib.sha256(text.encode()).hexdigest()[:16]
        if name not in self.module.functions:
            self.module.functions[name] = text.replace(f"@{KERNEL}(", f"@{name}(", 1)
        return name
