"""Whether operations leave a tape: ``no_grad``, ``enable_grad``, ``inference_mode``, ``set_grad_enabled``.

Each thread has a mode of its own, and begins with a tape.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from chainrule.tensors.state import PLAIN, STATE, TAPE, TRACE

F = TypeVar("F", bound=Callable[..., Any])


def is_grad_enabled() -> bool:
    """Return whether operations are put on the tape."""
    if STATE.mode == TRACE and STATE.trace is not None:
        return STATE.trace.recording.keeps_gradients
    return STATE.mode == TAPE


def _set(wanted: bool) -> None:
    if STATE.mode == TRACE and STATE.trace is not None:
        STATE.trace.recording.keeps_gradients = wanted
    else:
        STATE.mode = TAPE if wanted else PLAIN


class _Mode:
    """A context and decorator that sets the tape on or off and restores what was."""

    wanted = False

    def __init__(self) -> None:
        self._before: list[bool] = []

    def __enter__(self) -> None:
        self._before.append(is_grad_enabled())
        _set(self.wanted)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        _set(self._before.pop())

    def __call__(self, function: F) -> F:
        wanted = self.wanted

        def within() -> _Mode:
            mode = _Mode()
            mode.wanted = wanted
            return mode

        return _decorated(function, within)


class no_grad(_Mode):  # noqa: N801 - PyTorch's name
    """Keep no tape inside: results do not require grad. A context, or a decorator with or without parentheses.

    >>> import chainrule as cr
    >>> x = cr.ones(2, requires_grad=True)
    >>> with no_grad():
    ...     (x * 2).requires_grad
    False
    """

    @overload
    def __new__(cls) -> Self: ...

    @overload
    def __new__(cls, function: Callable[..., Any]) -> Any: ...

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        return super().__new__(cls) if function is None else cls()(function)


class enable_grad(_Mode):  # noqa: N801 - PyTorch's name
    """Keep a tape inside, also within ``no_grad``. A context, or a decorator with or without parentheses."""

    wanted = True

    @overload
    def __new__(cls) -> Self: ...

    @overload
    def __new__(cls, function: Callable[..., Any]) -> Any: ...

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        return super().__new__(cls) if function is None else cls()(function)


class inference_mode(_Mode):  # noqa: N801 - PyTorch's name
    """``no_grad`` by another name (with ``mode=False``: ``enable_grad``); its results may be used with a tape later."""

    @overload
    def __new__(cls, mode: bool = True) -> Self: ...

    @overload
    def __new__(cls, mode: Callable[..., Any]) -> Any: ...

    def __new__(cls, mode: Any = True) -> Any:
        return super().__new__(cls) if isinstance(mode, bool) else cls()(mode)

    def __init__(self, mode: bool = True) -> None:
        super().__init__()
        self.wanted = not mode


class set_grad_enabled(_Mode):  # noqa: N801 - PyTorch's name
    """Keep a tape from here on, or none; as a context or a decorator, inside only.

    >>> with set_grad_enabled(False):
    ...     is_grad_enabled()
    False
    >>> is_grad_enabled()
    True
    """

    def __init__(self, mode: bool) -> None:
        super().__init__()
        self.wanted = bool(mode)
        self._at_the_call = is_grad_enabled()
        _set(self.wanted)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        _set(self._at_the_call)

    def __call__(self, function: F) -> F:
        _set(self._at_the_call)
        return super().__call__(function)


def _decorated(function: F, within: Callable[[], _Mode]) -> F:
    """Return ``function``, run within a mode; a generator is in it while it runs, its caller is not."""
    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def steps(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            generator = function(*args, **kwargs)
            resume, given = generator.send, None
            while True:
                try:
                    with within():
                        value = resume(given)
                except StopIteration as end:
                    return end.value
                try:
                    resume, given = generator.send, (yield value)
                except GeneratorExit:
                    with within():
                        generator.close()
                    raise
                except BaseException as error:  # noqa: BLE001 - the caller threw it in, and the generator gets it
                    resume, given = generator.throw, error

        return steps  # type: ignore[return-value]  # the same signature

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with within():
            return function(*args, **kwargs)

    return wrapped  # type: ignore[return-value]  # the same signature
