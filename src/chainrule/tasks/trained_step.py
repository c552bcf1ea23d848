"""The training step of a run, built again from its folder, to be looked at: the run itself stays as it is."""

from __future__ import annotations

import numpy as np

from chainrule.tasks.config import NO_LIMIT
from chainrule.tasks.run import Run
from chainrule.tensors.compile import Compiled, compile
from chainrule.tensors.generator import Generator, drawing_from
from chainrule.tensors.tensor import Tensor
from chainrule.training.objective import Objective
from chainrule.training.optimizers import make_optimizer
from chainrule.training.step import training_step


def traced_step(run: Run) -> Compiled:
    """Return the compiled training step of a run, after one step on a batch of zeros.

    Model, optimizer, loss and the size of the batch are those of the run. The step changes the weights of ``run.model``, in
    memory alone: load the run again to use it.
    """
    config = run.config.training
    model = run.model.train()
    objective = Objective(config.loss)
    optimizer = make_optimizer(model, config.optimizer, config.lr, config.weight_decay)
    clip_norm = None if config.clip_norm == NO_LIMIT else config.clip_norm
    step: Compiled = compile(training_step(model, objective, optimizer, clip_norm=clip_norm))
    rows = config.batch_size
    X = Tensor(np.zeros((rows, run.saved.inputs.num_inputs), np.float32))
    y = Tensor(np.zeros(rows, np.int64 if objective.classes else np.float32))
    weight = None if config.class_weight == "none" else Tensor(np.ones(rows, np.float32))
    with drawing_from(Generator().manual_seed(run.config.seed)), np.errstate(all="ignore"):
        step(X, y, weight)
    return step
