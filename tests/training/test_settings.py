"""What a step is made with, and what is set again while a Trainer trains."""

from __future__ import annotations

from typing import Any

import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import ArgumentError
from tests.training.problems import classes, network, state_bits, trainer

both = pytest.mark.parametrize("compile", [True, False], ids=["compiled", "uncompiled"])
NEW: dict[str, Any] = {"clip_norm": 1e-3, "l1": 0.5, "l2": 0.5}


class Sets(cr.Callback):
    """Sets something of the trainer after the first epoch."""

    def __init__(self, **values: Any) -> None:
        self.values = values

    def on_epoch_end(self, trainer: cr.Trainer, epoch: int, row: dict[str, float]) -> None:
        if epoch == 1:
            for name, value in self.values.items():
                setattr(trainer, name, value)


@both
@pytest.mark.parametrize("name", NEW)
def test_what_a_callback_sets_counts_from_the_next_batch_on(name: str, compile: bool) -> None:
    data, options = classes(48), {"epochs": 3, "compile": compile, "optimizer": "sgd", "lr": 0.1, "keep_best": False}
    called, by_hand, as_before = network(), network(), network()
    trainer(called, callbacks=[Sets(**{name: NEW[name]})], **options).fit(data)
    own = trainer(by_hand, **{**options, "epochs": 1})
    own.fit(data)
    own.epochs = 3
    setattr(own, name, NEW[name])
    own.fit(data)
    trainer(as_before, **options).fit(data)
    assert state_bits(called) == state_bits(by_hand)
    assert state_bits(called) != state_bits(as_before)


@both
@pytest.mark.parametrize("name", NEW)
def test_what_a_callback_sets_is_checked(name: str, compile: bool) -> None:
    with pytest.raises(ArgumentError, match=f"{name}=-1"):
        trainer(network(), compile=compile, callbacks=[Sets(**{name: -1.0})]).fit(classes(48))


@both
def test_an_optimizer_that_is_replaced_while_training_is_refused_by_name(compile: bool) -> None:
    model = network()
    callback = Sets(optimizer=cr.optim.SGD(model.parameters(), lr=0.0))
    with pytest.raises(ArgumentError, match=r"trainer\.optimizer was replaced after training began"):
        trainer(model, compile=compile, callbacks=[callback]).fit(classes(48))
    own = trainer(network(), compile=compile)
    own.optimizer = cr.optim.SGD(own.model.parameters(), lr=0.0)
    before = state_bits(own.model)
    own.fit(classes(48))
    assert state_bits(own.model) == before  # what is set before training counts


@both
@pytest.mark.parametrize("options", [{"l1": 0.1}, {"l2": 0.1}, {"l1": 0.1, "l2": 0.2}])
def test_a_penalty_on_a_model_without_weights_that_learn_is_refused(options: Any, compile: bool) -> None:
    model = nn.Sequential(nn.Linear(3, 3))
    model[0].weight.requires_grad_(False)
    wanted = " and ".join(f"{name}={value}" for name, value in options.items())
    with pytest.raises(ArgumentError, match=f"^{wanted} with a model without weights that learn") as caught:
        trainer(model, compile=compile, **options).fit(classes(48))
    assert "biases=True" not in str(caught.value)
