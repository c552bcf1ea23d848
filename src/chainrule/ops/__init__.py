"""The primitives, one block each, by family. Importing this package registers them all.

elementwise   arithmetic, element by element
functions     exponentials, logarithms, and those of circle and hyperbola, element by element
special       erf and its kin
compare       comparisons, tests, bit logic, and choices made by them
reduce        sums, products, extremes, places, running sums, softmax
shape         elements kept, places changed
contract      sums of products: matrix products of every kind
index         gather and scatter
random        random numbers by counter (philox: their bits)
body          a chain of elementwise operations as one: an optimizer's update
structure     inputs, constants, sizes, one of several outputs
"""

from chainrule.ops import (
    body,
    compare,
    contract,
    elementwise,
    functions,
    index,
    random,
    reduce,
    shape,
    special,
    structure,
)

__all__ = [
    "body",
    "compare",
    "contract",
    "elementwise",
    "functions",
    "index",
    "random",
    "reduce",
    "shape",
    "special",
    "structure",
]
