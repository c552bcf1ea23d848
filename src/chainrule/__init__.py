"""chainrule: back-propagation, whole.

The names of ``import torch``, for what is here, from top to bottom:

cli, studio                        the command and the page
estimators, tasks, distributed     from a kind of data to a network and its metric
insight, interop                   what was seen, what it means, what to do; other formats
training                           ``fit``, ``Trainer``; training/step.py is the whole flow on a page
nn, optim, data                    layers, losses; optimizers, schedules; data to arrays
tensors                            ``Tensor``: eager, on a tape, or traced (``compile``)
run                                graphs on NumPy, or as native code
ops, backward, compiler            the primitives; the chain rule (backward/chain_rule.py: the heart); from a graph to
                                   machine code (compiler/pipeline.py is the list of passes)
graph                              the contract of a primitive, nodes, sizes
errors                             every exception

Reading order: training/step.py, graph/primitive.py, backward/chain_rule.py, ops/elementwise.py.
"""

from __future__ import annotations

import importlib
import math
from typing import Any

from chainrule import tensors as _tensors
from chainrule.errors import ChainruleError, NameUnknown, nearest
from chainrule.forks import undisturbed as _undisturbed
from chainrule.tensors.autograd import enable_grad, inference_mode, is_grad_enabled, no_grad, set_grad_enabled
from chainrule.tensors.compile import compile
from chainrule.tensors.dtypes import (
    DType,
    finfo,
    float32,
    float64,
    get_default_dtype,
    iinfo,
    int8,
    int16,
    int32,
    int64,
    set_default_dtype,
    uint8,
)
from chainrule.tensors.dtypes import bool_ as bool
from chainrule.tensors.generator import (
    Generator,
    default_generator,
    get_rng_state,
    initial_seed,
    manual_seed,
    seed,
    set_rng_state,
)
from chainrule.tensors.options import channels_last, channels_last_3d, contiguous_format, preserve_format, strided
from chainrule.tensors.tensor import Size, Tensor, device

__version__ = "0.1.0"

dtype = DType
float = float32
double = float64
int = int32
long = int64
short = int16

for _family in _tensors.FAMILIES:
    for _function in _family.FUNCTIONS:
        globals()[_function.__name__] = _function
    globals().update(getattr(_family, "ALIASES", {}))
pi = math.pi
e = math.e
inf = math.inf
nan = math.nan

# Loaded when first asked for: `import chainrule` costs little more than `import numpy`.
_MODULES = {
    "nn": "chainrule.nn",
    "optim": "chainrule.optim",
    "utils": "chainrule.utils",
    "data": "chainrule.data",
    "func": "chainrule.tensors.func",
    "autograd": "chainrule.tensors.autograd",
    "cuda": "chainrule.tensors.cuda",
}
_NAMES = {
    "save": "chainrule.tensors.serialization",
    "load": "chainrule.tensors.serialization",
    "read_safetensors": "chainrule.tensors.serialization",
    "set_num_threads": "chainrule.run.threads",
    "get_num_threads": "chainrule.run.threads",
    "set_printoptions": "chainrule.tensors.printing",
    "gradcheck": "chainrule.tensors.gradcheck",
    "gradgradcheck": "chainrule.tensors.gradcheck",
    "check_gradients": "chainrule.tensors.gradcheck",
    "fit": "chainrule.training",
    "Trainer": "chainrule.training",
    "History": "chainrule.training",
    "Callback": "chainrule.training",
    "error_flow": "chainrule.insight",
    "load_run": "chainrule.tasks",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        with _undisturbed():
            found: Any = importlib.import_module(_MODULES[name])
    elif name in _NAMES:
        with _undisturbed():
            found = getattr(importlib.import_module(_NAMES[name]), name)
    else:
        known = [n for n in (*globals(), *_MODULES, *_NAMES) if not n.startswith("_")]
        advice = "docs/op-coverage.md lists the functions that are here"
        raise NameUnknown(f"chainrule has no {name!r}", fix=lambda: nearest(name, known) or advice)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES, *_NAMES})
