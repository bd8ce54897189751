"""An exported model opened again, by its card. Knows trust; each format says whether opening it may run code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from autoprune.bench.artifact import Artifact
from autoprune.deployment.card import CARD, Exported, read
from autoprune.deployment.deployed import Deployed, given
from autoprune.deployment.export import format_of
from autoprune.errors import StorageError, UsageError, describe
from autoprune.exporters import Subject
from autoprune.models.weights import DTYPES
from autoprune.profilers import Profiler
from autoprune.surgery.example import Example

#: The profiler of what is a module of torch.
_TORCH: Final = "torch"


@dataclass(frozen=True)
class Opened:
    """card: of the export; artifact: what its profiler prepares; example: inputs of the card's shapes, zeros."""

    card: Exported
    artifact: Any
    example: Example

    @property
    def names(self) -> list[str]:
        """Of the artifact's inputs; empty where it is called as the torch model."""
        return [each["name"] for each in self.card.inputs] if self.card.named else []

    def packed(self) -> Artifact:
        """As a bench takes it."""
        if self.names:
            return Artifact(self.card.format, self.artifact, inputs=given(self.example, self.names))
        return Artifact("module", module=(self.artifact, self.example))

    def module(self, profiler: Profiler, example: Example | None = None, like: nn.Module | None = None) -> nn.Module:
        """The model in its runtime. example: as `like`, the torch model, is called; see `Deployed`."""
        if self.card.profiler == _TORCH:
            found: nn.Module = self.artifact
            return found
        call = self.example if example is None else example
        return Deployed(profiler, self.artifact, call, inputs=self.names, varies=self.card.varies, like=like)


def opened(path: Path, *, dense: nn.Module | None = None, trust: bool = False) -> Opened:
    """Open what `export` wrote.

    Args:
        path: The folder of one format, or the file in it.
        dense: The dense model, which the format "safetensors" needs.
        trust: Whether a file that may run code when it is opened is opened.

    Raises:
        StorageError: there is no export, or one that is not opened without trust.
        UsageError: the dense model is needed.
        DeviceError: its library is missing.
    """
    folder = path if path.is_dir() else path.parent
    card = read(folder)
    form = format_of(card.format)
    if form.RUNS_CODE and not trust:
        raise StorageError(
            expected="a file that is only data",
            received=f"{card.path}, which may run what is in it when it is opened",
            cure="open it with trust=True if you wrote it yourself, or export it as onnx or safetensors",
        )
    example = _zeros(card)
    subject = Subject(model=nn.Identity(), example=example, name=card.name, dense=dense)
    return Opened(card, form.opened(folder, subject), example)


def _zeros(card: Exported) -> Example:
    try:
        return Example.of(tuple(torch.zeros(each["shape"], dtype=DTYPES[each["dtype"]]) for each in card.inputs))
    except (LookupError, TypeError, RuntimeError, UsageError) as error:
        raise StorageError(
            expected=f"data types and shapes of inputs in {card.folder / CARD}",
            received=describe(error),
            cure="restore the file, or export the model again",
        ) from error
