"""Run PyTorch's own samples of modules and optimizers through chainrule, and compare.

    python -m tests.oracles.layer_samples                      all of them, as a report on the screen
    python -m tests.oracles.layer_samples --table docs/layer-coverage.md

A module's sample is built in both libraries with the same arguments, the state of PyTorch's loaded into ours, and outputs,
gradients of inputs and parameters, and buffers are compared, in training and in eval mode, in float32 and float64. An
optimizer's sample is 50 steps on the same gradients. A sample is *agreed*, *refused* (an error of chainrule that says
why) or *wrong*. A process of its own, because PyTorch's samples set their own profile of hypothesis.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.testing._internal.common_modules import ModuleInfo, ModuleInput, module_db
from torch.testing._internal.common_optimizers import OptimizerInfo, optim_db

import chainrule as cr
from chainrule.errors import ChainruleError
from tests.tolerances import assert_close

DTYPES = {"float32": torch.float32, "float64": torch.float64}
STEPS = 50
RANDOM = {"nn.Dropout", "nn.AlphaDropout"}
UNUSED = ("device", "dtype")  # arguments that say where, which is the CPU


@dataclass
class Count:
    """What became of the samples of one module or optimizer."""

    samples: int = 0
    agreed: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def to_ours(value: Any) -> Any:
    """Return PyTorch's value as ours: tensors with the same memory layout, everything else as it is."""
    if isinstance(value, torch.Tensor):
        y = cr.from_numpy(value.detach().numpy().copy())
        return y.requires_grad_() if value.requires_grad else y
    if isinstance(value, (list, tuple)):
        return type(value)(to_ours(v) for v in value)
    if isinstance(value, dict):
        return {k: to_ours(v) for k, v in value.items()}
    if isinstance(value, torch.dtype):
        return getattr(cr, str(value).removeprefix("torch."))
    return value


def modules() -> Iterator[ModuleInfo]:
    """Yield PyTorch's modules that are here by name."""
    for info in module_db:
        if info.name.startswith("nn.") and info.name.removeprefix("nn.") in dir(cr.nn):
            yield info


def run_modules(counts: dict[str, Count]) -> None:
    """Compare every sample of every module."""
    for info in modules():
        count = counts.setdefault(info.name, Count())
        for dtype_name, dtype in DTYPES.items():
            if dtype not in info.dtypes:
                continue
            for training in (True, False):
                torch.manual_seed(0)
                samples = info.module_inputs_func(
                    info, device="cpu", dtype=dtype, requires_grad=True, training=training
                )
                for number, sample in enumerate(samples):
                    count.samples += 1
                    place = f"{info.name} {dtype_name} {'training' if training else 'eval'} sample {number}"
                    _judge(count, place, lambda i=info, s=sample, t=training, d=dtype: compare_module(i, s, t, d))


def _judge(count: Count, place: str, compare: Any) -> None:
    try:
        compare()
        count.agreed += 1
    except (ChainruleError, TypeError) as error:
        count.refused[f"{type(error).__name__}: {str(error)[:120]}"] += 1
    except AssertionError as error:
        count.wrong.append(f"{place}: {str(error)[:600]}")


def compare_module(info: ModuleInfo, sample: ModuleInput, training: bool, dtype: torch.dtype) -> None:
    """Raise AssertionError if our module does anything but what PyTorch's does."""
    arguments = sample.constructor_input
    takes = inspect.signature(info.module_cls.__init__).parameters
    options = {"dtype": dtype} if "dtype" in takes else {}
    theirs = info.module_cls(*arguments.args, **arguments.kwargs, **options).train(training)
    ours_class = getattr(cr.nn, info.name.removeprefix("nn."))
    ours = ours_class(*to_ours(arguments.args), **to_ours(arguments.kwargs), **to_ours(options)).train(training)
    assert list(ours.state_dict()) == list(theirs.state_dict()), "other keys in the state_dict"
    ours.load_state_dict({k: to_ours(v) for k, v in theirs.state_dict().items()})
    given = sample.forward_input
    if given is None:
        return
    ours_args, ours_kwargs = to_ours(given.args), to_ours(given.kwargs)
    expected = theirs(*given.args, **given.kwargs)
    actual = ours(*ours_args, **ours_kwargs)
    if info.name in RANDOM and training:
        assert tuple(actual.shape) == tuple(expected.shape)
        return
    length = max([t.numel() // max(t.shape[0], 1) for t in given.args if isinstance(t, torch.Tensor) and t.ndim] or [1])
    assert_close(actual, expected, length=length)
    if not expected.requires_grad:
        assert not actual.requires_grad
        return
    cotangent = torch.randn(expected.shape, dtype=expected.dtype, generator=torch.Generator().manual_seed(1))
    expected.backward(cotangent)
    actual.backward(to_ours(cotangent))
    pairs = [(a, e) for a, e in zip(ours_args, given.args, strict=True) if isinstance(e, torch.Tensor) and e.is_leaf]
    pairs += list(zip(ours.parameters(), theirs.parameters(), strict=True))
    for a, e in pairs:
        assert (a.grad is None) == (e.grad is None), "a gradient on one side only"
        if e.grad is not None:
            assert_close(a.grad, e.grad, length=length)
    for (name, a), (_, e) in zip(ours.named_buffers(), theirs.named_buffers(), strict=True):
        assert tuple(a.shape) == tuple(e.shape), name
        assert_close(a, e, length=length)


def optimizers() -> Iterator[OptimizerInfo]:
    """Yield PyTorch's optimizers that are here by name."""
    for info in optim_db:
        if info.optim_cls.__name__ in dir(cr.optim):
            yield info


def run_optimizers(counts: dict[str, Count]) -> None:
    """Compare every sample of every optimizer over 50 steps."""
    for info in optimizers():
        name = f"optim.{info.optim_cls.__name__}"
        count = counts.setdefault(name, Count())
        for dtype_name, dtype in DTYPES.items():
            for number, sample in enumerate(info.optim_inputs_func(device="cpu")):
                count.samples += 1
                place = f"{name} {dtype_name} sample {number} ({sample.kwargs})"
                _judge(count, place, lambda i=info, s=sample, d=dtype: compare_optimizer(i, s.kwargs, d))


def compare_optimizer(info: OptimizerInfo, options: dict[str, Any], dtype: torch.dtype) -> None:
    """Raise AssertionError if 50 steps on the same gradients lead elsewhere."""
    generator = torch.Generator().manual_seed(0)
    start = [torch.randn(shape, dtype=dtype, generator=generator) for shape in ((3, 4), (4,), ())]
    theirs = [p.clone().requires_grad_() for p in start]
    ours = [to_ours(p).requires_grad_() for p in start]
    options = {k: v for k, v in options.items() if k not in UNUSED}
    their_options = {k: v for k, v in options.items() if k not in ("foreach", "fused", "capturable")}
    their_optimizer = info.optim_cls(theirs, **their_options)
    our_optimizer = getattr(cr.optim, info.optim_cls.__name__)(ours, **to_ours(options))
    for _ in range(STEPS):
        for p, q in zip(ours, theirs, strict=True):
            gradient = torch.randn(q.shape, dtype=dtype, generator=generator)
            q.grad, p.grad = gradient, to_ours(gradient)
        their_optimizer.step()
        our_optimizer.step()
    for p, q in zip(ours, theirs, strict=True):
        assert np.isfinite(q.detach().numpy()).all()
        assert_close(p.detach(), q.detach(), length=STEPS)


def table(counts: dict[str, Count]) -> str:
    """Return the counts as a page."""
    total = sum(count.samples for count in counts.values())
    agreed = sum(count.agreed for count in counts.values())
    refused = sum(sum(count.refused.values()) for count in counts.values())
    wrong = sum(len(count.wrong) for count in counts.values())
    lines = [
        "# Layers and optimizers beside PyTorch",
        "",
        f"PyTorch's own samples (`module_db`, `optim_db` of {torch.__version__.split('+')[0]}) for every module and",
        f"optimizer that is here by name: {total} samples, {agreed} agreed, {refused} refused, {wrong} wrong.",
        "Written by `python -m tests.oracles.layer_samples --table`.",
        "",
        "| name | samples | agreed | refused, and why |",
        "|---|---|---|---|",
    ]
    for name, count in sorted(counts.items()):
        why = "; ".join(f"{n}: {reason}" for reason, n in count.refused.items()).replace("|", "\\|")
        lines.append(f"| {name} | {count.samples} | {count.agreed} | {why} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Compare everything; return 1 if something is wrong or too much is refused."""
    parser = argparse.ArgumentParser(description="PyTorch's samples of modules and optimizers through chainrule")
    parser.add_argument("--table", type=Path, help="write the counts to this page")
    options = parser.parse_args()
    counts: dict[str, Count] = {}
    run_modules(counts)
    run_optimizers(counts)
    page = table(counts)
    if options.table:
        options.table.write_text(page, "utf-8")
    print(page)
    failed = 0
    for name, count in counts.items():
        for wrong in count.wrong:
            print(f"WRONG {wrong}")
        if count.wrong or count.agreed < 0.95 * count.samples:
            print(f"FAILED {name}: {count.agreed} of {count.samples} agreed")
            failed += 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
