"""What every format must do. Inherit `ExporterConformance` in a test class and set `name`; for a format that profilers
take of candidates, `CandidateConformance`, or override its `made`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from autoprune import registry
from autoprune.core.clock import SystemClock
from autoprune.core.measurement import RunSpec
from autoprune.deployment.card import read
from autoprune.deployment.export import Acceptance, export, format_of
from autoprune.deployment.opening import opened
from autoprune.errors import DeviceError, UsageError
from autoprune.exporters import Exporter, Subject
from autoprune.exporters._varying import dimensions
from autoprune.models.form import Form
from autoprune.surgery import apply, trace
from autoprune.surgery.cut_model import CutModel
from autoprune.surgery.example import Example
from autoprune.surgery.tracer import tensors_of
from autoprune.testing.criterion import ResidualNet


class ExporterConformance:
    """A file that its runtime runs as torch runs the model, a card beside it, and nothing where either fails. Skipped
    where a library is missing."""

    name: str

    def subject(self) -> Subject:
        """A small model of which half is left, as it is written."""
        torch.manual_seed(0)
        dense, example = ResidualNet().eval(), Example.of(torch.randn(2, 3, 8, 8))
        traced = trace(dense, example)
        slices = {group.name: torch.arange(max(group.size // 2, 1)) for group in traced.open if group.kind != "layer"}
        cut = CutModel(apply(dense, traced, slices).eval(), slices=slices)
        form = Form.of(dense, cut, traced, example)
        return Subject(model=cut.model, example=example, name="half", dense=dense, form=form)

    def test_what_is_written_computes_the_same_and_is_told_by_its_card(self, tmp_path: Path) -> None:
        subject = self.subject()
        try:
            card = export(subject, self.name, tmp_path / "out", Acceptance(timed=False))
            profiler = registry.load("profilers", card.profiler).create(RunSpec(), SystemClock())
        except DeviceError as error:
            if "library" not in error.expected:
                raise
            pytest.skip(str(error))
        assert card.path.is_file()
        assert card.tolerance is not None  # an exporter writes what computes the same
        assert card.difference <= card.tolerance
        assert card.versions
        assert set(card.varies) <= set(dimensions(subject.example))
        assert [each["shape"] for each in card.inputs] == [list(each.shape) for each in subject.example.tensors]
        assert read(tmp_path / "out") == card
        assert card.usage in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
        dense = subject.dense if format_of(self.name).FROM_DENSE else None
        module = opened(tmp_path / "out", dense=dense, trust=True).module(profiler)
        with torch.no_grad():
            expected = tensors_of(subject.example.call(subject.model))
            found = tensors_of(module(*subject.example.tensors))
        for one, other in zip(found, expected, strict=False):
            assert torch.allclose(one, other, rtol=0, atol=card.tolerance * float(other.abs().max()))

    def test_a_folder_that_is_there_is_left_alone(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="not there yet"):
            export(self.subject(), self.name, tmp_path, Acceptance(timed=False))
        assert not list(tmp_path.iterdir())


class CandidateConformance:
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
