"""Modules that hold modules: in a row, in a list, by name."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Self, SupportsIndex, cast, overload

from chainrule.errors import ArgumentError, ArgumentTypeError, IndexingError, NameUnknown, nearest
from chainrule.nn.module import Module, body, indented


class NameUnknownKey(NameUnknown, KeyError):
    """A key that is not there, with the nearest keys that are."""

    __str__ = NameUnknown.__str__


class _Row(Module):
    """Modules under the names '0', '1', …, which follow their places."""

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._held())

    def _held(self) -> list[Module]:
        return cast("list[Module]", list(self._modules.values()))

    def _place(self, index: SupportsIndex, *, end: bool = False) -> int:
        """Return the place counted from the front; with ``end`` the one behind the last too."""
        place, count = operator.index(index), len(self)
        if not -count <= place < count + end:
            raise IndexingError(
                f"{self._get_name()} of {count} modules: got the index {place}",
                expected=f"{-count} … {count - 1}" if count else "none: it is empty",
            )
        return place + count if place < 0 else place

    def _refill(self, modules: Iterable[Module]) -> None:
        """Hold these modules, and no others, under the names of their places."""
        self._set({str(place): module for place, module in enumerate(modules)})

    def _set(self, modules: Mapping[str, Module]) -> None:
        for name in list(self._modules):
            delattr(self, name)
        for name, module in modules.items():
            self.register_module(name, module)

    def _like(self, modules: Mapping[str, Module]) -> Self:
        made = type(self).__new__(type(self))
        Module.__init__(made)
        made.training = self.training
        made._set(modules)
        return made

    @overload
    def __getitem__(self, index: slice) -> Self: ...

    @overload
    def __getitem__(self, index: SupportsIndex) -> Module: ...

    def __getitem__(self, index: SupportsIndex | slice) -> Self | Module:
        if isinstance(index, slice):
            return self._like(self._named(list(self._modules.items())[index]))
        return self._held()[self._place(index)]

    def _named(self, items: Sequence[tuple[str, Any]]) -> dict[str, Module]:
        """Return a part of the modules under the names that they get in it."""
        return {str(place): module for place, (_, module) in enumerate(items)}

    def __setitem__(self, index: SupportsIndex, module: Module) -> None:
        setattr(self, list(self._modules)[self._place(index)], module)

    def __delitem__(self, index: SupportsIndex | slice) -> None:
        held = self._held()
        del held[index if isinstance(index, slice) else self._place(index)]
        self._refill(held)

    def append(self, module: Module) -> Self:
        """Add a module at the end."""
        self.register_module(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add modules at the end."""
        if not isinstance(modules, Iterable):
            raise ArgumentTypeError(f"extend: got {type(modules).__name__}", expected="modules, as a list for instance")
        for module in list(modules):
            self.append(module)
        return self

    def insert(self, index: SupportsIndex, module: Module) -> Self:
        """Add a module before the place ``index``."""
        if not isinstance(module, Module):
            raise ArgumentTypeError(f"insert: got {type(module).__name__}", expected="a Module")
        held = self._held()
        held.insert(self._place(index, end=True), module)
        self._refill(held)
        return self

    def pop(self, index: SupportsIndex | slice = -1) -> Any:
        """Take a module out and return it."""
        found = self[index]
        del self[index]
        return found

    def __iadd__(self, modules: Iterable[Module]) -> Self:
        return self.extend(modules)

    def __add__(self, modules: Iterable[Module]) -> Self:
        return self._like(self._named(list(self._modules.items()))).extend(modules)


class Sequential(_Row):
    """Modules in a row: each gets the output of the one before.

    >>> import chainrule as cr
    >>> cr.nn.Sequential(cr.nn.Linear(2, 3), cr.nn.ReLU())
    Sequential(
      (0): Linear(in_features=2, out_features=3, bias=True)
      (1): ReLU()
    )
    """

    def __init__(self, *modules: Module | Mapping[str, Module]) -> None:
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            named = modules[0]
        else:
            named = {str(place): cast("Module", module) for place, module in enumerate(modules)}
        for name, module in named.items():
            self.register_module(name, module)

    def forward(self, input: Any) -> Any:
        """Return the output of the last module."""
        for module in self._modules.values():
            input = module(input)  # type: ignore[misc]  # None is not registered in a row
        return input

    def _feeder(self, name: str) -> tuple[str, Module | None] | None:
        names = list(self._modules)
        if name not in names:
            return None
        place = names.index(name)
        return (names[place - 1], self._held()[place - 1]) if place else ("", None)

    def _named(self, items: Sequence[tuple[str, Any]]) -> dict[str, Module]:
        return dict(items)

    def __delitem__(self, index: SupportsIndex | slice) -> None:
        if all(name.isdigit() for name in self._modules):
            super().__delitem__(index)
            return
        names = list(self._modules)
        for name in names[index] if isinstance(index, slice) else [names[self._place(index)]]:
            delattr(self, name)

    def __mul__(self, times: int) -> Sequential:
        if operator.index(times) < 1:
            raise ArgumentError(f"Sequential * {times!r}", expected="a whole number, at least 1")
        return Sequential(*(self._held() * times))

    __rmul__ = __mul__

    def __imul__(self, times: int) -> Self:
        self._refill(self.__mul__(times))
        return self


class ModuleList(_Row):
    """A list of modules whose parameters are found; call the modules yourself in ``forward``."""

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        if modules is not None:
            self.extend(modules)

    def __repr__(self) -> str:
        """Return the text, equal neighbours written once."""
        runs: list[tuple[int, int, str]] = []
        for place, module in enumerate(self):
            text = repr(module)
            if runs and runs[-1][2] == text:
                runs[-1] = (runs[-1][0], place, text)
            else:
                runs.append((place, place, text))
        parts = []
        for first, last, text in runs:
            label = f"({first}): " if first == last else f"({first}-{last}): {last - first + 1} x "
            parts.append(indented(label + text))
        return f"{self._get_name()}({body([], parts)})"


class ModuleDict(Module):
    """Modules by name whose parameters are found; call the modules yourself in ``forward``."""

    def __init__(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] | None = None) -> None:
        super().__init__()
        if modules is not None:
            self.update(modules)

    def __getitem__(self, key: str) -> Module:
        found = self._modules.get(key)
        if found is None:
            raise NameUnknownKey(f"{self._get_name()} has no module {key!r}", fix=nearest(str(key), self._modules))
        return found

    def __setitem__(self, key: str, module: Module) -> None:
        self.register_module(key, module)

    def __delitem__(self, key: str) -> None:
        self[key]
        delattr(self, key)

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, key: object) -> bool:
        return key in self._modules

    def clear(self) -> None:
        """Let go of all modules."""
        for key in list(self._modules):
            delattr(self, key)

    def pop(self, key: str) -> Module:
        """Take a module out and return it."""
        found = self[key]
        del self[key]
        return found

    def keys(self) -> Iterable[str]:
        """Return the names."""
        return self._modules.keys()

    def items(self) -> Iterable[tuple[str, Module]]:
        """Return the names with their modules."""
        return cast("Iterable[tuple[str, Module]]", self._modules.items())

    def values(self) -> Iterable[Module]:
        """Return the modules."""
        return cast("Iterable[Module]", self._modules.values())

    def update(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]]) -> None:
        """Hold these modules too; one of a known name takes its place."""
        if isinstance(modules, (Mapping, ModuleDict)):
            pairs: Iterable[Any] = modules.items()
        elif isinstance(modules, Iterable):
            pairs = modules
        else:
            raise ArgumentTypeError(
                f"ModuleDict: got {type(modules).__name__}", expected="a mapping, or pairs of a name and a module"
            )
        for pair in pairs:
            if len(pair) != 2:
                raise ArgumentError(f"ModuleDict: got {len(pair)} things", expected="pairs of a name and a module")
            self[pair[0]] = pair[1]
