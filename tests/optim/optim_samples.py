"""Run PyTorch's own sample arguments of its optimizers through chainrule: fifty steps each, against PyTorch's.

    python -m tests.optim.optim_samples                  a report on the screen
    python -m tests.optim.optim_samples --json           the same for a program

A sample of one dtype is *agreed* (parameters and state after fifty steps), *refused* (an error of chainrule), or *wrong*,
which is a bug. Of the samples that PyTorch refuses, those that chainrule takes are listed. A process of its own: the
samples are not a public interface, need `expecttest`, and set their own profile of hypothesis.
"""

from __future__ import annotations

import json
import sys
import warnings
from typing import Any

import numpy as np
import torch
from torch.testing._internal.common_optimizers import OptimizerErrorEnum, optim_db

import chainrule as cr
from chainrule import optim
from chainrule.errors import ChainruleError
from tests.tolerances import assert_close

STEPS = 50
SHAPES = ((4, 3), (5,), ())


def ours_of(value: Any, made: dict[int, cr.Tensor]) -> Any:
    """The same argument with chainrule's tensors in it; a tensor that stands there twice is made once."""
    if isinstance(value, torch.Tensor):
        if id(value) not in made:
            made[id(value)] = cr.tensor(value.detach().numpy(), requires_grad=value.requires_grad)
        return made[id(value)]
    if isinstance(value, dict):
        return {key: ours_of(part, made) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)([ours_of(part, made) for part in value])
    return value


def agrees(name: str, options: dict[str, Any], dtype: str) -> bool:
    """Run both for fifty steps; False if chainrule refuses the arguments; raise if they differ."""
    rng = np.random.default_rng(0)
    start = [rng.standard_normal(shape).astype(dtype) for shape in SHAPES]
    ours = [cr.tensor(x, requires_grad=True) for x in start]
    theirs = [torch.tensor(x, requires_grad=True) for x in start]
    torch_optimizer = getattr(torch.optim, name)(theirs, **options)
    try:
        optimizer = getattr(optim, name)(ours, **ours_of(options, {}))
    except ChainruleError:
        return False
    for _ in range(STEPS):
        for p, q in zip(ours, theirs, strict=True):
            g = rng.standard_normal(tuple(p.shape)).astype(dtype)
            p.grad, q.grad = cr.tensor(g), torch.tensor(g)
        optimizer.step()
        torch_optimizer.step()
    for p, q in zip(ours, theirs, strict=True):
        assert_close(p, q)
    held = torch_optimizer.state_dict()["state"]
    for number, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            assert_close(value, held[number][key])
    return True


def refuses(name: str, sample: Any) -> bool:
    """Whether chainrule refuses (or, where PyTorch warns, warns of) arguments that PyTorch does not take."""
    given = sample.optimizer_error_input
    params = given.params if given.params is not None else [torch.zeros(2, requires_grad=True)]
    wanted: Any = Warning if issubclass(sample.error_type, Warning) else ChainruleError
    made: dict[int, cr.Tensor] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            getattr(optim, name)(ours_of(params, made), **ours_of(given.kwargs, made))
        except wanted:
            return True
    return False


def run() -> dict[str, Any]:
    """Run every sample of every optimizer that is here."""
    report: dict[str, Any] = {}
    for info in optim_db:
        name = info.optim_cls.__name__
        if name not in optim.__all__:
            continue
        counts: dict[str, Any] = {"agreed": 0, "refused": [], "wrong": [], "taken": []}
        for sample in info.optim_inputs_func("cpu"):
            for dtype in ("float32", "float64"):
                text = f"{name}({', '.join(f'{k}={v}' for k, v in sample.kwargs.items())}), {dtype}"
                try:
                    if agrees(name, sample.kwargs, dtype):
                        counts["agreed"] += 1
                    else:
                        counts["refused"].append(text)
                except AssertionError as error:
                    counts["wrong"].append(f"{text}: {error}")
        for error_sample in info.optim_error_inputs_func("cpu", torch.float32):
            if error_sample.error_on is OptimizerErrorEnum.CONSTRUCTION_ERROR and not refuses(name, error_sample):
                counts["taken"].append(f"{name}: {error_sample.error_regex}")
        report[name] = counts
    return report


def say(line: str) -> None:
    sys.stdout.write(line + "\n")


def main() -> None:
    """Print the report."""
    report = run()
    if "--json" in sys.argv:
        sys.stdout.write(json.dumps(report) + "\n")
        return
    for name, counts in report.items():
        say(f"{name}: {counts['agreed']} agreed, {len(counts['refused'])} refused, {len(counts['wrong'])} wrong")
        for kind in ("refused", "wrong", "taken"):
            for text in counts[kind]:
                say(f"    {kind}: {text}")


if __name__ == "__main__":
    main()
