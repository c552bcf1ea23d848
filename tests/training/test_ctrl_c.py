"""Ctrl-C at random moments of native training: training is back at once, and goes on to the bits of one that was let be.

"At once" is 200 ms of the process's own time on its core, compiling included.

`make campaign` presses a hundred times; the suite the first twentieth of them.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import settings

PROGRAM = Path(__file__).parent / "interrupted_run.py"
KINDS = ("xor", "deep", "much validation")
SOON = 0.2  # seconds

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is sent otherwise on Windows")


class Moment(NamedTuple):
    """When Ctrl-C is pressed: so many seconds after the process has said ``line`` for the ``number``-th time."""

    kind: str
    line: str
    number: int
    seconds: float
    is_cached: bool = True  # whether the native code is on disk already


def moment(seed: int, whole: dict[str, dict[str, Any]]) -> Moment:
    """Draw a moment: anywhere, while compiling, while looking at validation rows, between epochs, at the end."""
    draw = random.Random(seed)
    where = ("anywhere", "compiling", "anywhere", "looking", "anywhere", "between", "anywhere", "end", "anywhere", "anywhere")[
        seed % 10
    ]  # fmt: skip
    kind = draw.choice(KINDS[1:] if where == "looking" else KINDS)
    epochs = whole[kind]["epochs"]
    if where == "compiling":
        return Moment(kind, "begin", 1, draw.uniform(0, 0.4), is_cached=False)
    if where == "looking":
        return Moment(kind, "look", draw.randint(1, epochs), draw.uniform(0, 0.05))
    if where == "between":
        return Moment(kind, "told", draw.randint(1, epochs - 1), draw.uniform(0, 0.001))
    if where == "end":
        return Moment(kind, "told", epochs, draw.uniform(0, 0.002))
    return Moment(kind, "begin", 1, draw.uniform(0, whole[kind]["seconds"]))


def start(kind: str, folder: Path, *words: str, is_cached: bool = True) -> subprocess.Popen[str]:
    cache = str(folder / "cache") if is_cached else "off"
    environ = {**os.environ, "CHAINRULE_COMPILE": "1", "CHAINRULE_CACHE": cache, "CHAINRULE_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), kind, *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ,
    )  # fmt: skip


def end(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "")
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


def own_seconds(process: int | str) -> float:
    """How long a process has had a core (its first thread): what others take from it on a busy machine is not in it."""
    try:
        return int(Path(f"/proc/{process}/schedstat").read_text().split()[0]) / 1e9
    except OSError:  # not Linux: the time of the day has to do
        return time.monotonic()


def press(at: Moment, folder: Path) -> dict[str, Any] | None:
    """Return what an interrupted process says, with ``pressed``; None if training was over before."""
    process = start(at.kind, folder, str(folder / "state"), is_cached=at.is_cached)
    assert process.stdout is not None
    left = at.number
    while left:
        line = process.stdout.readline()
        assert line, process.stderr and process.stderr.read()
        left -= line.strip() == at.line
    time.sleep(at.seconds)
    pressed, own = time.monotonic(), own_seconds(process.pid)
    process.send_signal(signal.SIGINT)
    found = {**end(process), "pressed": pressed}
    found["own"] -= own
    return None if found["back"] <= pressed or not (found["raised"] or found["stopped"] == "interrupted") else found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What processes say that nobody interrupts, the second time: with the native code on disk."""
    folder = tmp_path_factory.mktemp("whole")
    said = {kind: [end(start(kind, folder)) for _ in range(2)] for kind in KINDS}
    for first, second in said.values():
        assert first["engine"].startswith("native")
        assert first["bits"] == second["bits"]
    return {"folder": folder, "said": {kind: second for kind, (_, second) in said.items()}}


def test_it_is_back_at_once_and_goes_on_to_the_same_bits(whole: dict[str, Any]) -> None:
    wanted = settings().max_examples // 10
    figures, seed, after = [], 0, 0
    while len(figures) < wanted:
        at = moment(seed, whole["said"])
        found = press(at, whole["folder"])
        seed += 1
        if found is None:
            after += 1
            assert after <= wanted
            continue
        assert found["bits"] == whole["said"][at.kind]["bits"], at
        assert found["finally"] == whole["said"][at.kind]["finally"]
        assert found["engine"].startswith("native")
        figures.append((found["own"], found["back"] - found["pressed"], at))
    at_once, by_the_clock = (sum(figure[k] <= SOON for figure in figures) for k in (0, 1))
    ordered = sorted(1e3 * own for own, _, _ in figures)
    print(  # noqa: T201  # what the campaign is asked
        f"{len(figures)} times Ctrl-C: {at_once} back within 200 ms of the process's own time ({by_the_clock} by the clock); "
        f"median {ordered[len(ordered) // 2]:.0f} ms, longest {ordered[-1]:.0f} ms; "
        f"{after} more were pressed when training was over",
        *[f"{1e3 * a:.0f} ms ({1e3 * b:.0f}): {at}" for a, b, at in figures if max(a, b) > SOON],
        sep="\n",
    )
    assert at_once >= len(figures) - max(1, len(figures) // 100)
