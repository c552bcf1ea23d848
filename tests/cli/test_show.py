from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

import chainrule as cr
from chainrule.cli import show
from chainrule.cli.show import STAGES
from chainrule.compiler import target
from tests.tasks.small_data import columns, without, write_csv


@pytest.fixture
def native(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", "1")
    if reason := target.unsupported():
        pytest.skip(reason)


SIGNS = {
    "graph": "graph step:",
    "loops": "kernel 0: ",
    "llvm": "define void @k",
    "assembly": "\tret",
    "kernels": "% of floor",
}


def bytes_of(folder: Path) -> str:
    found = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        found.update(file.name.encode() + file.read_bytes())
    return found.hexdigest()


@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_is_printed_and_the_run_stays_as_it_is(chainrule, run, native, stage: str) -> None:
    before = bytes_of(run)
    found = chainrule("show", run, "--stage", stage)
    assert (found.code, found.err) == (0, "")
    assert SIGNS[stage] in found.out
    assert bytes_of(run) == before


def test_the_loops_are_shown_unless_another_stage_is_asked_for(chainrule, run, native) -> None:
    found = chainrule("show", run)
    assert found.out == chainrule("show", run, "--stage", "loops").out
    for name, x in cr.load_run(run).model.named_parameters():
        assert f"{', '.join(map(str, x.shape))}]" in found.out, name


def test_optimizer_and_size_of_the_batch_are_those_of_the_run(chainrule, table, native) -> None:
    words = ("train", table, "--target", "answer", "--out", "other", "--epochs", 1, "--quiet", "--no-report")
    assert chainrule(*words, "--optimizer", "sgd", "--batch-size", 11, "--class-weight", "balanced").code == 0
    assert "n = 11, one thread" in chainrule("show", "other", "--stage", "kernels").out
    graph = chainrule("show", "other", "--stage", "graph").out
    assert "<SGD" in graph
    assert "input weight" in graph


def test_a_run_whose_target_is_a_number(chainrule, here, native) -> None:
    write_csv(here / "table.csv", without(columns(60), "answer"))
    words = ("train", "table.csv", "--target", "price", "--out", "run", "--epochs", 1, "--quiet", "--no-report")
    assert chainrule(*words, "--clip-norm", 1, "--batch-size", 1).code == 0
    assert "kernel 0: " in chainrule("show", "run").out


def test_without_native_code_the_graph_alone_can_be_shown(chainrule, run, monkeypatch) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", "0")
    for stage in ("loops", "llvm", "assembly", "kernels"):
        found = chainrule("show", run, "--stage", stage)
        assert found.code == 1
        assert found.out == ""
        assert found.err == (
            "chainrule: there is no native code to show: it is switched off (CHAINRULE_COMPILE=0). "
            "Set CHAINRULE_COMPILE=1, or ask for --stage graph.\n"
        )
    assert chainrule("show", run, "--stage", "graph").out.startswith("graph step:")


def test_a_machine_for_which_no_code_is_made_is_told(chainrule, run, monkeypatch) -> None:
    monkeypatch.setenv("CHAINRULE_COMPILE", "1")
    monkeypatch.setattr(show, "unsupported", lambda: "native code is made for Linux, and this is darwin")
    found = chainrule("show", run)
    assert found.code == 1
    assert "there is no native code to show: native code is made for Linux, and this is darwin" in found.err


def test_a_run_that_is_not_there_or_damaged_is_told(chainrule, run, table) -> None:
    found = chainrule("show", "rum")
    assert found.code == 1
    assert found.err == "chainrule: there is no run 'rum'. Did you mean run?\n"
    assert "table.csv is a file" in chainrule("show", table).err
    weights = run / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    found = chainrule("show", run)
    assert found.code == 1
    assert "model.safetensors is damaged" in found.err


def test_a_stage_that_is_not_there_is_told(chainrule, run) -> None:
    found = chainrule("show", run, "--stage", "loop")
    assert found.code == 2
    assert "invalid choice: 'loop'" in found.err
