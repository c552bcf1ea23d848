"""Write the list of names in docs/pytorch.md: what of PyTorch's interface is here.

python docs/generate_names.py
"""

from __future__ import annotations

import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

import chainrule

PAGE = Path(__file__).parent / "pytorch.md"
BEGIN, END = "<!-- names: begin (python docs/generate_names.py) -->\n", "<!-- names: end -->\n"
PLACES = (
    "", "Tensor", "autograd", "func", "nn", "nn.functional", "nn.init", "nn.utils", "optim", "optim.lr_scheduler", "utils.data",
    "cuda",
)  # fmt: skip
# Names that PyTorch does not have, or has elsewhere, by place.
OWN = {
    "": {
        "Callback", "ChainruleError", "DType", "History", "NameUnknown", "Trainer", "check_gradients", "error_flow", "fit",
        "gradcheck", "gradgradcheck", "load_run", "nearest", "nelement", "read_safetensors",
    },
    "Tensor": {"concatenate", "fill", "rsub", "std_mean", "var_mean"},
    "nn": {"Summary", "summary"},
    "nn.init": {"fans"},
    "nn.utils": {"l1_penalty", "l2_penalty"},
}  # fmt: skip
# Modules of ours that hold more than the names of PyTorch's module.
CHOSEN = {
    "autograd": ["backward", "enable_grad", "functional", "grad", "gradcheck", "gradgradcheck", "inference_mode", "no_grad", "set_grad_enabled"],
}  # fmt: skip


def names_of(place: str) -> list[str]:
    """Return the public names at a place.

    >>> names_of("cuda")
    ['device_count', 'is_available', 'manual_seed', 'manual_seed_all']
    """
    if place in CHOSEN:
        return CHOSEN[place]
    found: Any = chainrule
    for part in place.split(".") if place else ():
        found = getattr(found, part)
    listed = getattr(found, "__all__", None) or [name for name in dir(found) if is_ours(found, name)]
    return sorted({*listed} - OWN.get(place, set()), key=lambda name: (name.lower(), name))


def is_ours(place: Any, name: str) -> bool:
    """Return whether a module or class itself offers a name, and did not only import it for its own use."""
    if name.startswith("_"):
        return False
    value = getattr(place, name)
    if isinstance(place, ModuleType) and place is not chainrule:
        return getattr(value, "__module__", "") == place.__name__ and not inspect.ismodule(value)
    if inspect.ismodule(value):
        return False
    return not isinstance(place, ModuleType) or type(value).__module__.startswith("chainrule") or is_public(value)


def is_public(value: Any) -> bool:
    """Return whether a value of the package itself is a number or made by us."""
    return isinstance(value, float) or str(getattr(value, "__module__", "")).startswith("chainrule")


def listing() -> str:
    """Return the list."""
    lines = []
    for place in PLACES:
        full = f"chainrule.{place}".rstrip(".")
        names = names_of(place)
        lines.append(f"**`{full}`** ({len(names)}): {', '.join(f'`{name}`' for name in names)}\n")
    return "\n".join(lines)


def page(text: str) -> str:
    """Return the page with the list between its marks written anew."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{listing()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text("utf-8")), encoding="utf-8")
    print(f"wrote {PAGE.name}")
