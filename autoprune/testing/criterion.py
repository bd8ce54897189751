"""What every criterion must do. Inherit `CriterionConformance` in a test class and set `name`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from autoprune import registry
from autoprune.criteria import rank
from autoprune.surgery import Traced, apply, trace


def residual_net() -> nn.Module:
    """A small network with coupled, concatenated and flattened channels."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
            self.inner, self.outer = nn.Conv2d(8, 12, 3, padding=1), nn.Conv2d(12, 8, 1)
            self.head = nn.Linear(20 * 4, 5)

        def forward(self, x: Tensor) -> Tensor:
            x = torch.relu(self.norm(self.stem(x)))
            inner = torch.relu(self.inner(x))
            joined = torch.cat([x + self.outer(inner), inner], 1)
            logits: Tensor = self.head(nn.functional.adaptive_avg_pool2d(joined, 2).flatten(1))
            return logits

    torch.manual_seed(0)
    return Net().eval()


class CriterionConformance:
    """Scores are one finite number a slice, follow the slices when those are reordered, and put dead slices last."""

    name: str

    def ranked(self, model: nn.Module) -> tuple[Traced, dict[str, Tensor]]:
        traced = trace(model, (torch.zeros(1, 3, 8, 8),))
        return traced, rank(registry.load("criteria", self.name).score, model, traced)

    def test_one_finite_score_a_slice(self) -> None:
        traced, scores = self.ranked(residual_net())
        for group in traced.groups:
            if not group.frozen_reason:
                assert scores[group.name].shape == (group.size,)
                assert torch.isfinite(scores[group.name]).all()

    def test_deterministic(self) -> None:
        first, second = self.ranked(residual_net())[1], self.ranked(residual_net())[1]
        assert all(torch.equal(first[name], second[name]) for name in first)

    def test_scores_follow_reordered_slices(self) -> None:
        model = residual_net()
        traced, scores = self.ranked(model)
        for name, before in scores.items():
            order = torch.randperm(len(before), generator=torch.Generator().manual_seed(1))
            after = self.ranked(apply(model, traced, {name: order}))[1][name]
            assert torch.allclose(after, before[order])

    def test_dead_slices_come_last(self) -> None:
        model = residual_net()
        traced, _ = self.ranked(model)
        tensors = dict(model.named_parameters())
        group = next(group for group in traced.groups if group.name == "inner")
        with torch.no_grad():
            tensors["inner.weight"][3], tensors["inner.bias"][3], tensors["outer.weight"][:, 3] = 0, 0, 0
            tensors["head.weight"][:, (8 + 3) * 4 : (8 + 4) * 4] = 0
        assert int(self.ranked(model)[1][group.name].argmin()) == 3
