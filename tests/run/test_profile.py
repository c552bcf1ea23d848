"""What a compiled function costs, kernel by kernel: counted rightly, measured, and nothing of the user's is written."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.run import NativeProgram
from chainrule.run import profile as profiles
from chainrule.run.peak import peak
from chainrule.run.profile import Profile, measure
from tests.compiler.random_graphs import random_case, together
from tests.training_step import training_step

pytestmark = pytest.mark.usefixtures("native")


@pytest.fixture
def native(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", "1")
    monkeypatch.setattr(profiles, "BATCH", 1e-5)
    monkeypatch.setattr(profiles, "TRIES", 2)


def build() -> tuple[nn.Module, Any, Any]:
    cr.manual_seed(3)
    model = nn.Sequential(nn.Linear(20, 33), nn.ReLU(), nn.Dropout(0.2), nn.BatchNorm1d(33), nn.Linear(33, 5))
    optimizer = cr.optim.Adam(model.parameters(), lr=0.01)

    return model, optimizer, training_step(model, optimizer)


def batch(rows: int = 24) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return cr.tensor(rng.standard_normal((rows, 20)).astype(np.float32)), cr.tensor(rng.integers(0, 5, rows))


def program_of(function: Any) -> NativeProgram:
    found: NativeProgram = function._native()
    return found


def profile_of(function: Any) -> Profile:
    return measure(program_of(function))


def everything(model: nn.Module, optimizer: Any, *tensors: Any) -> bytes:
    state = [x.detach().numpy().tobytes() for x in (*model.parameters(), *model.buffers(), *tensors)]
    return b"".join(state) + repr(optimizer.state_dict()).encode()


def test_a_profile_writes_nothing_of_the_users_and_changes_no_later_step() -> None:
    results = []
    for looks in (False, True):
        model, optimizer, step = build()
        x, y = batch()
        step(x, y)
        before = everything(model, optimizer, x, y)
        if looks:
            step.profile()
            assert everything(model, optimizer, x, y) == before
        losses = [float(step(x, y)) for _ in range(3)]
        results.append((losses, everything(model, optimizer, x, y)))
    assert results[0] == results[1]


def test_every_kernel_has_a_line_that_says_what_it_is() -> None:
    _, _, step = build()
    step(*batch())
    program, profile = program_of(step), profile_of(step)
    assert len(profile.kernels) == len(program.compilation.records)
    loops = re.findall(r"^kernel (\d+): ([^,\n]*)", step.loops, re.MULTILINE)
    numbers = [k.number for k in profile.kernels]
    assert numbers == sorted(numbers)
    assert {n for n in numbers if n < len(loops)} == {int(number) for number, _ in loops}
    assert any(n == len(loops) for n in numbers), "the mean of the batches is written when all has read it"
    for kernel in profile.kernels:
        assert (loops[kernel.number][1] if kernel.number < len(loops) else "copy over 3 (BatchNorm1d).") in kernel.what
        assert kernel.items > 0
        assert kernel.bytes > 0
        assert kernel.seconds > 0
        assert kernel.floor > 0
    assert profile.seconds is not None
    text = step.profile()
    assert text.startswith(step.report().splitlines()[0])
    assert all(f" {k.number}  {k.what}" in text for k in profile.kernels)
    table = text[text.index("kernel  ") :].splitlines()
    assert len({len(line.rstrip()) for line in table[1 : len(profile.kernels) + 2]}) == 1, "a table is aligned"


def test_operations_of_products_are_counted_for_the_sizes_of_the_last_run() -> None:
    _, _, step = build()
    for rows in (24, 40, 7):
        step(*batch(rows))
        profile = profile_of(step)
        assert profile.sizes == {"n": rows}
        products = [k.flops for k in profile.kernels if k.what.startswith("product")]
        shapes = [(20, 33), (33, 5), (5, 33), (33, 20), (5, 33)]  # forward, and backward without the first inputs
        assert sorted(products) == sorted(2 * rows * a * b for a, b in shapes)
        assert f"n = {rows}, one thread" in step.profile()


def test_a_buffer_counts_once_and_operations_one_by_one() -> None:
    @cr.compile
    def f(x: Any) -> Any:
        return x * x + x * 3.0 - 1.0

    f(cr.ones(10, 100))
    (kernel,) = profile_of(f).kernels
    assert kernel.bytes == 2 * 4 * 1000
    assert kernel.flops == 4 * 1000


def test_a_large_product_in_blocks_is_counted_once() -> None:
    @cr.compile
    def f(x: Any, w: Any) -> Any:
        return x @ w.T

    f(cr.ones(48, 2048), cr.ones(1500, 2048))
    kernels = profile_of(f).kernels
    assert sum(k.flops for k in kernels) == 2 * 48 * 1500 * 2048
    products = [k for k in kernels if "packing" not in k.what]
    assert len(products) > 1
    assert all(k.what.startswith("a block of the product of") for k in products)
    factors = 4 * (48 * 2048 + 1500 * 2048 + 48 * 1500)
    assert sum(k.bytes for k in products) < 4 * factors


@pytest.mark.parametrize("is_gone", [False, True])
def test_indices_sorting_and_windows(is_gone: bool) -> None:
    cr.manual_seed(0)
    table = nn.Embedding(1000, 8)

    @cr.compile
    def f(x: Any, k: Any) -> Any:
        words = table(k)
        joined = cr.cat([x, words], dim=1)
        total = joined.cumsum(1).sort(dim=1)[0].sum()
        total.backward()
        return total

    x, k = cr.ones(6, 4), cr.tensor(np.array([0, 999, 5, 6, 7, 8]))
    f(x, k)
    if is_gone:
        del x, k
    profile = profile_of(f)
    assert profile.seconds is not None
    assert len(profile.kernels) == len(program_of(f).compilation.records)
    gather = min(k.bytes for k in profile.kernels if k.what.startswith("for n × 8"))
    assert gather < 1000 * 8 * 4, "only the rows that are read count"


def test_after_an_index_out_of_range_others_are_measured() -> None:
    model, optimizer, step = build()
    x, y = batch()
    step(x, y)
    bad = cr.tensor(np.full(24, 77))
    with pytest.raises(ValueError, match="got the label 77"):
        step(x, bad)
    before = everything(model, optimizer, x, bad)
    assert profile_of(step).seconds is not None
    assert everything(model, optimizer, x, bad) == before


def test_what_divides_by_inputs_that_are_gone_is_measured() -> None:
    @cr.compile
    def f(a: Any, b: Any) -> Any:
        return a // b

    f(cr.arange(6), cr.arange(6) + 1)
    assert profile_of(f).seconds is not None


@pytest.mark.parametrize("rows", [3, 4, 1000])
def test_an_index_that_each_run_moves_on_stays_in_range(rows: int) -> None:
    table = cr.arange(rows)

    @cr.compile
    def f(k: Any) -> Any:
        found = table[k].sort()[0]
        k += 1
        return found

    k = cr.arange(3)
    f(k)
    profile = profile_of(f)
    assert profile.seconds is not None
    assert k.tolist() == [1, 2, 3]


def test_random_graphs_are_measured_and_left_as_they_are() -> None:
    for first in range(0, 48, 6):
        case = together([random_case(seed) for seed in range(first, first + 6)])
        program = NativeProgram(case.graph, case.in_place)
        for n in case.batches[:3]:
            inputs = [np.array(x) for x in case.inputs(n)]
            outputs = program.run(inputs, {"n": n} if n else {})
            before = [np.asarray(x).tobytes() for x in (*inputs, *outputs)]
            profile = measure(program)
            assert [np.asarray(x).tobytes() for x in (*inputs, *outputs)] == before
            assert len(profile.kernels) == len(program.compilation.records)
            assert all(k.what and k.flops >= 0 and k.bytes >= 0 for k in profile.kernels)


def test_a_check_that_always_fails_ends_the_table() -> None:
    @cr.compile
    def f(a: Any, b: Any) -> Any:
        return (a // (b - b)).cumsum(0).sum()

    a = cr.arange(6)
    with pytest.raises(cr.errors.ChainruleError):
        f(a, a)
    profile = profile_of(f)
    assert profile.seconds is None
    assert len(profile.kernels) < len(program_of(f).compilation.records)
    assert "what follows is not measured: a check failed" in str(profile)


def test_a_program_that_was_not_run_is_measured_for_what_it_was_made_for() -> None:
    _, _, step = build()
    step(*batch())
    old = program_of(step)
    program = NativeProgram(old.graph, old.in_place, {"n": 12})
    profile = measure(program)
    assert profile.sizes == {"n": 12}
    assert profile.seconds is not None


def test_steps_in_one_call_count_as_the_last_run() -> None:
    model, optimizer, step = build()
    x, y = batch(64)
    step.over(x, y, batch_size=16)
    before = everything(model, optimizer, x, y)
    assert profile_of(step).sizes == {"n": 16}
    assert everything(model, optimizer, x, y) == before


def test_nothing_to_compute_is_an_empty_table() -> None:
    @cr.compile
    def f(x: Any) -> Any:
        return x

    f(cr.ones(3))
    profile = profile_of(f)
    assert sum(k.flops for k in profile.kernels) == 0
    assert "sum" in str(profile)


def test_what_is_not_native_says_why_as_in_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", "0")
    _, _, step = build()
    assert step.profile() == "step: 0 traces"
    step(*batch())
    assert step.profile() == step.report()
    assert "not native: CHAINRULE_COMPILE=0" in step.profile()


def test_what_the_machine_can_do_is_measured_once() -> None:
    assert peak() is peak()
    assert peak().flops > 1e8
    assert peak().bytes > 1e8
    assert peak().seconds(10**9, 1) == 10**9 / peak().flops
    assert peak().seconds(1, 10**9) == 10**9 / peak().bytes
