"""State dicts: a module's numbers by name, out of it and into it. The names are PyTorch's."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from chainrule.errors import ArgumentError, ArgumentTypeError, near_names
from chainrule.nn.parameter import Parameter
from chainrule.tensors.autograd import no_grad
from chainrule.tensors.changes import CHANGES
from chainrule.tensors.tensor import Tensor

if TYPE_CHECKING:
    from chainrule.nn.module import Module


class IncompatibleKeys(NamedTuple):
    """What ``load_state_dict`` returns: names the module has and the state lacks, and the reverse."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __str__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"

    def __repr__(self) -> str:
        return str(self)


def entries(module: Module, prefix: str = "") -> OrderedDict[str, tuple[Module, str, Tensor]]:
    """Return every tensor of the state: its key, the module that holds it and its name there, in PyTorch's order."""
    found: OrderedDict[str, tuple[Module, str, Tensor]] = OrderedDict()
    for name, parameter in module._parameters.items():
        if parameter is not None:
            found[prefix + name] = (module, name, parameter)
    for name, buffer in module._buffers.items():
        if buffer is not None and name not in module._non_persistent_buffers_set:
            found[prefix + name] = (module, name, buffer)
    for name, child in module._modules.items():
        if child is not None:
            found.update(entries(child, f"{prefix}{name}."))
    return found


def state_dict(module: Module, destination: Any, prefix: str, *, keep_vars: bool) -> Any:
    """Return the module's tensors by key; detached, sharing their memory, unless ``keep_vars``."""
    found = OrderedDict() if destination is None else destination
    for key, (_, _, tensor) in entries(module, prefix).items():
        found[key] = tensor if keep_vars else tensor.detach()
    return found


def load_state_dict(module: Module, state: Mapping[str, Any], *, strict: bool, assign: bool) -> IncompatibleKeys:
    """Copy the tensors of ``state`` into the module's, in place (with ``assign``: let them take their places).

    Nothing is written unless all of it fits.
    """
    if not isinstance(state, Mapping):
        raise ArgumentTypeError(
            f"load_state_dict: got {type(state).__name__}", expected="a mapping from names to tensors"
        )
    wanted = entries(module)
    missing = [key for key in wanted if key not in state]
    unexpected = [str(key) for key in state if key not in wanted]
    faults: list[str] = []
    if strict:
        faults += [_missing(key, unexpected) for key in missing]
        faults += [_unexpected(key, missing) for key in unexpected]
    found: dict[str, Tensor] = {}
    for key, (_, _, tensor) in wanted.items():
        if key not in state:
            continue
        given = _as_tensor(state[key])
        if given is None:
            faults.append(f"{key} is of type {type(state[key]).__name__}, expected a tensor or an array")
        elif tuple(given.shape) != tuple(tensor.shape):
            faults.append(f"{key} has shape {tuple(given.shape)}, expected {tuple(tensor.shape)}")
        else:
            found[key] = given
    if faults:
        shown = faults[:20] + ([f"and {len(faults) - 20} more"] if len(faults) > 20 else [])
        listed = "".join(f"\n  - {fault}" for fault in shown)
        raise ArgumentError(
            f"load_state_dict of {module._get_name()}: the state does not fit, nothing was loaded:{listed}\n",
            fix="build the module as it was when the state was saved"
            + ("" if not (missing or unexpected) else ", or pass strict=False to load what has the same name"),
        )
    with no_grad():
        for key, given in found.items():
            holder, name, tensor = wanted[key]
            if assign:
                _replace(holder, name, tensor, given)
            else:
                tensor.copy_(given)
    CHANGES.bump()
    return IncompatibleKeys(missing, unexpected)


def _replace(holder: Module, name: str, old: Tensor, given: Tensor) -> None:
    if isinstance(old, Parameter):
        kept = given if isinstance(given, Parameter) else Parameter(given.detach(), old.requires_grad)
        holder._parameters[name] = kept.requires_grad_(old.requires_grad)  # type: ignore[assignment]  # returns kept
    else:
        holder._buffers[name] = given.detach()


def _as_tensor(value: Any) -> Tensor | None:
    """Return a state's entry as a tensor: ours, an array, or another library's that gives an array."""
    if isinstance(value, Tensor):
        return value
    if hasattr(value, "detach"):
        value = value.detach()
    if isinstance(value, (np.ndarray, np.generic, int, float)) or hasattr(value, "__array__"):
        return Tensor(np.asarray(value))
    return None


def _missing(key: str, unexpected: list[str]) -> str:
    return f"{key} is missing in the state" + _beside(key, unexpected)


def _unexpected(key: str, missing: list[str]) -> str:
    return f"{key} is not in the module" + _beside(key, missing)


def _beside(key: str, names: list[str]) -> str:
    near = near_names(key, names)
    return f", which has {' and '.join(near)}" if near else ""
