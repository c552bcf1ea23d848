"""Where in a model an error happened: told from the layer the user knows.

The layer that raised only knows its type. As the error passes up through the modules around it, each adds the name
under which it holds the layer; a container that feeds one layer's output to the next also knows which layer fed it:

    layer encoder.2 (Linear), fed by layer encoder.1 (ReLU): expected 64 features in the last axis, got 32
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chainrule.errors import ChainruleError

if TYPE_CHECKING:
    from chainrule.nn.module import Module

ATTRIBUTE = "layer"  # where an error on its way up carries its place


class Place:
    """The path to the layer at fault, as seen from ``seen_from``, and the layer that fed it.

    ``at_entry`` says that the layer gets the input of ``seen_from``, so that the next container may know who fed it.
    """

    __slots__ = ("at_entry", "feeder", "feeder_kind", "kind", "path", "seen_from", "story")

    def __init__(self, layer: Module, story: str) -> None:
        self.story = story
        self.kind = layer._get_name()
        self.path = self.feeder = self.feeder_kind = ""
        self.seen_from = layer
        self.at_entry = True

    def __str__(self) -> str:
        if not self.path:
            return self.kind
        text = f"layer {self.path} ({self.kind})"
        return f"{text}, fed by layer {self.feeder} ({self.feeder_kind})" if self.feeder else text


def locate(error: ChainruleError, module: Module) -> None:
    """Add to a passing error what ``module`` knows of its place: called once by each module on the error's way up."""
    place: Place | None = vars(error).get(ATTRIBUTE)
    if place is None:
        place = vars(error)[ATTRIBUTE] = Place(module, error.what)
    else:
        name = _name_of(place.seen_from, module)
        if not name:
            return  # the module calls itself, or a layer that it does not hold
        place.path = f"{name}.{place.path}" if place.path else name
        if place.feeder:
            place.feeder = f"{name}.{place.feeder}"
        elif place.at_entry:
            known = module._feeder(name)
            place.at_entry = known is not None
            if known is not None and known[1] is not None:
                place.feeder, place.feeder_kind = known[0], known[1]._get_name()
                place.at_entry = False
        place.seen_from = module
    error.what = f"{place}: {place.story}"


def name_kind(error: ChainruleError, model: Module) -> None:
    """Let an error of compiled code, which begins with the path of a layer of ``model``, name it as ``locate`` does."""
    path, _, story = error.what.partition(": ")
    layer = dict(model.named_modules()).get(path) if path else None
    if layer is not None:
        error.what = f"layer {path} ({layer._get_name()}): {story}"


def _name_of(layer: Module, module: Module) -> str:
    """Return the path under which ``module`` holds ``layer``; '' if it does not."""
    for name, child in module._modules.items():
        if child is layer:
            return name
    return next((name for name, inner in module.named_modules() if inner is layer), "")
