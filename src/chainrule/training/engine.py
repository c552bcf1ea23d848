"""The two functions of a batch, learning and looking, each as one graph where it can be traced."""

from __future__ import annotations

from collections.abc import Callable

from chainrule import run as engines
from chainrule.errors import InPlaceError, TraceError
from chainrule.graph import Array
from chainrule.tensors.compile import Compiled, compile
from chainrule.tensors.tensor import Tensor
from chainrule.tensors.traced import is_of_argument
from chainrule.training.batches import Batch, Source
from chainrule.training.step import Step

LOOKING = "the look at validation rows is "
NOT_COMPILED = "not compiled"  # how it begins where the code cannot be traced
Found = tuple[Tensor, Tensor]
Several = tuple[int, Array, Array | None]  # how many batches were done, their errors, their outputs if wanted


class Engine:
    """Runs ``step`` and ``look`` (see step.py) on batches.

    ``compiled``  whether to trace them; what cannot be traced runs uncompiled, and ``note`` is told why
    """

    def __init__(self, step: Step, look: Step, *, compiled: bool, note: Callable[[str], None]) -> None:
        engines.check_environment()  # also where nothing is traced: what a checkpoint records is asked there too
        self._compiled, self._note = compiled, note
        self.learn_by(step)
        self._look = _Runner(look, compiled, note, what=LOOKING)

    def learn_by(self, step: Step) -> None:
        """Learn by ``step`` from now on."""
        self._step = _Runner(step, self._compiled, self._note)

    def learn(self, batch: Batch) -> Found:
        """Improve the model by a batch; return the error and the outputs before the improvement."""
        return self._step.run(batch)

    def learn_from(
        self,
        like: Batch,
        source: Source | None,
        order: Array,
        steps: int,
        *,
        outputs: bool,
        between: Callable[[int], None] | None,
    ) -> Several | None:
        """Learn from ``steps`` batches in one native call; None where that cannot be.

        ``like`` is a batch of the same size; ``order`` has the rows of ``source`` that are in these batches. Without a
        source each batch is ``like``. Returns how many were learned from, their errors, and their outputs if these are wanted.
        """
        return self._step.run_steps(like, source, order, steps, outputs=outputs, between=between)

    def look_from(self, like: Batch, source: Source, order: Array, steps: int) -> Several | None:
        """Return errors and outputs of ``steps`` batches, in one native call; None where that cannot be."""
        return self._look.run_steps(like, source, order, steps, outputs=True, between=None)

    def told(self) -> str:
        """Say in a line what runs the steps: native code, or why that is not so; "" if nobody asked for it."""
        return self._step.told()

    def look(self, batch: Batch) -> Found:
        """Return error and outputs of a batch."""
        return self._look.run(batch)

    def origin(self, batch: Batch, layer: str, *, looking: bool) -> engines.Origin | None:
        """Return the first operation (of a layer) that gives a NaN or an infinity, when learning or looking; None if unknown."""
        return (self._look if looking else self._step).origin(batch, layer)

    def prepare(self, batch: Batch) -> None:
        """Trace the step for a batch like this, without learning from it: ``told`` then says what will run it.

        Raises OutOfMemoryError if it needs more memory than there is.
        """
        self._step.prepare(batch)

    def forget(self) -> None:
        """Trace again when next called: what a trace holds on to (an optimizer's state) was replaced."""
        self._step.forget()
        self._look.forget()


class _Runner:
    """One function, traced if that is wanted and possible."""

    def __init__(self, function: Step, compiled: bool, note: Callable[[str], None], what: str = "") -> None:
        self.function = function
        self.what = what
        self.compiled = compiled
        self.note = note
        self.refused = ""  # why it is not traced after all
        self.forget()

    def forget(self) -> None:
        self.call: Step = compile(self.function) if self.compiled else self.function
        self.is_new = True

    def told(self) -> str:
        if self.refused:
            return self.refused
        if not isinstance(self.call, Compiled) or engines.is_off():
            return ""
        return self.call.engine()

    def _give_up(self, error: TraceError) -> None:
        """Run uncompiled from now on."""
        self.compiled = False
        self.refused = f"{self.what}{NOT_COMPILED}: {error}"
        self.note(self.refused)
        self.forget()

    def run_steps(
        self,
        like: Batch,
        source: Source | None,
        order: Array,
        steps: int,
        *,
        outputs: bool,
        between: Callable[[int], None] | None,
    ) -> Several | None:
        if not isinstance(self.call, Compiled):
            return None
        found = self.call.traced_for(like.X, like.y, like.weight)
        if found is None:
            return None
        traced, tensors, sizes = found
        given: dict[int, Array] = {}
        scalings = {}
        if source is not None:
            given = dict(enumerate([array for array in source.rows if array is not None]))
            scalings = {} if source.scaling is None else {0: source.scaling}
        if not traced.can_run_steps():
            return None
        fits = all(engines.can_gather(array, tensors[k]._value.dtype) for k, array in given.items())
        if not fits:
            return None
        wanted = [0, 1] if outputs else [0]
        done, results = traced.run_steps(tensors, given, order, sizes, steps, wanted, between, scalings)
        return done, results[0], results.get(1)

    def origin(self, batch: Batch, layer: str) -> engines.Origin | None:
        call = self.call if isinstance(self.call, Compiled) else compile(self.function)
        try:
            found: engines.Origin | None = call.origin(batch.X, batch.y, batch.weight, judged=[0], layer=layer)
        except TraceError:
            return None
        return found

    def prepare(self, batch: Batch) -> None:
        if not isinstance(self.call, Compiled):
            return
        try:
            found = self.call.served(batch.X, batch.y, batch.weight)
        except TraceError as error:
            self._give_up(error)
            return
        if found is not None:
            traced, tensors, sizes = found
            traced.prepare(tensors, sizes)

    def run(self, batch: Batch) -> Found:
        try:
            found = self.call(batch.X, batch.y, batch.weight)
        except TraceError as error:
            if not self.compiled:
                raise
            if self.is_new:
                self._give_up(error)
            self.forget()  # a trace that ran before holds no more: an option that selects operations was changed
            return self.run(batch)
        except InPlaceError as error:
            if not is_of_argument(error):
                raise
            refused = error
        else:
            self.is_new = False
            return found
        self.function(batch.X, batch.y, batch.weight)  # which says what layer writes into its input, at its line
        raise refused
