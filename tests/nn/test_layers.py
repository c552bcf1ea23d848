"""What layers do by themselves: dropout's draws, embeddings, normalization, functions that write in place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import ArgumentError, ChainruleError, DtypeError, ShapeError, TraceError
from chainrule.nn import functional as F
from tests.tolerances import assert_close

# -- dropout -----------------------------------------------------------------------------------------------------------


def test_dropout_sets_a_part_to_0_and_scales_the_rest() -> None:
    cr.manual_seed(0)
    x = cr.ones(400, 500, requires_grad=True)
    y = F.dropout(x, 0.2)
    values = y.detach().numpy()
    assert set(np.unique(values)) == {0.0, np.float32(1.25)}
    assert (values == 0).mean() == pytest.approx(0.2, abs=4 * 0.4 / np.sqrt(values.size))
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == y.tolist(), "the gradient passes where the number stayed"


def test_dropout_draws_anew_at_each_call_and_again_from_the_same_seed() -> None:
    layer, x = nn.Dropout(0.5), cr.ones(100)
    cr.manual_seed(3)
    first, second = layer(x).tolist(), layer(x).tolist()
    assert first != second
    cr.manual_seed(3)
    assert [layer(x).tolist(), layer(x).tolist()] == [first, second]


@pytest.mark.parametrize("kind", [nn.Dropout, nn.AlphaDropout])
def test_dropout_does_nothing_in_eval_mode_or_with_p_0(kind: Any) -> None:
    x = cr.randn(5)
    assert kind(0.5).eval()(x) is x
    assert kind(0.0)(x) is x


@pytest.mark.parametrize("drop", [F.dropout, F.alpha_dropout])
def test_dropout_with_p_1_leaves_nothing(drop: Any) -> None:
    assert drop(cr.ones(5), 1.0, True).abs().sum().item() == 0


@pytest.mark.parametrize("kind", [nn.Dropout, nn.AlphaDropout])
def test_dropout_can_write_into_its_input(kind: Any) -> None:
    cr.manual_seed(0)
    x = cr.ones(50)
    y = kind(0.5, inplace=True)(x)
    assert y is x
    assert len(set(x.tolist())) == 2


def test_dropout_keeps_float64_and_refuses_integers() -> None:
    assert F.dropout(cr.ones(5, dtype=cr.float64)).dtype == cr.float64
    for drop in (F.dropout, F.alpha_dropout):
        with pytest.raises(DtypeError, match=r"input\.float\(\)"):
            drop(cr.ones(5, dtype=cr.int64), 0.5, True)


def test_alpha_dropout_keeps_mean_0_and_variance_1() -> None:
    cr.manual_seed(0)
    x = cr.randn(400, 500)
    for p in (0.1, 0.5):
        y = F.alpha_dropout(x, p, training=True).numpy()
        assert y.mean() == pytest.approx(0, abs=0.01)
        assert y.std() == pytest.approx(1, abs=0.01)
        lowest = np.sort(y.ravel())[0]
        assert (y == lowest).sum() < (1 - p) * y.size


# -- embeddings --------------------------------------------------------------------------------------------------------


def test_an_embedding_of_given_numbers_is_not_learned_unless_asked() -> None:
    table = cr.randn(4, 3)
    layer = nn.Embedding.from_pretrained(table)
    assert not layer.weight.requires_grad
    assert layer(cr.tensor([2, 0])).tolist() == [table[2].tolist(), table[0].tolist()]
    assert nn.Embedding.from_pretrained(table, freeze=False, padding_idx=-1).padding_idx == 3
    for wrong in (cr.randn(4), cr.randn(4, 3, 2)):
        with pytest.raises(ShapeError, match="rows, features"):
            nn.Embedding.from_pretrained(wrong)
    with pytest.raises(ShapeError, match=r"expected \(4, 2\)"):
        nn.Embedding(4, 2, _weight=table)


def test_the_padding_row_starts_as_zeros_and_is_never_learned() -> None:
    layer = nn.Embedding(4, 3, padding_idx=1)
    assert layer.weight[1].tolist() == [0, 0, 0]
    layer(cr.tensor([1, 2, 1])).sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.tolist() == [[0] * 3, [0] * 3, [1] * 3, [0] * 3]


def test_max_norm_shortens_only_the_rows_that_are_looked_up() -> None:
    layer = nn.Embedding(3, 2, max_norm=1.0)
    with cr.no_grad():
        layer.weight.copy_(cr.tensor([[3.0, 4.0], [6.0, 8.0], [0.3, 0.4]]))
    layer(cr.tensor([0, 2]))
    assert_close(layer.weight, [[0.6, 0.8], [6.0, 8.0], [0.3, 0.4]])


def test_arguments_of_an_embedding_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ArgumentError, match="padding_idx=9"):
        F.embedding(cr.tensor([0]), cr.ones(3, 2), padding_idx=9)
    with pytest.raises(ShapeError, match=r"\(rows, features\)"):
        F.embedding(cr.tensor([0]), cr.ones(3))


def test_one_hot_needs_the_number_of_classes_where_it_cannot_see() -> None:
    with pytest.raises(TraceError, match="Pass num_classes"):
        cr.compile(lambda i: F.one_hot(i))(cr.tensor([0, 1]))
    with pytest.raises(ArgumentError, match="no element"):
        F.one_hot(cr.zeros(0, dtype=cr.int64))
    assert F.one_hot(cr.zeros(0, dtype=cr.int64), 3).shape == (0, 3)
    assert F.one_hot(cr.tensor(1)).tolist() == [0, 1]


# -- normalization -----------------------------------------------------------------------------------------------------


def test_batch_norm_in_training_has_mean_0_and_variance_1_and_moves_its_statistics() -> None:
    layer = nn.BatchNorm1d(2)
    x = cr.tensor([[1.0, 10.0], [3.0, 30.0], [5.0, 20.0]])
    y = layer(x).detach().numpy()
    assert y.mean(0) == pytest.approx([0, 0], abs=1e-6)
    assert y.var(0) == pytest.approx([1, 1], abs=1e-4)
    assert layer.running_mean is not None
    assert layer.running_var is not None
    assert_close(layer.running_mean, [0.3, 2.0])
    assert_close(layer.running_var, [0.9 + 0.1 * 4, 0.9 + 0.1 * 100])
    layer.reset_running_stats()
    assert layer.running_mean.tolist() == [0, 0]


def test_batch_norm_without_momentum_keeps_the_mean_of_all_batches() -> None:
    layer = nn.BatchNorm1d(1, momentum=None)
    for value in (1.0, 2.0, 6.0):
        layer(cr.tensor([[value], [value + 2]]))
    assert layer.running_mean is not None
    assert layer.num_batches_tracked is not None
    assert_close(layer.running_mean, [4.0])
    assert layer.num_batches_tracked.item() == 3


def test_batch_norm_refuses_parts_of_another_size() -> None:
    x = cr.ones(3, 2)
    with pytest.raises(ShapeError, match=r"expected 3 channels in axis 1, got 2 \(weight has 3\)"):
        F.batch_norm(x, None, None, weight=cr.ones(3), training=True)
    with pytest.raises(ArgumentError, match="no running statistics"):
        F.batch_norm(x, None, None)
    with pytest.raises(ShapeError, match=r"expected \(N, C\)"):
        F.batch_norm(cr.ones(3), None, None, training=True)
    with pytest.raises(ShapeError, match=r"layer_norm: got a bias of shape \(3,\)"):
        F.layer_norm(x, (2,), bias=cr.ones(3))


def test_a_batch_without_rows_passes_and_leaves_the_statistics() -> None:
    layer = nn.BatchNorm1d(2)
    assert layer(cr.zeros(0, 2)).shape == (0, 2)
    assert layer.running_mean is not None
    assert layer.running_mean.tolist() == [0, 0]


# -- functions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["relu_", "leaky_relu_", "elu_", "selu_", "celu_", "hardtanh_"])
def test_a_function_with_an_underscore_writes_into_its_input(name: str) -> None:
    x = cr.tensor([-2.0, 0.5, 3.0])
    expected = getattr(F, name[:-1])(x).tolist()
    assert getattr(F, name)(x) is x
    assert x.tolist() == expected


def test_softmax_without_an_axis_chooses_one_and_says_so() -> None:
    for shape, axis in (((3,), 0), ((2, 3), 1), ((2, 3, 4), 0), ((1, 2, 3, 4), 1)):
        x = cr.randn(*shape)
        for function in (F.softmax, F.log_softmax, F.softmin):
            with pytest.warns(UserWarning, match=f"write dim={axis}"):
                assert function(x).tolist() == function(x, axis).tolist()


def test_functions_refuse_arguments_that_do_not_fit() -> None:
    calls: list[Any] = [
        lambda: F.prelu(cr.ones(3, 2), cr.ones(2, 2)),
        lambda: F.prelu(cr.ones(3, 2), cr.ones(3)),
        lambda: F.gelu(cr.ones(1), "fast"),
        lambda: F.hardtanh(cr.ones(1), 2.0, 1.0),
        lambda: F.gaussian_nll_loss(cr.ones(1), cr.ones(1), cr.ones(1), eps=0.0),
        lambda: F.triplet_margin_loss(cr.ones(1, 2), cr.ones(1, 2), cr.ones(1, 2), margin=0.0),
        lambda: F.bilinear(cr.ones(1, 2), cr.ones(1, 2), cr.ones(1, 2)),
        lambda: F.linear(cr.ones(1, 2), cr.ones(3, 2), cr.ones(4)),
        lambda: F.pad(cr.ones(2), (1, 1), mode="reflect", value=1.0),
        lambda: F.pad(cr.ones(2), (1, 1), mode="circ"),
    ]
    for call in calls:
        with pytest.raises(ChainruleError):
            call()


def test_a_variance_may_be_one_number() -> None:
    x, t = cr.tensor([1.0, 2.0]), cr.tensor([0.0, 0.0])
    assert F.gaussian_nll_loss(x, t, 2.0).item() == pytest.approx(0.5 * np.log(2) + 0.5 * 2.5 / 2)
    assert F.gaussian_nll_loss(x, t, cr.tensor(2.0)).item() == pytest.approx(0.5 * np.log(2) + 0.5 * 2.5 / 2)
