"""Every repair, by the registry."""

import pytest
import torch

from autoprune import registry
from autoprune.finetuning.finetune import finetune
from autoprune.options.training_options import TrainingOptions
from autoprune.recovery.sequential import _choices
from autoprune.surgery.cut_model import CutModel
from autoprune.testing.criterion import attention_task, residual_task
from autoprune.testing.repair import RepairConformance, difference, repaired


@pytest.mark.parametrize(
    "name",
    # A model is trained for a moment each time.
    [pytest.param(name, marks=pytest.mark.slow if name == "distill" else ()) for name in registry.names("repairs")],
    scope="class",
)
class TestEveryRepair(RepairConformance):
    @pytest.fixture(autouse=True)
    def _named(self, name):
        self.name = name


@pytest.mark.parametrize("make", [residual_task, attention_task])
def test_sequential_is_nearer_to_dense_than_reconstruct(make):
    task = make()
    found = {repair: difference(task, repaired(task, repair)[0]) for repair in ("none", "reconstruct", "sequential")}
    assert found["reconstruct"] < 0.7 * found["none"]
    assert found["sequential"] < found["reconstruct"]


def test_fine_tuning_keeps_zeros():
    task = residual_task()
    model, kept = repaired(task, "sequential", pattern="unstructured")
    before = {name: tensor.clone() for name, tensor in model.named_parameters()}
    task = task.with_split("train", task.split("calibration"))
    finetune(CutModel(model, masks=kept), task, None, TrainingOptions(epochs=2), 0, lambda text: None)
    for name, mask in kept.items():
        assert not model.get_parameter(name)[~mask].any()
        assert not torch.equal(model.get_parameter(name), before[name])


@pytest.mark.parametrize(("side", "batch", "most"), [(8, 2, 192), (2048, 2, 8), (2048, 10, 10)])
def test_healing_runs_no_more_samples_at_once_than_are_known_to_fit(side, batch, most):
    x = torch.zeros(1, 1, 1, 1).expand(batch, 1, side, side)
    task = residual_task()
    task = task.with_split("calibration", [(x, torch.zeros(batch))] * 200)
    assert len(_choices(task)[0][0]) == most
