"""Training as it stands: kept in memory, written, and gone on with to the same bits."""

from __future__ import annotations

import copy
import hashlib
import os
import platform
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import DataError
from chainrule.tensors import serialization
from chainrule.training.batches import Rows
from chainrule.training.history import History

if TYPE_CHECKING:
    from chainrule.training.trainer import Trainer

FORMAT = 1


def snapshot(trainer: Trainer) -> dict[str, Any]:
    """Return a copy of everything that a step changes."""
    return {
        "model": {key: tensor.detach().clone() for key, tensor in trainer.model.state_dict().items()},
        "optimizer": copy.deepcopy(trainer.optimizer.state_dict()),
        "scheduler": None if trainer.scheduler is None else copy.deepcopy(trainer.scheduler.state_dict()),
        "generator": trainer.generator.get_state(),
    }


def restore(trainer: Trainer, kept: dict[str, Any]) -> None:
    """Put back what ``snapshot`` kept."""
    trainer.model.load_state_dict(kept["model"])
    trainer.optimizer.load_state_dict(kept["optimizer"])
    if trainer.scheduler is not None and kept["scheduler"] is not None:
        trainer.scheduler.load_state_dict(kept["scheduler"])
    trainer.generator.set_state(kept["generator"])


def environment() -> dict[str, str]:
    """Return what the bits of a result depend on beside the seed: the interpreter computes with NumPy and its BLAS."""
    config: Any = np.show_config(mode="dicts")
    blas = config.get("Build Dependencies", {}).get("blas", {}) if isinstance(config, dict) else {}
    threads = next((os.environ[v] for v in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS") if v in os.environ), "default")
    return {
        "engine": "interpreter",
        "numpy": np.__version__,
        "blas": f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip(),
        "blas_threads": threads,
        "cpu": _cpu(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def _cpu() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def fingerprint(rows: Rows) -> str:
    """Return a hash of the training rows: a resumed run must see the same ones."""
    digest = hashlib.sha256()
    for array in (rows.X, rows.y, rows.weight):
        if array is not None:
            digest.update(f"{array.dtype}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def save(trainer: Trainer, path: Any) -> None:
    """Write the state of training to one file."""
    values = {
        "format": FORMAT,
        **snapshot(trainer),
        "best_state": trainer.best_state,
        "best_value": float(trainer.best_value),
        "since_best": trainer.since_best,
        "history": trainer.history.to_dict(),
        "seed": trainer.seed,
        "environment": environment(),
        "fingerprint": trainer._fingerprint,
    }
    serialization.save(values, path)


def resume(trainer: Trainer, path: Any) -> None:
    """Read the state of training from a file; warn where the machine differs in what the bits depend on."""
    values = serialization.load(path)
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise DataError(f"{path} holds no training state of this version", fix="give a file that Trainer.save wrote")
    here = environment()
    differ = [f"{k}: {v} then, {here.get(k)} now" for k, v in values["environment"].items() if here.get(k) != v]
    if differ:
        warnings.warn(
            f"resuming on a different environment ({'; '.join(differ)}): results may differ in the last bits",
            stacklevel=3,
        )
    trainer.history = History.from_dict(values["history"])
    trainer.best_state, trainer.best_value = values["best_state"], values["best_value"]
    trainer.since_best = int(values["since_best"])
    trainer.model.load_state_dict(values["model"])
    trainer.optimizer.load_state_dict(values["optimizer"])
    trainer.generator.set_state(values["generator"])
    trainer._resumed = values


def check_same_data(trainer: Trainer) -> None:
    """Finish a resume once the data are known: the schedule's state, and whether the rows are the same."""
    values = trainer._resumed
    if values is None:
        return
    trainer._resumed = None
    if values["fingerprint"] and values["fingerprint"] != trainer._fingerprint:
        raise DataError(
            "the training data differ from those of the saved run", expected="the same rows", fix="give the same data"
        )
    if trainer.scheduler is not None and values["scheduler"] is not None:
        trainer.scheduler.load_state_dict(values["scheduler"])
