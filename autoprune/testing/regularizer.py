"""What every regularizer must do. Inherit `RegularizerConformance` in a test class and set `name`."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from autoprune.core.plan import Plan
from autoprune.errors import UsageError
from autoprune.finetuning.coupled import CoupledWeights
from autoprune.finetuning.penalty import Penalty, check_regularizer
from autoprune.options.training_options import TrainingOptions
from autoprune.surgery import CutModel, Traced, apply, kept_slices, trace
from autoprune.tasks.task import Task
from autoprune.testing.criterion import attention_task, residual_task


class RegularizerConformance:
    """A finite number of at least zero, whose gradient is that of finite differences; other options are refused."""

    name: str

    def made(self, task_of: Callable[[], Task] = residual_task) -> tuple[nn.Module, Traced, dict[str, Tensor]]:
        """A task's model in float64, its groups, and scores of its slices."""
        task = task_of()
        traced = trace(task.model, task.example_inputs)
        torch.manual_seed(0)
        ranking = {group.name: torch.rand(group.size) for group in traced.open if group.kind != "layer"}
        return task.model.double(), traced, ranking

    def options(self, **given: str) -> TrainingOptions:
        """With the regularizer's own."""
        return TrainingOptions(epochs=1, regularizer=self.name, regularizer_options=given)

    def penalty(self, cut: CutModel, traced: Traced, ranking: dict[str, Tensor], share: float = 0.5) -> Penalty:
        """Of a model of which a share of each group stays after the next cut."""
        weights = CoupledWeights(cut, traced)
        return Penalty(self.options(), weights, weights.going(ranking, plan(traced, share)))

    def test_it_is_a_finite_number_on_a_whole_model_and_on_a_cut_one(self) -> None:
        for task_of in (residual_task, attention_task):
            model, traced, ranking = self.made(task_of)
            slices = kept_slices(traced, ranking, plan(traced, 0.7))
            smaller = CutModel(apply(model, traced, slices), plan(traced, 0.7), slices)
            for cut in (CutModel(model), smaller):
                value = self.penalty(cut, traced, ranking).value()
                assert value.shape == ()
                assert torch.isfinite(value)
                assert value >= 0

    def test_its_gradient_is_that_of_finite_differences(self) -> None:
        model, traced, ranking = self.made()
        penalty = self.penalty(CutModel(model), traced, ranking)
        value = penalty.value()
        parameters = [each for each in model.parameters() if each.requires_grad]
        ways = [torch.randn(each.shape, generator=torch.Generator().manual_seed(1)).double() for each in parameters]
        found = 0.0
        if value.requires_grad:
            slopes = torch.autograd.grad(value, parameters, allow_unused=True)
            found = sum(float((s * w).sum()) for s, w in zip(slopes, ways, strict=True) if s is not None)
        ends = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                for parameter, way in zip(parameters, ways, strict=True):
                    parameter.add_(way, alpha=step)
                ends.append(float(penalty.value()))
                for parameter, way in zip(parameters, ways, strict=True):
                    parameter.add_(way, alpha=-step)
        assert found == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-4, abs=1e-6)

    def test_weights_of_zero_have_a_finite_gradient(self) -> None:
        model, traced, ranking = self.made()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
        penalty = self.penalty(CutModel(model), traced, ranking)
        penalty.add(1.0)
        assert all(each.grad is None or torch.isfinite(each.grad).all() for each in model.parameters())

    def test_a_search_may_begin_with_it_and_other_options_are_refused(self) -> None:
        task = residual_task()
        traced = trace(task.model, task.example_inputs)
        if self.name != "none":  # which takes none
            check_regularizer(self.options(strength="0.25"), task, traced)
            with pytest.raises(UsageError, match="options of this regularizer"):
                check_regularizer(self.options(no_such_option="1"), task, traced)
            with pytest.raises(UsageError, match="positive number"):
                check_regularizer(self.options(strength="-1"), task, traced)


def plan(traced: Traced, share: float) -> Plan:
    """That keeps nearly a share of each group of slices, and all layers."""
    kept = {}
    for group in traced.open:
        steps = max(round(share * group.steps), -(-group.floor // group.step))
        kept[group.name] = group.size if group.kind == "layer" else min(steps * group.step, group.size)
    return Plan.of(kept)
