"""Run PyTorch's own sample inputs through chainrule: every operation that is here by name, against PyTorch's result.

    python -m tests.oracles.op_samples                    every sample of every operation, as a report on the screen
    python -m tests.oracles.op_samples add max --full     two operations, also samples for references and other strides
    python -m tests.oracles.op_samples --table docs/op-coverage.md

A sample of one dtype is either *agreed* (values, shapes, dtypes, memory sharing, gradients of first and second order, as a
function, as a method, in place), or *refused* (an error of chainrule, or Python's own about an argument that is not here),
or *wrong*, which is a bug. A process of its own: PyTorch's samples are not a public interface, need `expecttest`, and set
their own profile of hypothesis.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.testing._internal.common_methods_invocations import op_db
from torch.testing._internal.opinfo.core import BinaryUfuncInfo, OpInfo, SampleInput, UnaryUfuncInfo

import chainrule as cr
from chainrule.errors import ChainruleError
from tests.tolerances import Tolerance, assert_close

DTYPES = {"float32": torch.float32, "float64": torch.float64, "int64": torch.int64, "bool": torch.bool}
MOST_AXES = 64  # of a NumPy array
ENOUGH = 0.95  # of its samples must run, or an operation does not count as here
SECOND_ORDER = 4  # samples per operation whose second derivatives are compared

# Numbers drawn at random, or memory that nobody set: only shape and dtype are PyTorch's.
RANDOM = {
    "bernoulli", "empty", "empty_like", "exponential", "multinomial", "new_empty", "normal", "rand_like", "randint",
    "randint_like", "randn", "randn_like", "uniform", "nn.functional.alpha_dropout", "nn.functional.dropout",
}  # fmt: skip

# Where PyTorch calls the operation in a form of its own: ours, from the arguments of a sample.
SPELLED: dict[str, Callable[..., Any]] = {
    "einsum": lambda tensors, equation: cr.einsum(equation, *tensors),
    "where": lambda self, condition, other: cr.where(condition, self, other),
    "randn": lambda *size, **options: cr.randn(*size, **options),
    "normal.in_place": lambda x, *args: x.clone().normal_(*args),
    "zero_": lambda x: x.clone().zero_(),
    "nn.functional.embedding": lambda weight, index, **options: cr.nn.functional.embedding(index, weight, **options),
    "T": lambda x: x.T,
    "mT": lambda x: x.mT,
}

# Places of elements: where several are equal PyTorch takes any, chainrule the first. Compared by what they point at.
PLACES = {"argsort": 0, "kthvalue": 1, "sort": 0, "topk": 1}  # and where the samples pass the axis

# Where a result of PyTorch's own is further from the truth than the table allows: how far, and why.
LESS_EXACT = {
    ("nn.functional.celu", "float64"): Tolerance(1e-6, 0.0),  # PyTorch rounds 1 / alpha to float32
    ("nn.functional.hardsigmoid", "float64"): Tolerance(1e-7, 0.0),  # PyTorch multiplies by a sixth rounded to float32
    ("nn.functional.layer_norm", "float32"): Tolerance(4e-6, 1e-4),  # one element per row: 0, or its rounding / √eps
    ("nn.functional.normalize", "float64"): Tolerance(1e-10, 1e-11),  # one element per row: 0, or its rounding
}

DECIDED = {"xlogy"}  # where PyTorch's gradient is NaN, ours is a number: docs/conventions.md
NOT_IN_FULL = {
    "clamp": "PyTorch's own gradient of a broadcast result in place raises",
    "remainder": "PyTorch's vector code gives NaN for a tiny divisor, where its scalar code gives 0",
}

SIGNATURE = re.compile(r"unexpected keyword argument|positional argument|required keyword-only|multiple values for")


class Refused(Exception):
    """A sample that chainrule does not take, and says so."""


class Wrong(Exception):
    """A sample where chainrule and PyTorch differ."""


@dataclass
class Count:
    """What became of the samples of one operation in one dtype."""

    samples: int = 0
    agreed: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


# -- which operations ------------------------------------------------------------------------------------------------


def key_of(info: OpInfo) -> str:
    return info.name + (f".{info.variant_test_name}" if info.variant_test_name else "")


def named(path: str) -> Any:
    """Return what chainrule calls by this dotted name, if it is something to call."""
    found: Any = cr
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except (AttributeError, ImportError):
            return None
    return found if callable(found) and not isinstance(found, (type, cr.dtype)) else None


def forms(info: OpInfo) -> dict[str, Callable[..., Any]]:
    """Return how the operation can be called here: as a function, as a method, in place."""
    found: dict[str, Callable[..., Any]] = {}
    name = info.name
    if key_of(info) in SPELLED:
        return {"function": SPELLED[key_of(info)]}
    if function := named(name):
        found["function"] = function
    for alias in info.aliases:
        other = named(alias.name)
        if other and other is not found.get("function"):
            found[alias.name] = other
    if "." not in name and hasattr(cr.Tensor, name) and (info.method_variant or not found):
        found["method"] = lambda x, *args, **options: getattr(x, name)(*args, **options)
    in_place = getattr(info.inplace_variant, "__name__", "")
    if in_place and hasattr(cr.Tensor, in_place):
        found["in place"] = lambda x, *args, **options: getattr(x, in_place)(*args, **options)
    return found


def operations(wanted: list[str]) -> Iterator[OpInfo]:
    """Return PyTorch's operations that are here by name."""
    for info in op_db:
        if forms(info) and (not wanted or info.name in wanted or key_of(info) in wanted):
            yield info


# -- from PyTorch to chainrule -----------------------------------------------------------------------------------------


class Converted:
    """The arguments of a sample as ours: same strides, views of one storage stay views of one array."""

    def __init__(self) -> None:
        self.tensors: list[tuple[torch.Tensor, Any]] = []
        self._arrays: dict[int, Any] = {}

    def __call__(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return self._tensor(value)
        if isinstance(value, torch.dtype):
            name = str(value).removeprefix("torch.")
            return getattr(cr, name, name)
        if isinstance(value, (torch.device, torch.memory_format, torch.layout)):
            name = str(value).removeprefix("torch.")
            return getattr(cr, name, name)
        if isinstance(value, torch.Size):
            return tuple(value)
        if isinstance(value, (list, tuple)):
            return type(value)(self(x) for x in value)
        if isinstance(value, dict):
            return {name: self(x) for name, x in value.items()}
        if isinstance(value, slice):
            return slice(self(value.start), self(value.stop), self(value.step))
        return value

    def _tensor(self, t: torch.Tensor) -> Any:
        for known, ours in self.tensors:
            if known is t:
                return ours
        if t.layout != torch.strided:
            raise Refused("sparse tensors")
        if t.dtype.is_complex or t.dtype in (torch.float16, torch.bfloat16):
            raise Refused(f"tensors of {str(t.dtype).removeprefix('torch.')}")
        storage = t.untyped_storage()
        if t.numel():
            array = self._arrays.get(storage.data_ptr())
            if array is None:
                whole = torch.empty(0, dtype=t.dtype).set_(storage)
                array = self._arrays[storage.data_ptr()] = whole.numpy().copy()
            steps = [step * array.itemsize for step in t.stride()]
            view = np.ndarray(tuple(t.shape), array.dtype, array, t.storage_offset() * array.itemsize, steps)
        else:
            view = t.detach().numpy().copy()
        ours = cr.from_numpy(view)
        if t.requires_grad:
            ours.requires_grad_()
        self.tensors.append((t, ours))
        return ours


@contextmanager
def refusing() -> Iterator[None]:
    """Turn an error that chainrule documents into Refused, any other into Wrong; warnings are errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", UserWarning)  # advice, as PyTorch gives
        try:
            yield
        except (Refused, Wrong):
            raise
        except ChainruleError as error:
            raise Refused(_general(str(error))) from error
        except Exception as error:
            if isinstance(error, TypeError) and SIGNATURE.search(str(error)):
                raise Refused(_general(str(error))) from error
            raise Wrong(f"{type(error).__name__}: {error}") from error


def _general(message: str) -> str:
    """Return an error's message without the numbers of this sample."""
    first = message.splitlines()[0].partition("; expected")[0]
    return re.sub(r"\d+(, ?\d+)*", "…", re.sub(r"[\[(][-\d, ().]*[\])]", "(…)", first)).rstrip(". ")[:110]


# -- comparing ----------------------------------------------------------------------------------------------------------


def compare(ours: Any, theirs: Any, length: int, where: str, name: str) -> None:
    """Raise Wrong unless two results are the same: structure, shape, dtype, values."""
    if isinstance(theirs, torch.Tensor):
        if not isinstance(ours, cr.Tensor):
            raise Wrong(f"{where}: {type(ours).__name__} instead of a tensor")
        tolerance = LESS_EXACT.get((name, str(theirs.dtype)[6:])) if "gradient" in where else None
        try:
            assert_close(ours.numpy(force=True), theirs.numpy(force=True), length=length, tolerance=tolerance)
        except AssertionError as error:
            raise Wrong(f"{where}: {error}") from None
    elif isinstance(theirs, (list, tuple)):
        if not isinstance(ours, (list, tuple)) or len(ours) != len(theirs):
            raise Wrong(f"{where}: {ours!r} instead of {len(theirs)} results")
        for k, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            compare(a, b, length, f"{where}[{k}]", name)
    elif type(ours) is not type(theirs) or not (ours == theirs or (ours != ours and theirs != theirs)):
        raise Wrong(f"{where}: {ours!r} instead of {theirs!r}")


def compare_places(ours: Any, theirs: Any, name: str, sample: SampleInput) -> None:
    """Raise Wrong unless two results point at the same elements."""
    x = sample.input.detach()
    dim = sample.kwargs.get("dim", sample.args[PLACES[name]] if len(sample.args) > PLACES[name] else -1)
    if x.ndim:
        here, there = [
            x.gather(dim, places if places.ndim == x.ndim else places.unsqueeze(dim))
            for places in (as_torch(ours), theirs)
        ]
        if not torch.equal(here, there):
            raise Wrong("the places of other elements")


def compare_kinds(ours: Any, theirs: Any) -> None:
    """Raise Wrong unless two results have the same structure, shapes and dtypes."""
    if isinstance(theirs, torch.Tensor):
        got, expected = (
            (tuple(ours.shape), str(ours.numpy(force=True).dtype)),
            (tuple(theirs.shape), str(theirs.dtype)[6:]),
        )
        if got != expected:
            raise Wrong(f"{got} instead of {expected}")
    elif isinstance(theirs, (list, tuple)):
        for a, b in zip(ours, theirs, strict=True):
            compare_kinds(a, b)


def flat(results: Any, kind: type) -> list[Any]:
    if isinstance(results, kind):
        return [results]
    return [x for r in results for x in flat(r, kind)] if isinstance(results, (list, tuple)) else []


def tensors_of(sample: SampleInput) -> list[torch.Tensor]:
    return flat([sample.input, *sample.args, *sample.kwargs.values()], torch.Tensor)


def compare_sharing(ours: Any, theirs: Any, tensors: list[tuple[torch.Tensor, Any]]) -> None:
    """Raise Wrong unless results share memory with the arguments where PyTorch's do."""
    for k, (a, b) in enumerate(zip(flat(ours, cr.Tensor), flat(theirs, torch.Tensor), strict=True)):
        for t, x in tensors:
            if b.numel() and t.numel():
                shared = b.untyped_storage().data_ptr() == t.untyped_storage().data_ptr()
                if np.may_share_memory(a.numpy(force=True), x.numpy(force=True)) != shared:
                    raise Wrong(f"result {k} {'does not share' if shared else 'shares'} memory with an argument")


def cotangents(outputs: list[torch.Tensor], seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(y.shape, generator=generator, dtype=torch.float64).to(y.dtype) for y in outputs]


def ours_of(t: torch.Tensor) -> Any:
    return cr.from_numpy(t.detach().numpy().copy())


def as_torch(x: Any) -> torch.Tensor:
    return torch.from_numpy(x.numpy(force=True).copy())


def is_cut_off(t: torch.Tensor) -> bool:
    """Say whether no gradient ever arrives at a leaf: some of PyTorch's samplers make such."""
    return torch.autograd.grad((t * 1).sum(), t, allow_unused=True)[0] is None


def compare_gradients(
    ours: Any, theirs: Any, pairs: list[tuple[torch.Tensor, Any]], length: int, name: str, *, twice: bool
) -> None:
    """Raise Wrong unless gradients agree for random gradients of the outputs; with ``twice`` those of the second order too."""
    wanted = [(t, x) for t, x in pairs if t.requires_grad]
    if any(is_cut_off(t) or t.isnan().any() for t, _ in wanted):  # at NaN, PyTorch's gradients follow no rule
        return
    of_theirs, of_ours = flat(theirs, torch.Tensor), flat(ours, cr.Tensor)
    for a, b in zip(of_ours, of_theirs, strict=True):
        if a.requires_grad != b.requires_grad:
            raise Wrong(f"requires_grad is {a.requires_grad} instead of {b.requires_grad}")
    outputs = [(a, b) for a, b in zip(of_ours, of_theirs, strict=True) if b.requires_grad]
    if not outputs or not wanted:
        return
    for order in (1, 2) if twice else (1,):
        seeds = cotangents([b for _, b in outputs], order)
        again = twice and order == 1
        try:
            roots, leaves = [b for _, b in outputs], [t for t, _ in wanted]
            expected = torch.autograd.grad(roots, leaves, seeds, create_graph=again, allow_unused=True)
        except RuntimeError as error:
            if "not implemented" in str(error):  # PyTorch has no such gradient
                return
            raise
        got = cr.autograd.grad(
            [a for a, _ in outputs],
            [x for _, x in wanted],
            [ours_of(s) for s in seeds],
            create_graph=again,
            allow_unused=True,
        )
        for k, (a, b, (t, _)) in enumerate(zip(got, expected, wanted, strict=True)):
            known = torch.ones_like(t, dtype=torch.bool)
            if isinstance(theirs, torch.Tensor) and theirs.shape == t.shape:
                known = ~torch.isnan(theirs.detach())
            if name in DECIDED and b is not None:
                known &= ~torch.isnan(b)
            theirs_k = torch.where(known, torch.zeros_like(t) if b is None else b, 0)
            ours_k = torch.where(known, torch.zeros_like(t) if a is None else as_torch(a), 0)
            compare(ours_of(ours_k), theirs_k, length, f"gradient {k} of order {order}", name)
        outputs = [
            (a, b)
            for a, b in zip(got, expected, strict=True)
            if a is not None and b is not None and a.requires_grad and b.requires_grad
        ]
        if not outputs:
            return


# -- running ------------------------------------------------------------------------------------------------------------


def run_sample(info: OpInfo, sample: SampleInput, calls: dict[str, Callable[..., Any]], *, twice: bool) -> None:
    """Raise Refused or Wrong unless the sample agrees in every form."""
    tensors = tensors_of(sample)
    elementwise = isinstance(info, (UnaryUfuncInfo, BinaryUfuncInfo))
    most = max([t.numel() for t in tensors], default=1)
    wants_gradient = any(t.requires_grad for t in tensors)
    for form, call in calls.items():
        if form in ("method", "in place") and not isinstance(sample.input, torch.Tensor):
            continue
        in_place = form == "in place"
        theirs_call = info.inplace_variant if in_place else info.op
        try:
            arguments = (sample.input.clone() if in_place else sample.input, *sample.args)
            theirs = theirs_call(*arguments, **sample.kwargs)
        except (RuntimeError, TypeError, IndexError, ValueError):
            if not in_place:
                raise
            theirs = None  # a result that does not fit into its input
        convert = Converted()
        with refusing():
            try:
                args = [convert(x) for x in (sample.input, *sample.args)]
                options = {name: convert(x) for name, x in sample.kwargs.items()}
                if in_place:
                    args[0] = args[0].clone()
                ours = call(*args, **options)
            except ChainruleError:
                if theirs is None:
                    continue
                raise
            if theirs is None:
                raise Wrong(f"{form}: PyTorch raises, chainrule does not")
            if info.name.removesuffix("_") in RANDOM:
                compare_kinds(ours, theirs)
                continue
            if info.name in PLACES:
                compare_places(flat(ours, cr.Tensor)[-1], flat(theirs, torch.Tensor)[-1], info.name, sample)
                ours, theirs = (ours[0], theirs[0]) if isinstance(theirs, tuple) else ([], [])
            compare(ours, theirs, 1 if elementwise else most, form, info.name)
            if in_place:
                if ours is not args[0]:
                    raise Wrong("in place: it returned another tensor")
            else:
                compare_sharing(ours, theirs, convert.tensors)
            if wants_gradient:
                second = twice and form == "function"
                compare_gradients(ours, theirs, convert.tensors, most, info.name, twice=second)


def samples(info: OpInfo, dtype: torch.dtype, *, full: bool) -> Iterator[SampleInput]:
    """Return the samples of an operation, reproducibly; with ``full`` those for references and with other strides too."""
    gradients = dtype.is_floating_point and info.supports_autograd
    # the functions behind info.sample_inputs, which would walk the stack for each sample
    of_samples, of_references = info.sample_inputs_func, info.reference_inputs_func or info.sample_inputs_func
    for seed in (torch.manual_seed, np.random.seed, random.seed):
        seed(zlib.crc32(key_of(info).encode()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for sample in of_samples(info, "cpu", dtype, gradients):
            yield sample
            if full and all(t.is_floating_point() for t in tensors_of(sample)):
                yield sample.noncontiguous()
        if full and (dtype.is_floating_point or not isinstance(info, BinaryUfuncInfo)):
            with suppress(ValueError):  # some samplers ask for gradients of integers, and fail
                yield from of_references(info, "cpu", dtype, gradients)


def run_operation(info: OpInfo, *, full: bool = False) -> dict[str, Count]:
    """Return what became of the samples of one operation, by dtype."""
    calls = forms(info)
    counts: dict[str, Count] = {}
    for name, dtype in DTYPES.items():
        if dtype not in info.dtypes:
            continue
        count = counts[name] = Count()
        twice_left = SECOND_ORDER if name == "float64" and info.supports_gradgrad else 0
        for k, sample in enumerate(samples(info, dtype, full=full)):
            count.samples += 1
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    run_sample(info, sample, calls, twice=twice_left > 0)
                    count.agreed += 1
                except Refused as refused:
                    count.refused[str(refused)] += 1
                except Wrong as wrong:
                    count.wrong.append(f"{key_of(info)} {name} sample {k}: {wrong}")
            twice_left -= 1
    return counts


def run_error_inputs(info: OpInfo) -> list[str]:
    """Return the inputs that PyTorch refuses and chainrule takes, or refuses with an undocumented error."""
    found: list[str] = []
    call = next(iter(forms(info).values()))
    for k, error_input in enumerate(info.error_inputs_func(info, "cpu") if info.error_inputs_func else ()):
        sample = error_input.sample_input
        if any(t.ndim > MOST_AXES for t in tensors_of(sample)) or _takes_more_numbers(sample):
            continue
        try:
            with refusing():
                convert = Converted()
                args = [convert(x) for x in (sample.input, *sample.args)]
                call(*args, **{name: convert(x) for name, x in sample.kwargs.items()})
            found.append(f"{key_of(info)} error input {k}: taken; PyTorch: {error_input.error_regex}")
        except Refused:
            continue
        except Wrong as wrong:
            found.append(f"{key_of(info)} error input {k}: {wrong}")
    return found


def _takes_more_numbers(sample: SampleInput) -> bool:
    """Say whether one of two operands is a number: where PyTorch has no such overload, chainrule may."""
    return any(type(x) in (bool, int, float) for x in (sample.input, *sample.args[:1]))


# -- reports ------------------------------------------------------------------------------------------------------------


def table(counts: dict[str, dict[str, Count]]) -> str:
    """Return the counts as a page."""
    every = [count for of in counts.values() for count in of.values()]
    total, agreed = sum(c.samples for c in every), sum(c.agreed for c in every)
    refused, wrong = sum(sum(c.refused.values()) for c in every), sum(len(c.wrong) for c in every)
    version = torch.__version__.split("+")[0]
    lines = [
        "# Operations beside PyTorch",
        "",
        f"PyTorch's own sample inputs (`op_db` of {version}) for every function and method that is here by name, also in",
        f"place: {total} samples, {agreed} agreed, {refused} refused, {wrong} wrong. Values, shapes, dtypes, memory sharing,",
        "and gradients are compared; second derivatives for the first samples in float64. An operation is here only if",
        f"{ENOUGH:.0%} of its samples run. Numbers drawn at random are compared by shape and dtype alone; places of equal",
        "elements (`sort`, `topk`, …) by what they point at.",
        "",
        "Written by `python -m tests.oracles.op_samples --table docs/op-coverage.md`. A cell is the number of samples, or",
        "how many of them agreed; empty where PyTorch defines none.",
        "",
        f"| operation | {' | '.join(DTYPES)} | refused, and why |",
        f"|---|{'---|' * len(DTYPES)}---|",
    ]
    for key, of in sorted(counts.items()):
        cells = [f"{c.samples}" if c.agreed == c.samples else f"{c.agreed} of {c.samples}" for c in of.values()]
        row = dict(zip(of, cells, strict=True))
        why = sum((c.refused for c in of.values()), Counter())
        text = "; ".join(f"{n}: {reason}" for reason, n in sorted(why.items())).replace("|", "\\|")
        lines.append(f"| {key} | {' | '.join(row.get(dtype, '') for dtype in DTYPES)} | {text} |")
    return "\n".join(lines) + "\n"


def wrongs(counts: dict[str, dict[str, Count]]) -> list[str]:
    return [line for of in counts.values() for count in of.values() for line in count.wrong]


def failures(counts: dict[str, dict[str, Count]]) -> list[str]:
    """Return what is wrong, and which operations do not run enough of their samples."""
    found = wrongs(counts)
    by_name: dict[str, list[Count]] = {}
    for key, of in counts.items():
        by_name.setdefault(NAMES[key], []).extend(of.values())
    for name, of_name in by_name.items():
        total, agreed = sum(c.samples for c in of_name), sum(c.agreed for c in of_name)
        if agreed < ENOUGH * total:
            found.append(f"{name}: {agreed} of {total} samples agreed: too few for a name that is here")
    return found


NAMES = {key_of(info): info.name for info in op_db}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="operations (default: all that are here)")
    parser.add_argument("--full", action="store_true", help="also samples for references, and with other strides")
    parser.add_argument("--list", action="store_true", help="only say which operations are here")
    parser.add_argument("--table", type=Path, help="write the counts to this page")
    options = parser.parse_args()
    torch.set_num_threads(1)
    counts: dict[str, dict[str, Count]] = {}
    taken: list[str] = []
    for info in operations(options.names):
        if options.full and info.name in NOT_IN_FULL and not options.names:
            continue
        if options.list:
            print(key_of(info))
            continue
        counts[key_of(info)] = run_operation(info, full=options.full)
        taken += run_error_inputs(info)
    if options.list:
        return 0
    page = table(counts)
    if options.table:
        options.table.write_text(page, encoding="utf-8")
    print(*page.splitlines()[2:6], sep="\n")
    found = taken + (wrongs(counts) if options.full else failures(counts))
    for line in found:
        print("WRONG", line.replace("\n", "\n      "))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
