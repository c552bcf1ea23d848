"""Modules that hold parameters: in a list, by name. Other values may stand between them."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self, SupportsIndex

from chainrule.errors import ArgumentTypeError, IndexingError, nearest
from chainrule.nn.containers import NameUnknownKey
from chainrule.nn.module import Module
from chainrule.nn.parameter import Buffer, Parameter
from chainrule.tensors.tensor import Tensor


def _line(key: object, value: Any) -> str:
    if not isinstance(value, Tensor):
        return f"  ({key}): Object of type: {type(value).__name__}"
    kind = "Parameter" if isinstance(value, Parameter) else "Tensor"
    return f"  ({key}): {kind} containing: [{value.dtype!r} of size {'x'.join(map(str, value.shape))}]"


def _as_parameter(value: Any) -> Any:
    """Return a plain tensor as a parameter; anything else as it is."""
    is_plain = isinstance(value, Tensor) and not isinstance(value, (Parameter, Buffer))
    return Parameter(value) if is_plain else value


class ParameterList(Module):
    """A list of parameters that are found; a tensor that is put in becomes a parameter, other values stay."""

    def __init__(self, values: Iterable[Any] | None = None) -> None:
        super().__init__()
        self._size = 0
        if values is not None:
            self.extend(values)

    def _name(self, index: SupportsIndex) -> str:
        place = operator.index(index)
        if not -self._size <= place < self._size:
            raise IndexingError(f"ParameterList of {self._size}: got the index {place}", expected="a place in the list")
        return str(place + self._size if place < 0 else place)

    def __getitem__(self, index: SupportsIndex | slice) -> Any:
        if isinstance(index, slice):
            return type(self)([self[k] for k in range(*index.indices(self._size))])
        return getattr(self, self._name(index))

    def __setitem__(self, index: SupportsIndex, value: Any) -> None:
        setattr(self, self._name(index), _as_parameter(value))

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Any]:
        return iter([self[k] for k in range(self._size)])

    def __iadd__(self, values: Iterable[Any]) -> Self:
        return self.extend(values)

    def append(self, value: Any) -> Self:
        """Add a value at the end."""
        name = str(self._size)
        self._size += 1
        setattr(self, name, _as_parameter(value))
        return self

    def extend(self, values: Any) -> Self:
        """Add values at the end."""
        if not isinstance(values, Iterable) or isinstance(values, Tensor):
            raise ArgumentTypeError(f"extend: got {type(values).__name__}", expected="a list of parameters")
        for value in list(values):
            self.append(value)
        return self

    def extra_repr(self) -> str:
        """Return a line for each value."""
        return "\n".join(_line(place, value) for place, value in enumerate(self))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise ArgumentTypeError("a ParameterList is called", expected="its parameters used in a module's forward")


class ParameterDict(Module):
    """Parameters by name that are found; a tensor that is put in becomes a parameter, other values stay."""

    def __init__(self, parameters: Any = None) -> None:
        super().__init__()
        self._keys: dict[str, None] = {}
        if parameters is not None:
            self.update(parameters)

    def __getitem__(self, key: str) -> Any:
        if key not in self._keys:
            raise NameUnknownKey(f"ParameterDict has no {key!r}", fix=nearest(str(key), self._keys))
        return getattr(self, key)

    def __setitem__(self, key: str, value: Any) -> None:
        if not isinstance(key, str):
            raise ArgumentTypeError(f"ParameterDict: got the key {key!r}", expected="a string")
        if key not in self._keys:
            self._check_name(key, "a parameter", self._parameters)
        self._keys[key] = None
        setattr(self, key, _as_parameter(value))

    def __delitem__(self, key: str) -> None:
        self[key]
        del self._keys[key]
        delattr(self, key)

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __reversed__(self) -> Iterator[str]:
        return reversed(list(self._keys))

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def keys(self) -> Iterable[str]:
        """Return the names."""
        return self._keys.keys()

    def items(self) -> Iterable[tuple[str, Any]]:
        """Return the names with their values."""
        return [(key, self[key]) for key in self._keys]

    def values(self) -> Iterable[Any]:
        """Return the values."""
        return [self[key] for key in self._keys]

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a name, or the default."""
        return self[key] if key in self._keys else default

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Return the value of a name; put the default there first if it is new."""
        if key not in self._keys:
            self[key] = default
        return self[key]

    def pop(self, key: str) -> Any:
        """Take a value out and return it."""
        found = self[key]
        del self[key]
        return found

    def popitem(self) -> tuple[str, Any]:
        """Take the last name and value out and return them."""
        if not self._keys:
            raise NameUnknownKey("popitem of an empty ParameterDict")
        key = list(self._keys)[-1]
        return key, self.pop(key)

    def clear(self) -> None:
        """Let go of all values."""
        for key in list(self._keys):
            del self[key]

    def copy(self) -> ParameterDict:
        """Return another dict with the same parameters."""
        return ParameterDict(dict(self.items()))

    def fromkeys(self, keys: Iterable[str], default: Any = None) -> ParameterDict:
        """Return a dict with these names, each with the default."""
        return ParameterDict(dict.fromkeys(keys, default))

    def update(self, parameters: Any) -> None:
        """Hold these values too; one of a known name takes its place."""
        if isinstance(parameters, (Mapping, ParameterDict)):
            pairs: Iterable[Any] = parameters.items()
        elif isinstance(parameters, Iterable) and not isinstance(parameters, Tensor):
            pairs = parameters
        else:
            raise ArgumentTypeError(
                f"ParameterDict: got {type(parameters).__name__}", expected="a mapping, or pairs of a name and a value"
            )
        for key, value in pairs:
            self[key] = value

    def __or__(self, other: ParameterDict) -> ParameterDict:
        made = self.copy()
        made.update(other)
        return made

    def __ior__(self, other: ParameterDict) -> Self:
        self.update(other)
        return self

    def extra_repr(self) -> str:
        """Return a line for each value."""
        return "\n".join(_line(key, value) for key, value in self.items())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise ArgumentTypeError("a ParameterDict is called", expected="its parameters used in a module's forward")
