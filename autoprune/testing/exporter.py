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

    def test_inputs_are_the_examples_and_files_shrink_with_their_model(self) -> None:
        torch.manual_seed(0)
        model, images = ResidualNet().eval(), torch.randn(2, 3, 8, 8)
        traced = trace(model, images)
        exporter = self.made(model, Example.of(images), {group.name: group.size for group in traced.open})
        (value,) = exporter.inputs().values()
        assert np.array_equal(value, images.numpy())
        whole = exporter.anew(model, {})
        for share in (2, 4):  # the second may be derived from what the first showed
            slices = {group.name: torch.arange(max(group.size // share, 1)) for group in traced.open}
            counts = {name: len(kept) for name, kept in slices.items()}
            cut = apply(model, traced, slices).eval()
            derived = exporter.derived(cut, counts)
            part = exporter.anew(cut, counts) if derived is None else derived
            assert 0 < len(part) < len(whole)
