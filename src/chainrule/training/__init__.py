"""Training a model on rows. ``step.py`` is the whole flow on a page; open it first.

step        one training step: forward, error, backward, update
trainer     epochs of batches until accurate enough
fit         the same in one call
objective   losses by name; targets and row weights
batches     checked arrays, and the order of rows
metrics     how good predictions are
history     what happened in each epoch
callbacks   what happens beside
state       kept, written, resumed to the same bits
nonfinite   where a NaN came from
progress    what the user sees
"""

from chainrule.training.callbacks import Callback
from chainrule.training.fit import fit
from chainrule.training.history import History
from chainrule.training.metrics import METRICS, Metric, confusion_matrix, metric_named
from chainrule.training.trainer import Trainer

__all__ = ["METRICS", "Callback", "History", "Metric", "Trainer", "confusion_matrix", "fit", "metric_named"]
