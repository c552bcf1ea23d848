"""What is known where code is being written: a value that was computed inside a loop is gone after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chainrule.compiler.value import Dtype, Value

Scope = dict[Any, Any]


class Scopes:
    """Scopes within each other. What is found is looked for from the innermost outwards; what is noted goes into that one."""

    def __init__(self) -> None:
        self._all: list[Scope] = [{}]

    @property
    def innermost(self) -> Scope:
        """What the body of the innermost loop knows."""
        return self._all[-1]

    def find(self, key: Any) -> Any:
        """Return what is known under a key; None if nothing is."""
        for scope in reversed(self._all):
            found = scope.get(key)
            if found is not None:
                return found
        return None

    def inside(self, write: Callable[[], Any]) -> Any:
        """Write code whose values do not outlive it (the body of a loop)."""
        return self.within({}, write)

    def within(self, scope: Scope, write: Callable[[], Any]) -> Any:
        """Write code that knows, and adds to, what ``scope`` holds."""
        self._all.append(scope)
        try:
            return write()
        finally:
            self._all.pop()

    def outside(self, write: Callable[[], Any]) -> Any:
        """Write code that does not know what the innermost scope holds."""
        scope = self._all.pop()
        try:
            return write()
        finally:
            self._all.append(scope)

    def numbers(self, dtype: Dtype) -> list[Value]:
        """Return the single numbers of a dtype that are known now and computed, each once."""
        known = [x for scope in self._all for x in scope.values() if isinstance(x, Value)]
        return list({x.name: x for x in known if x.lanes == 1 and x.dtype == dtype and not x.constant}.values())
