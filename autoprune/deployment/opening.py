"""An exported model opened again, by its card. Knows which formats may run code when they are opened."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from autoprune.bench.artifact import Artifact
from autoprune.deployment.card import Exported, read
from autoprune.deployment.deployed import Deployed, given
from autoprune.deployment.export import format_of
from autoprune.errors import StorageError
from autoprune.exporters import Subject
from autoprune.profilers import Profiler
from autoprune.surgery.example import Example

#: The format whose files may run code when they are opened, and what their names end with.
_CODE, _SUFFIX = "torch-export", ".pt2"
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
    if path.suffix == _SUFFIX and not trust:
        raise _untrusted(path)
    card = read(folder)
    if card.format == _CODE and not trust:
        raise _untrusted(card.path)
    example = Example.of(tuple(torch.zeros(each["shape"], dtype=getattr(torch, each["dtype"])) for each in card.inputs))
    subject = Subject(model=nn.Identity(), example=example, name=card.name, dense=dense)
    return Opened(card, format_of(card.format, card.precision).opened(folder, subject), example)


def _untrusted(path: Path) -> StorageError:
    return StorageError(
        expected="a file that is only data",
        received=f"{path}, which may run what is in it when torch opens it",
        cure="open it with trust=True if you wrote it yourself, or export it as onnx or safetensors",
    )
