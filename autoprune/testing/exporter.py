"""What every exporter must do. Inherit `ExporterConformance` in a test class and set `name`, or override `made`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from autoprune import registry
from autoprune.exporters import Exporter
from autoprune.surgery import apply, trace
from autoprune.surgery.example import Example
from autoprune.testing.criterion import ResidualNet


class ExporterConformance:
    """A file for the dense model and for cut ones, and inputs by name that are those of the example."""

    name: str

    def made(self, dense: nn.Module, example: Example, counts: Mapping[str, int]) -> Exporter:
        """The exporter of one dense model; counts: the size of each group."""
        exporter: Exporter = registry.load("exporters", self.name).create(dense, example, counts)
        return exporter

    def test_its_inputs_are_those_of_the_example(self) -> None:
        exporter, _, images = self._ready()
        (value,) = exporter.inputs().values()
        assert np.array_equal(value, images.numpy())

    def test_the_dense_model_and_a_cut_one_become_files_of_their_own_size(self) -> None:
        exporter, model, images = self._ready()
        traced = trace(model, images)
        slices = {group.name: torch.arange(group.size // 2) for group in traced.open}
        cut = apply(model, traced, slices).eval()
        whole = exporter.anew(model, {})
        part = exporter.anew(cut, {name: len(kept) for name, kept in slices.items()})
        assert 0 < len(part) < len(whole)

    def test_a_derived_file_is_none_or_as_large_as_one_made_anew(self) -> None:
        exporter, model, images = self._ready()
        traced = trace(model, images)
        for share in (2, 4):  # the second may be derived from what the first showed
            slices = {group.name: torch.arange(max(group.size // share, 1)) for group in traced.open}
            counts = {name: len(kept) for name, kept in slices.items()}
            cut = apply(model, traced, slices).eval()
            derived, anew = exporter.derived(cut, counts), exporter.anew(cut, counts)
            assert derived is None or abs(len(derived) - len(anew)) < 0.5 * len(anew)

    def _ready(self) -> tuple[Exporter, nn.Module, torch.Tensor]:
        torch.manual_seed(0)
        model, images = ResidualNet().eval(), torch.randn(2, 3, 8, 8)
        sizes = {group.name: group.size for group in trace(model, images).open}
        return self.made(model, Example.of(images), sizes), model, images
