"""Errors are told from the layer the user knows: its path, its type, who fed it, what was expected."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import ArgumentError, ArgumentTypeError, ChainruleError, DtypeError, IndexingError, ShapeError
from chainrule.nn import functional as F


def message(call: Any, *args: Any) -> str:
    with pytest.raises(ChainruleError) as caught:
        call(*args)
    return str(caught.value)


def test_a_layer_on_its_own_is_named_by_its_type() -> None:
    text = message(nn.Linear(64, 3), cr.ones(5, 32))
    assert text == "Linear: expected 64 features in the last axis, got 32 (input of shape (5, 32))."


def test_a_container_adds_place_and_feeder() -> None:
    model = nn.Sequential(nn.Linear(3, 32), nn.ReLU(), nn.Linear(64, 2))
    text = message(model, cr.ones(5, 3))
    assert text.startswith("layer 2 (Linear), fed by layer 1 (ReLU): expected 64 features in the last axis, got 32")
    assert message(model, cr.ones(5, 7)).startswith("layer 0 (Linear): expected 3 features in the last axis, got 7")


def test_nested_paths_are_written_with_dots() -> None:
    inner = nn.Sequential(nn.ReLU(), nn.Linear(64, 2))
    model = nn.Sequential(nn.Linear(3, 32), inner)
    assert message(model, cr.ones(5, 3)).startswith("layer 1.1 (Linear), fed by layer 1.0 (ReLU): expected 64")


def test_the_first_layer_of_an_inner_row_is_fed_by_the_one_before_the_row() -> None:
    model = nn.Sequential(nn.Linear(3, 32), nn.Sequential(nn.Sequential(nn.Linear(64, 2))))
    assert message(model, cr.ones(5, 3)).startswith("layer 1.0.0 (Linear), fed by layer 0 (Linear): expected 64")


def test_a_users_module_is_named_by_its_attributes() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.Sequential(nn.Linear(3, 4), nn.Linear(5, 6))
            self.heads = nn.ModuleList([nn.Linear(4, 2)])
            self.wrong_inside = True

        def forward(self, x: cr.Tensor) -> Any:
            return self.encoder(x) if self.wrong_inside else self.heads[0](x)

    model = Net()
    assert message(model, cr.ones(5, 3)).startswith(
        "layer encoder.1 (Linear), fed by layer encoder.0 (Linear): expected 5"
    )
    model.wrong_inside = False
    assert message(model, cr.ones(5, 3)).startswith("layer heads.0 (Linear): expected 4 features")
    wrapped = nn.Sequential(nn.ReLU(), model)
    assert message(wrapped, cr.ones(5, 3)).startswith("layer 1.heads.0 (Linear): expected 4 features")


def test_an_operation_of_the_users_own_forward_is_told_from_its_module() -> None:
    class Adds(nn.Module):
        def forward(self, x: cr.Tensor) -> cr.Tensor:
            return x + cr.ones(7)

    text = message(nn.Sequential(nn.Linear(3, 4), Adds()), cr.ones(5, 3))
    assert text.startswith("layer 1 (Adds), fed by layer 0 (Linear): add: the shapes (5, 4) and (7,)")


def test_an_error_keeps_its_type_and_an_error_of_python_passes_untouched() -> None:
    with pytest.raises(ShapeError):
        nn.Sequential(nn.Linear(3, 4))(cr.ones(2, 9))

    class Breaks(nn.Module):
        def forward(self, x: cr.Tensor) -> cr.Tensor:
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine") as caught:
        nn.Sequential(Breaks())(cr.ones(1))
    assert caught.value.args == ("mine",)


def test_a_model_that_failed_once_names_the_place_of_the_next_failure() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(5, 6))
    assert message(model, cr.ones(1, 3)).startswith("layer 1")
    assert message(model, cr.ones(1, 2)).startswith("layer 0")
    model[1] = nn.Linear(4, 6)
    assert model(cr.ones(1, 3)).shape == (1, 6)


# -- layers ------------------------------------------------------------------------------------------------------------


def test_a_dtype_that_does_not_fit_says_what_to_convert() -> None:
    text = message(nn.Linear(2, 2), cr.ones(1, 2, dtype=cr.float64))
    assert "got float64 input for float32 weights" in text
    assert "x.to(chainrule.float32)" in text
    with pytest.raises(DtypeError, match="got int64 input"):
        nn.Linear(2, 2)(cr.ones(1, 2, dtype=cr.int64))
    with pytest.raises(ChainruleError, match="got ndarray as input"):
        nn.Linear(2, 2)(cr.ones(1, 2).numpy())


def test_a_0d_input_of_a_linear_layer_is_an_error() -> None:
    assert "(…, in_features)" in message(nn.Linear(2, 2), cr.tensor(1.0))


def test_a_bilinear_layer_names_the_input_that_does_not_fit() -> None:
    layer = nn.Bilinear(2, 3, 4)
    assert "expected 3 features in the last axis of the second input, got 2" in message(
        layer, cr.ones(5, 2), cr.ones(5, 2)
    )
    assert "the same sizes on every axis but the last" in message(layer, cr.ones(5, 2), cr.ones(4, 3))


def test_batch_norm_refuses_one_value_per_channel_in_training_only() -> None:
    layer = nn.BatchNorm1d(3)
    assert "one value per channel" in message(layer, cr.ones(1, 3))
    assert layer.eval()(cr.ones(1, 3)).shape == (1, 3)


def test_batch_norm_and_layer_norm_name_the_sizes() -> None:
    assert "expected 3 channels in axis 1, got 4" in message(nn.BatchNorm1d(3), cr.ones(5, 4))
    assert "expected (N, 3) or (N, 3, L)" in message(nn.BatchNorm1d(3), cr.ones(5))
    assert "expected the last axis to have the sizes [3], got an input of shape (5, 4)" in message(
        nn.LayerNorm(3), cr.ones(5, 4)
    )
    assert "floats" in message(nn.BatchNorm1d(3), cr.ones(5, 3, dtype=cr.int64))


def test_an_embedding_names_the_index_and_its_place() -> None:
    layer = nn.Embedding(5, 2)
    with pytest.raises(IndexingError, match=r"got the index 7 at \[1, 0\] for a table of 5 rows; expected 0 … 4"):
        layer(cr.tensor([[1, 2], [7, 0]]))
    with pytest.raises(IndexingError, match="index -1"):
        layer(cr.tensor([-1]))
    with pytest.raises(DtypeError, match="long"):
        layer(cr.tensor([1.0]))
    with pytest.raises(ArgumentError, match="padding_idx=5"):
        nn.Embedding(5, 2, padding_idx=5)


@pytest.mark.parametrize(
    "call",
    [
        lambda: nn.Linear(-1, 2), lambda: nn.Linear(2.5, 2), lambda: nn.Dropout(1.5), lambda: nn.Dropout(-0.1),  # type: ignore[arg-type]  # wrong on purpose
        lambda: F.dropout(cr.ones(1), 2.0), lambda: nn.GELU("fast"), lambda: nn.Hardtanh(1, -1),
        lambda: nn.MSELoss(reduction="average"), lambda: nn.TripletMarginLoss(margin=-1), lambda: F.celu(cr.ones(1), 0.0),
        lambda: F.softshrink(cr.ones(1), -1.0), lambda: F.glu(cr.ones(3)), lambda: nn.Unflatten(1, 3),  # type: ignore[arg-type]  # wrong on purpose
        lambda: F.pad(cr.ones(3), (1,)), lambda: F.pad(cr.ones(3), (1, 1), mode="mirror"),
        lambda: F.pad(cr.ones(3), (3, 0), mode="reflect"), lambda: F.one_hot(cr.tensor([3]), 2),
        lambda: F.one_hot(cr.tensor([0.5])), lambda: nn.Bilinear(0, 1, 1),
    ],
)  # fmt: skip
def test_arguments_that_make_no_sense_are_refused(call: Any) -> None:
    with pytest.raises(ChainruleError):
        call()


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(AttributeError, match="Did you mean Linear"):
        nn.Liner
    with pytest.raises(AttributeError, match="cross_entropy"):
        F.crossentropy


# -- losses ------------------------------------------------------------------------------------------------------------


def test_a_label_out_of_range_is_told_with_its_row() -> None:
    logits = cr.zeros(4, 3)
    text = message(nn.CrossEntropyLoss(), logits, cr.tensor([0, 1, 7, -1]))
    assert "got the label 7 in row 2 (2 labels are wrong) for an input of 3 classes; expected 0 … 2" in text
    with pytest.raises(ArgumentError, match="label -1 in row 1"):
        F.nll_loss(logits, cr.tensor([0, -1, 0, 0]))
    with pytest.raises(ArgumentError, match=r"label 3 at \(1, 0, 1\)"):
        F.cross_entropy(cr.zeros(2, 3, 1, 2), cr.tensor([[[0, 0]], [[0, 3]]]))
    assert F.cross_entropy(logits, cr.tensor([0, 1, -1, 2]), ignore_index=-1).item() == pytest.approx(1.0986, abs=1e-4)


def test_targets_of_a_wrong_kind_say_what_to_do() -> None:
    logits = cr.zeros(4, 3)
    assert "use target.long()" in message(F.cross_entropy, logits, cr.zeros(4))
    assert "target.argmax(1)" in message(F.cross_entropy, logits, cr.zeros(4, 3, dtype=cr.int64))
    assert "Use target.long()" in message(F.nll_loss, logits, cr.zeros(4))
    assert "a target of shape (4,)" in message(F.cross_entropy, logits, cr.zeros(5, dtype=cr.int64))
    assert "a target of shape (4,)" in message(F.cross_entropy, logits, cr.zeros(4, 1, dtype=cr.int64))
    assert "input.float()" in message(F.cross_entropy, cr.zeros(4, 3, dtype=cr.int64), cr.zeros(4, dtype=cr.int64))
    assert "(3,), a weight for each class" in message(
        lambda: F.cross_entropy(logits, cr.zeros(4, dtype=cr.int64), weight=cr.ones(2))
    )
    assert "label_smoothing=2" in message(
        lambda: F.cross_entropy(logits, cr.zeros(4, dtype=cr.int64), label_smoothing=2)
    )
    assert "got list as target" in message(F.cross_entropy, logits, [0, 1, 2, 0])
    assert "0-d" in message(F.cross_entropy, cr.tensor(1.0), cr.tensor(0))


def test_losses_of_yes_and_no_check_shapes_dtypes_and_range() -> None:
    z = cr.zeros(4, 1)
    assert "input.squeeze(-1)" in message(F.binary_cross_entropy_with_logits, z, cr.zeros(4))
    assert "target.squeeze(-1)" in message(F.binary_cross_entropy_with_logits, cr.zeros(4), z)
    assert "target.float()" in message(F.binary_cross_entropy_with_logits, z, cr.zeros(4, 1, dtype=cr.int64))
    text = message(F.binary_cross_entropy, cr.tensor([0.5, 1.5]), cr.tensor([1.0, 0.0]))
    assert "got the probability 1.5 at row 1; expected numbers from 0 to 1" in text
    assert "binary_cross_entropy_with_logits" in text
    assert "probability nan" in message(F.binary_cross_entropy, cr.tensor([float("nan")]), cr.tensor([1.0]))


def test_losses_of_numbers_check_shapes() -> None:
    for loss in (F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.huber_loss):
        assert "got an input of shape (4, 2) and a target of shape (3, 2)" in message(
            loss, cr.zeros(4, 2), cr.zeros(3, 2)
        )
    assert "negative variance" in message(F.gaussian_nll_loss, cr.zeros(2), cr.zeros(2), cr.tensor([1.0, -1.0]))
    assert "variance of shape (3,)" in message(F.gaussian_nll_loss, cr.zeros(2), cr.zeros(2), cr.ones(3))
    assert "var=-1" in message(F.gaussian_nll_loss, cr.zeros(2), cr.zeros(2), -1.0)
    assert "delta=0" in message(lambda: F.huber_loss(cr.zeros(2), cr.zeros(2), delta=0))
    assert "beta=-1" in message(lambda: F.smooth_l1_loss(cr.zeros(2), cr.zeros(2), beta=-1))


def test_losses_of_pairs_check_shapes() -> None:
    x = cr.zeros(4, 2)
    assert "equally many axes" in message(F.margin_ranking_loss, x, x, cr.zeros(4))
    assert "one axis more" in message(F.cosine_embedding_loss, x, x, cr.tensor(1.0))
    assert "0 or 1" in message(F.cosine_embedding_loss, x, x, x)
    assert "equally many axes" in message(F.triplet_margin_loss, x, x, cr.zeros(2))
    assert "one shape" in message(F.soft_margin_loss, x, cr.zeros(4))


@pytest.mark.parametrize(
    "layer",
    [nn.Linear(4, 2), nn.ReLU(), nn.GELU(), nn.Dropout(), nn.BatchNorm1d(4), nn.Embedding(4, 2), nn.Softmax(-1)],
    ids=lambda layer: type(layer).__name__,
)
def test_a_tensor_of_torch_is_called_so(layer: Any) -> None:
    class Tensor:  # looks like one of PyTorch's
        __module__ = "torch"
        shape, ndim = (2, 4), 2

        def numpy(self) -> Any:
            return np.ones((2, 4), np.float32)

    told = r"got a torch tensor as input; expected a tensor\. Convert it with chainrule\.from_numpy\(x\.numpy\(\)\)"
    with pytest.raises(ArgumentTypeError, match=told):
        layer(Tensor())
    with pytest.raises(ArgumentTypeError, match=r"got a torch tensor; .*from_numpy\(x\.numpy\(\)\)"):
        cr.from_numpy(Tensor())
