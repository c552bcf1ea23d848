"""What a trace does not repeat: constants that are equal, and inputs that nobody reads."""

from __future__ import annotations

import numpy as np

from chainrule.graph import Graph, Recording, graph_input, op, recording

F32 = np.dtype(np.float32)


def test_inputs_that_nobody_reads_can_be_left_out() -> None:
    x, y, z = (graph_input(name, (2,), F32) for name in "xyz")
    with recording(Recording()):
        out = op.exp(y)
    graph = Graph([x, y, z], [out, z]).without_unused_inputs()
    assert graph.inputs == (y, z)
    assert graph.outputs == (out, z)


def test_arrays_and_numbers_of_the_same_bits_are_one_constant() -> None:
    recorder = Recording()
    assert recorder.constant(np.ones(3, np.float32)) is recorder.constant(np.ones(3, np.float32))
    assert recorder.number(1.0, F32) is recorder.constant(np.ones((), np.float32))


def test_constants_that_differ_in_sign_dtype_or_shape_are_several() -> None:
    recorder = Recording()
    values = [np.float32(0.0), np.float32(-0.0), np.float64(0.0), np.zeros(1, np.float32), np.zeros((1, 1), np.float32)]
    assert len({recorder.constant(np.asarray(value)) for value in values}) == 5


def test_large_constants_are_not_compared() -> None:
    recorder = Recording()
    large = np.zeros(1000, np.float32)
    assert recorder.constant(large) is not recorder.constant(large)
