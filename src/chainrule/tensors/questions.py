"""What a trace asks at each run: numbers that may change, draws, whether what it took for granted is so; and what happens with it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from chainrule.errors import TraceError
from chainrule.graph import Node
from chainrule.graph.sizes import Shape
from chainrule.tensors.bindings import Ambient, Draws, state_of, weakly
from chainrule.tensors.dtypes import F64, I64
from chainrule.tensors.generator import default_generator
from chainrule.tensors.guarded_names import Option
from chainrule.tensors.reached import Reached
from chainrule.tensors.state import STATE
from chainrule.tensors.tensor import Tensor

T = TypeVar("T")


class Questions(ABC):
    """The part of a trace that asks.

    ``numbers``  inputs of no axes, and what is asked for their values
    ``draws``    of generators, by their ids
    ``answers``  what has to be so: in words, how to ask, and what was answered
    ``calls_before``, ``calls_after``  what happens before and after each run
    ``reached``  what the code reaches outside
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.numbers: list[tuple[list[Node], Callable[[], Any]]] = []
        self.draws: dict[int, Draws] = {}
        self.answers: list[tuple[str, Callable[[], Any], Any]] = []
        self.calls_before: list[Callable[[], Any]] = []
        self.calls_after: list[Callable[[], Any]] = []
        self.reached = Reached()
        self._drawn_from = STATE.generator
        self._asked: set[Any] = set()
        self._rates_asked = self._rates_changed = self._scheduled = False
        self._made_here: list[Any] = []  # optimizers

    @abstractmethod
    def tensor(self, node: Node) -> Tensor:
        """Return a traced tensor."""

    @abstractmethod
    def _input(self, name: str, shape: Shape, dtype: Any) -> Node:
        """Return a new input."""

    def ask_rates(self, names: Sequence[str], owner: T, read: Callable[[T], Sequence[Any]]) -> list[Node]:
        """Return 0-d inputs whose values are what ``read(owner)`` returns before each run: the numbers of an optimizer."""
        if self._rates_changed:
            raise TraceError(
                f"an optimizer's step, a scheduler's step and again an optimizer's step in the compiled function "
                f"'{self.name}', which reads the rates once",
                fix="call the scheduler at the end of the compiled function, or outside of it",
            )
        self._rates_asked = True
        return self._ask_numbers(names, owner, read, F64)

    def read_option(self, key: Any, text: str, find: Callable[[], Any], *, is_rate: bool) -> None:
        """Let the trace hold only while ``find()``, an option of an optimizer that the code read, returns what it does now.

        ``key`` says which it is, ``is_rate`` whether a scheduler may change it.
        """
        if is_rate and self._scheduled:
            raise TraceError(
                f"the compiled function '{self.name}' reads {text} after a scheduler's step, which happens before or after a run, not within it",
                expected="rates that are read before the scheduler's step",
                fix="call the scheduler at the end of the compiled function, or outside of it",
            )
        if isinstance(find(), Tensor):
            self._rates_asked = True  # an input: what a scheduler writes into it has to wait
        if self.is_first(key):
            self.reached.names.append(Option(key[0], text, find))

    @property
    def is_scheduled(self) -> bool:
        """Whether a scheduler has stepped so far."""
        return self._scheduled

    def has_made(self, optimizer: Any) -> bool:
        """Say whether the traced code made an optimizer."""
        return any(made is optimizer for made in self._made_here)

    def note_made(self, optimizer: Any) -> None:
        """Note an optimizer that the traced code makes: what it does to it, it does in each trace."""
        self._made_here.append(optimizer)

    def _ask_numbers(
        self, names: Sequence[str], owner: T, read: Callable[[T], Sequence[Any]], dtype: Any
    ) -> list[Node]:
        # given to the operations as Python numbers, which `call` and random operations take
        nodes = [self._input(name, (), np.dtype(dtype)) for name in names]
        self.numbers.append((nodes, weakly(owner, read)))
        return nodes

    def draw_from(self, generator: Any) -> tuple[Tensor, Tensor, int]:
        """Return seed and draw number of a generator, and how many draws came before this one."""
        known = self.draws.get(id(generator))
        if known is None:
            chosen = Ambient if generator is (self._drawn_from or default_generator) else generator
            seed, draw = self._ask_numbers(("seed", "draw"), chosen, state_of, I64)
            known = self.draws[id(generator)] = Draws(chosen, seed, draw)
        known.count += 1
        return self.tensor(known.seed), self.tensor(known.draw), known.count - 1

    def expect(self, text: str, owner: T, ask: Callable[[T], Any]) -> None:
        """Let the trace hold only while ``ask(owner)`` returns what it returns now; ``text`` says what that is about."""
        self.answers.append((text, weakly(owner, ask), ask(owner)))

    def is_first(self, key: Any) -> bool:
        """Return whether this is asked for the first time in this trace."""
        known = key in self._asked
        self._asked.add(key)
        return not known

    def at_each_run(self, owner: T, call: Callable[[T], Any]) -> None:
        """Let ``call(owner)``, which may change rates (a scheduler's step), happen at every run.

        It happens before the run, or after it if rates were asked for already.
        """
        self._rates_changed, self._scheduled = self._rates_asked, True
        (self.calls_after if self._rates_asked else self.calls_before).append(weakly(owner, call))

    def after_each_run(self, owner: T, call: Callable[[T], Any]) -> None:
        """Let ``call(owner)``, which changes nothing that is asked for, happen after every run."""
        self.calls_after.append(weakly(owner, call))

    def forget_made(self) -> None:
        """Let all optimizers go that the code made."""
        self._made_here = []
