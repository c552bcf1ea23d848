"""The two functions of a batch, learning and looking, each as one graph where it can be traced."""

from __future__ import annotations

from collections.abc import Callable

from chainrule.errors import TraceError
from chainrule.tensors.compile import compile
from chainrule.tensors.tensor import Tensor
from chainrule.training.batches import Batch
from chainrule.training.step import Step

Found = tuple[Tensor, Tensor]


class Engine:
    """Runs ``step`` and ``look`` (see step.py) on batches.

    ``compiled``  whether to trace them; what cannot be traced runs uncompiled, and ``note`` is told why
    """

    def __init__(self, step: Step, look: Step, *, compiled: bool, note: Callable[[str], None]) -> None:
        self._step, self._look = _Runner(step, compiled, note), _Runner(look, compiled, note)

    def learn(self, batch: Batch) -> Found:
        """Improve the model by a batch; return the error and the outputs before the improvement."""
        return self._step.run(batch)

    def look(self, batch: Batch) -> Found:
        """Return error and outputs of a batch."""
        return self._look.run(batch)

    def forget(self) -> None:
        """Trace again when next called: what a trace holds on to (an optimizer's state) was replaced."""
        self._step.forget()
        self._look.forget()


class _Runner:
    """One function, traced if that is wanted and possible."""

    def __init__(self, function: Step, compiled: bool, note: Callable[[str], None]) -> None:
        self.function = function
        self.compiled = compiled
        self.note = note
        self.forget()

    def forget(self) -> None:
        self.call: Step = compile(self.function) if self.compiled else self.function
        self.is_new = True

    def run(self, batch: Batch) -> Found:
        try:
            found = self.call(batch.X, batch.y, batch.weight)
        except TraceError as error:
            if not self.compiled:
                raise
            if self.is_new:
                self.compiled = False
                self.note(f"not compiled: {error}")
            self.forget()  # a trace that ran before holds no more: an option that selects operations was changed
            return self.run(batch)
        self.is_new = False
        return found
