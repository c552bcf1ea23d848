"""Looking at a model while it runs, and leaving it as it was: what Linear layers give, and what passes between modules."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import numpy as np

from chainrule.errors import ArgumentTypeError, NotFiniteError, ShapeError
from chainrule.graph import Array, Node, Storage
from chainrule.nn import Linear, Module
from chainrule.tensors.autograd import enable_grad
from chainrule.tensors.creation import zeros_like
from chainrule.tensors.generator import chosen
from chainrule.tensors.tensor import Tensor, concrete, current_node, shared_storage


@contextmanager
def left_as_it_was(model: Module) -> Iterator[None]:
    """Put the model into eval mode; restore each module's own flag, and the random state."""
    flags = [(module, module.training) for module in model.modules()]
    generator = chosen(None)
    state = generator.get_state()
    model.eval()
    try:
        yield
    finally:
        generator.set_state(state)
        for module, training in flags:
            if module.training is not training:
                module.training = training


class Call(NamedTuple):
    """One call of a Linear layer: z as it was then, and the node of the tape that made it."""

    name: str
    kind: str
    z: Array
    node: Node


class Passed(NamedTuple):
    """A tensor that went into or came out of a module, with the version of its memory then."""

    node: Node
    value: Array
    storage: Storage
    version: int
    gave: str  # the type of the module without parts that gave it; "" if it went in, or the module has parts


class Watcher:
    """Hooks on every module of a model, as long as the context of ``on`` lasts."""

    def __init__(self, names: dict[Module, str]) -> None:
        self.names = names
        self.calls: list[Call] = []
        self.passed: list[Passed] = []

    @classmethod
    @contextmanager
    def on(cls, model: Module) -> Iterator[Watcher]:
        """Hook every module of ``model``; take the hooks away at the end."""
        watcher = cls({module: name or type(module).__name__ for name, module in model.named_modules()})
        with ExitStack() as handles:
            for module in watcher.names:
                handles.enter_context(module.register_forward_pre_hook(watcher._before))
                handles.enter_context(module.register_forward_hook(watcher._after))
            yield watcher

    def run(self, model: Module, X: Tensor) -> tuple[Tensor, list[Call]]:
        """Return the model's output, on the tape, and the calls of Linear layers in order."""
        self.calls, self.passed = [], []
        with enable_grad(), np.errstate(all="ignore"):
            output = model(X)
        num_rows = X.shape[0]
        if not isinstance(output, Tensor) or output._value.dtype.kind != "f":
            got = f"a tensor of {output._value.dtype}" if isinstance(output, Tensor) else type(output).__name__
            raise ArgumentTypeError(f"error_flow: the model returned {got}", expected="a tensor of floats")
        if output.ndim == 0 or output.shape[0] != num_rows:
            raise ShapeError(
                f"error_flow: the model returned shape {tuple(output.shape)} for {num_rows} rows",
                expected=f"({num_rows}, …): something for each row",
            )
        return output, self.calls

    def known(self) -> dict[Node, Array]:
        """Return what passed between modules and was not written since, and every z."""
        found = {p.node: p.value for p in self.passed if p.storage.version == p.version}
        found.update({call.node: call.z for call in self.calls})
        return found

    def modules(self) -> dict[Node, str]:
        """Return the type of the module that gave each node (the first, where others passed it on)."""
        found: dict[Node, str] = {}
        for passed in self.passed:
            if passed.gave:
                found.setdefault(passed.node, passed.gave)
        return found

    def _before(self, module: Module, args: tuple[Any, ...]) -> None:
        for value in args:
            if isinstance(value, Tensor):
                self._note(value, "")

    def _after(self, module: Module, args: tuple[Any, ...], output: Any) -> Tensor | None:
        if not isinstance(output, Tensor):
            return None
        if not isinstance(module, Linear):
            self._note(output, "" if any(module.children()) else type(module).__name__)
            return None
        # A layer whose parameters are frozen and whose input needs no gradient gives a z without a tape: give it one.
        z = output if output.requires_grad else output.detach() + zeros_like(output, requires_grad=True)
        node = current_node(z)
        assert node is not None  # z requires grad
        name = self.names[module]
        times = 1 + sum(call.name.partition("#")[0] == name for call in self.calls)
        if times > 1:
            name = f"{name}#{times}"
        value = np.array(concrete(z, "error_flow"))  # a copy: what follows may write in place
        if not np.isfinite(value).all():
            raise NotFiniteError(
                f"error_flow: layer {name} ({type(module).__name__}) gives values that are not finite",
                expected="finite numbers",
                fix="go back to weights from before training diverged, and lower the learning rate",
            )
        self.calls.append(Call(name, type(module).__name__, value, node))
        return z

    def _note(self, x: Tensor, gave: str) -> None:
        node = current_node(x)
        if node is not None and node.requires_grad:
            storage = shared_storage(x)
            self.passed.append(Passed(node, x._value, storage, storage.version, gave))
