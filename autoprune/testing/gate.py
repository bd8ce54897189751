"""What every kind of gate must do. Inherit `GateConformance` in a test class and set `name`."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import nn

from autoprune.core.plan import Plan
from autoprune.surgery import CutModel, Traced, trace
from autoprune.surgery.find import named_tensors
from autoprune.tasks.task import Task
from autoprune.testing.criterion import attention_task, residual_task
from autoprune.training.gates import INPUTS, kind_of
from autoprune.training.gating import Gating
from autoprune.training.schedules import Phase


class GateConformance:
    """Gates are open at first, learn, rank every slice, go on from a state, and can be folded into weights."""

    name: str
    tasks: tuple[Callable[[], Task], ...] = (residual_task, attention_task)

    def gated(self, task_of: Callable[[], Task]) -> tuple[Task, nn.Module, Gating, Traced]:
        """A task, its model in float32 under gates that act, and its groups."""
        task, traced = task_of(), _groups(task_of)
        model = task.model.float()
        return task, model, Gating(phase(self.name, traced), CutModel(model), traced, 0), traced

    def learn(self, task: Task, model: nn.Module, gating: Gating, steps: range) -> None:
        """Some of six steps of gates alone."""
        inputs, labels = next(iter(task.batches("train")))
        model.train()
        for step in steps:
            gating.at(step, 6)
            nn.functional.cross_entropy(model(inputs.float()), labels).backward()  # type: ignore[no-untyped-call]
            gating.step()
        model.eval()

    def test_a_model_is_what_it_was_until_gates_have_learned(self) -> None:
        for task_of in self.tasks:
            task, model, gating, _ = self.gated(task_of)
            inputs = next(iter(task.batches("search")))[0].float()
            with torch.no_grad():
                plain = task_of().model.float()(inputs)
                assert torch.allclose(model(inputs), plain, atol=1e-5)
                gating.end()
                assert torch.equal(model(inputs), plain)

    def test_names_weights_and_copies_never_see_gates(self) -> None:
        task, model, gating, _ = self.gated(residual_task)
        before, held = {**model.state_dict()}, [*map(id, model.parameters())]
        self.learn(task, model, gating, range(6))
        assert [*map(id, model.parameters())] == held
        after = model.state_dict()
        assert before.keys() == after.keys()
        assert all(torch.equal(value, after[name]) for name, value in before.items() if "running" not in name)
        inputs, other = next(iter(task.batches("search")))[0].float(), copy.deepcopy(model)
        gating.end()
        assert torch.equal(other(inputs), model(inputs))

    def test_every_slice_has_a_finite_score_and_learning_tells_them_apart(self) -> None:
        for task_of in self.tasks:
            task, model, gating, traced = self.gated(task_of)
            self.learn(task, model, gating, range(6))
            sizes = {group.name: group.size for group in traced.open}
            found = gating.settle({})
            for name, scores in found.items():
                assert scores.shape == (sizes[name],)
                assert torch.isfinite(scores).all()
            assert any(float(scores.max()) > float(scores.min()) for scores in found.values())

    def test_a_learning_that_is_stopped_ends_as_an_uninterrupted_one(self) -> None:
        found = []
        for stopped in (6, 3):
            task, model, gating, _ = self.gated(residual_task)
            self.learn(task, model, gating, range(stopped))
            if stopped < 6:
                state, weights = gating.state(), model.state_dict()
                task, model, gating, _ = self.gated(residual_task)
                model.load_state_dict(weights)
                gating.load(state)
                self.learn(task, model, gating, range(stopped, 6))
            found.append(gating.settle({}))
        assert all(torch.equal(scores, found[1][name]) for name, scores in found[0].items())

    def test_folded_gates_leave_the_function_that_gates_had(self) -> None:
        if getattr(kind_of(self.name), "NEEDS", "") == INPUTS:
            pytest.skip("each sample has gates of its own, and only their means are left")
        for task_of in self.tasks:
            task, model, gating, _ = self.gated(task_of)
            self.learn(task, model, gating, range(6))
            inputs = next(iter(task.batches("search")))[0].float()
            with torch.no_grad():
                gating.settle({})  # at the plan's sizes
                gated = model(inputs)
                gating.end()
                gating.settle(dict(named_tensors(model)))
                assert torch.equal(model(inputs), gated)


@cache
def _groups(task_of: Callable[[], Task]) -> Traced:
    task = task_of()
    return trace(task.model, task.example_inputs)


def phase(kind: str, traced: Traced) -> Phase:
    """In which half of the slices of each group are closed by gates."""
    plan = half(traced)
    sizes = {group.name: group.size for group in traced.groups}
    return Phase(plan=Plan.of({name: sizes[name] for name in plan.kept}), epochs=1, thinned_to=plan, gate=kind)


def half(traced: Traced) -> Plan:
    """Half of each group of slices."""
    groups = [group for group in traced.open if group.kind != "layer"]
    return Plan.of({group.name: max(group.steps // 2 * group.step, group.step, group.floor) for group in groups})
