"""Containers: rows, lists and dicts of modules and of parameters."""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise
from typing import Any

import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import ArgumentError, ArgumentTypeError, IndexingError


def row(*widths: int) -> nn.Sequential:
    return nn.Sequential(*[nn.Linear(a, b) for a, b in pairwise(widths)])


def names(module: nn.Module) -> list[str]:
    return [name for name, _ in module.named_children()]


def test_a_sequential_gives_each_module_the_output_of_the_one_before() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(4, 2), nn.ReLU())
    x = cr.randn(3, 2, 2)
    assert module(x).tolist() == nn.functional.relu(module[1](x.reshape(3, 4))).tolist()
    assert nn.Sequential()(x) is x


def test_a_sequential_takes_names() -> None:
    module = nn.Sequential(OrderedDict(first=nn.Linear(1, 2), act=nn.ReLU()))
    assert names(module) == ["first", "act"]
    assert module.first is module[0]
    assert names(module[1:]) == ["act"]
    del module[0]
    assert names(module) == ["act"]


def test_a_row_is_indexed_and_sliced_like_a_list() -> None:
    module = row(1, 2, 3, 4)
    layers = list(module)
    assert len(module) == 3
    assert module[-1] is layers[2]
    assert list(module[:2]) == layers[:2]
    assert list(module[::-1]) == layers[::-1]
    assert isinstance(module[1:], nn.Sequential)
    for wrong in (3, -4):
        with pytest.raises(IndexingError, match="Sequential of 3 modules"):
            module[wrong]
    with pytest.raises(IndexingError, match="empty"):
        nn.Sequential()[0]


@pytest.mark.parametrize("kind", [nn.Sequential, nn.ModuleList])
def test_a_row_grows_and_shrinks_like_a_list(kind: Any) -> None:
    a, b, c, d, e = (nn.Linear(1, 1) for _ in range(5))
    module = kind()
    assert module.append(a) is module
    assert module.extend([b, c]) is module
    module.insert(0, d)
    module.insert(-1, e)
    assert list(module) == [d, a, b, e, c]
    assert names(module) == ["0", "1", "2", "3", "4"]
    assert module.pop() is c
    assert module.pop(0) is d
    assert list(module) == [a, b, e]
    del module[1]
    assert list(module) == [a, e]
    module[0] = b
    assert list(module) == [b, e]
    module += [c]
    assert list(module) == [b, e, c]
    assert list(module + [d]) == [b, e, c, d]
    assert list(module) == [b, e, c]
    assert names(module) == ["0", "1", "2"]
    assert len(list(module.parameters())) == 6
    del module[:2]
    assert list(module) == [c]
    module.insert(1, a)
    assert list(module) == [c, a]


def test_a_sequential_repeats_its_modules() -> None:
    module = row(2, 2) * 3
    assert len(module) == 3
    assert module[0] is module[2]
    assert len(2 * row(2, 2)) == 2
    module *= 2
    assert names(module)[:1] == ["0"]
    assert len(module) == 6
    with pytest.raises(ArgumentError):
        row(2, 2) * 0


def test_what_is_no_module_is_refused_by_containers() -> None:
    for call in (
        lambda: nn.Sequential(3),  # type: ignore[arg-type]  # wrong on purpose
        lambda: nn.ModuleList([cr.relu]),  # type: ignore[list-item]  # wrong on purpose
        lambda: nn.ModuleList(3),  # type: ignore[arg-type]  # wrong on purpose
        lambda: nn.ModuleList().insert(0, 3),  # type: ignore[arg-type]  # wrong on purpose
        lambda: nn.ModuleDict({"a": 3}),  # type: ignore[dict-item]  # wrong on purpose
        lambda: nn.ModuleDict(3),  # type: ignore[arg-type]  # wrong on purpose
        lambda: nn.ParameterList(3),  # type: ignore[arg-type]  # wrong on purpose
        lambda: nn.ParameterDict(3),
        lambda: nn.ParameterDict({3: cr.ones(1)}),
    ):
        with pytest.raises(ArgumentTypeError):
            call()


def test_a_list_of_modules_is_not_called() -> None:
    with pytest.raises(ArgumentError, match="ModuleList has no forward"):
        nn.ModuleList([nn.ReLU()])(cr.ones(1))


def test_equal_neighbours_of_a_list_are_shown_once() -> None:
    text = repr(nn.ModuleList([nn.ReLU(), nn.ReLU(), nn.Tanh(), nn.Sequential(nn.ReLU())]))
    assert text == ("ModuleList(\n  (0-1): 2 x ReLU()\n  (2): Tanh()\n  (3): Sequential(\n    (0): ReLU()\n  )\n)")
    assert repr(nn.ModuleList()) == "ModuleList()"


def test_a_dict_of_modules_is_a_mapping() -> None:
    a, b = nn.Linear(1, 1), nn.ReLU()
    module = nn.ModuleDict({"a": a})
    module["b"] = b
    module.update([("c", nn.Tanh())])
    assert list(module) == list(module.keys()) == ["a", "b", "c"]
    assert module["a"] is a
    assert "b" in module
    assert len(module) == 3
    assert dict(module.items())["b"] is b
    assert list(module.values())[1] is b
    assert module.pop("b") is b
    del module["c"]
    assert names(module) == ["a"]
    with pytest.raises(KeyError, match=r"no module 'aa'\. Did you mean a"):
        module["aa"]
    with pytest.raises(ArgumentError, match="pairs"):
        module.update([("x", b, 3)])  # type: ignore[list-item]  # wrong on purpose
    module.clear()
    assert len(module) == 0


def test_a_list_of_parameters_makes_tensors_into_parameters() -> None:
    p = nn.Parameter(cr.ones(2))
    held = nn.ParameterList([p, cr.zeros(3), "text"])
    held += [cr.ones(1)]
    held[2] = cr.ones(4)
    assert held[0] is p
    assert [tuple(q.shape) for q in held.parameters()] == [(2,), (3,), (1,), (4,)]
    assert [tuple(q.shape) for q in held] == [(2,), (3,), (4,), (1,)]
    assert list(held.state_dict()) == ["0", "1", "3", "2"]
    assert len(held[1:3]) == 2
    assert held[-1] is held[3]
    with pytest.raises(IndexingError):
        held[4]
    with pytest.raises(ArgumentTypeError):
        held(cr.ones(1))


def test_a_dict_of_parameters_is_a_mapping() -> None:
    p = nn.Parameter(cr.ones(2))
    held = nn.ParameterDict({"a": p, "b": cr.zeros(3)})
    held["note"] = "text"
    assert held["a"] is held.a is p
    assert isinstance(held["b"], nn.Parameter)
    assert list(held) == list(held.keys()) == ["a", "b", "note"]
    assert list(reversed(held)) == ["note", "b", "a"]
    assert len(held.values()) == 3  # type: ignore[arg-type]  # a list
    assert [name for name, _ in held.named_parameters()] == ["a", "b"]
    assert held.get("zzz") is None
    assert held.setdefault("c", cr.ones(1)) is held["c"]
    assert held.popitem()[0] == "c"
    assert held.pop("note") == "text"
    assert list(held.copy()) == ["a", "b"]
    assert list(held | nn.ParameterDict({"d": cr.ones(1)})) == ["a", "b", "d"]
    held |= nn.ParameterDict({"e": cr.ones(1)})
    assert list(held) == ["a", "b", "e"]
    assert list(held.fromkeys(["x", "y"], 1)) == ["x", "y"]
    with pytest.raises(KeyError):
        held["zzz"]
    with pytest.raises(ArgumentError, match="has an attribute 'forward'"):
        held["forward"] = cr.ones(1)
    with pytest.raises(ArgumentTypeError):
        held(cr.ones(1))
    held.clear()
    assert not len(held)
    with pytest.raises(KeyError, match="empty"):
        held.popitem()
