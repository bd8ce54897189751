"""Every format, by the registry."""

import pytest
import torch

import autoprune
from autoprune import registry
from autoprune.exporters import Subject
from autoprune.surgery.example import Example
from autoprune.testing.exporter import CandidateConformance, ExporterConformance


@pytest.mark.parametrize(
    "name", [name for name in registry.names("exporters") if name != "transformers"], scope="class"
)
class TestEveryFormat(ExporterConformance):
    @pytest.fixture(autouse=True)
    def _named(self, name):
        self.name = name


class TestTransformers(ExporterConformance):
    """It writes models of its own library only."""

    name = "transformers"

    def subject(self):
        transformers = pytest.importorskip("transformers")
        torch.manual_seed(0)
        sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
        dense = transformers.ViTForImageClassification(transformers.ViTConfig(**sizes, image_size=16, patch_size=4))
        images = torch.randn(2, 3, 16, 16)
        pruned = autoprune.prune(
            dense.eval(), images, {next(g.name for g in autoprune.trace(dense, images).open if g.kind == "neuron"): 20}
        )
        return Subject(model=pruned.model, example=Example.of(images), name="vit", dense=dense, form=pruned.form)


class TestOnnxOfCandidates(CandidateConformance):
    name = "onnx"
