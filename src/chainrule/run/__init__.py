"""Running operations and graphs on NumPy."""

from chainrule.run.interpret import Evaluating, evaluate, explain, number, value_node
from chainrule.run.program import Program

__all__ = ["Evaluating", "Program", "evaluate", "explain", "number", "value_node"]
