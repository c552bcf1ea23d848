"""Training as it stands, in a file: written whole or not at all, and gone on with to the same bits."""

from __future__ import annotations

import functools
import os
import platform
import re
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import run as engines
from chainrule.errors import ArgumentError, DataError
from chainrule.tensors import serialization
from chainrule.training.best import Best
from chainrule.training.history import History
from chainrule.training.state import Standing, put_back

if TYPE_CHECKING:
    from chainrule.training.trainer import Trainer

KIND = "chainrule training state"
FORMAT = 1
BITS_DEPEND_ON = ("engine", "numpy", "blas", "blas_threads", "cpu", "system")
SETTINGS = (  # what changes the weights from here on; numbers of epochs, metrics and limits do not
    "loss", "batch_size", "schedule", "schedule_by", "clip_norm", "l1", "l2", "class_weight", "monitor", "min_delta", "normalize",
)  # fmt: skip


def environment() -> dict[str, str]:
    """Return what the bits of a result depend on beside the seed: the interpreter computes with NumPy and its BLAS."""
    return {"engine": engines.engine_name(), **machine()}


@functools.cache
def machine() -> dict[str, str]:
    """Return what of that is of the machine and its NumPy."""
    config: Any = np.show_config(mode="dicts")
    blas = config.get("Build Dependencies", {}).get("blas", {}) if isinstance(config, dict) else {}
    named = [os.environ[name] for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS") if os.environ.get(name)]
    return {
        "numpy": np.__version__,
        "blas": f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip(),
        "blas_threads": named[0] if named else f"one for each of {os.cpu_count()} CPUs",
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
        pass  # not Linux
    return platform.processor() or platform.machine()


def settings(trainer: Trainer) -> dict[str, str]:
    """Return the arguments that the weights depend on, as text."""
    return {name: _text(getattr(trainer, name)) for name in SETTINGS}


def _text(value: Any) -> str:
    if callable(value):
        value = getattr(value, "__name__", value)
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))


def save(trainer: Trainer, path: Any) -> None:
    """Write training as it stood at the end of the last whole epoch to one file."""
    kept = trainer.standing()
    history = History.from_dict(trainer.history.to_dict())
    history.cut(kept.epochs, None if kept.best is None else kept.best.epoch)
    values = {
        "kind": KIND,
        "format": FORMAT,
        "model": _text(repr(trainer.model)),
        "optimizer_class": type(trainer.optimizer).__name__,
        "weights": kept.weights,
        "optimizer": kept.optimizer,
        "schedule": kept.schedule,
        "generators": kept.generators,
        "best": None if kept.best is None else kept.best.to_dict(),
        "history": history.to_dict(),
        "planned_epochs": trainer.planned_epochs,
        "settings": settings(trainer),
        "environment": environment(),
        "fingerprint": trainer.fingerprint,
    }
    serialization.save(values, path)


def load(trainer: Trainer, path: Any) -> Standing:
    """Read what ``save`` wrote into the trainer, and return where training stands.

    Raises FileError for a damaged file, DataError for a file of another kind, ArgumentError for another model or
    optimizer. Warns where the environment or the settings differ from those of the saved run.
    """
    values = serialization.load(path)
    if not isinstance(values, dict) or values.get("kind") != KIND:
        raise DataError(f"{path} holds no training state", fix="give a file that Trainer.save wrote")
    if values["format"] != FORMAT:
        raise DataError(f"{path} is of format {values['format']}", expected=f"{FORMAT}", fix="use the same version")
    _check_same_model(trainer, values)
    kept = Standing(
        epochs=len(values["history"]["rows"]),
        weights=values["weights"],
        optimizer=values["optimizer"],
        schedule=values["schedule"],
        generators=values["generators"],
        best=None if values["best"] is None else Best.from_dict(values["best"]),
    )
    _warn_of_differences(trainer, values)
    put_back(trainer, kept)
    trainer.history = History.from_dict(values["history"])
    trainer.fingerprint = trainer.expected_data = values["fingerprint"]
    trainer.planned_epochs = values["planned_epochs"]
    return kept


def _check_same_model(trainer: Trainer, values: dict[str, Any]) -> None:
    then, now = values["weights"], {name: tensor._value for name, tensor in trainer.tensors().items()}
    faults = [f"{name} of shape {then[name].shape} is not in the model" for name in then if name not in now]
    for name, array in now.items():
        if name not in then:
            faults.append(f"{name} of shape {array.shape} is not in the file")
        elif (then[name].shape, then[name].dtype) != (array.shape, array.dtype):
            faults.append(f"{name} is {_form(then[name])} in the file, {_form(array)} in the model")
    if not faults:
        faults = _different_lines(values["model"], _text(repr(trainer.model)))
    if faults:
        listed = "".join(f"\n  - {fault}" for fault in faults[:10])
        raise ArgumentError(f"the model is not that of the saved run:{listed}\n", fix="build it as it was then")
    name = type(trainer.optimizer).__name__
    if name != values["optimizer_class"]:
        raise ArgumentError(f"the optimizer is {name}", expected=f"{values['optimizer_class']}, as in the saved run")


def _form(array: Any) -> str:
    return f"{array.dtype} {array.shape}"


def _different_lines(then: str, now: str) -> list[str]:
    before, after = then.splitlines(), now.splitlines()
    if len(before) != len(after):
        return [f"it has {len(after)} lines when printed, then {len(before)}"]
    return [f"{b.strip()} then, {a.strip()} now" for b, a in zip(before, after, strict=True) if a != b]


def _warn_of_differences(trainer: Trainer, values: dict[str, Any]) -> None:
    here = environment()
    differ = [
        f"{k}: {v} then, {here.get(k)} now" for k, v in _of(values["environment"], BITS_DEPEND_ON) if here.get(k) != v
    ]
    if differ:
        warnings.warn(
            f"resuming in another environment ({'; '.join(differ)}): results may differ in the last bits", stacklevel=4
        )
    now = settings(trainer)
    differ = [f"{k}: {v} then, {now.get(k)} now" for k, v in _of(values["settings"], SETTINGS) if now.get(k) != v]
    if differ:
        warnings.warn(
            f"resuming with other settings ({'; '.join(differ)}): training goes on with those of now", stacklevel=4
        )


def _of(values: dict[str, str], names: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(name, values[name]) for name in names if name in values]
