import pytest
import torch
from torch import nn

from autoprune import registry
from autoprune.calibration.ranking import rank
from autoprune.surgery import trace
from autoprune.testing.criterion import CriterionConformance


@pytest.mark.parametrize("name", registry.names("criteria"), scope="class")
class TestEveryCriterion(CriterionConformance):
    @pytest.fixture(autouse=True)
    def _named(self, name):
        self.name = name


def test_magnitudes_are_the_norms_of_all_that_a_slice_holds():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).double()
    traced = trace(model, (torch.zeros(1, 3, dtype=torch.float64),))
    held = torch.cat([model[0].weight, model[0].bias[:, None], model[2].weight.T], 1).detach()
    for name, order in (("l1", 1), ("l2", 2)):
        scores = rank(registry.load("criteria", name), model, traced).scores["0"]
        torch.testing.assert_close(scores, torch.linalg.vector_norm(held, order, dim=1))
