"""What a compiled step asks of its optimizer before each run: numbers, and what has to be as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chainrule.optim.settings import settings_of


def structures(optimizer: Any) -> list[Any]:
    """Return what a compiled step takes for granted of an optimizer, beside which parameters are in which group."""
    return [optimizer.structure(group) for group in optimizer.__dict__["param_groups"]]


def reading_states(places: list[tuple[int, int]]) -> Callable[[Any], list[int]]:
    """Return what reads which tensors are the states of some parameters, by group and place: one that is replaced is another trace."""

    def read(optimizer: Any) -> list[int]:
        groups, states = optimizer.__dict__["param_groups"], optimizer.__dict__["state"]
        found: list[int] = []
        for k, place in places:
            state = states.get(groups[k]["params"][place])  # no entry is made by asking
            if state:
                found += map(id, state.values())
        return found

    return read


def settings_now(optimizer: Any) -> dict[str, Any]:
    """Return the attributes that the rule reads."""
    return settings_of(optimizer, optimizer._settings)


def reading(k: int) -> Callable[[Any], list[float]]:
    """Return what reads the numbers of group ``k`` before each run."""

    def read(optimizer: Any) -> list[float]:
        return [*optimizer.values(optimizer.__dict__["param_groups"][k], fresh=False).values()]

    return read


def reading_first(k: int, place: int) -> Callable[[Any], list[float]]:
    """Return what reads the numbers of one parameter, whose first step may be the run that follows."""

    def read(optimizer: Any) -> list[float]:
        group = optimizer.__dict__["param_groups"][k]
        p = group["params"][place]
        fresh = p in optimizer._fresh
        optimizer._fresh.discard(p)
        return [*optimizer.values(group, fresh).values()]

    return read


def hooks_of(optimizer: Any) -> tuple[int, ...]:
    """Return the numbers of the hooks that are called around a step."""
    return (*optimizer._before_step, -1, *optimizer._after_step)
