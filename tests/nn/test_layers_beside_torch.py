"""Every layer beside PyTorch's: outputs, gradients of inputs and parameters, buffers, state dicts both ways, text."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.nn import functional as F
from tests.nn.beside_torch import compare, compare_derivatives, normal, pair
from tests.tolerances import assert_close

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")]
TF = torch.nn.functional

IDS = np.array([[1, 2, 0], [4, 2, 2]])

LAYERS: list[tuple[str, tuple[Any, ...], dict[str, Any], tuple[Any, ...]]] = [
    ("Linear", (5, 3), {}, (normal(4, 5),)),
    ("Linear", (5, 3), {"bias": False}, (normal(2, 4, 5),)),
    ("Linear", (5, 3), {}, (normal(5),)),
    ("Linear", (5, 3), {}, (normal(2, 3, 4, 5),)),
    ("Linear", (5, 3), {}, (normal(0, 5),)),
    ("Linear", (5, 0), {}, (normal(4, 5),)),
    ("Bilinear", (3, 4, 2), {}, (normal(5, 3), normal(5, 4, seed=1))),
    ("Bilinear", (3, 4, 2), {"bias": False}, (normal(2, 5, 3), normal(2, 5, 4, seed=1))),
    ("Identity", (54,), {"unused": 1}, (normal(4, 5),)),
    ("Flatten", (), {}, (normal(4, 5, 2),)),
    ("Flatten", (0, 1), {}, (normal(4, 5, 2),)),
    ("Unflatten", (1, (2, -1)), {}, (normal(4, 6),)),
    ("Dropout", (0.0,), {}, (normal(4, 5),)),
    ("AlphaDropout", (0.0,), {}, (normal(4, 5),)),
    ("BatchNorm1d", (5,), {}, (normal(4, 5),)),
    ("BatchNorm1d", (5,), {}, (normal(3, 5, 7),)),
    ("BatchNorm1d", (5, 1e-3, 0.3), {}, (normal(4, 5),)),
    ("BatchNorm1d", (5,), {"momentum": None}, (normal(4, 5),)),
    ("BatchNorm1d", (5,), {"affine": False}, (normal(4, 5),)),
    ("BatchNorm1d", (5,), {"bias": False}, (normal(4, 5),)),
    ("BatchNorm1d", (5,), {"track_running_stats": False}, (normal(4, 5),)),
    ("LayerNorm", (5,), {}, (normal(4, 5),)),
    ("LayerNorm", ((3, 5),), {"eps": 1e-2}, (normal(4, 3, 5),)),
    ("LayerNorm", ([5],), {"bias": False}, (normal(4, 5),)),
    ("LayerNorm", (5,), {"elementwise_affine": False}, (normal(5),)),
    ("Embedding", (5, 3), {}, (IDS,)),
    ("Embedding", (5, 3), {"padding_idx": 2}, (IDS,)),
    ("Embedding", (5, 3), {"padding_idx": -1}, (IDS,)),
    ("Embedding", (5, 3), {"scale_grad_by_freq": True}, (IDS,)),
    ("Embedding", (5, 3), {"max_norm": 0.8}, (IDS,)),
    ("Embedding", (5, 3), {"max_norm": 0.8, "norm_type": 1.0}, (IDS,)),
    ("CosineSimilarity", (), {}, (normal(4, 5), normal(4, 5, seed=1))),
    ("CosineSimilarity", (0, 1e-3), {}, (normal(4, 5), normal(1, 5, seed=1))),
    ("PairwiseDistance", (), {}, (normal(4, 5), normal(4, 5, seed=1))),
    ("PairwiseDistance", (1.0,), {"keepdim": True}, (normal(4, 5), normal(4, 5, seed=1))),
    ("PairwiseDistance", (3.0, 1e-2), {}, (normal(5), normal(4, 5, seed=1))),
    ("PReLU", (5,), {}, (normal(4, 5),)),
]
each_layer = pytest.mark.parametrize(
    ("name", "args", "options", "inputs"),
    LAYERS,
    ids=[f"{n}{a}{o}-{'x'.join(map(str, np.shape(i[0])))}" for n, a, o, i in LAYERS],
)


def made(name: str, args: tuple[Any, ...], options: dict[str, Any], dtype: str) -> tuple[Any, Any]:
    """Return the layer here and in PyTorch, with the same numbers in it, none of them special."""
    ours, theirs = getattr(nn, name)(*args, **options), getattr(torch.nn, name)(*args, **options)
    ours, theirs = ours.to(getattr(cr, dtype)), theirs.to(getattr(torch, dtype))
    rng = np.random.default_rng(3)
    state = {key: value.numpy().copy() for key, value in theirs.state_dict().items()}
    for key, value in state.items():
        if value.dtype.kind == "f":
            state[key] = np.asarray(np.abs(rng.normal(size=value.shape)) + 0.2, dtype)
    theirs.load_state_dict({key: torch.tensor(value) for key, value in state.items()})
    ours.load_state_dict(state)
    return ours, theirs


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@each_layer
def test_a_layer_has_pytorchs_outputs_gradients_and_buffers(
    name: str, args: tuple[Any, ...], options: dict[str, Any], inputs: tuple[Any, ...], training: bool, dtype: str
) -> None:
    ours, theirs = made(name, args, options, dtype)
    ours.train(training)
    theirs.train(training)
    for _ in range(2):  # buffers move on from a first call
        pairs = [pair(x, dtype, requires_grad=True) for x in inputs]
        y, t = ours(*[p for p, _ in pairs]), theirs(*[q for _, q in pairs])
        mine = [*[p for p, _ in pairs], *ours.parameters()]
        other = [*[q for _, q in pairs], *theirs.parameters()]
        order = 1 if "scale_grad_by_freq" in options else 2
        compare_derivatives(y, t, mine, other, length=30, order=order)
    mine_now, theirs_now = ours.state_dict(), theirs.state_dict()
    assert list(mine_now) == list(theirs_now)
    for key, value in theirs_now.items():
        assert_close(mine_now[key], value, length=30)


@each_layer
def test_a_layer_shows_itself_as_pytorchs(
    name: str, args: tuple[Any, ...], options: dict[str, Any], inputs: tuple[Any, ...]
) -> None:
    assert repr(getattr(nn, name)(*args, **options)) == repr(getattr(torch.nn, name)(*args, **options))


def test_an_embedding_shows_its_arguments_as_pytorchs() -> None:
    options = {"padding_idx": 1, "max_norm": 2.0, "norm_type": 1.0, "scale_grad_by_freq": True, "sparse": True}
    assert repr(nn.Embedding(3, 4, **options)) == repr(torch.nn.Embedding(3, 4, **options))


def test_one_hot_is_pytorchs() -> None:
    compare(F.one_hot, TF.one_hot, IDS, order=0)
    compare(lambda i: F.one_hot(i, 7), lambda i: TF.one_hot(i, 7), IDS, order=0)


@pytest.mark.parametrize(("p", "dim"), [(2.0, 1), (1.0, 0), (3.0, -1), (np.inf, 1)])
def test_normalize_is_pytorchs(p: float, dim: int) -> None:
    compare(lambda x: F.normalize(x, p, dim), lambda x: TF.normalize(x, p, dim), normal(4, 5))
    compare(lambda x: F.normalize(x, 2.0, dim), lambda x: TF.normalize(x, 2.0, dim), np.zeros((2, 3)), order=1)


@pytest.mark.parametrize("pad", [(1, 2), (0, 1, 2, 0), (-1, 2), (1, -1, -2, 1), (0, 0)])
def test_padding_with_a_constant_is_pytorchs(pad: tuple[int, ...]) -> None:
    compare(lambda x: F.pad(x, pad, value=0.5), lambda x: TF.pad(x, pad, value=0.5), normal(4, 5))


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize(("pad", "shape"), [((2, 1), (2, 3, 4)), ((2, 1, 1, 2), (2, 3, 4, 3))])
def test_padding_with_what_is_there_is_pytorchs(mode: str, pad: tuple[int, ...], shape: tuple[int, ...]) -> None:
    compare(lambda x: F.pad(x, pad, mode=mode), lambda x: TF.pad(x, pad, mode=mode), normal(*shape))


def test_linear_takes_one_row_of_weights() -> None:
    compare(F.linear, TF.linear, normal(4, 5), normal(5, seed=1))
    compare(F.linear, TF.linear, normal(5), normal(5, seed=1))


def test_cosine_similarity_of_a_zero_vector_is_pytorchs() -> None:
    compare(F.cosine_similarity, TF.cosine_similarity, np.zeros((2, 3)), normal(2, 3), order=1)


# -- networks ----------------------------------------------------------------------------------------------------------


def network(of: Any) -> Any:
    """Return the same network of ours or of PyTorch's."""

    class Block(of.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.norm = of.LayerNorm(width)
            self.inner = of.Sequential(of.Linear(width, 2 * width), of.GELU("tanh"), of.Linear(2 * width, width))

        def forward(self, x: Any) -> Any:
            return x + self.inner(self.norm(x))

    class Net(of.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = of.Embedding(10, 6, padding_idx=0)
            self.blocks = of.ModuleList([Block(6) for _ in range(2)])
            self.heads = of.ModuleDict({"a": of.Linear(6, 3), "b": of.Sequential(of.BatchNorm1d(6), of.PReLU())})
            self.tied = self.heads["a"]
            self.scales = of.ParameterList([of.Parameter(of.Linear(6, 1).weight.detach()[0]) for _ in range(2)])
            self.extra = of.ParameterDict({"shift": of.Parameter(of.Linear(6, 1).weight.detach()[0])})
            self.register_buffer("seen", of.Linear(1, 2).bias.detach())
            self.register_buffer("hidden", of.Linear(1, 2).bias.detach(), persistent=False)
            self.register_parameter("none", None)
            self.missing = None

        def forward(self, ids: Any) -> Any:
            x = self.embed(ids).mean(1)
            for block, scale in zip(self.blocks, self.scales):  # noqa: B905 - both of two
                x = block(x) * scale
            return self.tied(self.heads["b"](x) + self.extra["shift"])

    return Net()


def test_a_state_dict_moves_both_ways() -> None:
    ours, theirs = network(nn), network(torch.nn)
    mine, other = ours.state_dict(), theirs.state_dict()
    assert list(mine) == list(other)
    assert [tuple(v.shape) for v in mine.values()] == [tuple(v.shape) for v in other.values()]
    assert str(ours.load_state_dict(other)) == str(theirs.load_state_dict(other)) == "<All keys matched successfully>"
    ids = np.random.default_rng(0).integers(0, 10, (7, 4))
    assert_close(ours.eval()(cr.tensor(ids)), theirs.eval()(torch.tensor(ids)), length=12)
    fresh = network(torch.nn)
    fresh.load_state_dict({key: torch.from_numpy(value.numpy()) for key, value in ours.state_dict().items()})
    assert_close(fresh.eval()(torch.tensor(ids)), theirs(torch.tensor(ids)), length=12)


def test_a_network_walks_its_parts_as_pytorchs() -> None:
    ours, theirs = network(nn), network(torch.nn)
    for method in ("named_parameters", "named_buffers", "named_modules", "named_children"):
        assert [n for n, _ in getattr(ours, method)()] == [n for n, _ in getattr(theirs, method)()], method
    for method in ("named_parameters", "named_buffers", "named_modules"):
        for options in ({"remove_duplicate": False}, {"prefix": "net"}):
            mine, other = getattr(ours, method)(**options), getattr(theirs, method)(**options)
            assert [n for n, _ in mine] == [n for n, _ in other], (method, options)
    assert [n for n, _ in ours.named_parameters(recurse=False)] == [
        n for n, _ in theirs.named_parameters(recurse=False)
    ]


def test_a_network_shows_itself_as_pytorchs() -> None:
    ours, theirs = network(nn), network(torch.nn)
    text = repr(theirs).replace("torch.FloatTensor", "chainrule.float32").replace("torch.float32", "chainrule.float32")
    assert repr(ours) == text


def test_a_network_learns_as_pytorchs() -> None:
    ours, theirs = network(nn), network(torch.nn)
    ours.load_state_dict(theirs.state_dict())
    ids = np.random.default_rng(0).integers(0, 10, (7, 4))
    target = np.random.default_rng(1).integers(0, 3, 7)
    for _ in range(3):
        mine, other = (
            F.cross_entropy(ours(cr.tensor(ids)), cr.tensor(target)),
            TF.cross_entropy(theirs(torch.tensor(ids)), torch.tensor(target)),
        )
        assert_close(mine, other, length=12)
        ours.zero_grad()
        theirs.zero_grad()
        mine.backward()
        other.backward()
        with cr.no_grad(), torch.no_grad():
            for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
                if q.grad is None:
                    assert p.grad is None
                    continue
                assert_close(p.grad, q.grad, length=24)
                p -= 0.1 * p.grad
                q -= 0.1 * q.grad
    for (key, p), q in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
        assert_close(p, q, length=24), key


def test_a_deep_copy_is_a_network_of_its_own() -> None:
    ours = network(nn)
    other = copy.deepcopy(ours)
    assert repr(other) == repr(ours)
    assert other.tied is other.heads["a"]
    with cr.no_grad():
        other.tied.weight.zero_()
    assert ours.tied.weight.abs().sum().item() > 0
    assert all(isinstance(p, nn.Parameter) and p.requires_grad for p in other.parameters())


def test_starting_values_are_uniform_or_normal_in_pytorchs_bounds() -> None:
    cr.manual_seed(0)
    torch.manual_seed(0)
    for ours, theirs in (
        (nn.Linear(50, 400), torch.nn.Linear(50, 400)),
        (nn.Bilinear(20, 30, 40), torch.nn.Bilinear(20, 30, 40)),
        (nn.Embedding(100, 50), torch.nn.Embedding(100, 50)),
        (nn.BatchNorm1d(9), torch.nn.BatchNorm1d(9)),
        (nn.LayerNorm((3, 4)), torch.nn.LayerNorm((3, 4))),
        (nn.PReLU(4), torch.nn.PReLU(4)),
    ):
        for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            a, b = p.detach().numpy(), q.detach().numpy()
            chance = 4 / np.sqrt(b.size)
            assert a.std() == pytest.approx(b.std(), rel=chance, abs=1e-6), (type(ours), name)
            assert a.mean() == pytest.approx(b.mean(), abs=chance * b.std() + 1e-6), (type(ours), name)
            if not isinstance(ours, nn.Embedding):
                assert abs(a).max() == pytest.approx(abs(b).max(), rel=chance, abs=1e-6), (type(ours), name)
