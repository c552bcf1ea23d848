"""Objects and containers that are arguments of a compiled function, and losses that are objects."""

from __future__ import annotations

import copy
import functools
import importlib
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import ArgumentTypeError, TraceError

ONE = np.ones(1, np.float32)

ONE = np.ones(1, np.float32)


@pytest.mark.parametrize(
    ("change", "given", "told"),
    [
        (lambda x, it: it.append(x * 2), [], "the list 'it'"),
        (lambda x, it: it.__setitem__(0, x), [cr.ones(1)], "the list 'it'"),
        (lambda x, it: it.__setitem__("out", x), {}, "the dict 'it'"),
        (lambda x, it: it["a"][0].pop(), {"a": ([1, 2],)}, r"the list 'it\['a'\]\[0\]'"),
    ],
    ids=["a list", "a tensor in a list", "a dict", "inside"],
)
@pytest.mark.parametrize("named", [False, True])
def test_an_argument_that_a_compiled_function_changes_is_refused(
    change: Any, given: Any, told: str, named: bool
) -> None:
    def changing(x: Any, it: Any) -> Any:
        change(x, it)
        return x

    step = cr.compile(changing)
    before = copy.copy(given)
    with pytest.raises(TraceError, match=f"'changing' changed {told}, an argument.*[Rr]eturn it instead"):
        step(ONE, it=given) if named else step(ONE, given)
    assert given == before


def test_containers_that_are_read_and_made_anew_may_be_arguments() -> None:
    @cr.compile
    def step(x: Any, losses: Any, **named: Any) -> Any:
        named["more"] = [*losses, x]
        named.pop("by")
        return sum(named["more"])

    for _ in range(2):
        assert step(ONE, [cr.ones(1), 2.0], by=1).item() == 4
    assert len(step.graphs) == 1


@dataclass(frozen=True)
class Fixed:
    number: float


class Schedule:
    def __init__(self) -> None:
        self.number = 2.0

    def __call__(self, step: int = 0) -> float:
        return self.number

    def method(self) -> float:
        return self.number


def test_equal_records_are_served_by_one_trace_from_the_second_on() -> None:
    schedule = Schedule()
    step = cr.compile(lambda x, fixed, by: x * fixed.number * by())
    for _ in range(5):
        assert step(ONE, Fixed(2.0), schedule.method).item() == 4
    assert len(step.graphs) == 2  # the first one is told by which one it is
    schedule.number = 3.0
    assert step(ONE, Fixed(2.0), schedule.method).item() == 6


@pytest.mark.parametrize("where", ["itself", "in a dict", "a function"])
def test_what_is_read_of_an_object_that_is_an_argument_is_noticed(where: str) -> None:
    schedule = Schedule()
    read = {
        "itself": lambda x, it: x * it.number,
        "in a dict": lambda x, it: x * it["a"].number,
        "a function": lambda x, it: x * it(),
    }[where]
    given = {"itself": schedule, "in a dict": {"a": schedule}, "a function": lambda: schedule.number}[where]
    step = cr.compile(read)
    assert step(ONE, given).item() == step(ONE, given).item() == 2
    schedule.number = 3.0
    assert step(ONE, given).item() == step(ONE, given).item() == 3
    assert len(step.graphs) == 2


WEIGHT = 1.0


class OwnLoss:
    weight = 1.0

    def __call__(self, output: Any, y: Any) -> Any:
        return (output - y).square().mean() * self.weight


def own_loss(output: Any, y: Any) -> Any:
    return (output - y).square().mean() * WEIGHT


@pytest.mark.parametrize("kind", ["a function", "an object", "a partial"])
def test_fit_notices_what_a_loss_of_the_users_own_reads(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(32, 3)).astype(np.float32), rng.normal(size=(32, 2)).astype(np.float32)
    found = []

    class Weighing(cr.Callback):
        def on_epoch_end(self, *_: Any) -> None:
            monkeypatch.setitem(globals(), "WEIGHT", WEIGHT * 3)
            loss.weight *= 3

    for compiled in (True, False):
        cr.manual_seed(0)
        monkeypatch.setitem(globals(), "WEIGHT", 1.0)
        loss = OwnLoss()
        model = nn.Linear(3, 2)
        given = {"a function": own_loss, "an object": loss, "a partial": functools.partial(own_loss)}[kind]
        settings = {"epochs": 3, "batch_size": 16, "callbacks": [Weighing()], "progress": False, "seed": 0}
        cr.fit(model, (X, y), loss=given, optimizer="sgd", lr=0.01, compile=compiled, **settings)
        found.append(model.weight.detach().numpy())
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)


def test_a_compiled_object_is_looked_at_like_a_function() -> None:
    schedule = Schedule()
    step = cr.compile(schedule)
    step(3)
    schedule.number = 3.0
    assert step(3) == 3


class Part(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scales = [2.0]

    @property
    def scale(self) -> float:
        return self.scales[0]

    def scaled(self, x: Any) -> Any:
        return x * self.scale


class Whole(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.part, self.layers = Part(), nn.ModuleList([Part()])

    def forward(self, x: Any) -> Any:
        return self.layers[0].scaled(x * self.part.scale)


def test_what_a_module_reads_of_its_parts_is_noticed() -> None:
    whole = Whole()
    model = cr.compile(whole)
    assert model(ONE).item() == 4
    whole.part.scales[0] = 3.0
    assert model(ONE).item() == 6
    whole.layers[0].scales[0] = 5.0
    assert model(ONE).item() == model(ONE).item() == 15
    assert len(model.graphs) == 3
    single = Part()
    step = cr.compile(lambda x: single.scaled(x))
    assert step(ONE).item() == 2
    single.scales[0] = 3.0
    assert step(ONE).item() == step(ONE).item() == 3
    assert "single.scales[0] was 2.0 and is 3.0" in step.report()


OTHER_FILE = """
S = 2.0

def scaled(x):
    return x * S

class C:
    v = 1.0

    def get(self):
        return self.v

c = C()
"""


def test_what_functions_of_the_users_other_files_read_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "helpers_of_a_user.py").write_text(OTHER_FILE)
    monkeypatch.syspath_prepend(tmp_path)
    helpers: Any = importlib.import_module("helpers_of_a_user")
    scaled = helpers.scaled
    step = cr.compile(lambda x: scaled(x) * helpers.c.get())
    assert step(ONE).item() == 2
    helpers.S = 3.0
    assert step(ONE).item() == 3
    helpers.C.v = 2.0
    assert step(ONE).item() == step(ONE).item() == 6
    assert len(step.graphs) == 3


def test_a_tensor_that_is_put_into_a_dict_is_refused_by_name_and_taken_out() -> None:
    log: dict[str, Any] = {"count": 3}

    @cr.compile
    def step(x: Any) -> Any:
        log["loss"] = [x * 2]
        log["count"] += 1
        return x + 1

    with pytest.raises(TraceError, match=r"'step' put a tensor into log\['loss'\], a dict from outside"):
        step(cr.tensor(ONE))
    assert log == {"count": 3}


def test_a_tensor_that_is_put_into_an_attribute_which_cannot_tell_is_told_with_its_place() -> None:
    store = SimpleNamespace(last=None)

    @cr.compile
    def step(x: Any) -> Any:
        store.last = x * 3
        return x + 1

    step(cr.tensor(ONE))
    with pytest.raises(TraceError, match=r"while tracing 'step' and put into store\.last is used after it"):
        store.last.item()


def test_a_number_that_changes_at_each_call_is_advised_to_be_a_tensor() -> None:
    options = {"beta": 0.0}

    @cr.compile
    def scaled(x: Any) -> Any:
        return x * options["beta"]

    @cr.compile
    def given(x: Any, beta: float) -> Any:
        return x * beta

    def called(call: Any, beta: float) -> float:
        options["beta"] = beta
        found: float = call(beta).item()
        return found

    for call in (lambda beta: scaled(cr.tensor(ONE)), lambda beta: given(cr.tensor(ONE), beta)):
        assert [called(call, k / 2) for k in range(8)] == [k / 2 for k in range(8)]
        with pytest.warns(UserWarning, match=r"traced 8 times.*is to be a tensor: an argument .*or a buffer"):
            assert called(call, 4.0) == 4


@dataclass
class Settings:
    """Has no hash, since it compares by its fields."""

    s: float = 2.0
    table: dict[str, float] = field(default_factory=lambda: {"t": 1.0})


class Entries(dict[str, Any]):
    pass


def test_an_object_without_a_hash_may_be_an_argument_and_its_changes_are_noticed() -> None:
    step = cr.compile(lambda x, c: x * c.s * c.table["t"])
    given = Settings()
    assert step(ONE, given).item() == step(ONE, given).item() == 2
    assert len(step.graphs) == 1
    given.s = 4.0
    assert step(ONE, given).item() == 4
    given.table["t"] = 2.0
    assert step(ONE, given).item() == 8
    assert step(ONE, Settings()).item() == 2
    entries = Entries(s=2.0)
    of_entries = cr.compile(lambda x, c: x * c["s"])
    assert of_entries(ONE, entries).item() == 2
    entries["s"] = 4.0
    assert of_entries(ONE, entries).item() == 4


def test_what_has_no_hash_and_cannot_be_an_argument_is_told_so() -> None:
    with pytest.raises(ArgumentTypeError, match="c is a set, which has no hash"):
        cr.compile(lambda x, c: x)(ONE, {1})
