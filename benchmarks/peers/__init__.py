"""Who is measured. A peer's module has a class ``Peer`` (or one for each of its ways):

    Peer(network)        builds the model with ``network.weights()`` and takes ``network.rows()`` into its own form
    peer.run(passes)     trains on all batches, in order, that many times; returns the losses as a list or an array, of
                         each batch or, where the library tells no more, of each pass
    peer.seconds         what the last run took, where the whole call holds more than the training
    refuses(network)     why a network cannot be run, or ""
    versions()           of what is used

``run`` returns when all work is done, and reads every loss. Nothing is imported before it is asked for, so that a process
holds one peer alone.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Entry:
    """Where a peer is: its module, its class, and the packages that must be installed."""

    module: str
    of: str = "Peer"
    needs: tuple[str, ...] = ()

    @property
    def is_ours(self) -> bool:
        return self.module in ("ours", "ours_fit")

    def missing(self) -> list[str]:
        """What is not installed."""
        return [name for name in self.needs if importlib.util.find_spec(name) is None]

    def load(self) -> Any:
        return importlib.import_module(f"peers.{self.module}")


PEERS = {
    "chainrule-eager": Entry("ours", "Eager"),
    "chainrule-compile": Entry("ours", "Compiled"),
    "chainrule-steps": Entry("ours", "Steps"),
    "chainrule-fit": Entry("ours_fit", "Fit"),
    "torch-eager": Entry("torch_eager", needs=("torch",)),
    "torch-compile": Entry("torch_compile", "Peer", ("torch",)),
    "torch-compile-cpp": Entry("torch_compile", "CppWrapper", ("torch",)),
    "jax-jit": Entry("jax_jit", needs=("jax", "optax")),
    "jax-scan": Entry("jax_scan", needs=("jax", "optax")),
    "jax-scan-hand": Entry("jax_scan", "ByHand", ("jax",)),
    "keras-fit": Entry("keras_fit", needs=("keras", "jax")),
    "keras-loop": Entry("keras_loop", needs=("keras", "jax")),
    "sklearn": Entry("sklearn_mlp", needs=("sklearn",)),
    "mlx": Entry("mlx_compile", needs=("mlx",)),
    "numpy": Entry("numpy_by_hand"),
    "fann": Entry("fann"),
}


def environment(threads: int) -> dict[str, str]:
    """What must be set before the libraries are loaded, for all peers alike."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    flags = "" if threads > 1 else "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    return {
        **dict.fromkeys(names, str(threads)),
        "XLA_FLAGS": flags,
        "JAX_PLATFORMS": "cpu",
        "KERAS_BACKEND": "jax",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
