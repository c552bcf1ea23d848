"""From a kind of data to a network and its score; the folder of a run.

train       the whole flow: read, split, encode, train, score, write
table       tables: classes or a number
image       images in IDX files, arrays, the built-in digits
parts       training, validation and test rows
network     networks from their configuration
scores      measures, beside a baseline
config      everything that a run was made by
run         a run, loaded: predict, evaluate
trained_step  the training step of a run, to look at
run_folder  written beside its place; takes its name when it is whole
model_file  weights, encoders, and their checksums
keep_state  the training state of the last whole epoch
summary     what the report shows
"""

from chainrule.tasks.config import Config, DataConfig, NetworkConfig, TrainingConfig
from chainrule.tasks.run import Answers, Run, load_run
from chainrule.tasks.scores import Scores
from chainrule.tasks.train import train

__all__ = [
    "Answers", "Config", "DataConfig", "NetworkConfig", "Run", "Scores", "TrainingConfig", "load_run", "train",
]  # fmt: skip
