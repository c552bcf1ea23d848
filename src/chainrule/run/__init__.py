"""Running operations and graphs on NumPy."""

from chainrule.run.interpret import Evaluating, evaluate, explain, number, value_node

__all__ = ["Evaluating", "evaluate", "explain", "number", "value_node"]
