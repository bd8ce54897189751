"""What every criterion must do. Inherit `CriterionConformance` in a test class and set `name`."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from autoprune import registry
from autoprune.calibration.ranking import rank
from autoprune.core.scope import scoped
from autoprune.surgery import Traced, apply, kept_slices, trace
from autoprune.surgery.sparsity import with_weights
from autoprune.tasks.classification import Classification
from autoprune.tasks.task import Task


class ResidualNet(nn.Module):
    """A small network with normalised, coupled, concatenated and flattened channels."""

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


class Attention(nn.Module):
    """Heads, an embedding width and hidden neurons: (N, 6, 8) to (N, 5)."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(8, 16)
        self.block = nn.TransformerEncoderLayer(16, 4, 24, dropout=0.0, batch_first=True)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.block(self.embed(x)).mean(1))
        return logits


def task_of(model: nn.Module, *shape: int) -> Task:
    """The model with random data of a shape, (samples of) float64."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(120, *shape, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 5, (120,), generator=generator)
    part = (inputs, labels)
    splits = {name: [part] for name in ("train", "search", "validation", "test")}
    calibration = [(inputs[start : start + 40], labels[start : start + 40]) for start in range(0, 120, 40)]
    return Classification(
        model.double().eval(), splits={**splits, "calibration": calibration}, example_inputs=(inputs[:2],)
    )


def residual_task() -> Task:
    torch.manual_seed(0)
    return task_of(ResidualNet(), 3, 8, 8)


def attention_task() -> Task:
    torch.manual_seed(0)
    return task_of(Attention(), 6, 8)


class CriterionConformance:
    """Scores are one finite number a slice, follow the slices when those are reordered, and put dead slices last."""

    name: str

    def ranked(self, task: Task, traced: Traced, model: nn.Module | None = None) -> dict[str, Tensor]:
        """The scores of a task's model, or of another one with the same groups."""
        task = dataclasses.replace(task, model=model or task.model)
        return dict(rank(registry.load("criteria", self.name), task.model, traced, task).scores)

    def test_one_finite_score_a_slice(self) -> None:
        for task in (residual_task(), attention_task()):
            traced = trace(task.model, task.example_inputs)
            scores = self.ranked(task, traced)
            for group in traced.open:
                if group.kind != "layer":
                    assert scores[group.name].shape == (group.size,)
                    assert torch.isfinite(scores[group.name]).all()

    def test_scores_tell_slices_apart(self) -> None:
        task = residual_task()
        scores = self.ranked(task, trace(task.model, task.example_inputs))
        assert any(float(each.max()) > float(each.min()) for each in scores.values()), "every slice has the same score"

    def test_one_finite_score_a_weight(self) -> None:
        task = residual_task()
        traced = with_weights(task.model, trace(task.model, task.example_inputs), "unstructured")
        scores = self.ranked(task, traced)
        tensors = dict(task.model.named_parameters())
        weights = [group for group in traced.groups if group.kind == "weight"]
        assert {group.members[0].tensor for group in weights} == {
            f"{name}.weight" for name in ("stem", "inner", "outer", "head")
        }
        for group in weights:
            assert scores[group.name].shape == (tensors[group.members[0].tensor].numel(),)
            assert torch.isfinite(scores[group.name]).all()

    def test_deterministic(self) -> None:
        traced = trace(residual_task().model, residual_task().example_inputs)
        first, second = self.ranked(residual_task(), traced), self.ranked(residual_task(), traced)
        assert all(torch.equal(first[name], second[name]) for name in first)

    def test_scores_follow_reordered_slices(self) -> None:
        for task in (residual_task(), attention_task()):
            traced = trace(task.model, task.example_inputs)
            for name, before in self.ranked(task, traced).items():
                order = torch.randperm(len(before), generator=torch.Generator().manual_seed(1))
                after = self.ranked(task, traced, apply(task.model, traced, {name: order}))[name]
                assert torch.allclose(after, before[order], rtol=1e-6, atol=1e-9), f"scores of {name} do not follow"

    def test_dead_slices_come_last(self) -> None:
        task = residual_task()
        tensors = dict(task.model.named_parameters())
        with torch.no_grad():
            tensors["inner.weight"][3], tensors["inner.bias"][3], tensors["outer.weight"][:, 3] = 0, 0, 0
            tensors["head.weight"][:, (8 + 3) * 4 : (8 + 4) * 4] = 0
        traced = trace(task.model, task.example_inputs)
        assert int(self.ranked(task, traced)["inner"].argmin()) == 3

    def test_every_scope_makes_a_plan_that_the_groups_obey(self) -> None:
        task = residual_task()
        traced = trace(task.model, task.example_inputs)
        scores = self.ranked(task, traced)
        listed = {name: each.tolist() for name, each in scores.items()}
        values = sorted(score for each in listed.values() for score in each)
        for scope, keep in (
            ("layer", 0.5),
            ("global", 0.5),
            ("percentile", 50),
            ("threshold", values[len(values) // 2]),
        ):
            plan = scoped(traced.groups, listed, scope, keep)  # type: ignore[arg-type]
            assert all(len(kept) == plan.kept[name] for name, kept in kept_slices(traced, scores, plan).items())
