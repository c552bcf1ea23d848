"""The graph: what an operation must say of itself, nodes, shapes and sizes, and the text of it all.

primitive   the contract and the (here still empty) registry
recorder    who listens when an operation is asked for
node        one operation with its inputs
graph       nodes from inputs to outputs; the recorder that writes one
sizes       sizes that may be symbols: the batch (size_in_code: as the user's code sees them)
verify      what every graph must keep
show        a graph as text
"""

from chainrule.graph.graph import Graph, Recording, constant, graph_input
from chainrule.graph.node import Node, Storage, Storages
from chainrule.graph.primitive import (
    Absent,
    Array,
    Dtype,
    Gradients,
    Primitive,
    Spec,
    no_gradient,
    no_lowering,
    primitive,
    primitives,
)
from chainrule.graph.recorder import apply, labelled, op, recording
from chainrule.graph.show import show
from chainrule.graph.verify import verify

__all__ = [
    "Absent",
    "Array",
    "Dtype",
    "Gradients",
    "Graph",
    "Node",
    "Primitive",
    "Recording",
    "Spec",
    "Storage",
    "Storages",
    "apply",
    "constant",
    "graph_input",
    "no_gradient",
    "no_lowering",
    "labelled",
    "op",
    "primitive",
    "primitives",
    "recording",
    "show",
    "verify",
]
