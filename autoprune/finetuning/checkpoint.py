"""The file of a model in the middle of its fine-tuning. Knows what is said beside the tensors only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors
from safetensors import SafetensorError

from autoprune.core.measurement import Measurement
from autoprune.errors import StorageError


@dataclass(frozen=True)
class Checkpoint:
    """done of epochs are over; scores: of the search split after them, by metric."""

    done: int
    epochs: int
    scores: Mapping[str, Measurement]


def metadata(done: int, epochs: int, scores: Mapping[str, Measurement]) -> dict[str, str]:
    """What is stored beside the tensors."""
    told = {name: score.to_json() for name, score in scores.items()}
    return {"done": str(done), "epochs": str(epochs), "scores": json.dumps(told)}


def read(path: Path) -> Checkpoint | None:
    """What a file says of itself; None where there is none that is whole, as an epoch can be trained again."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            told = file.metadata() or {}
        scores = {name: Measurement.from_json(name, raw) for name, raw in json.loads(told["scores"]).items()}
        return Checkpoint(int(told["done"]), int(told["epochs"]), scores)
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, AttributeError, StorageError):
        return None
