"""Sizes: symbolic results are what numbers give, decisions hold for every number, and what is open is said."""

from __future__ import annotations

import copy
import itertools
import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule.errors import ArgumentError, ArgumentTypeError, IndexingError, ShapeError, TraceError
from chainrule.graph.sizes import (
    Dim,
    Shape,
    Size,
    UndecidedSize,
    broadcast_shapes,
    conv_output_size,
    evaluate,
    infer_reshape,
    is_concrete,
    normalize_axes,
    normalize_axis,
    numel,
    same_shape,
    slice_bounds,
    slice_length,
    symbol,
)

n, m = symbol("n"), symbol("m")

SIGNS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "//": operator.floordiv,
    "%": operator.mod,
}
COMPARISONS = [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge]
NUMBERS = [{"n": a, "m": b} for a, b in itertools.product((2, 3, 5, 17, 32), (2, 3, 8))]
EVERY_N = [{"n": a, "m": b} for a in range(2, 201) for b in (2, 7)] + [{"n": 2, "m": b} for b in range(2, 201)]

Tree = Any  # an int, a name, or (sign, tree, tree)


def trees(*names: str) -> st.SearchStrategy[Tree]:
    leaves = st.integers(-6, 12) | st.sampled_from(names)
    return st.recursive(leaves, lambda tree: st.tuples(st.sampled_from(list(SIGNS)), tree, tree), max_leaves=7)


def compute(tree: Tree, names: dict[str, Any]) -> Any:
    if isinstance(tree, str):
        return names[tree]
    if isinstance(tree, int):
        return tree
    sign, a, b = tree
    return SIGNS[sign](compute(a, names), compute(b, names))


def symbolic(tree: Tree) -> Dim | None:
    """The size of a tree, or None where the way to it asks what is open, or divides by 0."""
    try:
        return compute(tree, {"n": n, "m": m})
    except (UndecidedSize, ZeroDivisionError):
        return None


class TestArithmetic:
    @given(trees("n", "m"))
    def test_a_symbolic_result_is_what_the_numbers_give(self, tree: Tree) -> None:
        size = symbolic(tree)
        if size is None:
            return
        for numbers in NUMBERS:
            assert evaluate(size, numbers) == compute(tree, numbers)

    @given(trees("n", "m"))
    def test_the_text_of_a_size_is_python_for_it(self, tree: Tree) -> None:
        size = symbolic(tree)
        if size is None:
            return
        for numbers in NUMBERS:
            assert eval(repr(size), {}, numbers) == evaluate(size, numbers)  # noqa: S307 our own text

    @given(trees("n", "m"), trees("n", "m"), trees("n", "m"))
    def test_equal_polynomials_are_equal_and_have_equal_hashes(self, first: Tree, second: Tree, third: Tree) -> None:
        a, b, c = symbolic(first), symbolic(second), symbolic(third)
        if a is None or b is None or c is None:
            return
        for left, right in [
            (a + b, b + a),
            (a * b, b * a),
            ((a + b) + c, a + (b + c)),
            ((a + b) * c, a * c + b * c),
            (a - b, -(b - a)),
            (a + b - b, a),
        ]:
            assert left == right
            assert (left != right) is False
            assert hash(left) == hash(right)
            assert repr(left) == repr(right)

    @pytest.mark.parametrize(
        "size", [n - n, n * 0, 0 * n, 2 * n // n, (n + 3) - n, n % n, n**0, 1 // n, n * m // m // n]
    )
    def test_what_is_constant_is_an_int(self, size: Dim) -> None:
        assert type(size) is int

    @pytest.mark.parametrize(
        ("size", "text"),
        [
            (4 * n + 1, "4*n + 1"),
            (n // 2, "n//2"),
            (3 - n, "-n + 3"),
            (-(n // 2), "-(n//2)"),
            (n - n // 2, "n - n//2"),
            (2 * (n // 2) * m, "2*m*(n//2)"),
            ((n + 1) ** 2, "n**2 + 2*n + 1"),
            ((n * m + n) // (m - 1), "n + (2*n)//(m - 1)"),
            ((n + m) // 3, "(m + n)//3"),
            (n % 2, "n % 2"),
        ],
    )
    def test_sizes_read_as_one_would_write_them(self, size: Dim, text: str) -> None:
        assert repr(size) == text
        assert f"{size:>20}" == text.rjust(20)

    @pytest.mark.parametrize(
        ("size", "simplest"),
        [
            (n // 2 + (n + 1) // 2, n),
            (n // 2 // 2, n // 4),
            ((n // 2 + 2) // 3, (n + 4) // 6),
            ((n // 2 + 1) // 2 + n // 4, n // 2),
            ((4 * n + 3) // 6, (2 * n + 1) // 3),
            (4 * n // 2, 2 * n),
            ((3 * n + 5) // 2, n + 2 + (n + 1) // 2),
            ((n * m + m) // (n + 1), m),
            ((n * n - 1) // (n - 1), n + 1),
            (n * m // (n * 3), m // 3),
            ((2 * n + 1) // n, 2),
            (-1 // n, -1),
            (-n // -2, n // 2),
            (n - 2 * (n // 2), n % 2),
        ],
    )
    def test_floor_quotients_take_their_simplest_form(self, size: Dim, simplest: Dim) -> None:
        assert size == simplest
        assert hash(size) == hash(simplest)

    def test_divmod_gives_quotient_and_remainder(self) -> None:
        assert divmod(2 * n + 1, n) == (2, 1)
        assert divmod(7, n) == (7 // n, 7 % n)

    def test_it_takes_numbers_of_numpy_and_bools_as_integers(self) -> None:
        assert np.int64(3) * n == 3 * n
        assert n - np.int32(2) == n - 2
        assert type(n + True) is Size

    def test_what_is_whole_already_stays_as_it_is(self) -> None:
        for rounded in (round(n), math.floor(n), math.ceil(n), math.trunc(n), +n, abs(n), abs(-n)):
            assert rounded == n
        assert ~n == -n - 1

    def test_dividing_by_zero_raises_as_for_numbers(self) -> None:
        with pytest.raises(ZeroDivisionError):
            n // 0

    def test_an_unknown_operand_is_asked_what_it_makes_of_a_size(self) -> None:
        class Tensor:
            __array_ufunc__ = None

            def __radd__(self, size: Size) -> str:
                return "sum"

            def __rtruediv__(self, size: Size) -> str:
                return "quotient"

        assert n + Tensor() == "sum"
        assert n / Tensor() == "quotient"
        with pytest.raises(TypeError, match="unsupported operand"):
            n + "a"
        assert n != "n"
        assert n is not None

    def test_a_size_survives_a_copy_with_its_hash(self) -> None:
        for size in (n, n * m // 3 + 1):
            assert copy.deepcopy(size) == size
            assert hash(copy.copy(size)) == hash(size)

    def test_a_symbol_has_the_name_of_a_variable(self) -> None:
        with pytest.raises(ArgumentError, match="got the name 'n//2'"):
            symbol("n//2")

    def test_it_names_the_symbols_it_depends_on(self) -> None:
        assert (n * 2 // (m + 1)).symbols == ("m", "n")


class TestDecisions:
    @given(trees("n"), trees("n"), st.sampled_from(COMPARISONS))
    def test_what_is_decided_is_right_for_every_size(self, first: Tree, second: Tree, compare: Any) -> None:
        self.check(symbolic(first), symbolic(second), compare)

    @given(trees("n", "m"), trees("n", "m"), st.sampled_from(COMPARISONS))
    def test_what_is_decided_of_two_symbols_is_right_for_both(self, first: Tree, second: Tree, compare: Any) -> None:
        self.check(symbolic(first), symbolic(second), compare)

    @staticmethod
    def check(a: Dim | None, b: Dim | None, compare: Any) -> None:
        if a is None or b is None:
            return
        try:
            decided = compare(a, b)
        except UndecidedSize:
            return
        for numbers in EVERY_N:
            assert compare(evaluate(a, numbers), evaluate(b, numbers)) is decided

    @given(trees("n", "m"))
    def test_a_size_is_true_if_it_is_never_zero(self, tree: Tree) -> None:
        size = symbolic(tree)
        try:
            decided = size is not None and bool(size)
        except UndecidedSize:
            return
        if size is not None:
            assert all(bool(evaluate(size, numbers)) is decided for numbers in EVERY_N)

    @pytest.mark.parametrize(
        ("decision", "answer"),
        [
            (lambda: n == 1, False),
            (lambda: n != 1, True),
            (lambda: n - 1 > 0, True),
            (lambda: n == n, True),
            (lambda: n * 0 == 0, True),
            (lambda: 2 * n == 7, False),
            (lambda: n * n == n, False),
            (lambda: n == n + 1, False),
            (lambda: n // 2 >= 1, True),
            (lambda: n // 2 < n, True),
            (lambda: n % 5 < 5, True),
            (lambda: n % 5 >= 0, True),
            (lambda: n * (n // 2) >= n // 2, True),
            (lambda: (n // 2) ** 2 >= 1, True),
            (lambda: (n - n // 3) // 2 <= n, True),
            (lambda: -n < 0, True),
            (lambda: n > 1.5, True),
            (lambda: n < 1.5, False),
            (lambda: n >= 1.5, True),
            (lambda: n == 2.5, False),
            (lambda: n * 2 == 3.0, False),
            (lambda: n < math.inf, True),
            (lambda: n <= -math.inf, False),
            (lambda: bool(n), True),
            (lambda: bool(2 * n - 3), True),
            (lambda: max(n, 1) is n, True),
            (lambda: min(n, 1) == 1, True),
            (lambda: n in (0, 1), False),
        ],
    )
    def test_these_are_decided(self, decision: Callable[[], bool], answer: bool) -> None:
        assert decision() is answer

    @pytest.mark.parametrize(
        ("decision", "question"),
        [
            (lambda: n == 32, "is n equal to 32"),
            (lambda: n != 2.0, "is n equal to 2"),
            (lambda: n == m, "is n equal to m"),
            (lambda: n > 4, "is n greater than 4"),
            (lambda: n <= 4, "is n at most 4"),
            (lambda: n < 4, "is n less than 4"),
            (lambda: n >= 4, "is n at least 4"),
            (lambda: min(n, 10), "is n greater than 10"),
            (lambda: max(n, 64), "is n less than 64"),
            (lambda: n in (1, 2), "is n equal to 2"),
            (lambda: n % 2 == 0, "is n % 2 equal to 0"),
            (lambda: bool(n - 2), "is n - 2 equal to 0"),
            (lambda: 2 * ((n - 1) // 2) + 2 == n, "is 2*n - 2*(n//2) equal to n"),
            (lambda: n // (n - 5), "is n - 5 greater than 0"),
            (lambda: n / (n - 1), "what is n / (n - 1)"),
            (lambda: 1 / n, "what is 1 / n"),
            (lambda: n * 0.5, "what is n * 0.5"),
            (lambda: np.ones(2) * n, "what is n * [1. 1.]"),
            (lambda: n**-1, "what is n ** -1"),
            (lambda: 2**n, "what is 2 ** n"),
            (lambda: n & 1, "what are the bits of n"),
            (lambda: range(n), "which number is n"),
            (lambda: int(n + 1), "which number is n + 1"),
            (lambda: [0] * n, "which number is n"),
            (lambda: np.zeros(n), "which number is n"),
            (lambda: math.sqrt(n), "which number is n"),
        ],
    )
    def test_these_depend_on_the_size_and_say_so(self, decision: Callable[[], object], question: str) -> None:
        with pytest.raises(UndecidedSize) as caught:
            decision()
        assert caught.value.question == question
        assert set(caught.value.symbols) <= {"m", "n"}
        assert "n" in caught.value.symbols
        assert str(caught.value).startswith(f"{question}? The size")

    def test_an_open_question_is_an_error_of_tracing_that_names_all_symbols(self) -> None:
        with pytest.raises(TraceError, match=r"is n equal to m\? The sizes m and n are not known while tracing"):
            n == m


class TestEvaluate:
    def test_it_goes_through_nested_tuples_and_leaves_the_rest(self) -> None:
        attributes = (n, (2 * n, None), "same", 4, ((n // 2,),))
        assert evaluate(attributes, {"n": 5}) == (5, (10, None), "same", 4, ((2,),))

    def test_a_symbol_without_a_value_is_named(self) -> None:
        with pytest.raises(ArgumentError, match="the size m has no value; there are values for n"):
            evaluate(n * m, {"n": 3})

    @pytest.mark.parametrize("number", [0, 1])
    def test_the_small_sizes_that_were_ruled_out_are_refused(self, number: int) -> None:
        with pytest.raises(ArgumentError, match=f"the size n is {number}; expected 2 or more"):
            evaluate(n + 1, {"n": number})


sizes_of_axes = st.integers(0, 4)
concrete_shapes = st.lists(sizes_of_axes, max_size=4).map(tuple)


class TestShapes:
    @given(concrete_shapes, concrete_shapes)
    def test_broadcasting_numbers_is_numpys_rule(self, a: tuple[int, ...], b: tuple[int, ...]) -> None:
        try:
            expected = np.broadcast_shapes(a, b)
        except ValueError:
            with pytest.raises(ShapeError, match="do not broadcast"):
                broadcast_shapes(a, b)
        else:
            assert broadcast_shapes(a, b) == expected

    @pytest.mark.parametrize(
        ("shapes", "expected"),
        [
            (((n, 1), (1, 5)), (n, 5)),
            (((n, 1), (5,)), (n, 5)),
            (((5,), (n, 1)), (n, 5)),
            (((1, 5), (n, 5)), (n, 5)),
            (((n, 1, 3), (1, n, 3)), (n, n, 3)),
            (((n // 2, 4), (1, 4)), (n // 2, 4)),
            (((n - 4,), (n - 4,)), (n - 4,)),
            (((n,), (2, 1), (3, 1, 1)), (3, 2, n)),
            (((n, 2),), (n, 2)),
            ((), ()),
        ],
    )
    def test_symbols_broadcast_with_one_and_with_themselves(self, shapes: tuple[Shape, ...], expected: Shape) -> None:
        assert same_shape(broadcast_shapes(*shapes), expected)

    def test_a_symbol_against_another_size_is_refused_or_open(self) -> None:
        with pytest.raises(
            ShapeError, match=r"shapes \(n, 3\) and \(2\*n, 3\) do not broadcast: n meets 2\*n in axis -2"
        ):
            broadcast_shapes((n, 3), (2 * n, 3))
        with pytest.raises(UndecidedSize, match="is n equal to 7"):
            broadcast_shapes((n, 3), (7, 1))
        with pytest.raises(UndecidedSize, match="is n equal to m"):
            broadcast_shapes((n,), (m,))
        with pytest.raises(UndecidedSize, match="is n//2 equal to 1"):
            broadcast_shapes((n // 2,), (n,))

    def test_shapes_are_compared_by_length_then_identity_then_what_is_decided(self) -> None:
        assert not same_shape((n, 5), (5,))
        assert same_shape((n, 5), (n, 5))
        assert same_shape((n + n, 5), (2 * n, 5))
        assert not same_shape((n, 5), (32, 6))
        assert same_shape((3, 4), (3, 4))
        shape = (n, 2)
        assert same_shape(shape, shape)
        with pytest.raises(UndecidedSize, match="is n equal to 32"):
            same_shape((n, 5), (32, 5))

    def test_elements_are_counted_and_concrete_shapes_known(self) -> None:
        assert numel((n, 3, 4)) == 12 * n
        assert numel(()) == 1
        assert is_concrete((3, 4))
        assert not is_concrete((3, n))

    @given(concrete_shapes, st.lists(st.integers(-1, 6), max_size=4).map(tuple))
    def test_reshaping_numbers_is_numpys_rule(self, old: tuple[int, ...], new: tuple[int, ...]) -> None:
        try:
            expected = np.empty(old).reshape(new).shape
        except ValueError:
            with pytest.raises(ShapeError):
                infer_reshape(old, new)
        else:
            assert infer_reshape(old, new) == expected

    @pytest.mark.parametrize(
        ("old", "new", "expected"),
        [
            ((n, 3, 4), (n, -1), (n, 12)),
            ((n, 3, 4), (-1, 6), (2 * n, 6)),
            ((n, 3, 4), (-1,), (12 * n,)),
            ((n, 3, 4), (2 * n, 6), (2 * n, 6)),
            ((n, m, 4), (n * m, -1), (n * m, 4)),
            ((n * n - 1, 2), (n - 1, -1), (n - 1, 2 * n + 2)),
            ((2, 3), (3, 2), (3, 2)),
        ],
    )
    def test_a_reshape_divides_polynomials(self, old: Shape, new: Shape, expected: Shape) -> None:
        assert same_shape(infer_reshape(old, new), expected)

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ((2, 3), (4, 2), r"got \(2, 3\) with 6 elements for the shape \(4, 2\); expected 8 elements"),
            (
                (2, 3),
                (4, -1),
                r"got \(2, 3\) with 6 elements for the shape \(4, -1\); expected a multiple of 4 elements",
            ),
            ((2 * n + 1,), (-1, 2), r"got \(2\*n \+ 1,\) .* expected a multiple of 2 elements"),
            ((n, 3), (n, 4), r"got \(n, 3\) with 3\*n elements for the shape \(n, 4\); expected 4\*n elements"),
            ((0, 3), (0, -1), "where -1 may be any number"),
            ((2, 3), (-1, -1), "at most one -1"),
            ((2, 3), (-2, 3), "sizes of 0 or more"),
        ],
    )
    def test_a_reshape_that_does_not_fit_names_both_shapes(self, old: Shape, new: Shape, message: str) -> None:
        with pytest.raises(ShapeError, match=message):
            infer_reshape(old, new)

    @pytest.mark.parametrize(
        ("old", "new", "question"),
        [
            ((n, 12), (32, -1), r"is 12\*n divisible by 32"),
            ((n, 12), (-1, 5), r"is 12\*n divisible by 5"),
            ((n, 12), (n // 2, -1), r"is 12\*n divisible by n//2"),
            ((12,), (n, -1), "is 12 divisible by n"),
            ((n, 12), (32, 12), r"is 12\*n equal to 384"),
        ],
    )
    def test_a_reshape_that_may_fit_is_an_open_question(self, old: Shape, new: Shape, question: str) -> None:
        with pytest.raises(UndecidedSize, match=question):
            infer_reshape(old, new)


class TestAxes:
    @given(st.integers(1, 5), st.integers(-7, 7))
    def test_axes_count_from_the_front_or_raise_with_the_range(self, ndim: int, axis: int) -> None:
        if -ndim <= axis < ndim:
            assert normalize_axis(axis, ndim) == range(ndim)[axis]
        else:
            with pytest.raises(
                IndexingError, match=f"axis {axis} is out of range for {ndim} axes; expected -{ndim} to"
            ):
                normalize_axis(axis, ndim)

    def test_a_0d_tensor_has_the_axes_that_pytorch_gives_it(self) -> None:
        assert normalize_axis(0, 0) == normalize_axis(-1, 0) == 0
        assert normalize_axes(0, 0) == normalize_axes(None, 0) == ()
        with pytest.raises(IndexError, match="expected -1 to 0"):
            normalize_axis(1, 0)

    def test_several_axes_keep_their_order_and_none_is_all(self) -> None:
        assert normalize_axes((-1, 0), 3) == (2, 0)
        assert normalize_axes([1], 3) == (1,)
        assert normalize_axes(-1, 3) == (2,)
        assert normalize_axes(np.int64(1), 3) == (1,)
        assert normalize_axes(None, 3) == (0, 1, 2)

    def test_an_axis_named_twice_or_no_integer_is_refused(self) -> None:
        with pytest.raises(ArgumentError, match=r"axes \(0, -2\) of 2 axes name one twice"):
            normalize_axes((0, -2), 2)
        with pytest.raises(ArgumentTypeError, match=r"got 1\.0 of type float"):
            normalize_axis(1.0, 2)


bounds = st.none() | st.integers(-9, 9)


class TestSlices:
    @given(st.integers(0, 7), bounds, bounds, st.integers(-4, 4).filter(bool))
    def test_slices_of_numbers_follow_python(self, size: int, start: int | None, stop: int | None, step: int) -> None:
        assert slice_length(size, start, stop, step) == len(range(size)[start:stop:step])
        assert slice_bounds(size, start, stop, step) == slice(start, stop, step).indices(size)[:2]

    ends = st.sampled_from([None, 0, 1, 2, -1, -2, n, n - 1, n // 2, -n, n // 3, 2 * n, n + 1, 1 - n, -(n // 2)])

    @given(st.sampled_from([n, n - 1, 2 * n, n // 2, 6]), ends, ends, st.sampled_from([1, 2, 3, -1, -2]))
    def test_symbolic_slices_have_the_length_that_numbers_give(
        self, size: Dim, start: Dim | None, stop: Dim | None, step: int
    ) -> None:
        try:
            length = slice_length(size, start, stop, step)
        except UndecidedSize:
            return
        for numbers in NUMBERS:
            first, last = (None if end is None else evaluate(end, numbers) for end in (start, stop))
            assert evaluate(length, numbers) == len(range(evaluate(size, numbers))[first:last:step])

    def test_the_parts_of_an_axis_add_up_to_it(self) -> None:
        assert slice_length(n, None, n // 2) + slice_length(n, n // 2, None) == n
        assert slice_length(n, None, None, 2) + slice_length(n, 1, None, 2) == n
        assert slice_length(n, None, -1) + 1 == n
        assert slice_length(n, 1, -1) == n - 2
        assert slice_length(n, None, None, -1) == n

    def test_what_may_lie_outside_is_an_open_question(self) -> None:
        with pytest.raises(UndecidedSize, match="is n less than 10"):
            slice_length(n, None, 10)

    def test_a_step_of_zero_is_refused(self) -> None:
        with pytest.raises(ArgumentError, match="got step 0"):
            slice_length(4, None, None, 0)


class TestWindows:
    @given(
        st.integers(1, 12),
        st.integers(1, 4),
        st.integers(1, 3),
        st.tuples(st.integers(0, 2), st.integers(0, 2)),
        st.integers(1, 3),
    )
    def test_places_are_counted_as_one_would_by_hand(
        self, size: int, kernel: int, stride: int, padding: tuple[int, int], dilation: int
    ) -> None:
        reach = dilation * (kernel - 1) + 1
        starts = range(0, size + sum(padding) - reach + 1, stride)
        if starts:
            assert conv_output_size(size, kernel, stride=stride, padding=padding, dilation=dilation) == len(starts)
        else:
            with pytest.raises(ShapeError, match=f"covers {reach} of an axis of {size}"):
                conv_output_size(size, kernel, stride=stride, padding=padding, dilation=dilation)

    def test_symbolic_axes_keep_their_size_under_same_padding_and_nest(self) -> None:
        assert conv_output_size(n, 3, padding=1) == n
        once = conv_output_size(n, 3, stride=2, padding=1)
        twice = conv_output_size(once, 3, stride=2, padding=1)
        for numbers in NUMBERS:
            assert evaluate(twice, numbers) == -(-numbers["n"] // 4)
