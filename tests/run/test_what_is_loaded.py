"""What a training loads whose native code is on disk: none of what takes much memory, or long, and is of no use to it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

MODEL = """
import sys
import numpy as np
import chainrule as cr
from chainrule import nn
X, y = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32), np.array([[0], [1], [1], [0]], np.float32)
cr.manual_seed(0)
model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))
"""
STEP = """
optimizer = cr.optim.SGD(model.parameters(), lr=0.1)
@cr.compile
def step(x, y):
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(model(x), y)
    loss.backward()
    optimizer.step()
    return loss
x, t = cr.from_numpy(X), cr.from_numpy(y)
step(x, t)
step.repeat(x, t, times=10_000)
assert step.engine().startswith("native"), step.engine()
"""
FIT = """
trainer = cr.Trainer(model, loss="mse", optimizer="sgd", lr=0.1, epochs=100, progress=False)
trainer.fit((X, y))
assert trainer.engine().startswith("native"), trainer.engine()
"""
UNUSED = (
    "_hashlib",  # OpenSSL: 3.5 MB
    "llvmlite",
    "numpy.ma",
    "numpy.random",
    "secrets",
    "difflib",
    "csv",
    "string",
    "chainrule.compiler.pipeline",
)


@pytest.mark.parametrize("program", [STEP, FIT], ids=["step", "fit"])
def test_a_training_from_disk_loads_nothing_large_that_it_has_no_use_for(program: str, tmp_path: Path) -> None:
    environment = {**os.environ, "CHAINRULE_COMPILE": "1", "CHAINRULE_CACHE": str(tmp_path)}
    for _ in range(2):
        command = [sys.executable, "-c", f"{MODEL}{program}print(*sys.modules)"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert not [name for name in UNUSED if name in loaded]
