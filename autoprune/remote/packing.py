"""From a model in this process to an artifact that a bench takes. Knows formats; not what becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import nn

from autoprune import registry
from autoprune.bench.artifact import Artifact, Runnable, here
from autoprune.bench.replay import replay
from autoprune.core.measurement import FORWARD, FULL, QUANTISED
from autoprune.errors import CrashedError, DeviceError, ExhaustedError, TimedOutError, UnreachableError
from autoprune.exporters import Exporter
from autoprune.models.decoding import at_work
from autoprune.models.weights import to_bytes
from autoprune.remote.quantising import Quantiser
from autoprune.surgery import Traced
from autoprune.surgery.cut_model import CutModel
from autoprune.surgery.example import Example, arrays
from autoprune.surgery.modes import evaluating

T = TypeVar("T")


def unpacked(artifact: Artifact) -> Runnable:
    """What a profiler in this process takes."""
    if artifact.format == "unit":
        return Runnable(*replay(artifact.content), None)
    return here(artifact)


def accepted(artifacts: Iterable[Artifact], act: Callable[[Artifact], T]) -> T:
    """Act on the first artifact that the device accepts; what kills or exhausts its process is not tried again."""
    refused: DeviceError | None = None
    for artifact in artifacts:
        try:
            return act(artifact)
        except (CrashedError, ExhaustedError, TimedOutError, UnreachableError):
            raise
        except DeviceError as error:
            refused = error
    if refused is None:
        raise DeviceError(expected="a model to measure", received="none", cure="pack at least one artifact")
    raise refused


@dataclass
class Packer:
    """Packs the models that are cut from one dense model.

    format: what the profiler takes; here: whether the bench is in this process; traced: of the dense model, None where
    nothing will be cut; work: what of the models is run; precision: of models whose plans say none; quantiser: makes
    int8 of files, None where all stay in float32.
    """

    format: str
    here: bool
    dense: nn.Module
    example: Example
    traced: Traced | None = None
    work: str = FORWARD
    precision: str = FULL
    quantiser: Quantiser | None = None

    def packed(self, cut: CutModel) -> Iterator[Artifact]:
        """Artifacts of a model, cheapest first: the next is for when the one before computes something else."""
        if self.format == "module":
            return iter((self._module(cut),))
        files = self._files(cut)
        quantised = (cut.plan.precision or self.precision) == QUANTISED
        return self.quantiser.quantised(files) if quantised and self.quantiser is not None else files

    def _files(self, cut: CutModel) -> Iterator[Artifact]:
        model, counts = cut.model, {name: len(kept) for name, kept in cut.slices.items()}
        expected = self._expected(model)
        file = self._exporter.derived(model, counts) if model is not self.dense else None
        if file is not None:
            yield self._file(file, expected)
        yield self._file(self._exporter.anew(model, counts), expected)

    def _module(self, cut: CutModel) -> Artifact:
        if self.here:
            return Artifact("module", module=at_work(cut.model, self.example, self.work))
        content = to_bytes(cut.model) if cut.model is not self.dense else b""
        return Artifact("module", content, {name: kept.tolist() for name, kept in cut.slices.items()})

    def _file(self, content: bytes, expected: tuple[Any, ...]) -> Artifact:
        return Artifact(self.format, content, inputs=self._exporter.inputs(), expected=expected)

    def _expected(self, model: nn.Module) -> tuple[Any, ...]:
        with torch.no_grad(), evaluating(model):
            return tuple(arrays(self.example.fresh().call(model)))

    @cached_property
    def _exporter(self) -> Exporter:
        counts = {group.name: group.size for group in self.traced or ()}
        exporter: Exporter = registry.load("exporters", self.format).create(self.dense, self.example, counts)
        return exporter
