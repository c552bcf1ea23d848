"""The count of changes to modules (it lives with the tensors, whose traces read it)."""

from chainrule.tensors.changes import CHANGES

__all__ = ["CHANGES"]
