"""The primitives, one block each, by family. Importing this package registers them all.

elementwise   arithmetic and functions, element by element
compare       comparisons, tests, bit logic, and choices made by them
reduce        sums, products, extremes, places, running sums, softmax
shape         elements kept, places changed
contract      sums of products: matrix products of every kind
index         gather and scatter
random        random numbers by counter (philox: their bits)
structure     inputs, constants, sizes, one of several outputs
"""

from chainrule.ops import compare, contract, elementwise, index, random, reduce, shape, structure

__all__ = ["compare", "contract", "elementwise", "index", "random", "reduce", "shape", "structure"]
