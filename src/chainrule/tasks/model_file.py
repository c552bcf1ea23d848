"""A trained model on disk: ``model.safetensors`` has the weights, ``model.json`` what turns rows into inputs and back.

Both have a checksum, and ``model.json`` names that of the weights: one wrong byte in either, or the weights of another
model, is an error. Reading them runs no code.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from chainrule import nn
from chainrule.data import TargetEncoder
from chainrule.errors import ChainruleError, DataError, FileError
from chainrule.tasks.config import NetworkConfig
from chainrule.tasks.image import ImageInputs
from chainrule.tasks.network import build_network
from chainrule.tasks.parts import Inputs
from chainrule.tasks.table import TableInputs
from chainrule.tensors.files import read_file
from chainrule.tensors.serialization import load, save

FORMAT = 1
WEIGHTS, DESCRIPTION = "model.safetensors", "model.json"
INPUTS: dict[str, type[TableInputs] | type[ImageInputs]] = {"table": TableInputs, "images": ImageInputs}


@dataclass(frozen=True, eq=False, slots=True)
class SavedModel:
    """A network with what turns data into its inputs, and its outputs into answers."""

    kind: str
    network: NetworkConfig
    inputs: Inputs
    target: TargetEncoder
    model: nn.Module

    @property
    def num_outputs(self) -> int:
        """How many outputs the network has: one for each class, or one number."""
        return num_outputs(self.target)

    def to_files(self) -> dict[str, bytes]:
        """Return the contents of the two files by name."""
        file = io.BytesIO()
        save(self.model.state_dict(), file)
        weights = file.getvalue()
        described = {
            "format": FORMAT,
            "kind": self.kind,
            "network": {**asdict(self.network), "hidden": list(self.network.hidden)},
            "inputs": self.inputs.to_dict(),
            "target": self.target.to_dict(),
            "weights_sha256": hashlib.sha256(weights).hexdigest(),
        }
        text = json.dumps({"sha256": _checksum(described), **described}, indent=1)
        return {WEIGHTS: weights, DESCRIPTION: text.encode("utf-8")}


def num_outputs(target: TargetEncoder) -> int:
    """Return how many outputs a network for this target has."""
    return target.num_classes if target.task == "classification" else 1


def read_model(folder: Path) -> SavedModel:
    """Read a model's two files.

    Raises FileError, naming the file, where one is missing, cut short or damaged.
    """
    described = _description(folder / DESCRIPTION)
    weights = read_file(folder / WEIGHTS)
    name = str(folder / WEIGHTS)
    if hashlib.sha256(weights).hexdigest() != described["weights_sha256"]:
        raise _damaged(name, f"its checksum (SHA-256) is not the one that {DESCRIPTION} names")
    try:
        state = load(io.BytesIO(weights))
        network = NetworkConfig(**{**described["network"], "hidden": tuple(described["network"]["hidden"])})
        inputs = INPUTS[described["kind"]].from_dict(described["inputs"])
        target = TargetEncoder.from_dict(described["target"])
        model = build_network(network, inputs.num_inputs, num_outputs(target), seed=0)
        model.load_state_dict(state)
    except (KeyError, TypeError, ChainruleError) as error:
        raise _damaged(str(folder), f"its parts do not fit together ({error})") from error
    model.eval()
    return SavedModel(described["kind"], network, inputs, target, model)


def _description(path: Path) -> dict[str, Any]:
    try:
        described: dict[str, Any] = json.loads(read_file(path))
        expected = described.pop("sha256")
        written = described["format"]
    except (ValueError, KeyError, AttributeError, RecursionError) as error:
        raise _damaged(str(path), f"it cannot be read ({error})") from None
    if written != FORMAT:
        raise DataError(f"{path} has format {written!r}", expected=str(FORMAT), fix="use the version that wrote it")
    if _checksum(described) != expected:
        raise _damaged(str(path), "its checksum (SHA-256) is not that of its contents")
    return described


def _checksum(described: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode("utf-8")).hexdigest()


def _damaged(name: str, reason: str) -> FileError:
    return FileError(f"{name} is damaged: {reason}", fix="restore it from a copy, or train again")
