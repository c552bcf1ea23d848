"""Training a model on rows. ``step.py`` is the whole flow on a page; open it first.

step         one training step: forward, error, backward, update
engine       the step, compiled where that is possible
fit          training in one call
trainer      its settings and verbs; arguments checks them
loop         epochs of batches until accurate enough
rows         checked arrays; form: in the dtypes that the model takes
batches      some rows at a time, in the order of an epoch
objective    losses by name; targets and row weights
optimizers   optimizers and schedules by name
best         which epoch was best
metrics      how good predictions are
history      what happened in each epoch
callbacks    what happens beside
progress     what the user sees
interrupt    Ctrl-C
state        where training stands, copied and put back
checkpoint   the same in a file, gone on with to the same bits
nonfinite    where a NaN came from; replay: in which batch
"""

from chainrule.training.callbacks import Callback
from chainrule.training.fit import fit
from chainrule.training.history import History
from chainrule.training.metrics import METRICS, Metric, confusion_matrix, metric_named, predicted_labels
from chainrule.training.objective import LOSSES, Objective
from chainrule.training.optimizers import OPTIMIZERS, SCHEDULES
from chainrule.training.rows import Rows
from chainrule.training.trainer import Trainer

__all__ = [
    "fit", "Trainer", "Callback", "History", "Rows", "Objective", "Metric", "LOSSES", "METRICS", "OPTIMIZERS", "SCHEDULES",
    "confusion_matrix", "metric_named", "predicted_labels",
]  # fmt: skip
