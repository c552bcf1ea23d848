"""What is shown: a bar on a terminal, a line per epoch elsewhere, nothing if that is wanted."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import Any

import pytest

from chainrule.training.progress import Progress
from tests.training.problems import classes, network, trainer

PROGRAM = """
import sys
sys.path.insert(0, {root!r})
from tests.training.problems import *
trainer(network(), epochs=3, progress={progress}).fit(classes(), val=classes(20, seed=1))
print("done")
"""
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def test_elsewhere_than_on_a_terminal_every_epoch_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    history = trainer(network(), epochs=10, progress=None).fit(classes(), val=classes(20, seed=1))
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert err == ""
    assert len(lines) == 10
    first = (
        f"epoch  1/10  train_loss {history['train_loss'][0]:.4g}  val_loss {history['val_loss'][0]:.4g}  lr 0.001  *"
    )
    assert lines[0] == first
    assert lines[9].startswith("epoch 10/10")


def test_large_numbers_are_written_out(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"epoch": 1, "train_loss": 0.12345, "val_rmse": 47180.6, "lr": 6.852e-07}
    Progress(60, None).epoch(1, row, best=False)
    assert capsys.readouterr().out == "epoch  1/60  train_loss 0.1235  val_rmse 47,181  lr 6.852e-07\n"


def test_epochs_that_are_not_the_best_have_no_star(capsys: pytest.CaptureFixture[str]) -> None:
    history = trainer(network(), epochs=5, lr=2.0, progress=True).fit(classes())
    stars = [line.endswith("*") for line in capsys.readouterr().out.splitlines()]
    losses = history["train_loss"]
    assert stars == [loss == min(losses[: k + 1]) for k, loss in enumerate(losses)]


def test_nothing_is_shown_if_that_is_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    trainer(network(), progress=False).fit(classes())
    assert capsys.readouterr() == ("", "")


def on_a_terminal(progress: Any, *, sized: bool = True) -> str:
    """Run the program on a terminal of its own, and return what it shows there."""
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    if sized:
        pytest.importorskip("termios").tcsetwinsize(theirs, (24, 120))
    code = PROGRAM.format(root=ROOT, progress=progress)
    environment = {**os.environ, "TERM": "xterm", "TQDM_MININTERVAL": "0"}
    process = subprocess.Popen([sys.executable, "-c", code], stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # the other side is closed
            break
        if not part:
            break
        shown += part
    os.close(ours)
    assert process.wait() == 0, shown.decode()
    return shown.decode()


def test_on_a_terminal_a_bar_counts_the_batches_and_shows_the_last_epoch() -> None:
    shown = on_a_terminal("None")
    lines = [line for line in re.split(r"[\r\n]+", shown) if "batch/s" in line or "/12" in line]
    assert "12/12" in lines[-1], shown  # three epochs of four batches
    assert re.search(r"epoch 3/3\s+train_loss [\d.]+\s+val_loss [\d.]+", lines[-1]), shown
    assert not re.search(r"^epoch", shown, re.MULTILINE)  # no line per epoch beside it


def test_a_terminal_that_does_not_know_its_size_gets_a_bar_too() -> None:
    assert "12/12" in on_a_terminal("None", sized=False)


def test_on_a_terminal_nothing_is_shown_if_that_is_wanted() -> None:
    assert on_a_terminal("False").strip() == "done"


def test_the_bar_counts_epochs_where_the_number_of_batches_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        text = ""

        def isatty(self) -> bool:
            return True

        def write(self, text: str) -> int:
            self.text += text
            return len(text)

        def flush(self) -> None:
            pass

    class Again:
        def __iter__(self) -> Any:
            return iter([classes(16), classes(16)])

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    trainer(network(), epochs=3, progress=True).fit(Again())
    assert "3/3" in terminal.text
