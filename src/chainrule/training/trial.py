"""The trial: the model runs on a few rows before training, which shows the shape of its outputs and is to leave nothing behind."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from chainrule.errors import ChainruleError
from chainrule.nn import Module
from chainrule.tensors.changes import CHANGES
from chainrule.tensors.reached import Kept

ROWS = 2
TOLD = "this was the trial on two rows that fit makes first, to see the shape of the outputs: a model takes any number of rows"


@contextmanager
def trial(model: Module) -> Iterator[None]:
    """Let attributes, hooks and parts of all modules be what they were; say of an error that it came up here."""
    attributes = [(vars(module), dict(vars(module))) for module in model.modules()]
    values = [value for _, before in attributes for value in before.values()]
    containers = [Kept("", value, "") for value in values if isinstance(value, (list, dict, deque, set))]
    try:
        yield
    except ChainruleError as error:
        str(error)  # what it advises may be made only now
        advice = error.fix
        error.fix = (
            f"{advice}{'' if advice.endswith(('.', '?', '!')) else '.'} {TOLD[0].upper()}{TOLD[1:]}" if advice else TOLD
        )
        raise
    except Exception as error:
        error.add_note(TOLD)
        raise
    finally:
        for kept in containers:
            if kept.is_changed():
                kept.put_back()
        for own, before in attributes:
            _put_back(own, before)
        CHANGES.bump()


def _put_back(own: dict[str, Any], before: dict[str, Any]) -> None:
    if list(own) != list(before):
        own.clear()
    own.update(before)
