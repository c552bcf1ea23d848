"""A process that holds one peer and one subject, and takes turns when it is told to. ``children.py`` starts it.

    python worker.py '{"module": "torch_eager", "of": "Peer", "subject": "mnist-32", "cpus": [0], "threads": 1}'

Lines of JSON come in and go out. What libraries print goes to the standard error.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np


def memory(field: str) -> float:
    """Return a field of /proc/self/status (VmRSS, VmHWM) in MB; the peak from getrusage where there is no /proc."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def forget_peak() -> None:
    """Let the peak begin anew (Linux): the rows were drawn with temporary arrays of their own."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def subject_named(name: str) -> Any:
    """Return what is trained on: a network, a random one, or the images."""
    if name.startswith("random-"):
        import random_networks

        return random_networks.network(int(name.removeprefix("random-")))
    if name == "images":
        import images

        return images.load()
    import networks

    return networks.NETWORKS[name]


def main() -> None:
    told = json.loads(sys.argv[1])
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, told["cpus"])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**values: Any) -> None:
        print(json.dumps(values), file=answers, flush=True)

    warnings.simplefilter("ignore")
    module = importlib.import_module(f"peers.{told['module']}")
    imported, peak = memory("VmRSS"), memory("VmHWM")
    subject = subject_named(told["subject"])
    is_network = hasattr(subject, "weights")
    if is_network and (refused := module.refuses(subject)):
        answer(refused=refused)
        return
    make = getattr(module, told["of"])
    if is_network:  # drawn once, kept: what a peer adds to it is the peer's
        kept = (subject.weights(), subject.rows())
        type(subject).weights, type(subject).rows = lambda self, seed=0: kept[0], lambda self, seed=0: kept[1]
    forget_peak()
    bare = memory("VmRSS")
    began = time.perf_counter()
    losses = []
    if told["check"]:
        checked = make(subject.without_dropout())
        losses = np.asarray(getattr(checked, "run_in_order", checked.run)(told["check"])).tolist()
        peer = checked if subject.without_dropout() == subject else make(subject)
        del checked
    else:
        peer = make(subject)
    answer(losses=losses, versions=module.versions(), seconds=time.perf_counter() - began)
    for line in sys.stdin:
        passes = json.loads(line)
        began = time.perf_counter()
        found = peer.run(passes)
        seconds = time.perf_counter() - began
        answer(
            seconds=getattr(peer, "seconds", seconds),
            found=np.asarray(found[-1:]).tolist(),
            peak=memory("VmHWM") - bare,
            imported=imported,
            total=max(peak, memory("VmHWM")),
        )


if __name__ == "__main__":
    main()
