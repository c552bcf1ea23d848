"""The compiler: a list of passes, in the order in which they run. Each is timed; each result can be printed.

graph     as it was traced
fields    every node by the lower rule of its primitive; equal fields are one           (lower)
regions   which fields one kernel computes together, and which are computed again       (readings, regions, sink)
targets   which memory each stored field has; an order in which inputs may be replaced  (plan)
kernels   LLVM's text of each region, and the records that call them                     (build)
recipe    the same records as plain data, beside which the code is kept on disk          (recipe)
code      machine code, from the disk cache if it is there                               (cache)

A graph whose code is on disk (its name follows from the graph: graph_key) goes through none of them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from chainrule.compiler.build import Build
from chainrule.compiler.driver import write_driver
from chainrule.compiler.interface import Unsuitable
from chainrule.compiler.lower import Lowered
from chainrule.compiler.plan import Record, Targets
from chainrule.compiler.recipe import Recipe, recipe_of
from chainrule.compiler.regions import Regions
from chainrule.compiler.register_evaluator import estimate
from chainrule.compiler.target import Target
from chainrule.graph import Graph, Node
from chainrule.graph.sizes import Size


class Compilation:
    """Everything that the passes made of a graph."""

    def __init__(
        self,
        graph: Graph,
        nodes: Sequence[Node],
        in_place: Mapping[int, int],
        machine: Target,
        hints: dict[str, int],
        *,
        listed: bool = False,
    ) -> None:
        self.seconds: dict[str, float] = {}
        self.machine = machine
        self.graph = graph
        self.hints = hints
        start = time.perf_counter()
        self.lowered = Lowered(graph, nodes)
        start = self._took("fields", start)
        self.regions = Regions(self.lowered.distinct_outputs())
        start = self._took("regions", start)
        self.targets = Targets(self.regions, self.lowered.sources, in_place)
        start = self._took("targets", start)
        self.build = Build(self.targets, machine, hints, listed=listed)
        write_driver(self.build.module, machine)
        self.ir = self.build.module.text(machine.attributes())
        self._took("kernels", start)

    def _took(self, name: str, start: float) -> float:
        now = time.perf_counter()
        self.seconds[name] = now - start
        return now

    @property
    def records(self) -> list[Record]:
        """The calls of a run."""
        return self.build.records

    def recipe(self) -> Recipe:
        """Return what a run needs beside the code."""
        straight: int | str | None = None
        if self.hints or not any(isinstance(size, Size) for field in self.regions.order for size in field.shape):
            try:
                straight = estimate(self.regions, self.hints)
            except Unsuitable as unsuitable:
                straight = str(unsuitable)
        return recipe_of(self.targets, self.records, self.build.scratch, self.graph, straight, self.build.lists)
