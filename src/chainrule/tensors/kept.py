"""What a trace keeps in attributes: made of the last outputs of its graph at each run, or carried from run to run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chainrule.graph import Node
from chainrule.graph.sizes import same_shape
from chainrule.tensors.again import ONE_TENSOR
from chainrule.tensors.attributes import EARLY, GIVEN, MADE, RESULT, Place
from chainrule.tensors.changes import CHANGES
from chainrule.tensors.ends import Ends
from chainrule.tensors.guards import Guards
from chainrule.tensors.makers import gradient_of, makers_of
from chainrule.tensors.reads import Reads
from chainrule.tensors.tensor import Tensor


class Kept:
    """What each run puts into attributes."""

    def __init__(self, ends: Ends, reads: Reads) -> None:
        apart = reads.apart()
        self._attributes = ends.attributes
        self._reads_what_it_sets = any((id(a.place.find()), a.place.name) not in apart for a in ends.attributes)

    def settle(self, ends: Ends, first: int, place: Mapping[Node, int]) -> None:
        """Note which outputs it is about: from number ``first`` on, those for attributes, then those for their gradients.

        ``place`` is the number of each input of the graph. An output may take the place of one: it is ``carried``.
        """
        self._first = first
        self._count = len(ends.in_attributes) + len(ends.of_attributes)
        self._makers = makers_of(ends.kinds_in_attributes)
        self._with_gradients = [k for k, _ in ends.of_attributes]
        self.carried = _carried(ends, place)
        self._early = ends.early
        arguments = {k for k, read in enumerate(ends.arguments) if read.before in place}
        self.is_lasting = not (ends.is_of_states or ends.early) and all(
            (not is_read or all(s.kind == MADE and s.which in self.carried and not s.links for s in attribute.sources))
            and all(s.kind != GIVEN or s.which in arguments for s in attribute.sources)
            for attribute, is_read in zip(ends.attributes, ends.are_read, strict=True)
        )
        """Whether many runs in one call can leave what the last of them keeps, as none of them needs what another left."""

    def look(self, tensors: list[Tensor]) -> dict[int, Any]:
        """Return what a run that begins now will put into attributes of what is there."""
        return {k: find(tensors) for k, find in enumerate(self._early)}

    def __bool__(self) -> bool:
        return bool(self._attributes)

    @property
    def holds_rows(self) -> bool:
        """Whether it holds arguments."""
        return any(source.kind == GIVEN for attribute in self._attributes for source in attribute.sources)

    def targets(self) -> dict[int, int]:
        """Return the outputs that take the place of inputs."""
        return {self._first + number: place for number, place in self.carried.items()}

    def left(self) -> list[int]:
        """Return which outputs the last of many runs has to leave: those for attributes that are not carried."""
        of_attributes = [self._first + k for k in range(self._count) if k not in self.carried]
        sources = [source for attribute in self._attributes for source in attribute.sources]
        return [*of_attributes, *{source.which for source in sources if source.kind == RESULT}]

    def put(
        self,
        outputs: Mapping[int, Any],
        results: Mapping[int, Tensor],
        given: Mapping[int, Tensor],
        early: Mapping[int, Any],
        sizes: dict[str, int],
        guards: Guards,
    ) -> None:
        """Put what was computed for attributes into them; one whose outputs are not there stays what it was.

        ``early`` is what ``look`` returned before the run.
        """
        held_before = guards.held_at == CHANGES.count
        made = {k: make(outputs[self._first + k]) for k, make in enumerate(self._makers) if self._first + k in outputs}
        for at, k in enumerate(self._with_gradients, self._first + len(self._makers)):
            if at in outputs:
                made[k]._grad = gradient_of(outputs[at])
        there = {MADE: made, RESULT: results, GIVEN: given, EARLY: early}
        whole = [attribute for attribute in self._attributes if attribute.is_made_of(there)]
        values = [attribute.value(there, sizes) for attribute in whole]
        for attribute, value in zip(whole, values, strict=True):
            attribute.place.put(value)
        if held_before and not self._reads_what_it_sets:  # what it itself did is no reason to look again
            guards.held_at = CHANGES.count

    def values(self) -> list[tuple[Place, Any]]:
        """Return the attributes that a run sets, and what they hold now."""
        return [(attribute.place, attribute.place.value()) for attribute in self._attributes]


def _carried(ends: Ends, place: Mapping[Node, int]) -> dict[int, int]:
    """Return which outputs for attributes take the place of an input: of a state that is found there, and is like the new one.

    A run works on a copy of such an input, which then is what the attribute holds; many runs in one call leave it there.
    """
    found: dict[int, int] = {}
    for attribute in ends.attributes:
        read = ends.placed_at.get((id(attribute.place.find()), attribute.place.name))
        if read is None or attribute.form != ONE_TENSOR:
            continue
        kind, number, links = attribute.sources[0]
        if kind != MADE or links:
            continue
        before, node = read.before, ends.in_attributes[number]
        is_alike = same_shape(before.shape, node.shape) and before.dtype == node.dtype
        if is_alike and read.after is before and before in place and number not in found:
            found[number] = place[before]
    return found
