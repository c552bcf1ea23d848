"""What code names outside: the variables that it reads, and the code that runs when it does.

Found are the variables of a function, and of all code that it may call: functions of the user's by name, in containers, in
attributes, in a partial; methods, properties and operators of objects and classes that it names, in all their bases. Of
these objects, of classes and of the user's own Python modules the attributes that this code names matter too.
"""

from __future__ import annotations

import functools
import operator
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from types import FunctionType, MemberDescriptorType, MethodType, ModuleType
from typing import Any

from chainrule.tensors.code_reads import (
    asked_by,
    asks_by_made_name,
    attributes_of,
    attributes_read,
    first_of_getattr,
    globals_of,
    globals_set,
    imports_of,
    may_go_without,
)
from chainrule.tensors.code_variables import Global, OfClass, attributes_put, defaults, variables
from chainrule.tensors.facts import (
    DEEPEST,
    OF_GROUPS,
    SIMPLE,
    is_long,
    is_module,
    is_of_user,
    is_ordinary,
    is_source,
    may_change,
    own_members,
    parts_of_object,
    was_seen,
    weakly,
)
from chainrule.tensors.guarded_names import (
    ClassName,
    CodeName,
    EnvironmentName,
    ListName,
    LongName,
    MissingAttributes,
    MissingNames,
    Name,
    ObjectName,
    SetName,
)
from chainrule.tensors.plain_data import PLAIN, plain_data

CACHED = type(functools.lru_cache(len))
Find = Callable[[], Any]
NOT_CALLED = """
__init_subclass__ __class_getitem__ __set_name__ __del__ __reduce__ __reduce_ex__ __getstate__ __setstate__ __copy__ __deepcopy__
__delattr__ __dir__ __sizeof__
"""  # of the methods that operators and statements call: those that say nothing of what an object computes
MAKE = ("__init__", "__new__", "__post_init__")  # of classes that code names
TELL = ("__repr__", "__str__", "__format__", "__hash__", "__eq__", "__setattr__")  # what these read alone matters
ENVIRONMENT = ("environ", "environb", "getenv")
ALL_PARTS = ("modules", "named_modules", "children", "named_children", "apply", "_modules", "values", "items")
NOT_CALLED_NAMES = frozenset(NOT_CALLED.split())


class Named:
    """All that one function, and what it calls, names outside: variables, and the attributes of what is in them.

    ``given``  arguments that are neither tensors nor containers, with their names: what code reads of an object is no part of it
    """

    def __init__(
        self, function: Callable[..., Any], given: Iterable[tuple[str, Any]] = (), *, is_running: bool = False
    ) -> None:
        self._is_running = is_running  # the code that is traced
        self.read: set[Any] = set()  # variables, by place and name, and names of attributes
        self._set: dict[tuple[int, str], str] = {}  # attributes of functions and classes that code sets: their names
        self.found: dict[tuple[int, str], tuple[str, Find]] = {}
        self.attributes: set[str] = set()
        self._without: set[str] = set()  # attributes that code may go on without
        self._missing: dict[
            int, tuple[dict[str, Any], set[str]]
        ] = {}  # globals that are not there, by the id of their dict
        self._forwards: set[int] = set()  # of modules, which are looked at when they run
        self._of_others: set[str] = set()  # the attributes that other code names
        self.functions: dict[int, FunctionType] = {}
        self._pending: list[FunctionType] = []
        self._modules: dict[int, tuple[str, Any]] = {}
        self._python_modules: dict[int, tuple[str, ModuleType]] = {}
        self._objects: list[tuple[str, Any]] = []
        self.met: dict[int, Any] = {}  # ordinary objects
        self._seen: dict[int, int] = {}  # how deep one went into what is met, by id
        self._classes: dict[type, set[str]] = {}  # and the names of the members that hold code
        self._made: set[type] = set()  # of which code may make objects
        self._asked: set[str] = {"__setattr__"}  # methods of TELL that code calls
        self._only_read: set[int] = set()  # functions whose assignments are of no interest
        self.imports_more = False  # Python modules that are not loaded yet
        self._by_name: list[tuple[str, Any]] = []
        self.cached: dict[int, Any] = {}  # functions with a cache
        self.owner = getattr(function, "__self__", None) if isinstance(function, MethodType) else None
        plain = plain_function(function)
        if plain is not None:
            self._pending.append(plain)
        self._meet_owner(plain)
        if isinstance(function, functools.partial):
            self.found[id(function), "partial"] = ("partial", weakly(function))
            self._objects.append(("partial", function))
        for name, value in given:
            self._meet_given(name, value)
        self._settle()
        self._attributes_of_modules()
        self._attributes_of_classes()

    def _meet_owner(self, plain: FunctionType | None) -> None:
        owner = self.owner
        if is_ordinary(owner):
            place = plain.__code__.co_varnames[0] if plain else "self"
            self.found[id(owner), place] = (place, weakly(owner))
            self._objects.append((place, owner))
        elif is_module(owner):
            self._meet_module("self", owner)
        elif isinstance(owner, type):  # of a class method
            self._objects.append((owner.__name__, owner))

    def _settle(self) -> None:
        """Look at code until none is left, and no more modules come up."""
        known: tuple[int, ...] = ()
        while self._pending or known != self._extent():
            known = self._extent()
            self._look()
            self._follow()

    def _extent(self) -> tuple[int, ...]:
        return len(self._modules), len(self._python_modules), len(self._classes), len(self._asked)

    def _meet_given(self, name: str, value: Any) -> None:
        """Take down an argument. Which one it is the call compares: one that equals others is compared no further."""
        self._objects.append((name, value))
        if isinstance(value, MethodType):  # made anew each time
            name, value = f"{name}.__self__", value.__self__
        if is_module(value):
            self._meet_module(name, value)
        elif (is_ordinary(value) and _is_itself(value)) or is_source(value):
            self.found[id(value), name] = (name, weakly(value))

    def names(self) -> list[Name]:
        """Return all of it, as it is now."""
        named = frozenset(self.attributes)
        names: list[Name] = []
        for (place, text), (_, find) in self.found.items():
            value = find()
            read_as = self._set.get((place, text), (place, text) if type(find) is Global else None)
            if read_as is not None and read_as not in self.read:
                names.append(SetName(place, text, find, read_as))
            elif type(value) in PLAIN and value and plain_data(value) is not None:
                names.append(ObjectName(place, text, find, named))
            elif is_long(value):
                names.append(LongName(place, text, find))
            elif not is_ordinary(value) or (isinstance(value, tuple) and all(type(part) in SIMPLE for part in value)):
                names.append(Name(place, text, find))
            else:
                names.append((ListName if type(value) is list else ObjectName)(place, text, find, named))
        for kind, members in self._classes.items():
            if members:
                names.append(ClassName(kind.__name__, kind, members))
        if not named.isdisjoint(ENVIRONMENT):
            names.append(EnvironmentName())
        for plain in self.functions.values():
            if is_of_user(plain.__module__):
                names.append(CodeName(id(plain), plain.__qualname__.rpartition("<locals>.")[2], weakref.ref(plain)))
        names += [MissingNames(held, missing) for held, missing in self._missing.values() if missing]
        return [*names, *self._missing_attributes()] if self._without else names

    def _missing_attributes(self) -> Iterator[Name]:
        """Yield what code may go on without of functions, classes and Python modules: what is not there."""
        owners = {id(other): (text, other) for text, other in [*self._python_modules.values(), *self._by_name]}
        for kind in self._classes:
            owners.update({id(base): (base.__name__, base) for base in kind.__mro__ if is_of_user(base.__module__)})
        for text, owner in owners.values():
            if isinstance(owner, ModuleType) or is_of_user(owner.__module__):
                missing = self._without.difference(vars(owner))
                if missing:
                    yield MissingAttributes(text, owner, missing)

    def modules(self) -> Iterable[tuple[str, Any]]:
        """Return the modules of layers, each with the place where it was met."""
        return self._modules.values()

    # -- code ------------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Look at all functions that wait for it."""
        while self._pending:
            plain = self._pending.pop()
            if id(plain) in self.functions:
                continue
            self.functions[id(plain)] = plain
            self._call(plain.__dict__.get("__wrapped__"), plain)  # what a decorator was put around
            code = plain.__code__
            named = attributes_read(code) if id(plain) in self._only_read else attributes_of(code)
            if is_of_user(plain.__module__):
                self._meet_imported(plain)
                self._note_missing(plain)
                if id(plain) not in self._only_read:
                    self._asked.update(asked_by(code))
                if asks_by_made_name(code) and not all(map(_is_library, _asked_for(plain))):
                    named |= {"__dict__"}  # all of them
            self.attributes |= named
            if id(plain) not in self._forwards:
                self._of_others |= named
            self.read.update(attributes_read(code))
            self.read.update([(id(plain.__globals__), text) for text in globals_of(code)])
            for place, text, find in variables(plain):
                self._meet(place, text, find, plain)
            for owner, text, name, put in attributes_put(plain, is_running=self._is_running):
                self.found[id(owner), text] = (text, put)
                self._set[id(owner), text] = name
            for text, find in defaults(plain):
                if may_change(find()):
                    self.found[id(plain), text] = (text, find)
                self._objects.append((text, find()))

    def _note_missing(self, plain: FunctionType) -> None:
        """Take down which globals a function asks for that are not there, and which attributes it may go on without."""
        self._without |= may_go_without(plain.__code__)
        held = plain.__globals__
        missing = [text for text in globals_of(plain.__code__) if text not in held]
        self._missing.setdefault(id(held), (held, set()))[1].update({*missing}.difference(globals_set(plain.__code__)))

    def _meet(self, place: int, text: str, find: Find, by: FunctionType) -> None:
        """Take down a variable, and what is to be followed of its value."""
        value = find()
        if isinstance(value, ModuleType):
            if is_of_user(value.__name__):
                self._python_modules[id(value)] = (text, value)
            return
        self.found.setdefault((place, text), (text, find))
        if is_module(value):
            if value is not self.owner:
                self._meet_module(text, value)
            forward = plain_function(value)
            if forward is not None:
                self._forwards.add(id(forward))
                self._call(forward, by)
            return
        if isinstance(value, MethodType) and is_module(value.__self__):
            self._meet_module(f"{text}.__self__", value.__self__)
        if isinstance(value, FunctionType) or type(value).__module__.startswith("chainrule.optim."):
            self._by_name.append((text, value))
        self._objects.append((text, value))
        called = plain_function(value)
        if called is not None and called.__globals__ is by.__globals__:
            self._pending.append(called)

    def _meet_imported(self, plain: FunctionType) -> None:
        """Take down the user's own Python modules that code imports when it runs."""
        for name, level in imports_of(plain.__code__):
            package = str(plain.__globals__.get("__package__") or "")
            above = package.rsplit(".", level - 1)[0] if level else ""
            full = f"{above}.{name}".strip(".")
            for part in {full, full.partition(".")[0]}:
                module = sys.modules.get(part)
                if module is None:
                    self.imports_more = True
                elif is_of_user(part):
                    self._python_modules.setdefault(id(module), (part, module))

    def _meet_module(self, text: str, module: Any) -> None:
        self._modules.setdefault(id(module), (text, module))

    def _call(self, function: Any, by: FunctionType) -> None:
        plain = plain_function(function)
        if plain is not None and (plain.__globals__ is by.__globals__ or not is_own(plain)):
            self._pending.append(plain)

    def _follow(self) -> None:
        """Find the code that the objects met so far may run, now that it is known which attributes are named."""
        named = frozenset(self.attributes)
        self._seen.clear()
        for place, value in list(self._objects):
            self._walk(value, named, DEEPEST, place)
        for text, module in list(self._modules.values()):
            if type(module) not in self._classes and not type(module).__module__.startswith("chainrule."):
                self._classes[type(module)] = set()
            read = self.attributes if module is self.owner else self._of_others
            for name, part in list(vars(module).items()):
                if name in read:
                    self._walk(part, named, DEEPEST - 1, f"{text}.{name}")
            takes_all = not named.isdisjoint(ALL_PARTS)
            for name, part in module._modules.items():
                if part is not None and (takes_all or name in read or name.isdigit()):  # a part of a list of layers too
                    self._meet_module(f"{text}.{name}", part)
        for text, module in list(self._python_modules.values()):
            for name in named & vars(module).keys():
                part = vars(module)[name]
                if isinstance(part, ModuleType):
                    if is_of_user(part.__name__):
                        self._python_modules.setdefault(id(part), (f"{text}.{name}", part))
                else:
                    self._walk(part, named, DEEPEST, f"{text}.{name}")
        for kind in list(self._classes):
            self._methods(kind, named)
        self._pending = [plain for plain in self._pending if id(plain) not in self.functions]

    def _walk(self, value: Any, named: frozenset[str], depth: int, place: str) -> None:
        if isinstance(value, type):
            if is_of_user(value.__module__):
                self._made.add(value)
                self._classes.setdefault(value, set())
                if is_of_user(type(value).__module__):
                    self._classes.setdefault(type(value), set())
            return
        if type(value) is ContextVar:
            self.found.setdefault((id(value), place), (f"{place}.get()", functools.partial(value.get, None)))
            return
        if type(value) in (operator.attrgetter, operator.methodcaller):
            texts = [text for text in value.__reduce__()[1] if isinstance(text, str)]
            self.attributes.update(*[text.split(".") for text in texts])
            return
        if isinstance(value, (staticmethod, classmethod)):
            value = value.__func__
        if type(value) is CACHED:
            self.cached[id(value)] = value
        if isinstance(value, MethodType):
            if not isinstance(value.__self__, MethodType):
                self._walk(value.__self__, named, depth, f"{place}.__self__")
            value = value.__func__
        if isinstance(value, FunctionType):
            if is_of_user(value.__module__):
                self._pending.append(value)
            return
        if is_module(value):
            self._meet_module(place, value)
            return
        wrapped = getattr(value, "__dict__", {}).get("__wrapped__")
        if wrapped is not None:  # another compiled function
            self._walk(wrapped, named, depth, place)
        if depth and is_long(value):
            for name, part in parts_of_object(value, frozenset()):
                if is_module(part):
                    self._meet_module(f"{place}{name}", part)
        if not depth or not is_ordinary(value) or was_seen(value, depth, self._seen):
            return
        kind = type(value)
        if kind.__module__ not in ("builtins", "collections", "functools"):
            self._classes.setdefault(kind, set())
            self.met[id(value)] = value
        for name, part in parts_of_object(value, named):
            if type(part) not in SIMPLE:
                self._walk(part, named, depth - 1, f"{place}{name}")

    def _methods(self, kind: type, named: frozenset[str]) -> None:
        """Find the methods, properties and operators of a class and its bases, and what makes its objects if code may do so."""
        found = self._classes[kind]
        if kind in self._made:
            for field in vars(kind).get("__dataclass_fields__", {}).values():
                self._walk(field.default_factory, named, DEEPEST, f"{kind.__name__}.{field.name}")
        is_layer = any(base.__module__.startswith("chainrule.nn") for base in kind.__mro__)
        for base in kind.__mro__:
            is_users = is_of_user(base.__module__)
            if base is object or base.__module__.partition(".")[0] in ("chainrule", "numpy"):
                continue
            for name, member in list(own_members(base).items()):
                is_operator = is_users and name[:2] == name[-2:] == "__" and name not in NOT_CALLED_NAMES
                if name in MAKE:
                    is_operator = is_operator and kind in self._made
                elif name in TELL:
                    is_operator = is_operator and name in self._asked
                if name not in named and not is_operator and not (name == "forward" and is_layer):
                    continue
                if is_users and name in named and not functions_of(member):
                    self._walk(member, named, DEEPEST - 1, f"{base.__name__}.{name}")
                if is_of_user(type(member).__module__) and hasattr(type(member), "__get__"):
                    self._classes.setdefault(type(member), set())
                for function in functions_of(member):
                    code = getattr(function.__dict__.get("__wrapped__", function), "__code__", function.__code__)
                    if (name[:2] == "__" and code.co_filename == "<string>") or is_own(function):
                        continue  # the first are written by a dataclass
                    if is_users:
                        found.add(name)
                        if base is not kind:  # which code may ask by super()
                            self._classes.setdefault(base, set()).add(name)
                    if name in MAKE or name in TELL:
                        self._only_read.add(id(function))
                    self._pending.append(function)

    # -- attributes --------------------------------------------------------------------------------------------------

    def _attributes_of_modules(self) -> None:
        for text, module in self._modules.values():
            if vars(module).get("_made_while_tracing", True):  # or none of chainrule's
                continue
            read = self.attributes if module is self.owner else self._of_others
            for name, value in vars(module).copy().items():  # other threads import
                if name in read and may_change(value):
                    self._attribute(text, module, name)
        for text, other in [*self._python_modules.values(), *self._by_name]:
            is_function = isinstance(other, (FunctionType, ModuleType))
            for name in sorted(self.attributes & vars(other).keys()):
                value = vars(other)[name]
                if not is_function and (name[:1] == "_" or name in OF_GROUPS):
                    continue  # of an optimizer or a schedule: what tells by itself that it is read, or is of no account
                if is_function or type(value) in (*SIMPLE, tuple) or may_change(value):
                    self._attribute(text, other, name)

    def _attribute(self, text: str, owner: Any, name: str) -> None:
        place = f"{text}.{name}"
        self.found.setdefault((id(owner), place), (place, functools.partial(_attribute, weakref.ref(owner), name)))

    def _attributes_of_classes(self) -> None:
        for kind in list(self._classes):
            for name in sorted(self.attributes):
                base = next((base for base in kind.__mro__ if name in vars(base)), None)
                if base is None or not is_of_user(base.__module__):
                    continue
                if not _is_followed(vars(base)[name]):
                    text = f"{kind.__name__}.{name}"
                    self.found.setdefault((id(kind), text), (text, OfClass(kind, name)))


def _is_followed(member: Any) -> bool:
    """Say whether a member of a class is code of the user's, compared as such, or gives what objects hold."""
    if isinstance(member, (MemberDescriptorType, ModuleType)):
        return True
    functions = functions_of(member)
    return isinstance(member, property) or any(not is_own(function) for function in functions)


def _is_itself(value: Any) -> bool:
    """Say whether an argument is compared by which one it is: it equals no other, or has no hash."""
    if getattr(type(value), "__eq__", None) is object.__eq__:
        return True
    try:
        hash(value)
    except TypeError:
        return True
    return False


def functions_of(member: Any) -> list[FunctionType]:
    """Return the code behind a member of a class."""
    if isinstance(member, property):
        found = [member.fget, member.fset]
    elif isinstance(member, functools.cached_property):
        found = [member.func]
    elif isinstance(member, (staticmethod, classmethod)):
        found = [member.__func__]
    else:
        found = [member]
    return [function for function in found if isinstance(function, FunctionType)]


def operators_of(kind: type) -> Iterator[FunctionType]:
    """Yield the functions that operators and statements call on objects of a class of the user's."""
    for base in kind.__mro__:
        if is_of_user(base.__module__):
            for name, member in own_members(base).items():
                if name[:2] == name[-2:] == "__" and name not in NOT_CALLED_NAMES:
                    yield from [f for f in functions_of(member) if f.__code__.co_filename != "<string>"]


def is_own(function: Any) -> bool:
    """Say whether a function is one of chainrule's."""
    return (function.__module__ or "").startswith("chainrule.")


def _attribute(find: Find, name: str) -> Any:
    return getattr(find(), "__dict__", {}).get(name)


def plain_function(function: Any) -> FunctionType | None:
    """Return the Python function behind a method, a partial or a module; None if there is none."""
    while True:
        if isinstance(function, FunctionType):
            return function
        if isinstance(function, MethodType):
            function = function.__func__
        elif isinstance(function, functools.partial):
            function = function.func
        elif isinstance(getattr(type(function), "forward", None), FunctionType):
            function = type(function).forward
        elif "__wrapped__" in getattr(function, "__dict__", ()):  # another compiled function
            function = function.__wrapped__
        else:
            return None


def _asked_for(function: FunctionType) -> list[Any]:
    """Return the values of variables from outside whose attributes a function asks for by getattr; None for others."""
    outside = {text: find() for _, text, find in variables(function)}
    return [outside.get(name) for name in first_of_getattr(function.__code__)]


def _is_library(value: Any) -> bool:
    return isinstance(value, ModuleType) and not is_of_user(value.__name__)
