"""FANN, in C: ``fann_train_epoch`` with its batch algorithm, plain gradient descent, called by a loop in C.

It has squared error, tanh and sigmoid: what the network ``xor-squared`` has.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from c_code import compiled
from networks import Network

SOURCE = """
#include <floatfann.h>
static struct fann *network;
static struct fann_train_data *rows;

void make(unsigned inputs, unsigned hidden, unsigned outputs, unsigned count, float *x, float *y, float rate) {
    network = fann_create_standard(3, inputs, hidden, outputs);
    fann_set_activation_function_hidden(network, FANN_SIGMOID_SYMMETRIC); /* tanh(s x) */
    fann_set_activation_steepness_hidden(network, 1.0f);
    fann_set_activation_function_output(network, FANN_SIGMOID); /* 1 / (1 + exp(-2 s x)) */
    fann_set_activation_steepness_output(network, 0.5f);
    fann_set_training_algorithm(network, FANN_TRAIN_BATCH);
    fann_set_train_error_function(network, FANN_ERRORFUNC_LINEAR);
    fann_set_learning_rate(network, rate);
    rows = fann_create_train(count, inputs, outputs);
    for (unsigned k = 0; k < count; k++) {
        for (unsigned j = 0; j < inputs; j++) rows->input[k][j] = x[k * inputs + j];
        for (unsigned j = 0; j < outputs; j++) rows->output[k][j] = y[k * outputs + j];
    }
}

void set(unsigned from, unsigned to, float weight) { fann_set_weight(network, from, to, weight); }

void train(long epochs, float *losses) {
    for (long k = 0; k < epochs; k++) losses[k] = fann_train_epoch(network, rows);
}
"""


def _library() -> ctypes.CDLL | None:
    return compiled(SOURCE, "-lfloatfann", "-lm")


def versions() -> str:
    return "FANN 2 (C)"


def refuses(network: Network) -> str:
    kinds = [layer.activation for layer in network.layers]
    if kinds != ["tanh", "sigmoid"] or network.loss != "mse" or network.rule.name != "sgd" or network.batches != 1:
        return "measured on xor-squared alone: it has squared error and gradient descent"
    if _library() is None:
        return "a C compiler and FANN's headers (Debian: gcc, libfann-dev) are not installed"
    return ""


class Peer:
    def __init__(self, network: Network) -> None:
        rows, weights = network.rows(), network.weights()
        library = _library()
        assert library is not None  # or it was refused
        x, y = np.ascontiguousarray(rows.features[0]), np.ascontiguousarray(rows.targets[0])
        hidden = network.layers[0].width
        # Its gradient is that of half the squared error.
        rate = ctypes.c_float(2 * network.rule.lr)
        library.make(network.features, hidden, network.outputs, network.batch, _pointer(x), _pointer(y), rate)
        library.set.argtypes = [ctypes.c_uint, ctypes.c_uint, ctypes.c_float]
        start = 0  # neurons are numbered from the inputs on, with one for the bias after each layer
        for number in range(2):
            weight, bias = weights[f"weight{number}"], weights[f"bias{number}"]
            outputs, inputs = weight.shape
            for j in range(outputs):
                to = start + inputs + 1 + j
                for i in range(inputs):
                    library.set(start + i, to, weight[j, i])
                library.set(start + inputs, to, bias[j])
            start += inputs + 1
        self.library = library

    def run(self, passes: int) -> Any:
        losses = np.empty(passes, np.float32)
        self.library.train(ctypes.c_long(passes), _pointer(losses))
        return losses


def _pointer(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
