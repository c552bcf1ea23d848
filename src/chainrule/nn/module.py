"""Module: a part of a network that holds its parameters, its buffers and the parts it is made of."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Self

from chainrule.errors import (
    ArgumentError,
    ArgumentTypeError,
    ChainruleError,
    DtypeError,
    NameUnknown,
    TraceError,
    nearest,
)
from chainrule.graph import Array
from chainrule.nn import hooks
from chainrule.nn.hooks import Hook, RemovableHandle, call_with_hooks
from chainrule.nn.parameter import Buffer, Parameter
from chainrule.nn.place import locate
from chainrule.nn.state import IncompatibleKeys, load_state_dict, state_dict
from chainrule.tensors.attributes import holds_tensors
from chainrule.tensors.autograd import fill_grad_with_zeros
from chainrule.tensors.binary import conversion_of, kind_of
from chainrule.tensors.changes import CHANGES, CountedDict, before_change
from chainrule.tensors.compile import CompiledModule
from chainrule.tensors.dtypes import DType, float32, float64, to_numpy_dtype
from chainrule.tensors.facts import MISSING, member_of
from chainrule.tensors.memory import replace_memory
from chainrule.tensors.reads import ALWAYS
from chainrule.tensors.state import STATE, TRACE
from chainrule.tensors.tensor import Tensor, concrete, device
from chainrule.tensors.toggles import may_be_set, refused_to_set


def _no_forward(self: Module, *args: Any, **kwargs: Any) -> Any:
    raise ArgumentError(
        f"{type(self).__name__} has no forward method", fix="define def forward(self, x): … in the class"
    )


KINDS = ("_parameters", "_buffers", "_modules")


class Module:
    """The base of all layers and networks. A subclass creates its parts in ``__init__`` and uses them in ``forward``:

    >>> import chainrule as cr
    >>> class Net(cr.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.hidden = cr.nn.Linear(4, 3)
    ...         self.out = cr.nn.Linear(3, 1)
    ...     def forward(self, x):
    ...         return self.out(self.hidden(x).relu())
    >>> net = Net()
    >>> net
    Net(
      (hidden): Linear(in_features=4, out_features=3, bias=True)
      (out): Linear(in_features=3, out_features=1, bias=True)
    )
    >>> [name for name, _ in net.named_parameters()]
    ['hidden.weight', 'hidden.bias', 'out.weight', 'out.bias']
    >>> net(cr.ones(2, 4)).shape
    chainrule.Size([2, 1])
    """

    training: bool = True
    forward: Callable[..., Any] = _no_forward
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module | None]
    _non_persistent_buffers_set: set[str]
    _hooked: bool = False
    _made_while_tracing: bool
    _forward_pre_hooks: OrderedDict[int, Hook]
    _forward_hooks: OrderedDict[int, Hook]
    _backward_pre_hooks: OrderedDict[int, Hook]
    _backward_hooks: OrderedDict[int, Hook]
    _forward_pre_hooks_with_kwargs: dict[int, bool]
    _forward_hooks_with_kwargs: dict[int, bool]
    _forward_hooks_always_called: dict[int, bool]

    def __init__(self) -> None:
        self.__dict__.update(
            training=True,
            _parameters=CountedDict(),
            _buffers=CountedDict(),
            _modules=CountedDict(),
            _non_persistent_buffers_set=set(),
            _hooked=False,
            _made_while_tracing=STATE.mode == TRACE,
            _forward_pre_hooks=CountedDict(),
            _forward_hooks=CountedDict(),
            _backward_pre_hooks=CountedDict(),
            _backward_hooks=CountedDict(),
            _forward_pre_hooks_with_kwargs=CountedDict(),
            _forward_hooks_with_kwargs=CountedDict(),
            _forward_hooks_always_called=CountedDict(),
        )

    # -- calling ---------------------------------------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            if STATE.mode == TRACE:
                return self._call_in_trace(args, kwargs)
            if self._hooked:
                return call_with_hooks(self, args, kwargs)
            return self.forward(*args, **kwargs)
        except ChainruleError as error:
            locate(error, self)
            raise

    def _call_in_trace(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the module while the nodes that are born carry its path."""
        if STATE.trace is None:
            raise TraceError("no trace is open")
        recording = STATE.trace.recording
        before = recording.label
        if not before:
            for path, module in self.named_modules():
                module.__dict__["_label"] = path or self._get_name()
                STATE.trace.note_module(module)
        STATE.trace.note_module(self)
        if not str(getattr(self.forward, "__module__", "")).startswith("chainrule."):
            STATE.trace.reached.note(self.forward)
        elif not type(self).__module__.startswith("chainrule."):
            STATE.trace.reached.note_class(type(self), "forward")
        recording.label = self.__dict__.get("_label", self._get_name())
        try:
            return call_with_hooks(self, args, kwargs) if self._hooked else self.forward(*args, **kwargs)
        finally:
            recording.label = before

    def _feeder(self, name: str) -> tuple[str, Module | None] | None:
        """Return name and module of the child that feeds the child ``name``; None if that is not known.

        The module is None for the child that gets this module's own input.
        """
        return None

    # -- attributes ------------------------------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        own = self.__dict__
        for kind in KINDS:
            held = own.get(kind)
            if held is not None and name in held:
                return held[name]
        if name.startswith("__"):
            raise AttributeError(name)
        fix = "write chainrule.compile(model)" if name == "compile" else lambda: nearest(name, dir(self))
        raise NameUnknown(f"{type(self).__name__} has no attribute {name!r}", fix=fix)

    def __setattr__(self, name: str, value: Any) -> None:
        own = self.__dict__
        if STATE.mode == TRACE and not self._may_set(name, value):
            return
        if isinstance(value, (Parameter, Module, Buffer)):
            if "_parameters" not in own:
                raise self._not_initialized(f"assigning {name!r}")
            own.pop(name, None)
            if isinstance(value, Parameter):
                self._drop(name, keep="_parameters")
                self.register_parameter(name, value)
            elif isinstance(value, Module):
                self._drop(name, keep="_modules")
                self.register_module(name, value)
            else:
                self._drop(name, keep="_buffers")
                self.register_buffer(name, value, value.persistent)
        elif name in own.get("_parameters", ()):
            if value is not None:
                raise self._refused(name, value, "a parameter", "nn.Parameter(…) or None")
            own["_parameters"][name] = None
        elif name in own.get("_modules", ()):
            if value is not None:
                raise self._refused(name, value, "a submodule", "a Module or None")
            own["_modules"][name] = None
        elif name in own.get("_buffers", ()):
            if value is not None and not isinstance(value, Tensor):
                raise self._refused(name, value, "a buffer", "a tensor or None")
            own["_buffers"][name] = value
        else:
            if isinstance(value, CompiledModule) and all(part is not value.function for part in self.modules()):
                raise _no_part(name, value)
            object.__setattr__(self, name, value)
        CHANGES.bump()

    def _may_set(self, name: str, value: Any) -> bool:
        """Say whether an assignment inside a compiled function is still to be done; raise if it would be lost."""
        own = self.__dict__
        if own.get("_made_while_tracing", True):
            return True  # this call of the function made the module, and each call makes it anew
        is_part = name in own["_parameters"] or name in own["_modules"]
        settings: Any = None if STATE.trace is None else STATE.trace.settings
        is_plain = not is_part and name not in own["_buffers"] and not _is_kept_elsewhere(type(self), name)
        if not is_part and not isinstance(value, Parameter) and holds_tensors(value):
            if is_plain:
                settings.note(self, name, value)
            return True  # each run will do it
        if name in own and own[name] is value:
            return False
        if is_plain and (may_be_set(value) or settings.is_at_first(self, name, value)):
            settings.note(self, name, value)
            return True  # it has to be put back
        raise refused_to_set(self, name, value)

    def _refused(self, name: str, value: Any, what: str, expected: str) -> ArgumentTypeError:
        return ArgumentTypeError(
            f"{type(self).__name__}.{name} is {what}; got {type(value).__name__}",
            expected=expected,
            fix=f"del self.{name} first to make it something else",
        )

    def _not_initialized(self, doing: str) -> ArgumentError:
        return ArgumentError(
            f"{type(self).__name__}: {doing} before the module is set up",
            fix="call super().__init__() first in its __init__",
        )

    def _drop(self, name: str, *, keep: str) -> None:
        """Forget what was held under ``name`` as another kind of part."""
        for kind in KINDS:
            if kind != keep:
                self.__dict__[kind].pop(name, None)
        self._set_saved(name)

    def _set_saved(self, name: str, *, wanted: bool = True) -> None:
        """Let ``state_dict`` have the buffer ``name``, if there is one, or leave it out."""
        own = self.__dict__  # nothing that a trace would note: code reads none of it
        before_change(own["_buffers"], own["_non_persistent_buffers_set"])
        (set.discard if wanted else set.add)(own["_non_persistent_buffers_set"], name)

    def __delattr__(self, name: str) -> None:
        for kind in KINDS:
            if name in self.__dict__.get(kind, ()):
                del self.__dict__[kind][name]
                self._set_saved(name)
                break
        else:
            if name not in self.__dict__:
                raise NameUnknown(f"{type(self).__name__} has no attribute {name!r}", fix=nearest(name, dir(self)))
            if STATE.mode == TRACE and STATE.trace is not None and not self.__dict__.get("_made_while_tracing", True):
                STATE.trace.settings.note(self, name, MISSING)
            object.__delattr__(self, name)
        CHANGES.bump()

    def __dir__(self) -> list[str]:
        own = self.__dict__
        names = {*dir(type(self)), *own}
        for kind in KINDS:
            names.update(own.get(kind, ()))
        return sorted(name for name in names if not name[:1].isdigit())

    # -- registering -----------------------------------------------------------------------------------------------

    def _check_name(self, name: Any, kind: str, held: Mapping[str, Any]) -> None:
        if "_parameters" not in self.__dict__:
            raise self._not_initialized(f"registering {name!r}")
        if not isinstance(name, str):
            raise ArgumentTypeError(f"the name of {kind}: got {name!r}", expected="a string")
        if "." in name or not name:
            raise ArgumentError(f"the name of {kind}: got {name!r}", expected='a name without "."')
        if name not in held and hasattr(self, name):
            raise ArgumentError(f"{type(self).__name__} has an attribute {name!r} already", fix="choose another name")

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Make ``param`` a parameter under ``name``; None reserves the name."""
        self._check_name(name, "a parameter", self.__dict__.get("_parameters", {}))
        if param is not None and not isinstance(param, Parameter):
            raise ArgumentTypeError(
                f"parameter {name!r}: got {type(param).__name__}", expected="nn.Parameter(…) or None"
            )
        if param is not None and not param.is_leaf:
            raise ArgumentError(f"parameter {name!r} was made by an operation", expected="a leaf")
        self._parameters[name] = param
        CHANGES.bump()

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Keep ``tensor`` as a buffer under ``name``; a persistent one is part of the ``state_dict``."""
        self._check_name(name, "a buffer", self.__dict__.get("_buffers", {}))
        if tensor is not None and not isinstance(tensor, Tensor):
            raise ArgumentTypeError(
                f"buffer {name!r}: got {kind_of(tensor)}", expected="a tensor or None", fix=conversion_of(tensor)
            )
        if STATE.reads is not None:
            STATE.reads.note(self, name, is_set=True)
        self._set_saved(name, wanted=persistent)
        self.__dict__["_buffers"][name] = tensor
        CHANGES.bump()

    def register_module(self, name: str, module: Module | None) -> None:
        """Make ``module`` a part under ``name``."""
        self._check_name(name, "a module", self.__dict__.get("_modules", {}))
        if module is not None and not isinstance(module, Module):
            raise _no_part(name, module)
        self._modules[name] = module
        CHANGES.bump()

    def add_module(self, name: str, module: Module | None) -> None:
        """Make ``module`` a part under ``name``: another name of register_module."""
        self.register_module(name, module)

    def get_submodule(self, target: str) -> Module:
        """Return the part at a path like ``encoder.2``."""
        module: Module = self
        passed: list[str] = []
        for name in target.split(".") if target else ():
            child = module._modules.get(name)
            if child is None:
                place = f"at {'.'.join(passed)!r}" if passed else f"in {self._get_name()}"
                raise NameUnknown(f"there is no module {name!r} {place}", fix=nearest(name, module._modules))
            passed.append(name)
            module = child
        return module

    def _get(self, target: str, kind: str, what: str) -> Any:
        path, _, name = target.rpartition(".")
        held = getattr(self.get_submodule(path), kind)
        if held.get(name) is None:
            place = f"at {path!r}" if path else f"in {self._get_name()}"
            raise NameUnknown(f"there is no {what} {name!r} {place}", fix=nearest(name, held))
        return held[name]

    def get_parameter(self, target: str) -> Parameter:
        """Return the parameter at a path like ``encoder.2.weight``."""
        found: Parameter = self._get(target, "_parameters", "parameter")
        return found

    def get_buffer(self, target: str) -> Tensor:
        """Return the buffer at a path like ``norm.running_mean``."""
        found: Tensor = self._get(target, "_buffers", "buffer")
        return found

    # -- walking ---------------------------------------------------------------------------------------------------

    def named_modules(
        self, memo: set[Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """Yield (path, module) for this module and all its parts, each once."""
        seen = set() if memo is None else memo
        if self in seen:
            return
        if remove_duplicate:
            seen.add(self)
        yield prefix, self
        for name, child in self._modules.items():
            if child is not None:
                path = f"{prefix}.{name}" if prefix else name
                yield from child.named_modules(seen, path, remove_duplicate)

    def modules(self) -> Iterator[Module]:
        """Yield this module and all its parts, each once."""
        for _, module in self.named_modules():
            yield module

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Yield (name, module) for the direct parts, each once."""
        seen: set[Module] = set()
        for name, child in self._modules.items():
            if child is not None and child not in seen:
                seen.add(child)
                yield name, child

    def children(self) -> Iterator[Module]:
        """Yield the direct parts, each once."""
        for _, child in self.named_children():
            yield child

    def _named_members(
        self, kind: str, prefix: str, *, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        modules = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate) if recurse else [(prefix, self)]
        for path, module in modules:
            for name, member in getattr(module, kind).items():
                if member is None or id(member) in seen:
                    continue
                if remove_duplicate:
                    seen.add(id(member))
                yield f"{path}.{name}" if path else name, member

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Yield (path, parameter), each once."""
        return self._named_members("_parameters", prefix, recurse=recurse, remove_duplicate=remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Yield the parameters, each once."""
        for _, parameter in self.named_parameters(recurse=recurse):
            yield parameter

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield (path, buffer), each once."""
        return self._named_members("_buffers", prefix, recurse=recurse, remove_duplicate=remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Yield the buffers, each once."""
        for _, buffer in self.named_buffers(recurse=recurse):
            yield buffer

    # -- changing --------------------------------------------------------------------------------------------------

    def train(self, mode: bool = True) -> Self:
        """Switch this module and its parts to training (dropout drops, batch norm follows the batch), or off."""
        if not isinstance(mode, bool):
            raise ArgumentTypeError(f"train: got mode={mode!r}", expected="True or False")
        for module in self.modules():
            if STATE.trace is not None:
                STATE.trace.note_module(module)
            if module.training is not mode:
                module.training = mode
        return self

    def eval(self) -> Self:
        """Switch this module and its parts to use: as trained, no randomness."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Learn the parameters, or keep them as they are."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        CHANGES.bump()
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of the parameters (with ``set_to_none=False``: fill them with zeros)."""
        for parameter in self.parameters():
            if set_to_none:
                parameter.grad = None
            else:
                fill_grad_with_zeros(parameter)

    def apply(self, fn: Callable[[Module], Any]) -> Self:
        """Call ``fn`` with every part, then with this module: for initialisation."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def _convert(self, convert: Callable[[Array], Array]) -> Self:
        """Replace the memory of every parameter, its gradient and every buffer by what ``convert`` makes of it."""
        for tensor in [*self.parameters(), *self.buffers()]:
            for x in (tensor, tensor._grad):
                if isinstance(x, Tensor):
                    old = concrete(x, "moving a module to another dtype")
                    new = convert(old)
                    if new is not old:
                        replace_memory(x, new)
        CHANGES.bump()
        return self

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Convert floating-point parameters and buffers to a dtype; a device can only be the CPU.

        Called as ``to(dtype)``, ``to(device)``, ``to(device, dtype)`` or ``to(tensor)``, also with keywords.
        """
        wanted = None
        unknown = set(kwargs) - {"device", "dtype", "non_blocking"}
        if unknown:
            raise ArgumentTypeError(f"to: got {', '.join(sorted(unknown))}", expected="device, dtype or a tensor")
        for x in (*args, kwargs.get("device"), kwargs.get("dtype")):
            if isinstance(x, Tensor):
                wanted = x.dtype
            elif isinstance(x, DType):
                wanted = x
            elif x is not None and not isinstance(x, bool):  # a bool is non_blocking
                device(x)
        if wanted is None:
            return self
        if not wanted.is_floating_point:
            raise DtypeError(f"to: got {wanted!r} for a module", expected="float32 or float64")
        dtype = to_numpy_dtype(wanted)
        return self._convert(lambda array: array.astype(dtype, copy=False) if array.dtype.kind == "f" else array)

    def float(self) -> Self:
        """Convert floating-point parameters and buffers to float32."""
        return self.to(float32)

    def double(self) -> Self:
        """Convert floating-point parameters and buffers to float64."""
        return self.to(float64)

    def cpu(self) -> Self:
        """Return the module: it is on the CPU."""
        return self

    # -- state -----------------------------------------------------------------------------------------------------

    def state_dict(self, *, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> Any:
        """Return parameters and persistent buffers by path, as an OrderedDict of detached tensors that share memory."""
        return state_dict(self, destination, prefix, keep_vars=keep_vars)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> IncompatibleKeys:
        """Copy a state into the parameters and buffers, in place.

        Values may be tensors or arrays. With ``strict`` the names must be the same; shapes must be in any case. Returns
        the names that are missing and unexpected. Raises ArgumentError that lists all that does not fit.
        """
        return load_state_dict(self, state_dict, strict=strict, assign=assign)

    # -- hooks -----------------------------------------------------------------------------------------------------

    def register_forward_pre_hook(
        self, hook: Hook, *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call ``hook(module, args)`` before ``forward``; what it returns, unless None, replaces the arguments."""
        return hooks.register(self, hooks.BEFORE_FORWARD, hook, prepend=prepend, with_kwargs=with_kwargs)

    def register_forward_hook(
        self, hook: Hook, *, prepend: bool = False, with_kwargs: bool = False, always_call: bool = False
    ) -> RemovableHandle:
        """Call ``hook(module, args, output)`` after ``forward``; what it returns, unless None, replaces the output."""
        return hooks.register(
            self, hooks.AFTER_FORWARD, hook, prepend=prepend, with_kwargs=with_kwargs, always=always_call
        )

    def register_full_backward_pre_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call ``hook(module, grad_output)`` when the gradients of the outputs are known; it may replace them."""
        return hooks.register(self, hooks.BEFORE_BACKWARD, hook, prepend=prepend)

    def register_full_backward_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call ``hook(module, grad_input, grad_output)`` when both are known; it may replace the first."""
        return hooks.register(self, hooks.AFTER_BACKWARD, hook, prepend=prepend)

    # -- showing ---------------------------------------------------------------------------------------------------

    def _get_name(self) -> str:
        return type(self).__name__

    def extra_repr(self) -> str:
        """Return what stands between the parentheses in the text of the module."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        parts = [f"({name}): {indented(repr(child))}" for name, child in self._modules.items()]
        return f"{self._get_name()}({body(extra.split(chr(10)) if extra else [], parts)})"


ALWAYS.append(Module)


def indented(text: str) -> str:
    """Return the text with every line but the first moved in."""
    return text.replace("\n", "\n  ")


def body(extra: Iterable[str], parts: Iterable[str]) -> str:
    """Return what stands between the parentheses of a module's text: one line, or lines of their own."""
    first, rest = list(extra), list(parts)
    if not rest and len(first) <= 1:
        return "".join(first)
    return "".join(f"\n  {line}" for line in [*first, *rest]) + "\n"


def _no_part(name: str, value: Any) -> ArgumentTypeError:
    """Return the error about what is to be a part of a module and is no module."""
    is_compiled = isinstance(value, CompiledModule)
    return ArgumentTypeError(
        f"module {name!r}: got {'a compiled module' if is_compiled else type(value).__name__}",
        expected="a Module or None",
        fix="make the module itself a part, whose parameters are then this module's, and compile the function that calls this module"
        if is_compiled
        else "",
    )


def _is_kept_elsewhere(kind: type, name: str) -> bool:
    """Say whether a class keeps an attribute by a method of its own, or in a slot."""
    member = member_of(kind, name)
    return hasattr(type(member), "__set__")
