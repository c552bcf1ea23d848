"""The error contribution of each neuron after a batch of data.

For a Linear layer with output z, whose activation gives a, and the loss L of a row:

    δ = ∂L/∂z                    how the loss of the row would change with the unit's input
    contribution = a · ∂L/∂a     L(a = 0) ≈ L - a · ∂L/∂a: what silencing the unit would take away, to first order

Each row counts with its own loss (their sum is differentiated, not their mean), so that the δ of a row does not depend
on how many others are in the batch. The model is in eval mode meanwhile, so that rows do not see each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np

from chainrule.backward import chain_rule
from chainrule.errors import ArgumentError, ArgumentTypeError, GradientError, NotFiniteError, ShapeError
from chainrule.graph import Array, Node, recording
from chainrule.insight.flows import ErrorFlow, LayerFlow
from chainrule.insight.row_loss import row_losses
from chainrule.insight.tape_path import Gates, functions_of, same_shape, value_of
from chainrule.insight.watching import Call, Watcher, left_as_it_was
from chainrule.nn import Linear, Module
from chainrule.run import Evaluating, value_node
from chainrule.tensors.tensor import Tensor, current_node
from chainrule.training.batches import batch_starts
from chainrule.training.form import Form
from chainrule.training.objective import Objective, check_targets, objective_for
from chainrule.training.rows import Rows

Loss = str | Callable[..., Tensor]


def error_flow(
    model: Module,
    X: Any,
    y: Any,
    *,
    loss: Loss | None = None,
    class_names: Sequence[Any] | None = None,
    batch_size: int = 1024,
    per_row: bool = True,
) -> ErrorFlow:
    """Measure the error at every unit of every Linear layer, over the rows X [rows, …] with targets y [rows, …].

    ``loss``         a name, a loss module or a function (output, y), of any reduction: the loss of each row on its own is
                     taken. None: what ``fit`` takes, by the targets (cross-entropy for class indices, logistic for whole
                     numbers 0 and 1 and one output, else squared error)
    ``class_names``  for targets that are class indices; None numbers them
    ``batch_size``   rows at a time; the result does not depend on it
    ``per_row``      keep δ of each row (rows x units numbers for each layer)

    ``a`` is what the next layer receives: what the modules and functions after the Linear layer make of z alone, before
    it is joined with anything else; a = z where nothing follows. A layer that is applied at several positions of a row
    counts once, summed over them. Parameters, ``grad``, training flags, hooks and the random state are left as they were.

    Raises ArgumentError for a model without Linear layers, DataError for rows or labels that do not fit, NotFiniteError
    with the layer where a NaN or an infinity appears.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    >>> for parameter in model.parameters():
    ...     _ = nn.init.ones_(parameter)
    >>> flow = error_flow(model, [[1.0, 0.0], [0.0, 1.0]], [[4.0], [5.0]])
    >>> flow["0"].delta.tolist(), flow["0"].share.tolist()  # both rows give 5, and δ = 2 (5 - y)
    ([[2.0, 2.0], [0.0, 0.0]], [0.5, 0.5])
    """
    if not isinstance(model, Module):
        raise ArgumentTypeError(f"error_flow: got a model of type {type(model).__name__}", expected="an nn.Module")
    size: Any = batch_size
    if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 1:
        raise ArgumentError(f"error_flow: batch_size={size!r}", expected="a whole number of at least 1")
    if not any(isinstance(module, Linear) for module in model.modules()):
        raise ArgumentError(
            f"error_flow: {type(model).__name__} has no Linear layer", expected="a model that calls nn.Linear layers"
        )
    rows = Rows(X, y, name="error_flow")
    with ExitStack() as stack:
        stack.enter_context(left_as_it_was(model))
        watcher = stack.enter_context(Watcher.on(model))
        objective, form, plan = _plan(model, watcher, rows, loss)
        classes = _classes(rows.y, plan.num_outputs, class_names)
        labels = rows.y.reshape(len(rows)).astype(np.int64) if classes else None
        totals = [_Totals(step, len(rows), len(classes), keep=per_row) for step in plan.steps]
        losses: list[Array] = []
        starts = batch_starts(len(rows), int(size))
        for part in map(slice, starts, [*starts[1:], len(rows)]):
            output, calls = watcher.run(model, _inputs(form, rows.X[part]))
            if [call.name for call in calls] != plan.calls:
                raise ShapeError(
                    f"error_flow: the model called {len(calls)} Linear layers in one batch and {len(plan.calls)} in another",
                    expected="the same layers for every row",
                )
            each, seed = row_losses(objective, output, Tensor(form.targets(rows.y[part], "error_flow: y")))
            losses.append(each)
            found = _errors(output, seed, [(step, calls[step.place]) for step in plan.steps], watcher.known())
            for total, (delta, contribution, activation) in zip(totals, found, strict=True):
                total.add(part, delta, contribution, activation, None if labels is None else labels[part])
    counts = np.bincount(labels, minlength=len(classes)) if labels is not None else np.zeros(0, np.int64)
    return ErrorFlow(
        layers=tuple([total.flow(len(rows), counts) for total in totals]),
        classes=classes,
        rows=len(rows),
        rows_by_class=tuple(counts.tolist()),
        loss=float(np.concatenate(losses).mean(dtype=np.float64)),
        loss_name=objective.name,
        notes=plan.notes,
    )


# -- the plan: which layers, and where each is read --------------------------------------------------------------------


class _Step(NamedTuple):
    """A call of a layer: its place among the calls, its names, and which of its gates gives a (0: z itself)."""

    place: int
    name: str
    kind: str
    units: int
    gate: int
    activation: str


def _inputs(form: Form, X: Array) -> Tensor:
    """Return rows as the model takes them, copied: a model may write into its input."""
    return Tensor(np.array(form.inputs(X, "error_flow: X")))


class _Plan(NamedTuple):
    steps: list[_Step]
    calls: list[str]
    num_outputs: int
    notes: tuple[str, ...]


def _plan(model: Module, watcher: Watcher, rows: Rows, loss: Loss | None) -> tuple[Objective, Form, _Plan]:
    """Look at two rows (one of them twice, if there is one): the form of the outputs, and where each layer is read."""
    first = rows.X[:2] if len(rows) > 1 else rows.X[[0, 0]]
    form = Form.of(model)
    output, calls = watcher.run(model, _inputs(form, first))
    objective = loss if isinstance(loss, Objective) else objective_for(loss, rows.y, output)
    check_targets(rows.y, output, objective, rows.name)
    form = form._replace(classes=objective.classes)
    root = current_node(output)
    if root is None or not root.requires_grad:
        raise GradientError("error_flow: no Linear layer's output reaches the model's output")
    gates, known, modules = Gates(root), watcher.known(), watcher.modules()
    steps, notes = [], []
    for place, call in enumerate(calls):
        if call.z.ndim < 2 or call.z.shape[0] != 2:
            notes.append(f"layer {call.name} is left out: its output has no axis of rows first")
            continue
        above = gates.above(call.node)
        if call.node is not root and not above:
            notes.append(f"layer {call.name} is left out: its output does not reach the model's output")
            continue
        own = same_shape(call.node, functions_of(call.node, above, 2))
        gate = max(k for k, node in enumerate(own) if k == 0 or value_of(node, known) is not None)
        name = _activation_name(own[: gate + 1], modules)
        steps.append(_Step(place, call.name, call.kind, call.z.shape[-1], gate, name))
    if not steps:
        raise GradientError("error_flow: no Linear layer can be measured", fix="; ".join(notes))
    num_outputs = 1 if output.ndim == 1 else output.shape[1]
    return objective, form, _Plan(steps, [call.name for call in calls], num_outputs, tuple(notes))


def _activation_name(own: list[Node], modules: dict[Node, str]) -> str:
    """Return what makes a of z: modules by type, then an operation by name, or "function" for several."""
    names, start = [], 1
    for k, node in enumerate(own):
        if k and node in modules:
            names.append(modules[node])
            start = k + 1
    rest = own[start:]
    if len(rest) == 1 and rest[0].primitive is not None and rest[0].inputs == (own[start - 1],):
        names.append(rest[0].primitive.name)
    elif rest:
        names.append("function")
    return " → ".join(names)


def _classes(y: Array, num_outputs: int, names: Sequence[Any] | None) -> tuple[str, ...]:
    """Return the names of the classes; none where the targets are numbers."""
    whole = y.dtype.kind in "iub" and y.size == len(y)
    if whole and num_outputs == 1 and y.max() <= 1:
        num_outputs = 2
    is_index = whole and num_outputs > 1 and y.min() >= 0 and y.max() < num_outputs
    if names is None:
        return tuple([str(k) for k in range(num_outputs)]) if is_index else ()
    if not is_index:
        raise ArgumentError(
            f"error_flow: class_names for targets of {y.dtype} and shape {y.shape}",
            expected=f"class indices, 0 to {max(num_outputs, 2) - 1}, as targets",
        )
    if len(names) != num_outputs:
        raise ArgumentError(
            f"error_flow: got {len(names)} class_names for {num_outputs} classes", expected="a name for each class"
        )
    return tuple([str(name) for name in names])


# -- measuring ---------------------------------------------------------------------------------------------------------


def _errors(
    output: Tensor, seed: Tensor, wanted: Sequence[tuple[_Step, Call]], known: dict[Node, Array]
) -> Iterator[tuple[Array, Array, Array]]:
    """Carry the losses' gradient from the output down to every z and a; yield δ, a · ∂L/∂a and a for each layer."""
    root = current_node(output)
    assert root is not None  # the plan saw to it
    gates = Gates(root)
    places = []
    for step, call in wanted:
        node = same_shape(call.node, gates.above(call.node))[step.gate]
        a = value_of(node, known)
        assert a is not None  # it was there in the plan
        places.append((step, call, node, a))
    nodes = dict.fromkeys(node for _, call, at, _ in places for node in (call.node, at))
    with recording(Evaluating(record=False)), np.errstate(all="ignore"):
        found = chain_rule([root], [value_node(seed._value)], nodes, free=True)
    for step, call, node, a in places:
        delta = found[call.node].value
        if not np.isfinite(delta).all():
            raise NotFiniteError(
                f"error_flow: the gradient at layer {step.name} ({step.kind}) is not finite",
                expected="finite numbers",
                fix="see the targets and the loss; a loss on logits stays finite where one on probabilities does not",
            )
        with np.errstate(all="ignore"):
            yield delta, a * found[node].value, a


class _Totals:
    """Sums over rows, in float64, for one layer."""

    def __init__(self, step: _Step, num_rows: int, num_classes: int, *, keep: bool) -> None:
        self.step = step
        self.num_rows = num_rows
        self.keep = keep
        self.delta: Array | None = None
        units = step.units
        self.sum, self.abs, self.contribution, self.activation, self.zeros = np.zeros((5, units))
        self.by_class, self.abs_by_class = np.zeros((2, num_classes, units))

    def add(self, part: slice, delta: Array, contribution: Array, activation: Array, labels: Array | None) -> None:
        """Add a batch of rows: arrays [rows, …, units]."""
        rows, units = delta.shape[0], self.step.units
        if delta.ndim > 2:
            delta = delta.reshape(rows, -1, units).sum(1)
        magnitude = np.abs(delta)
        self.sum += delta.sum(0, dtype=np.float64)
        self.abs += magnitude.sum(0, dtype=np.float64)
        self.contribution += contribution.reshape(-1, units).sum(0, dtype=np.float64)
        by_row = activation.reshape(rows, -1, units)
        self.activation += by_row.mean(1, dtype=np.float64).sum(0)
        self.zeros += (by_row == 0).mean(1).sum(0)
        if labels is not None:
            member = (labels == np.arange(len(self.by_class))[:, None]).astype(np.float64)  # [classes, rows]
            self.by_class += member @ delta
            self.abs_by_class += member @ magnitude
        if self.keep:
            if self.delta is None:
                self.delta = np.empty((self.num_rows, units), delta.dtype)
            self.delta[part] = delta

    def flow(self, num_rows: int, counts: Array) -> LayerFlow:
        """Return means, and shares."""
        contribution = self.contribution / num_rows
        total = np.abs(contribution).sum()
        share = np.abs(contribution) / total if total > 0 else np.zeros_like(contribution)
        with np.errstate(invalid="ignore"):  # a class without rows has no mean
            by_class, abs_by_class = self.by_class / counts[:, None], self.abs_by_class / counts[:, None]
        return LayerFlow(
            name=self.step.name,
            kind=self.step.kind,
            units=self.step.units,
            activation=self.step.activation,
            delta=self.delta,
            mean_delta=self.sum / num_rows,
            mean_abs_delta=self.abs / num_rows,
            delta_by_class=by_class,
            abs_delta_by_class=abs_by_class,
            contribution=contribution,
            share=share,
            mean_activation=self.activation / num_rows,
            inactive=self.zeros / num_rows,
        )
