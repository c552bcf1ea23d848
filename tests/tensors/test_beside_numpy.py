"""A tensor beside NumPy's arrays and numbers: operators are the tensor's, NumPy's functions take values or say what to write."""

from __future__ import annotations

import operator
from collections import UserList
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import ArgumentTypeError, GradientError, TraceError
from chainrule.tensors import numpy_functions

WEIGHT = cr.tensor([1.0, 2.0])
OPERATORS: list[Callable[[Any, Any], Any]] = [
    operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod, operator.pow,
    operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge,
]  # fmt: skip
LEFT = [
    np.array([3.0, 2.0]), np.array([3.0, 2.0], np.float32), np.array([3, 2]), np.array(2.0), np.float64(2),
    np.float32(2), np.int64(2), np.array([[1.0, 2.0], [3.0, 4.0]]),
]  # fmt: skip


@pytest.mark.parametrize("function", OPERATORS)
@pytest.mark.parametrize("left", LEFT, ids=repr)
@pytest.mark.parametrize("right", [[1.0, 2.0], [1, 2]], ids=repr)
def test_an_operator_with_an_array_on_the_left_is_the_tensors_own(
    function: Callable[[Any, Any], Any], left: Any, right: list[Any]
) -> None:
    found = function(left, cr.tensor(right))
    assert isinstance(found, cr.Tensor)
    np.testing.assert_allclose(found.numpy(), function(left, np.array(right)), rtol=1e-6)


def test_an_array_on_the_left_has_a_gradient_beside_it() -> None:
    x = cr.tensor([1.0, 2.0], requires_grad=True)
    (np.array([3.0, 4.0], np.float32) * x).sum().backward()
    assert x.grad.tolist() == [3.0, 4.0]
    assert (np.float64(2) * x).dtype == cr.float32  # a number of NumPy's is a number
    compiled = cr.compile(lambda x: np.ones(2, np.float32) - x)
    assert compiled(cr.tensor([1.0, 3.0])).tolist() == [0.0, -2.0]


def test_a_function_of_numpy_says_what_to_write() -> None:
    x = cr.ones(2)
    with pytest.raises(ArgumentTypeError, match=r"np.sin: got a tensor.*Write cr.sin\(…\) of .*x.numpy\(\)"):
        np.sin(x)
    with pytest.raises(ArgumentTypeError, match=r"np.add: got a tensor.*Write cr.add"):
        np.add(x, x)
    with pytest.raises(ArgumentTypeError, match=r"np.spacing: got a tensor.*expected arrays. Give it the array, x.nu"):
        np.spacing(x)
    with pytest.raises(ArgumentTypeError, match=r"np.maximum: got a tensor"):
        np.maximum.reduce(x)
    array = np.ones(2)
    with pytest.raises(ArgumentTypeError, match=r"np.add: got a tensor"):
        array += x


FUNCTIONS: list[Callable[[Any], Any]] = [
    np.sum, np.mean, np.max, np.min, np.prod, np.std, np.var, np.any, np.all, np.argmax, np.cumsum, np.transpose, np.squeeze,
    np.nonzero, np.median, np.ptp, np.round, np.sort, np.unique, np.linalg.norm, np.fft.fft, np.array_repr, np.asarray,
    np.array, np.shape, np.ndim, np.size, np.result_type, np.zeros_like,
    lambda x: np.sum(x, axis=1, keepdims=True), lambda x: np.size(x, 1), lambda x: np.size(x, axis=(0, 1)),
    lambda x: np.concatenate([x, x]), lambda x: np.stack((x, x), axis=1), lambda x: np.stack(UserList([x, x])),
    lambda x: np.block([[x, x], [x, x]]), lambda x: np.where(x > 1, x, 0.0), lambda x: np.dot(x, x.T),
    lambda x: np.array_equal(x, x), lambda x: np.allclose(x, np.ones(2)), lambda x: np.clip(a=x, a_min=1.5, a_max=2),
]  # fmt: skip


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_of_numpy_that_makes_arrays_takes_the_values(function: Callable[[Any], Any]) -> None:
    array = np.array([[1.0, 2.0], [3.0, 4.5]], np.float32)
    found, expected = function(cr.tensor(array)), function(array)
    assert type(found) is (cr.Size if function is np.shape else type(expected))
    np.testing.assert_equal(found, expected)


def test_numpys_assertions_take_tensors() -> None:
    x = cr.tensor([1.0, 2.0])
    np.testing.assert_array_equal(x, x)
    np.testing.assert_allclose(x, np.array([1.0, 2.0]))
    with pytest.raises(AssertionError, match="Mismatched elements: 1 / 2"):
        np.testing.assert_array_equal(x, np.array([1.0, 3.0]))


def test_a_function_of_numpy_loses_no_gradient_in_silence() -> None:
    x = cr.tensor([1.0, 2.0], requires_grad=True)
    for function in (np.sum, np.squeeze, lambda x: np.stack([x, x])):
        with pytest.raises(GradientError, match=r"detach\(\).numpy\(\)"):
            function(x)
    assert (np.shape(x), np.ndim(x), np.size(x)) == ((2,), 1, 2)


OUT, ARRAY = np.zeros(3, np.float32), np.ones(3, np.float32)
BY_POSITION: dict[str, Callable[[Any], Any]] = {
    "add": lambda x: np.add(x, x, OUT),
    "multiply, an array first": lambda x: np.multiply(ARRAY, x, OUT),
    "exp": lambda x: np.exp(x, OUT),
    "equal": lambda x: np.equal(ARRAY, x, OUT),
    "add.reduce": lambda x: np.add.reduce(x, 0, None, OUT[0]),
    "clip": lambda x: np.clip(x, 0, 1, OUT),
    "cumsum": lambda x: np.cumsum(x, 0, None, OUT),
    "round": lambda x: np.round(x, 1, OUT),
    "concatenate": lambda x: np.concatenate([x, x], 0, OUT),
    "dot": lambda x: np.dot(x, x, OUT),
}


@pytest.mark.parametrize("name", BY_POSITION)
def test_an_output_by_position_is_refused_by_name_in_a_compiled_function(name: str) -> None:
    called = name.partition(",")[0].partition(".")[0]
    with pytest.raises((ArgumentTypeError, TraceError), match=rf"np\.{called}(\(\) asks|: got a tensor)"):
        cr.compile(BY_POSITION[name])(cr.ones(3))
    assert OUT.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: np.add(ARRAY, ARRAY, x),
        lambda x: np.add(x, x, x),
        lambda x: np.exp(ARRAY, x),
        lambda x: np.clip(ARRAY, 0, 1, x),
        lambda x: np.cumsum(ARRAY, 0, None, x),
        lambda x: np.concatenate([ARRAY[:1], ARRAY[:2]], 0, x),
        lambda x: np.sum(np.ones((2, 3), np.float32), 0, None, x),
        lambda x: np.dot(np.eye(3, dtype=np.float32), ARRAY, x),
    ],
)
def test_a_tensor_as_output_by_position_is_refused_like_one_by_keyword(function: Callable[[Any], Any]) -> None:
    x = cr.zeros(3)
    with pytest.raises(ArgumentTypeError, match=r"np\.\w+: got a tensor to write into"):
        function(x)
    assert x.tolist() == [0, 0, 0]


def test_a_function_of_numpy_does_not_write_into_a_tensor() -> None:
    x = cr.zeros(2, 2)
    writes: list[Callable[[], Any]] = [
        lambda: np.copyto(x, np.ones((2, 2))),  # type: ignore[arg-type]  # what is refused
        lambda: np.copyto(dst=x, src=1),  # type: ignore[arg-type]
        lambda: np.fill_diagonal(x, 1),  # type: ignore[arg-type]
        lambda: np.sum(np.ones((2, 2, 2)), axis=0, out=x),
    ]
    for write in writes:
        with pytest.raises(ArgumentTypeError, match=r"np\.\w+: got a tensor to write into"):
            write()
    assert x.tolist() == [[0, 0], [0, 0]]
    array = np.zeros((2, 2))
    np.copyto(array, cr.ones(2, 2))
    assert array.tolist() == [[1, 1], [1, 1]]


class Other:
    """An array of another library."""

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return "theirs"


def test_a_function_of_numpy_is_left_to_another_library() -> None:
    assert np.stack([cr.ones(2), Other()]) == "theirs"  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (np.sum, r"np.sum\(\) asks.*Use x.sum\(…\), or move"),
        (lambda x: np.mean(x, axis=0), r"np.mean\(\) asks.*Use x.mean\(…\), or move"),
        (lambda x: np.stack([x, x]), r"np.stack\(\) asks.*Use cr.stack\(…\), or move"),
        (lambda x: np.concatenate([x, WEIGHT]), r"np.concatenate\(\) asks.*Use cr.cat\(…\), or move"),
        (np.linalg.norm, r"np.linalg.norm\(\) asks.*Use x.norm\(…\), or move"),
        (np.histogram, r"np.histogram\(\) asks.*Move this line"),
        (lambda x: np.sum(WEIGHT) * x, r"np.sum\(\) asks.*Use x.sum\(…\), or move"),
    ],
)
def test_a_function_of_numpy_is_refused_by_name_inside_a_compiled_function(
    function: Callable[[Any], Any], told: str
) -> None:
    with pytest.raises(TraceError, match=told):
        cr.compile(function)(cr.ones(2))


def test_what_to_write_instead_is_there() -> None:
    for written in numpy_functions.OTHER_NAMES.values():
        place, _, name = written.partition(".")
        assert hasattr({"x": cr.Tensor, "cr": cr}[place], name), written


def test_shapes_are_known_inside_a_compiled_function() -> None:
    compiled = cr.compile(lambda x: x * np.ndim(x) + np.size(x) + np.shape(x)[1])
    assert compiled(cr.ones(3, 2)).tolist() == [[10, 10]] * 3
