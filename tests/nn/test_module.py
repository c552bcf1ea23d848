"""A module: what it holds, how it is found, changed, copied, saved."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import ArgumentError, ArgumentTypeError, NameUnknown
from chainrule.tensors.changes import CHANGES


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.rest = nn.Sequential(nn.ReLU(), nn.Linear(4, 2))
        self.register_buffer("count", cr.tensor(0))

    def forward(self, x: cr.Tensor) -> Any:
        return self.rest(self.first(x))


# -- parameters and buffers --------------------------------------------------------------------------------------------


def test_a_parameter_is_a_leaf_that_shares_the_memory_of_its_data() -> None:
    data = cr.zeros(3)
    p = nn.Parameter(data)
    assert isinstance(p, cr.Tensor)
    assert p.requires_grad
    assert p.is_leaf
    data.fill_(2.0)
    assert p.tolist() == [2.0, 2.0, 2.0]
    assert not nn.Parameter(data, requires_grad=False).requires_grad
    assert nn.Parameter().shape == (0,)


def test_a_parameter_says_that_it_is_one() -> None:
    assert repr(nn.Parameter(cr.ones(2))) == "Parameter containing:\ntensor([1., 1.], requires_grad=True)"


def test_what_is_computed_from_a_parameter_is_a_plain_tensor() -> None:
    assert type(nn.Parameter(cr.ones(2)) * 2) is cr.Tensor


def test_a_parameter_of_something_else_than_a_tensor_is_refused() -> None:
    with pytest.raises(ArgumentTypeError, match="got list as data; expected a tensor"):
        nn.Parameter([1.0])


def test_integers_are_no_parameters_unless_they_are_not_learned() -> None:
    with pytest.raises(cr.ChainruleError, match="int64"):
        nn.Parameter(cr.tensor([1]))
    assert nn.Parameter(cr.tensor([1]), requires_grad=False).dtype == cr.int64


def test_a_deep_copy_of_a_parameter_has_its_own_memory_and_no_gradient() -> None:
    p = nn.Parameter(cr.ones(2))
    (p * 3).sum().backward()
    q = copy.deepcopy(p)
    assert type(q) is nn.Parameter
    assert q.requires_grad
    assert q.grad is None
    with cr.no_grad():
        q.fill_(0.0)
    assert p.tolist() == [1.0, 1.0]
    both = copy.deepcopy([p, p])
    assert both[0] is both[1]


def test_a_buffer_assigned_to_a_module_is_one_of_its_buffers() -> None:
    module = nn.Module()
    module.kept = nn.Buffer(cr.ones(2))
    module.passing = nn.Buffer(cr.ones(3), persistent=False)
    assert [name for name, _ in module.named_buffers()] == ["kept", "passing"]
    assert list(module.state_dict()) == ["kept"]
    assert not copy.deepcopy(module).passing.persistent


def test_a_plain_tensor_is_an_attribute_like_any_other() -> None:
    module = nn.Module()
    module.scale = cr.ones(2)
    assert list(module.named_buffers()) == []
    assert module.scale.tolist() == [1.0, 1.0]


# -- attributes --------------------------------------------------------------------------------------------------------


def test_an_attribute_moves_between_kinds_when_it_is_assigned_anew() -> None:
    module = nn.Module()
    module.x = 3
    module.x = nn.Parameter(cr.ones(1))
    assert list(dict(module.named_parameters())) == ["x"]
    module.x = nn.Linear(1, 1)
    assert list(dict(module.named_children())) == ["x"]
    module.x = nn.Buffer(cr.ones(1))
    assert list(dict(module.named_buffers())) == ["x"]
    assert list(module.parameters()) == []
    assert "x" not in module.__dict__


@pytest.mark.parametrize(("part", "wrong"), [("first", 3), ("weight", cr.ones(2)), ("count", "text")])
def test_a_part_cannot_be_replaced_by_something_else_in_silence(part: str, wrong: object) -> None:
    module = Net()
    module.weight = nn.Parameter(cr.ones(2))
    with pytest.raises(ArgumentTypeError, match=f"Net.{part} is a"):
        setattr(module, part, wrong)


def test_a_part_can_be_none() -> None:
    module = Net()
    module.first = None
    module.count = None
    assert module.first is None
    assert "first.weight" not in module.state_dict()
    assert repr(module).startswith("Net(\n  (first): None\n")


def test_a_part_can_be_deleted() -> None:
    module = Net()
    del module.first
    del module.count
    module.plain = 1
    del module.plain
    assert not hasattr(module, "first")
    assert list(module.state_dict()) == ["rest.1.weight", "rest.1.bias"]
    with pytest.raises(NameUnknown, match="frist"):
        del module.frist


def test_an_unknown_attribute_gets_the_nearest_names() -> None:
    with pytest.raises(NameUnknown, match=r"Net has no attribute 'frist'\. Did you mean first"):
        Net().frist
    assert not hasattr(Net(), "nothing")


def test_parts_are_among_the_names_of_dir() -> None:
    assert {"first", "rest", "count", "forward", "training"} <= set(dir(Net()))


def test_assigning_a_part_before_super_init_is_an_error_that_says_so() -> None:
    class Forgotten(nn.Module):
        def __init__(self) -> None:
            self.layer = nn.Linear(1, 1)

    with pytest.raises(ArgumentError, match=r"Forgotten: assigning 'layer' before .*super\(\).__init__\(\)"):
        Forgotten()


@pytest.mark.parametrize("name", ["a.b", "", "forward"])
def test_names_of_parts_are_checked(name: str) -> None:
    module = Net()
    with pytest.raises(ArgumentError):
        module.register_parameter(name, nn.Parameter(cr.ones(1)))
    with pytest.raises(ArgumentError):
        module.register_buffer(name, cr.ones(1))
    with pytest.raises(ArgumentError):
        module.add_module(name, nn.Linear(1, 1))


def test_parts_of_a_wrong_type_are_refused() -> None:
    module = Net()
    with pytest.raises(ArgumentTypeError, match=r"expected nn.Parameter"):
        module.register_parameter("w", cr.ones(1))  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(ArgumentTypeError, match="expected a tensor"):
        module.register_buffer("b", [1])  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(ArgumentTypeError, match="expected a Module"):
        module.add_module("m", cr.ones(1))  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(ArgumentTypeError, match="expected a string"):
        module.register_buffer(1, cr.ones(1))  # type: ignore[arg-type]  # wrong on purpose


# -- finding -----------------------------------------------------------------------------------------------------------


def test_parts_are_found_by_their_path() -> None:
    module = Net()
    assert module.get_submodule("") is module
    assert module.get_submodule("rest.1") is module.rest[1]
    assert module.get_parameter("rest.1.weight") is module.rest[1].weight
    assert module.get_buffer("count") is module.count
    for call in (module.get_submodule, module.get_parameter, module.get_buffer):
        with pytest.raises(NameUnknown):
            call("rest.7")
    with pytest.raises(NameUnknown, match=r"no parameter 'wieght' at 'first'. Did you mean weight"):
        module.get_parameter("first.wieght")


def test_a_shared_part_is_found_once() -> None:
    shared = nn.Linear(2, 2)
    module = nn.Sequential(shared, nn.ReLU(), shared)
    assert [name for name, _ in module.named_parameters()] == ["0.weight", "0.bias"]
    assert len(list(module.modules())) == 3
    assert list(module.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]


# -- modes, dtypes, gradients ------------------------------------------------------------------------------------------


def test_train_and_eval_switch_all_parts() -> None:
    module = Net()
    assert module.eval() is module
    assert not any(m.training for m in module.modules())
    module.train()
    assert all(m.training for m in module.modules())
    with pytest.raises(ArgumentTypeError, match="expected True or False"):
        module.train("no")  # type: ignore[arg-type]  # wrong on purpose


def test_requires_grad_freezes_all_parts() -> None:
    module = Net().requires_grad_(False)
    assert not any(p.requires_grad for p in module.parameters())
    assert not module(cr.ones(1, 3)).requires_grad


def test_a_module_moves_to_another_dtype_in_place() -> None:
    module = Net()
    first = module.first.weight
    module(cr.ones(1, 3)).sum().backward()
    module.double()
    assert module.first.weight is first
    assert first.dtype == cr.float64
    assert first.grad is not None
    assert first.grad.dtype == cr.float64
    assert module.count.dtype == cr.int64
    assert first.requires_grad
    first.grad = None
    module(cr.ones(1, 3, dtype=cr.float64)).sum().backward()
    assert first.grad is not None
    for call in (lambda: module.float(), lambda: module.to(cr.float32), lambda: module.to("cpu", cr.float32)):
        module.double()
        assert call().first.weight.dtype == cr.float32
    assert module.to(cr.ones(1, dtype=cr.float64)).first.weight.dtype == cr.float64
    assert module.cpu() is module.to(device="cpu")


def test_a_module_cannot_move_to_what_is_not_here() -> None:
    with pytest.raises(cr.ChainruleError, match="cuda"):
        Net().to("cuda")
    with pytest.raises(cr.ChainruleError, match="float32 or float64"):
        Net().to(cr.int64)
    with pytest.raises(ArgumentTypeError, match="memory_format"):
        Net().to(memory_format=1)


def test_zero_grad_forgets_or_fills_gradients() -> None:
    module = Net()
    module(cr.ones(1, 3)).sum().backward()
    module.zero_grad(set_to_none=False)
    assert module.first.weight.grad is not None
    assert module.first.weight.grad.abs().sum().item() == 0
    module.zero_grad()
    assert module.first.weight.grad is None


def test_apply_calls_a_function_with_every_part_innermost_first() -> None:
    seen: list[str] = []
    Net().apply(lambda m: seen.append(type(m).__name__))
    assert seen == ["Linear", "ReLU", "Linear", "Sequential", "Net"]


# -- calling -----------------------------------------------------------------------------------------------------------


def test_a_module_without_forward_says_so() -> None:
    with pytest.raises(ArgumentError, match="Empty has no forward method"):
        type("Empty", (nn.Module,), {})()(cr.ones(1))


def test_extra_lines_stand_before_the_parts() -> None:
    class Shown(Net):
        def extra_repr(self) -> str:
            return "a=1\nb=2"

    assert repr(Shown()).startswith("Shown(\n  a=1\n  b=2\n  (first): Linear(")


# -- state -------------------------------------------------------------------------------------------------------------


def test_a_state_dict_shares_memory_and_wants_no_gradient() -> None:
    module = Net()
    state = module.state_dict()
    assert list(state) == ["count", "first.weight", "first.bias", "rest.1.weight", "rest.1.bias"]
    assert not any(value.requires_grad for value in state.values())
    with cr.no_grad():
        module.first.bias.fill_(7.0)
    assert state["first.bias"].tolist() == [7.0] * 4
    assert module.state_dict(prefix="net.")["net.first.bias"].shape == (4,)
    assert module.state_dict(keep_vars=True)["first.bias"] is module.first.bias


def test_loading_writes_into_the_same_parameters() -> None:
    module, other = Net(), Net()
    weight, view = module.first.weight, module.first.weight.detach()
    assert str(module.load_state_dict(other.state_dict())) == "<All keys matched successfully>"
    assert module.first.weight is weight
    assert view.tolist() == other.first.weight.tolist()
    assert weight.requires_grad


def test_loading_takes_arrays_and_converts_dtypes() -> None:
    module = Net()
    state = {key: np.ones(value.shape) for key, value in module.state_dict().items()}
    module.load_state_dict(state)
    assert module.first.weight.dtype == cr.float32
    assert module.first.weight.tolist() == [[1.0] * 3] * 4


def test_loading_a_state_that_does_not_fit_lists_every_fault_and_writes_nothing() -> None:
    module = Net()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    state = Net().state_dict()
    state["first.wieght"] = state.pop("first.weight")
    state["rest.1.bias"] = cr.ones(5)
    with pytest.raises(ArgumentError) as caught:
        module.load_state_dict(state)
    text = str(caught.value)
    assert "Net" in text
    assert "first.weight is missing in the state, which has first.wieght\n" in text
    assert "first.wieght is not in the module, which has first.weight\n" in text
    assert "(2,)\nBuild the module as it was" in text
    assert "rest.1.bias has shape (5,), expected (2,)" in text
    for key, value in module.state_dict().items():
        assert value.tolist() == before[key].tolist()


def test_without_strict_other_names_are_returned_and_shapes_still_checked() -> None:
    module = Net()
    state = Net().state_dict()
    del state["first.weight"]
    state["more"] = cr.ones(1)
    found = module.load_state_dict(state, strict=False)
    assert found.missing_keys == ["first.weight"]
    assert found.unexpected_keys == ["more"]
    assert "missing_keys=['first.weight']" in repr(found)
    state["first.bias"] = cr.ones(1)
    with pytest.raises(ArgumentError, match=r"first\.bias has shape"):
        module.load_state_dict(state, strict=False)


def test_loading_can_let_the_given_tensors_take_the_places() -> None:
    module = Net()
    state = {key: value.clone() for key, value in Net().state_dict().items()}
    module.load_state_dict(state, assign=True)
    with cr.no_grad():
        state["first.bias"].fill_(5.0)
    assert module.first.bias.tolist() == [5.0] * 4
    assert isinstance(module.first.bias, nn.Parameter)


@pytest.mark.parametrize("state", [3, [("a", 1)], {"first.weight": "text"}])
def test_loading_something_else_is_refused(state: object) -> None:
    with pytest.raises(cr.ChainruleError, match="load_state_dict"):
        Net().load_state_dict(state, strict=False)  # type: ignore[arg-type]  # wrong on purpose


# -- the count of changes ----------------------------------------------------------------------------------------------


def test_every_change_of_a_module_is_counted() -> None:
    module = Net()
    changes = [
        lambda: setattr(module, "flag", True),
        lambda: module.eval(),
        lambda: module.requires_grad_(False),
        lambda: module.load_state_dict(module.state_dict()),
        lambda: module.register_forward_hook(lambda *_: None),
        lambda: setattr(module, "first", nn.Linear(3, 4)),
        lambda: delattr(module, "first"),
        lambda: module.double(),
    ]
    for change in changes:
        before = CHANGES.count
        change()
        assert CHANGES.count > before


def test_what_changes_only_numbers_is_not_counted() -> None:
    module = Net()
    before = CHANGES.count
    module(cr.ones(1, 3)).sum().backward()
    module.zero_grad()
    module.train()
    assert CHANGES.count == before


def test_a_module_is_compiled_by_a_function() -> None:
    with pytest.raises(NameUnknown, match=r"Linear has no attribute 'compile'\. Write chainrule\.compile\(model\)"):
        nn.Linear(2, 1).compile
