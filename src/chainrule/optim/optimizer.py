"""What all optimizers share: parameter groups, state, the step, and how they are saved.

A rule is two pure methods: ``init`` makes the state of a parameter, ``update`` says in operations of the graph what one
step makes of parameter and state. It is recorded once into a body (see ops.body), which is run in place on the arrays of
each parameter, or called in a trace. Rates, weight decay and the step number are inputs of the body, never constants in
it; only flags select what it consists of.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from chainrule.errors import ArgumentError, ArgumentTypeError, InPlaceError, TraceError
from chainrule.graph import Array, Dtype, Graph, Node, primitive, recording
from chainrule.graph.numeric import as_number as plain_number
from chainrule.ops.body import BodyRecording, run_body, scalar_input, vector_input
from chainrule.optim.questions import hooks_of, reading, reading_first, reading_states, settings_now, structures
from chainrule.optim.rule import (
    IMPLEMENTATIONS,
    INFINITE,
    Group,
    Hyper,
    Limits,
    Nodes,
    State,
    as_number,
    check_number,
    two,
)
from chainrule.optim.saved import Handle, load, save
from chainrule.optim.settings import settings_of, settings_read
from chainrule.optim.traced_groups import note_groups, note_optimizer, refused, traced_groups
from chainrule.optim.traced_state import note_state
from chainrule.tensors.autograd import enable_grad, fill_grad_with_zeros, no_grad
from chainrule.tensors.dtypes import F64
from chainrule.tensors.memory import overwrite, write
from chainrule.tensors.state import STATE, TRACE
from chainrule.tensors.tensor import Tensor, concrete, current_node
from chainrule.tensors.trace import Trace

CALL, GET = primitive("call"), primitive("get")


class Optimizer:
    """Improves parameters by their gradients.

    ``params``    tensors, (name, tensor) pairs as ``model.named_parameters()`` gives, or dicts that are parameter groups:
                  ``{"params": tensors, "lr": 0.01}`` with options of their own
    ``defaults``  the options of groups that do not say

    For a rule of your own: set ``numbers``, ``flags`` and ``limits``, and write ``init`` and ``update``; or write ``step``.
    A compiled ``step`` of your own is traced again for each value of a rate that it reads; a rule takes rates as inputs.
    """

    numbers: ClassVar[tuple[str, ...]] = ("lr",)  # options that are inputs of the body
    flags: ClassVar[tuple[str, ...]] = ()  # options that select what the body consists of
    scalars: ClassVar[frozenset[str]] = frozenset({"step"})  # state that is one number, not one per element
    limits: ClassVar[Limits] = {"lr": (0.0, INFINITE), "weight_decay": (0.0, INFINITE)}
    _settings: ClassVar[tuple[str, ...]] = ()  # attributes that a rule of the user's reads: constants in the body

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._settings = settings_read(cls, "update")

    def __init__(self, params: Any, defaults: Mapping[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise ArgumentTypeError(
                f"{type(self).__name__}: got one tensor as params", expected="an iterable of them", fix="write [tensor]"
            )
        self.defaults = {name: _plain(option) for name, option in defaults.items()}
        self.__dict__["state"], self.__dict__["param_groups"] = defaultdict(dict), []
        if STATE.mode == TRACE and STATE.trace is not None:
            STATE.trace.note_made(self)
        self._bodies: dict[Any, Graph] = {}
        self._recorded_with: dict[str, Any] = {}  # the attributes that the bodies have as constants
        self._fresh: set[Tensor] = set()  # parameters with a state that no step has seen yet
        self._before_step: dict[int, Callable[..., Any]] = {}
        self._after_step: dict[int, Callable[..., Any]] = {}
        self._stepped = False
        self.check(self.defaults, type(self).__name__)
        groups = list(params)
        if not groups:
            raise ArgumentError(
                f"{type(self).__name__}: got an empty parameter list",
                expected="at least one tensor",
                fix="pass model.parameters(); a generator can be read only once",
            )
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    # -- the rule -----------------------------------------------------------------------------------------------

    def init(self, parameter: Tensor, group: Group) -> State:
        """Return the state of a parameter before its first step: PyTorch's names, tensors with values."""
        return {}

    def update(self, p: Node, g: Node, state: Nodes, hyper: Hyper) -> tuple[Node, Nodes]:
        """Return the new parameter and the new state, for the gradient ``g``.

        ``hyper`` has the options named in ``numbers`` as nodes of no dimensions in float64 (``betas`` as ``beta1`` and
        ``beta2``), those in ``flags`` as they are, and ``decays``: whether the weight decay is not 0.
        """
        raise ArgumentTypeError(
            f"{type(self).__name__} has no rule", fix="write update(self, p, g, state, hyper), or step(self, closure)"
        )

    def values(self, group: Group, fresh: bool) -> dict[str, float]:
        """Return the numbers that the body takes now. ``fresh``: it is the first step of the parameter."""
        found: dict[str, float] = {}
        for name in self.numbers:
            if name == "betas":
                found["beta1"], found["beta2"] = map(as_number, group["betas"])
            else:
                found[name] = as_number(group[name])
        return found

    def structure(self, group: Group) -> dict[str, Any]:
        """Return what selects the operations of the body: the flags of a group, and whether its weights decay."""
        found: dict[str, Any] = {}
        for name in self.flags:  # at every call of a compiled step
            found[name] = group[name]
        found["decays"] = as_number(group.get("weight_decay", 0)) != 0
        return found

    @property
    def param_groups(self) -> list[Group]:
        """The groups: dicts with ``params``, and with options that may be set at any time. Code that is traced may read them."""
        groups: list[Group] = self.__dict__["param_groups"]
        if STATE.mode == TRACE and STATE.trace is not None and not STATE.trace.has_made(self):
            return traced_groups(STATE.trace, self, groups)
        return groups

    @param_groups.setter
    def param_groups(self, groups: list[Group]) -> None:
        self._refuse_in_trace("sets")
        self.__dict__["param_groups"] = groups

    @property
    def state(self) -> defaultdict[Any, Any]:
        """What is known of each parameter, by names. Code that is traced may ask what is there."""
        if STATE.mode == TRACE and STATE.trace is not None and not STATE.trace.has_made(self):
            note_state(STATE.trace, self)
        state: defaultdict[Any, Any] = self.__dict__["state"]
        return state

    @state.setter
    def state(self, state: defaultdict[Any, Any]) -> None:
        self.__dict__["state"] = state

    def _refuse_in_trace(self, what: str) -> None:
        if STATE.mode == TRACE and STATE.trace is not None and not STATE.trace.has_made(self):
            raise refused(STATE.trace, f"{what} parameter groups of {type(self).__name__}")

    # -- groups ---------------------------------------------------------------------------------------------------

    def check(self, options: Group, place: str) -> None:
        """Raise ArgumentError for an option outside its limits; ``place`` says whose it is."""
        for name in IMPLEMENTATIONS:
            if options.get(name):
                raise ArgumentError(
                    f"{place}: got {name}={options[name]!r}, which chooses among PyTorch's implementations",
                    expected="None or False",
                    fix="leave it out: there is one implementation here",
                )
        for name, (low, below) in self.limits.items():
            if name == "betas" and name in options:
                for k, beta in enumerate(two(options[name], place)):
                    check_number(beta, f"betas[{k}]", low, below, place)
            elif name in options:
                check_number(options[name], name, low, below, place)

    def add_param_group(self, param_group: Group) -> None:
        """Add parameters with options of their own: ``{"params": tensors, "lr": …}``. Missing options are the defaults."""
        self._refuse_in_trace("adds")
        place = f"{type(self).__name__}, parameter group {len(self.param_groups)}"
        if not isinstance(param_group, dict):
            raise ArgumentTypeError(f"{place}: got {type(param_group).__name__}", expected="a dict with 'params'")
        if "params" not in param_group:
            raise ArgumentError(f"{place}: got the keys {list(param_group)}", expected="'params' among them")
        param_group["params"], names = _parameters(param_group["params"], place)
        if names:
            param_group["param_names"] = names
        for name, option in param_group.items():
            if name in self.defaults:
                param_group[name] = _plain(option)
        for name, default in self.defaults.items():
            param_group.setdefault(name, default)
        self.check(param_group, place)
        if len({id(p) for p in param_group["params"]}) < len(param_group["params"]):
            warnings.warn(f"{place}: a parameter stands there twice, and is updated twice per step", stacklevel=3)
        others = {id(p): k for k, group in enumerate(self.param_groups) for p in group["params"]}
        for k, p in enumerate(param_group["params"]):
            if id(p) in others:
                raise ArgumentError(
                    f"{place}: parameter {k} (shape {tuple(p.shape)}) is already in group {others[id(p)]}",
                    expected="each parameter in one group",
                )
        for group in self.param_groups:
            if ("param_names" in group) != ("param_names" in param_group):
                raise ArgumentError(
                    f"{place}: some groups have names and some have none",
                    expected="named_parameters() for all, or none",
                )
        self.param_groups.append(param_group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of all parameters, or fill them with zeros."""
        if STATE.mode == TRACE and STATE.trace is not None and not STATE.trace.has_made(self):
            note_optimizer(STATE.trace, self)
            note_groups(STATE.trace, self)
        for group in self.__dict__["param_groups"]:
            for p in group["params"]:
                if set_to_none:
                    p.grad = None
                else:
                    fill_grad_with_zeros(p)

    # -- the step -------------------------------------------------------------------------------------------------

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Do one step on every parameter that has a gradient.

        ``closure`` clears the gradients, computes the loss, calls backward and returns the loss, which is returned here.
        """
        tracing = STATE.trace if STATE.mode == TRACE else None
        if tracing is not None:
            if not tracing.has_made(self):
                note_optimizer(tracing, self)
                tracing.expect("the optimizer's hooks", self, hooks_of)
            for hook in (*self._before_step.values(), *self._after_step.values()):
                tracing.reached.note(hook)
        for hook in self._before_step.values():
            hook(self, (closure,), {})
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        if self._settings:
            self._forget_bodies_of_others()
        with np.errstate(all="ignore"):
            if tracing is not None:
                self._trace(tracing)
            else:
                for group in self.param_groups:
                    self._step_group(group)
        self._stepped = True
        for hook in self._after_step.values():
            hook(self, (closure,), {})
        return loss

    def _forget_bodies_of_others(self) -> None:
        now = settings_of(self, self._settings)
        if now != self._recorded_with:
            self._bodies.clear()
            self._recorded_with = now

    def _step_group(self, group: Group) -> None:
        flags, states = self.structure(group), self.__dict__["state"]
        numbers = [*self.values(group, fresh=False).values()]
        for p in group["params"]:
            gradient = p.grad
            if gradient is None:
                continue
            state = states[p]
            body = self._body(p, group, state, flags)
            value, g = p._value, gradient._value
            if g is None or g.dtype is not value.dtype or g.shape != value.shape or np.may_share_memory(g, value):
                g = _checked(p, gradient)
            if not value.flags.writeable:
                raise InPlaceError(
                    f"step: a parameter of shape {value.shape} has read-only memory", fix="clone() it first"
                )
            now = numbers
            if self._fresh and p in self._fresh:
                now = [*self.values(group, fresh=True).values()]
                self._fresh.discard(p)
            written = [value, *[t._value for t in state.values()]]
            run_body(body, [value, g, *written[1:], *now], written)
            overwrite(p, value)
            for t in state.values():
                if t._storage is not None:
                    t._storage.version += 1

    def _trace(self, trace: Trace) -> None:
        """Write one call of the body per parameter into the open trace, which refers to this optimizer weakly."""
        name, is_made_here = type(self).__name__, trace.has_made(self)
        if is_made_here:
            self._check_made_here(trace)
        else:
            note_groups(trace, self)
            trace.expect(f"what selects the rule of {name}", self, structures)
            if self._settings:
                trace.expect(f"an attribute that the rule of {name} reads", self, settings_now)
        stepped: list[tuple[int, int]] = []
        for k, group in enumerate(self.__dict__["param_groups"]):
            for option, value in group.items():
                if isinstance(value, Tensor) and trace.is_rewritten(value):
                    raise refused(
                        trace, f"writes to {option!r} of {name} before a step, which reads it before each run"
                    )
            flags = self.structure(group)
            values = self.values(group, fresh=False)
            shared = _constants(trace, values) if is_made_here else trace.ask_rates([*values], self, reading(k))
            for place, p in enumerate(group["params"]):
                gradient = p.grad
                if gradient is None:
                    continue
                state = self.__dict__["state"][p]
                body = self._body(p, group, state, flags)
                numbers = shared
                if p in self._fresh and trace.is_first((id(self), id(p))):
                    first = self.values(group, fresh=True)
                    if is_made_here:
                        numbers = _constants(trace, first)
                        self._fresh.discard(p)
                    elif first != values:
                        numbers = trace.ask_rates([*values], self, reading_first(k, place))
                    else:
                        self._fresh.discard(p)
                stepped.append((k, place))
                for key, t in state.items():
                    trace.names[id(t)] = (key, p)
                operands = [current_node(t) for t in (p, gradient, *state.values())]
                call = trace.recording.apply(CALL, (*operands, *numbers), {"body": body})
                with no_grad():
                    for index, t in enumerate((p, *state.values())):
                        write(t, trace.tensor(trace.recording.apply(GET, (call,), {"index": index})))
        if not is_made_here:
            trace.expect(f"a tensor in the state of {name}", self, reading_states(stepped))

    def _check_made_here(self, trace: Trace) -> None:
        """Raise if a step of an optimizer that the traced code makes reads what only a run knows."""
        name = type(self).__name__
        tensors = [text for group in self.param_groups for text, value in group.items() if isinstance(value, Tensor)]
        if tensors:
            what = f"with a tensor as {tensors[0]!r}"
        elif trace.is_scheduled:
            what = "and steps it after a scheduler's step, which happens before or after a run"
        elif any(p._value is None for group in self.param_groups for p in group["params"]):
            what = "for tensors that it makes, too"
        else:
            return
        raise TraceError(
            f"the compiled function '{trace.name}' makes an optimizer, {name}, {what}",
            expected="numbers as rates, and parameters from outside",
            fix="make the optimizer outside of the compiled function",
        )

    def _body(self, p: Tensor, group: Group, state: State, flags: Mapping[str, Any]) -> Graph:
        """Return the recorded update for a parameter; its state is made if there is none."""
        if not state:
            state.update(self.init(p, group))
            if state:
                self._fresh.add(p)
        key = (*flags.values(), p._value.dtype, *state, *[t._value.dtype for t in state.values()])
        body = self._bodies.get(key)
        if body is None:
            missing = {name: t for name, t in self.init(p, group).items() if name not in state}
            if missing:  # an option that needs more state was switched on
                state.update(missing)
                return self._body(p, group, state, flags)
            dtypes = {name: t._value.dtype for name, t in state.items()}
            body = self._bodies[key] = self._record(p._value.dtype, dtypes, group, flags)
        return body

    def _record(self, dtype: Dtype, dtypes: dict[str, Dtype], group: Group, flags: Mapping[str, Any]) -> Graph:
        recorder = BodyRecording()
        p, g = vector_input("parameter", dtype), vector_input("gradient", dtype)
        state = {name: (scalar_input if name in self.scalars else vector_input)(name, dtypes[name]) for name in dtypes}
        numbers = {name: scalar_input(name, F64) for name in self.values(group, fresh=False)}
        with recording(recorder):
            new_p, changed = self.update(p, g, dict(state), {**numbers, **flags})
            outputs = [recorder.fitted(changed.get(name, node), node.dtype) for name, node in state.items()]
        return Graph([p, g, *state.values(), *numbers.values()], [new_p, *outputs], type(self).__name__)

    # -- saving ---------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return state and groups in PyTorch's form: parameters are numbered in the order of the groups."""
        return save(self.state, self.param_groups)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from what ``state_dict`` returned, here or in PyTorch; parameters are matched by their order.

        Raises ArgumentError if groups or shapes do not fit; then nothing has changed.
        """
        loaded = load(type(self).__name__, state_dict, self.param_groups, self.scalars, IMPLEMENTATIONS, self.state)
        for k, (group, options) in enumerate(loaded.groups):
            self.check({**group, **options}, f"{type(self).__name__}.load_state_dict, parameter group {k}")
        loaded.apply(self.state)
        self._fresh.clear()

    def register_step_pre_hook(self, hook: Callable[..., Any]) -> Handle:
        """Call ``hook(optimizer, args, kwargs)`` before each step."""
        return Handle(self._before_step, hook)

    def register_step_post_hook(self, hook: Callable[..., Any]) -> Handle:
        """Call ``hook(optimizer, args, kwargs)`` after each step."""
        return Handle(self._after_step, hook)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_bodies": {}}  # recorded again when needed

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for k, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {k}")
            lines += [f"    {name}: {group[name]}" for name in sorted(group) if name != "params"]
        return "\n".join(lines) + "\n)"


def _constants(trace: Trace, values: Mapping[str, float]) -> list[Node]:
    """Return the numbers of an optimizer that the traced code makes: it makes the same one in each run."""
    return [trace.constant(np.asarray(value, F64)) for value in values.values()]


def _plain(option: Any) -> Any:
    """Return an option with numbers of NumPy's as Python's."""
    if type(option) in (tuple, list):
        return type(option)([plain_number(part) for part in option])
    return plain_number(option)


def _parameters(params: Any, place: str) -> tuple[list[Tensor], list[str]]:
    """Return the tensors of a group, and their names if they came with names."""
    if isinstance(params, (set, frozenset)):
        raise ArgumentTypeError(f"{place}: got a set of parameters", expected="an order that stays", fix="use a list")
    entries: Iterable[Any] = [params] if isinstance(params, Tensor) else params
    tensors: list[Tensor] = []
    names: list[str] = []
    for k, entry in enumerate(entries):
        p = entry
        if isinstance(entry, tuple) and len(entry) == 2:
            names.append(entry[0])
            p = entry[1]
        if not isinstance(p, Tensor):
            raise ArgumentTypeError(f"{place}: parameter {k} is a {type(p).__name__}", expected="a tensor")
        node = p._node
        if not p.is_leaf and (node is None or node.owner is None):
            raise ArgumentError(
                f"{place}: parameter {k} (shape {tuple(p.shape)}) was made by an operation",
                expected="a leaf",
                fix="pass the tensor it was computed from, or detach() it and set requires_grad",
            )
        tensors.append(p)
    if names and len(names) < len(tensors):
        raise ArgumentError(f"{place}: {len(names)} of {len(tensors)} parameters have names", expected="all, or none")
    return tensors, names


def _checked(p: Tensor, gradient: Tensor) -> Array:
    """Return the gradient's array if it fits the parameter; one that shares its memory is copied."""
    g = concrete(gradient, "an optimizer's step")
    if g.dtype != p._value.dtype or g.shape != p._value.shape:
        raise ArgumentError(
            f"step: the gradient is {g.dtype} of shape {g.shape}",
            expected=f"that of its parameter, {p._value.dtype} of shape {p._value.shape}",
        )
    return g.copy() if np.may_share_memory(g, p._value) else g
