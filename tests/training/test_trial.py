"""The trial on two rows before training: it leaves nothing in the model, and says of its errors that they are its own."""

from __future__ import annotations

import collections
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import ArgumentTypeError, ShapeError

X, Y = np.ones((8, 4), np.float32), np.ones((8, 2), np.float32)
TRIAL = "his was the trial on two rows that fit makes first"
OPTIONS: dict[str, Any] = {"epochs": 1, "batch_size": 8, "progress": False, "compile": False}


class Recent(collections.OrderedDict[str, int]):
    """A dict with arguments of its own."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit


class Leaving(nn.Module):
    """Changes all kinds of things when it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 2)
        self.register_buffer("held", cr.zeros(2), persistent=False)
        self.sizes: list[int] = []
        self.counts: dict[str, int] = collections.Counter()
        self.seen: set[int] = set()
        self.recent = Recent(2)
        self.queue: collections.deque[int] = collections.deque(maxlen=2)
        self.last: Any = None
        self.calls = 0

    def forward(self, x: Any) -> Any:
        self.calls += 1
        self.sizes.append(int(x.shape[0]))
        self.counts[f"of {x.shape[0]}"] += 1
        self.seen.add(int(x.shape[0]))
        self.recent["size"] = int(x.shape[0])
        self.queue.append(int(x.shape[0]))
        self.last = x.mean().detach()
        self.new = "attribute"
        self.held = self.held + 1
        self.register_buffer(f"buffer{len(x)}", x.mean(0), persistent=False)
        self.register_module(f"module{len(x)}", nn.Identity())
        self.linear.register_forward_hook(lambda *_: None)
        return self.linear(x)


def test_it_leaves_nothing_in_the_model() -> None:
    model = Leaving()
    before = [dict(vars(module)) for module in model.modules()]
    trainer = cr.Trainer(model, **OPTIONS)

    def nothing_is_left() -> None:
        assert [dict(vars(module)) for module in model.modules()] == before
        assert (model.calls, model.sizes, model.counts, model.seen, model.last) == (0, [], {}, set(), None)
        assert (list(model.recent), list(model.queue), model.recent.limit) == ([], [], 2)
        assert list(model._buffers) == ["held"]
        assert list(model._modules) == ["linear"]
        assert not model.linear._hooked
        assert not model.linear._forward_hooks
        assert not hasattr(model, "new")
        assert model._non_persistent_buffers_set == {"held"}
        assert model.held.tolist() == [0, 0]

    class Looking(cr.Callback):
        def on_train_begin(self, trainer: Any) -> None:
            nothing_is_left()

    trainer.callbacks.append(Looking())
    trainer.fit((X, Y))
    assert model.sizes == [8]
    assert list(model._modules) == ["linear", "module8"]


def test_a_compiled_method_is_used_again() -> None:
    class Compiling(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 2)

        @cr.compile
        def forward(self, x: Any) -> Any:
            return self.linear(x)

    model = Compiling()
    trainer = cr.Trainer(model, **OPTIONS)
    trainer.evaluate((X, Y))
    compiled: Any = model.forward
    trainer.evaluate((X, Y))
    assert model.forward is compiled
    assert len(compiled.graphs) == 1


def test_a_model_for_batches_of_one_size_is_told_that_it_was_the_trial() -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 2)
            self.register_buffer("table", cr.ones(8, 4))
            self.calls = 0

        def forward(self, x: Any) -> Any:
            self.calls += 1
            return self.linear(x * self.table)

    model = Fixed()
    with pytest.raises(ShapeError, match=rf"\(2, 4\) and \(8, 4\).*\. T{TRIAL}.*any number of rows\.$"):
        cr.fit(model, (X, Y), **OPTIONS)
    assert model.calls == 0


def test_an_error_of_the_users_own_gets_a_note() -> None:
    class Asserting(nn.Linear):
        def forward(self, x: Any) -> Any:
            assert len(x) == 8, "eight rows"
            return super().forward(x)

    with pytest.raises(AssertionError, match="eight rows") as raised:
        cr.fit(Asserting(4, 2), (X, Y), **OPTIONS)
    assert TRIAL in raised.value.__notes__[0]


def test_advice_of_an_error_stays_before_what_is_told_of_the_trial() -> None:
    class Misspelled(nn.Linear):
        def forward(self, x: Any) -> Any:
            return super().forward(x) * self.in_featurs

    with pytest.raises(AttributeError, match=rf"[Dd]id you mean in_features.*\? T{TRIAL}"):
        cr.fit(Misspelled(4, 2), (X, Y), **OPTIONS)


def test_an_error_amid_the_first_epoch_is_told_also_where_a_buffer_came_up() -> None:
    class Lazy(nn.Linear):
        def forward(self, x: Any) -> Any:
            if not hasattr(self, "mean"):
                self.register_buffer("mean", x.mean(0))
            return super().forward(x - self.mean)

    class Failing(cr.Callback):
        def on_batch_end(self, *_: Any) -> None:
            raise KeyError("the user's own")

    with pytest.raises(KeyError, match="the user's own"):
        cr.fit(Lazy(4, 2), (X, Y), callbacks=[Failing()], **OPTIONS)


@pytest.mark.parametrize("given", [cr.Callback(), cr.Callback, lambda *_: None, None, "history", 3])
def test_callbacks_that_are_no_list_are_refused(given: Any) -> None:
    with pytest.raises(ArgumentTypeError, match=r"callbacks: got .*; expected a list .* Write callbacks=\[…\]"):
        cr.Trainer(nn.Linear(4, 2), callbacks=given)


def test_a_compiled_model_is_refused_as_fit_compiles_by_itself() -> None:
    with pytest.raises(ArgumentTypeError, match=r"got a compiled model; expected an nn.Module\. Give the model itself"):
        cr.fit(cr.compile(nn.Linear(4, 2)), (X, Y), **OPTIONS)


class Counts(nn.Module):
    """Counts its calls, in place: in a buffer, in a tensor in an attribute, and in one in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.register_buffer("n", cr.zeros(1))
        self.calls, self.several = cr.zeros(1), [cr.zeros(1)]

    def forward(self, x: Any) -> Any:
        with cr.no_grad():
            for count in (self.n, self.calls, *self.several):
                count.add_(1)
        return self.layer(x)


@pytest.mark.parametrize("compiled", [False, True])
def test_what_a_model_writes_in_place_in_the_trial_is_undone(compiled: bool) -> None:
    X = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    model = Counts()
    cr.fit(model, (X, np.arange(20) % 3), epochs=1, batch_size=4, progress=False, compile=compiled)
    assert [model.n.item(), model.calls.item(), model.several[0].item()] == [5, 5, 5]
