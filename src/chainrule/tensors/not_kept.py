"""Gradients that a compiled function did not keep, and which tensors ``fit`` learns: the advice is another one there."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

from chainrule.errors import GradientError

_LEARNED_BY_FIT: dict[int, weakref.ref[Any]] = {}  # by identity: equality of tensors is asked element by element


def note_learned_by_fit(tensors: Iterable[Any]) -> None:
    """Take note of tensors that a compiled step of ``fit`` learns."""
    for x in tensors:
        key = id(x)
        _LEARNED_BY_FIT[key] = weakref.ref(x, lambda _, key=key: _LEARNED_BY_FIT.pop(key, None))  # type: ignore[misc]  # mypy knows no default here


def gradient_not_kept(of: Any = None) -> GradientError:
    """Return what is raised where a gradient (of that tensor) is needed that was not kept."""
    known = _LEARNED_BY_FIT.get(id(of))
    if known is not None and known() is of:
        where = "a compiled function (the step of cr.fit, or of Trainer, is one)"
        fix = (
            "train with cr.fit(…, compile=False) or Trainer(…, compile=False), which keeps gradients; after training, "
        )
    else:
        where, fix = "a compiled function (cr.fit compiles its step too)", ""
    return GradientError(
        f"the gradient of this tensor was computed inside {where}, which did not "
        "keep it; what backward() added since is not known by itself",
        fix=f"{fix}call zero_grad() first, and then backward(); a function that you compile yourself keeps gradients with "
        "keep_gradients=True",
    )
