"""Modules inside compiled functions: the same bits as eager, one trace for all batch sizes, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import TraceError
from chainrule.nn import functional as F


def bits(x: Any) -> Any:
    return np.asarray(x.detach()).tobytes()


LOSSES: list[tuple[str, Any]] = [
    ("cross_entropy", lambda x, i: F.cross_entropy(x, i)),
    ("smoothed", lambda x, i: F.cross_entropy(x, i, weight=cr.arange(1.0, 6.0), label_smoothing=0.1, ignore_index=2)),
    ("nll", lambda x, i: F.nll_loss(F.log_softmax(x, 1), i, reduction="sum")),
    ("probabilities", lambda x, i: F.cross_entropy(x, F.one_hot(i, 5).float())),
    ("bce", lambda x, i: F.binary_cross_entropy(x.sigmoid(), F.one_hot(i, 5).float())),
    ("bce_with_logits", lambda x, i: F.binary_cross_entropy_with_logits(x, F.one_hot(i, 5).float())),
    ("mse", lambda x, i: F.mse_loss(x, F.one_hot(i, 5).float())),
    ("huber", lambda x, i: F.huber_loss(x, F.one_hot(i, 5).float())),
    ("kl", lambda x, i: F.kl_div(x, F.softmax(x * 2, 1), reduction="batchmean")),
    ("gaussian", lambda x, i: F.gaussian_nll_loss(x, x * 2, x.exp())),
    ("cosine", lambda x, i: F.cosine_embedding_loss(x, x * x, 2.0 * (i > 2) - 1)),
    ("triplet", lambda x, i: F.triplet_margin_loss(x, x * 2, x - 1)),
    ("layer_norm", lambda x, i: (F.layer_norm(x, (5,)) ** 3).mean()),
    ("normalize", lambda x, i: (F.normalize(x) ** 3).mean()),
    ("embedding", lambda x, i: (F.embedding(i, x[:2].t(), padding_idx=1) ** 2).sum()),
    ("activations", lambda x, i: (F.elu(x) * F.gelu(x, "tanh") + F.softplus(x) * F.hardswish(x) + F.glu(x[:, :4])[:, :1]).sum()),
]  # fmt: skip


@pytest.mark.parametrize(("name", "loss"), LOSSES, ids=[name for name, _ in LOSSES])
def test_functions_give_the_same_bits_traced_once_for_all_batch_sizes(name: str, loss: Any) -> None:
    def step(x: Any, i: Any) -> Any:
        x = x.detach().requires_grad_() if not x.requires_grad else x
        y = loss(x, i)
        return y, cr.autograd.grad(y, x)[0]

    def gradient(x: Any, i: Any) -> Any:
        y = loss(x, i)
        return y, cr.autograd.grad(y, x)[0]

    compiled = cr.compile(gradient)
    rng = np.random.default_rng(0)
    for n in (32, 17, 5):
        x = cr.tensor(rng.normal(size=(n, 5)).astype(np.float32), requires_grad=True)
        i = cr.tensor(rng.integers(0, 5, n))
        eager, traced = step(x, i), compiled(x, i)
        assert bits(eager[0]) == bits(traced[0]), n
        assert bits(eager[1]) == bits(traced[1]), n
    assert len(compiled.graphs) == 1, compiled.report()


def network() -> nn.Sequential:
    cr.manual_seed(0)
    return nn.Sequential(
        nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.LayerNorm(8), nn.Linear(8, 5)
    )


def train(model: nn.Module, x: Any, i: Any) -> Any:
    model.zero_grad()
    loss = F.cross_entropy(model(x), i)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 0.5)
    with cr.no_grad():
        for p in model.parameters():
            p -= 0.1 * p.grad
    return loss


@pytest.mark.parametrize("momentum", [0.1, None])
def test_a_training_step_gives_the_same_bits_traced_once(momentum: float | None) -> None:
    eager, other = network(), network()
    for model in (eager, other):
        model[1].momentum = momentum
    step = cr.compile(lambda x, i: train(other, x, i))
    rng = np.random.default_rng(0)
    batches = [(rng.normal(size=(n, 6)).astype(np.float32), rng.integers(0, 5, n)) for n in (32, 32, 17, 5)]
    cr.manual_seed(1)
    losses = [bits(train(eager, cr.tensor(x), cr.tensor(i))) for x, i in batches]
    cr.manual_seed(1)
    assert [bits(step(cr.tensor(x), cr.tensor(i))) for x, i in batches] == losses
    assert len(step.graphs) == 1, step.report()
    for key, value in eager.state_dict().items():
        assert bits(other.state_dict()[key]) == bits(value), key
    assert other[1].num_batches_tracked.item() == 4


def test_a_change_of_mode_or_layer_is_traced_again() -> None:
    model = network()
    run = cr.compile(lambda x: model(x))
    x = cr.randn(4, 6)
    assert bits(run(x)) != bits(run(x)), "dropout draws anew"
    model.eval()
    assert bits(run(x)) == bits(run(x)) == bits(model(x))
    model[2] = nn.Tanh()
    assert bits(run(x)) == bits(model(x))
    model[2].register_forward_hook(lambda m, args, y: y * 2)
    assert bits(run(x)) == bits(model(x))


def test_a_counter_in_python_is_refused_with_what_to_do() -> None:
    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.calls = 0

        def forward(self, x: cr.Tensor) -> cr.Tensor:
            self.calls += 1
            return x * 2

    with pytest.raises(TraceError, match=r"Counts.calls = 1 inside a compiled function.*register_buffer\('calls'"):
        cr.compile(Counts())(cr.ones(2))


def test_a_counter_in_a_buffer_counts_every_run() -> None:
    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", cr.tensor(0))

        def forward(self, x: cr.Tensor) -> Any:
            self.calls = self.calls + 1
            return x * self.calls

    model = Counts()
    run = cr.compile(model)
    assert [run(cr.ones(2)).tolist() for _ in range(3)] == [[1, 1], [2, 2], [3, 3]]
    assert model.calls.item() == 3


def test_assigning_what_is_there_already_is_no_change() -> None:
    class Sets(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.flag = True

        def forward(self, x: cr.Tensor) -> cr.Tensor:
            self.flag = True
            self.train(self.training)
            return x * 2

    assert cr.compile(Sets())(cr.ones(2)).tolist() == [2.0, 2.0]


def test_a_new_layer_or_mode_inside_a_compiled_function_is_refused() -> None:
    model = nn.Sequential(nn.Dropout())

    def turn_off(x: cr.Tensor) -> Any:
        return model.eval()(x)

    def add(x: cr.Tensor) -> Any:
        model.more = nn.ReLU()
        return model(x)

    with pytest.raises(TraceError, match=r"eval\(\) on Sequential inside a compiled function"):
        cr.compile(turn_off)(cr.ones(2))
    with pytest.raises(TraceError, match=r"Sequential.more"):
        cr.compile(add)(cr.ones(2))
    with pytest.raises(TraceError, match="Parameter"):
        cr.compile(lambda x: nn.Linear(2, 2)(x))(cr.ones(2))


def test_a_module_made_inside_a_compiled_function_may_set_its_attributes() -> None:
    run = cr.compile(lambda x, t: nn.SmoothL1Loss(beta=0.5)(x, t))
    assert run(cr.ones(3), cr.zeros(3)).item() == pytest.approx(0.75)


def test_an_error_inside_a_trace_is_told_from_its_layer() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(5, 6))
    with pytest.raises(cr.ChainruleError, match=r"layer 1 \(Linear\), fed by layer 0 \(Linear\): expected 5 features"):
        cr.compile(model)(cr.ones(2, 3))


def test_nodes_of_a_trace_know_the_layer_they_come_from() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.Tanh()))
    run = cr.compile(model)
    run(cr.ones(2, 3))
    labels = {node.primitive.name: node.label for node in run.graph.nodes if node.primitive is not None}
    assert labels["contract"] == "0"
    assert labels["tanh"] == "1.0"


def test_backward_hooks_are_traced() -> None:
    layer = nn.Linear(2, 1, bias=False)
    layer.register_full_backward_hook(lambda m, of_inputs, of_outputs: (of_inputs[0] * 2,))

    def gradient(x: Any) -> Any:
        return cr.autograd.grad(layer(x * 1.0).sum(), x)[0]

    x = cr.ones(3, 2, requires_grad=True)
    assert bits(cr.compile(gradient)(x)) == bits(gradient(x))
    layer.register_full_backward_hook(lambda m, of_inputs, of_outputs: of_inputs[0].item())
    with pytest.raises(TraceError, match="item"):
        cr.compile(gradient)(x)
