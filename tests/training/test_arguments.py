"""Arguments that make no sense are refused before anything happens, with what was expected."""

from __future__ import annotations

import functools
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.errors import ArgumentError, ArgumentTypeError, ChainruleError, FileError
from chainrule.training import OPTIMIZERS, SCHEDULES
from tests.training.problems import classes, network, state_bits, trainer


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs=0; expected a whole number of at least 1"),
        ({"epochs": 2.5}, "epochs=2.5"),
        ({"epochs": True}, "epochs=True"),
        ({"batch_size": -1}, "batch_size=-1; expected a whole number of at least 1, or None"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"batch_size": "all"}, "batch_size='all'"),
        ({"patience": 0}, "patience=0; expected a whole number of at least 1, or None"),
        ({"min_delta": -0.1}, "min_delta=-0.1; expected a number of at least 0"),
        ({"target": np.nan}, "target=nan; expected a number"),
        ({"time_limit": 0}, "time_limit=0; expected a number above 0"),
        ({"clip_norm": 0.0}, "clip_norm=0.0; expected a number above 0"),
        ({"clip_norm": "1"}, "clip_norm='1'"),
        ({"l1": -1.0}, "l1=-1.0; expected a number of at least 0"),
        ({"l2": np.inf}, "l2=inf"),
        ({"seed": 1.5}, "manual_seed: got 1.5"),
        ({"lr": -1.0}, "lr=-1.0"),
        ({"weight_decay": -1.0}, "weight_decay=-1.0"),
        ({"schedule": "cosin"}, "schedule='cosin'; expected one of constant, cosine.*Did you mean cosine"),
        ({"schedule": 3}, "schedule=3; expected a function from the optimizer"),
        ({"schedule_by": "step"}, "schedule_by='step'; expected 'epoch', 'batch' or None"),
        ({"optimizer": "adm"}, "optimizer='adm'; expected one of sgd, adam.*Did you mean"),
        ({"optimizer": 3}, "optimizer=3; expected an Optimizer, its class"),
        ({"optimizer": lambda parameters: 3}, "optimizer: the function returned int; expected an Optimizer"),
        ({"callbacks": [3]}, "callbacks: got 3"),
        ({"callbacks": [cr.Callback]}, r"Write Callback\(\)"),
        ({"checkpoint": 3}, "checkpoint=3; expected a path"),
        ({"checkpoint": "no/such/folder/file"}, "there is no folder"),
        ({"checkpoint_every": 0}, "checkpoint_every=0"),
        ({"compile": "no"}, "compile='no'; expected True or False"),
        ({"compile": None}, "compile=None; expected True or False"),
        ({"keep_best": "no"}, "keep_best='no'; expected True or False"),
        ({"progress": "yes"}, "progress='yes'; expected True or False, or None"),
        ({"progress": 2}, "progress=2"),
        ({"epoch": 3}, "Trainer: got the option 'epoch'; expected one of loss, optimizer.*Did you mean epochs"),
    ],
)
def test_a_bad_argument_is_named_with_its_value(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ChainruleError, match=message):
        cr.Trainer(network(), **options)


def test_the_model_must_be_a_module_with_something_to_learn() -> None:
    with pytest.raises(ArgumentTypeError, match="got a model of type list; expected an nn.Module"):
        cr.Trainer([nn.Linear(1, 1)])  # type: ignore[arg-type]  # on purpose
    with pytest.raises(ArgumentError, match="ReLU has no parameter that requires grad"):
        cr.Trainer(nn.ReLU())
    with pytest.raises(ArgumentError, match="Linear has no parameter that requires grad"):
        cr.Trainer(nn.Linear(1, 1).requires_grad_(False))


def test_an_unknown_option_of_fit_gets_the_nearest_names() -> None:
    with pytest.raises(
        ArgumentTypeError, match="fit: got the option 'epoch'; expected one of loss.*Did you mean epochs"
    ):
        cr.fit(network(), classes(), epoch=3)


def test_every_argument_can_be_read_back() -> None:
    options: dict[str, Any] = {
        "loss": "cross_entropy", "batch_size": 7, "epochs": 9, "monitor": "val_loss", "patience": 4, "min_delta": 0.1,
        "target": 0.5, "time_limit": 3.0, "schedule": "cosine", "schedule_by": "epoch", "clip_norm": 1.0, "l1": 0.1,
        "l2": 0.2, "class_weight": "balanced", "seed": 5, "progress": False, "compile": False, "keep_best": False,
        "checkpoint": None, "checkpoint_every": 3,
    }  # fmt: skip
    own = cr.Trainer(network(), **options)
    assert {name: getattr(own, name) for name in options} == options


def test_fit_is_a_trainer_in_one_call() -> None:
    first, second = network(), network()
    history = cr.fit(first, classes(), val=classes(20, seed=1), epochs=2, progress=False, metrics=["accuracy"])
    cr.Trainer(second, epochs=2, progress=False, metrics=["accuracy"]).fit(classes(), val=classes(20, seed=1))
    assert state_bits(first) == state_bits(second)
    assert "val_accuracy" in history


# -- optimizers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_by_name_by_class_and_by_object_gives_the_same_bits(name: str) -> None:
    bits = []
    kind: Any = OPTIMIZERS[name]
    for make in (name, kind, functools.partial(kind, weight_decay=0.01)):
        model = network()
        options = {} if isinstance(make, functools.partial) else {"weight_decay": 0.01}
        trainer(model, optimizer=make, lr=0.05, **options).fit(classes())
        bits.append(state_bits(model))
    model = network()
    trainer(model, optimizer=kind(model.parameters(), lr=0.05, weight_decay=0.01)).fit(classes())
    assert bits[0] == bits[1] == bits[2] == state_bits(model)


def test_names_have_rates_of_their_own() -> None:
    rates = {name: cr.Trainer(network(), optimizer=name).optimizer.param_groups[0]["lr"] for name in OPTIMIZERS}
    assert rates["sgd"] == rates["adagrad"] == 0.01
    assert rates["adam"] == rates["adamw"] == rates["rmsprop"] == 0.001
    assert cr.Trainer(network(), optimizer="sgd", lr=0.5).optimizer.param_groups[0]["lr"] == 0.5


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_weight_decay_of_zero_is_zero_and_none_is_the_optimizers_own(name: str) -> None:
    own = OPTIMIZERS[name](network().parameters(), lr=0.1).param_groups[0]["weight_decay"]
    for given, expected in ((None, own), (0.0, 0.0), (0.25, 0.25)):
        made = cr.Trainer(network(), optimizer=name, weight_decay=given).optimizer
        assert made.param_groups[0]["weight_decay"] == expected


def test_an_optimizer_of_other_parameters_is_refused() -> None:
    with pytest.raises(ArgumentError, match="the SGD improves no parameter of the model"):
        cr.Trainer(network(), optimizer=optim.SGD(network().parameters(), lr=0.1))
    model = network()
    with pytest.raises(ArgumentError, match="lr or weight_decay beside an Optimizer"):
        cr.Trainer(model, optimizer=optim.SGD(model.parameters(), lr=0.1), lr=0.1)


@pytest.mark.parametrize("compiled", [True, False])
def test_frozen_layers_and_layers_without_an_optimizer_stay(compiled: bool) -> None:
    model = network()
    model[0].requires_grad_(False)
    before = state_bits(model)
    own = trainer(model, compile=compiled)
    own.fit(classes())
    after = state_bits(model)
    assert {name: before[name] == after[name] for name in before} == {
        "0.weight": True, "0.bias": True, "2.weight": False, "2.bias": False,
    }  # fmt: skip
    head = network()
    own = trainer(head, optimizer=optim.SGD(head[2].parameters(), lr=0.1), compile=compiled, clip_norm=1.0)
    history = own.fit(classes())
    assert state_bits(head)["0.weight"] == before["0.weight"]
    assert history.notes == []


def test_groups_of_parameters_keep_their_own_rates() -> None:
    model = network()
    optimizer = optim.SGD([{"params": model[0].parameters(), "lr": 0.0}, {"params": model[2].parameters()}], lr=0.1)
    trainer(model, optimizer=optimizer, schedule="cosine").fit(classes())
    assert state_bits(model)["0.weight"] == state_bits(network())["0.weight"]
    assert state_bits(model)["2.weight"] != state_bits(network())["2.weight"]


def test_the_names_of_schedules_are_explained() -> None:
    assert all(len(text) > 10 for text in SCHEDULES.values())


def test_no_schedule_is_a_constant_rate() -> None:
    bits = []
    for schedule in (None, "constant"):
        model = network()
        own = trainer(model, schedule=schedule)
        own.fit(classes())
        assert own.schedule == "constant"
        bits.append(state_bits(model))
    assert bits[0] == bits[1]


def test_a_checkpoint_needs_a_folder(tmp_path: Path) -> None:
    assert cr.Trainer(network(), checkpoint=tmp_path / "state").checkpoint == tmp_path / "state"
    with pytest.raises(FileError, match="Make it first"):
        cr.Trainer(network(), checkpoint=tmp_path / "no" / "state")


def test_data_given_to_a_trainer_are_told_where_they_go() -> None:
    with pytest.raises(
        ArgumentTypeError, match=r"Trainer: got 2 arguments by position.*Trainer\(model, …\).fit\(data\)"
    ):
        cr.Trainer(network(), classes())  # type: ignore[call-arg]  # on purpose


def test_a_trainer_of_one_s_own_has_options_of_its_own() -> None:
    class Own(cr.Trainer):
        def __init__(self, model: nn.Module, *, mine: int = 1, **options: Any) -> None:
            super().__init__(model, **options)
            self.mine = mine

    assert Own(network(), mine=2, epochs=3).mine == 2
    with pytest.raises(ArgumentTypeError, match="Own: got the option 'epoch'"):
        Own(network(), epoch=3)


def test_the_signature_of_a_trainer_names_its_options() -> None:
    assert [*inspect.signature(cr.Trainer).parameters][:3] == ["model", "loss", "optimizer"]
