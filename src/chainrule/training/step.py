"""One training step, and one look at rows that are not learned from: the whole flow of back-propagation on a page.

    output = model(X)                      forward     layer by layer
    error = objective(output, y)           error       one number for the batch
    error.backward()                       backward    the chain rule, from the error back to every weight
    clip_grad_norm_(…)                     gradients   limited, if asked
    optimizer.step()                       update      every weight a little against its gradient

``Trainer`` calls it for every batch of every epoch. Compiled (the default), it is traced once into one graph.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chainrule.nn import Module
from chainrule.nn.utils import clip_grad_norm_
from chainrule.optim import Optimizer
from chainrule.tensors.autograd import no_grad
from chainrule.tensors.memory import root
from chainrule.tensors.tensor import Tensor
from chainrule.tensors.tracer import OF_USERS
from chainrule.training import own_function

Objective = Callable[[Tensor, Tensor, Tensor | None], Tensor]
Penalty = Callable[[Module], Tensor]
Step = Callable[[Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor]]


def training_step(
    model: Module,
    objective: Objective,
    optimizer: Optimizer,
    *,
    clip_norm: float | None = None,
    penalty: Penalty | None = None,
) -> Step:
    """Return a function of one batch (inputs X, targets y, row weights or None) that learns from it.

    It returns the error (0-d, without the penalty) and the model's outputs. ``objective(output, y, weight)`` gives the
    error; ``penalty(model)`` is added to it before the backward pass.
    """

    def step(X: Tensor, y: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
        model.zero_grad()
        optimizer.zero_grad()  # also of what it improves outside of the model
        output = model(X)
        error = objective(output, y, weight)
        total = error if penalty is None else error + penalty(model)
        total.backward()
        if clip_norm is not None:
            clip_grad_norm_(model.parameters(), clip_norm)
        before = as_it_is(output)
        optimizer.step()
        return error.detach(), before

    return _with_code_of_users(step, objective, penalty)


def as_it_is(output: Tensor) -> Tensor:
    """Return outputs that no improvement changes: a copy if they look at memory that was there before (a parameter's)."""
    found: Tensor = output.detach()
    return found.clone() if root(output).is_leaf else found


def validation_step(model: Module, objective: Objective) -> Step:
    """Return a function of one batch that returns error and outputs, and learns nothing."""

    def look(X: Tensor, y: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
        with no_grad():
            output = model(X)
            return objective(output, y, weight), output

    return _with_code_of_users(look, objective, None)


def _with_code_of_users(step: Step, objective: Any, penalty: Penalty | None) -> Step:
    """Let a trace of a step know from the start which functions of the user's it will run."""
    loss = getattr(objective, "loss", None)
    functions = [(objective, "the objective"), (penalty, "the penalty"), (loss, "the loss")]
    vars(step)[OF_USERS] = [
        each for function, what in functions if function is not None for each in own_function.noted(function, what)
    ]
    return step
