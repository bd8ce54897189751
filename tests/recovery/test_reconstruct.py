"""Repair against numpy's least squares in float64."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from autoprune import registry
from autoprune.calibration.moments import gather
from autoprune.calibration.ranking import rank
from autoprune.recovery import reconstruct, refit
from autoprune.recovery.reconstruct import Reconstruction
from autoprune.recovery.solve import masked, solved
from autoprune.surgery import apply, trace
from autoprune.testing.criterion import task_of


def mlp_task(bias=True):
    torch.manual_seed(0)
    return task_of(nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 5, bias=bias)), 6)


def entering(task):
    x = torch.cat([batch[0] for batch in task.split("calibration")])
    with torch.no_grad():
        return torch.relu(task.model[0](x)).numpy()


@pytest.mark.parametrize("bias", [True, False])
def test_a_repaired_weight_is_the_least_squares_solution(bias, monkeypatch):
    monkeypatch.setattr(reconstruct, "DAMPING", 1e-12)
    task = mlp_task(bias)
    traced = trace(task.model, task.example_inputs)
    slices = {"0": torch.tensor([0, 2, 5, 7, 8, 11])}
    cut = apply(task.model, traced, slices)
    reconstruction = Reconstruction(task.model, traced, gather(task, traced.reading))
    reconstruction.repair(cut, slices)
    x = entering(task)
    wanted = x @ task.model[2].weight.detach().numpy().T
    kept = x[:, slices["0"].numpy()]
    design = np.column_stack([kept, np.ones(len(kept))]) if bias else kept
    best, *_ = np.linalg.lstsq(design, wanted, rcond=None)
    np.testing.assert_allclose(cut[2].weight.detach().numpy(), best[:6].T, rtol=1e-3, atol=1e-4)
    if bias:
        np.testing.assert_allclose(
            cut[2].bias.detach().numpy(), best[6] + task.model[2].bias.detach().numpy(), rtol=1e-3, atol=1e-4
        )


class Kernels(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = (
            nn.Conv2d(2, 6, 3, padding=1),
            nn.Conv2d(6, 4, 3, stride=2),
            nn.Linear(4, 5),
        )

    def forward(self, x):
        return self.head(torch.relu(self.second(torch.relu(self.first(x)))).mean((2, 3)))


def test_a_repaired_kernel_is_the_least_squares_solution_over_its_windows():
    torch.manual_seed(0)
    task = task_of(Kernels(), 2, 7, 7)
    traced = trace(task.model, task.example_inputs)
    slices = {"first": torch.tensor([0, 2, 3])}
    cut = apply(task.model, traced, slices)
    Reconstruction(task.model, traced, gather(task, traced.reading)).repair(cut, slices)
    x = torch.cat([batch[0] for batch in task.split("calibration")])
    with torch.no_grad():
        windows = (
            nn.functional.unfold(torch.relu(task.model.first(x)), 3, stride=2).transpose(1, 2).flatten(0, 1).numpy()
        )
    entries = (slices["first"][:, None] * 9 + torch.arange(9)).flatten().numpy()
    dense, bias = task.model.second.weight.detach().flatten(1).numpy(), task.model.second.bias.detach().numpy()
    design = np.column_stack([windows[:, entries], np.ones(len(windows))])
    best, *_ = np.linalg.lstsq(design, windows @ dense.T + bias, rcond=None)

    def error(weight, offset):
        return float(((windows[:, entries] @ weight.T + offset - windows @ dense.T - bias) ** 2).mean())

    repaired = error(cut.second.weight.detach().flatten(1).numpy(), cut.second.bias.detach().numpy())
    least = error(best[:-1].T, best[-1])
    plain = error(dense[:, entries], bias)
    assert least <= repaired <= least * 1.05
    assert repaired < plain / 2


def test_hessian_scores_are_least_squares_errors():
    task = mlp_task()
    traced = trace(task.model, task.example_inputs)
    scores = rank(registry.load("criteria", "hessian"), task.model, traced, task).scores["0"]
    order = scores.argsort()
    x = entering(task)
    x = x - x.mean(0)
    wanted = x @ task.model[2].weight.detach().numpy().T
    energy = (wanted**2).sum()
    for gone in (1, 3, 6, 9):
        kept = np.sort(order[gone:].numpy())
        best, *_ = np.linalg.lstsq(x[:, kept], wanted, rcond=None)
        error = ((wanted - x[:, kept] @ best) ** 2).sum() / energy
        # the score adds the ridge's part to the error
        assert error - 1e-9 <= float(scores[order[gone - 1]]) <= error + 0.02


def test_greedy_removal_beats_every_other_single_slice():
    task = mlp_task()
    traced = trace(task.model, task.example_inputs)
    scores = rank(registry.load("criteria", "hessian"), task.model, traced, task).scores["0"]
    x = entering(task)
    x = x - x.mean(0)
    wanted = x @ task.model[2].weight.detach().numpy().T
    errors = []
    for gone in range(12):
        kept = [k for k in range(12) if k != gone]
        best, *_ = np.linalg.lstsq(x[:, kept], wanted, rcond=None)
        errors.append(((wanted - x[:, kept] @ best) ** 2).sum())
    assert errors[int(scores.argmin())] <= sorted(errors)[1]


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 5), st.integers(2, 8), st.integers(0, 99))
def test_masked_weights_are_the_least_squares_solution_of_each_row(rows, entries, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(40, entries, generator=generator, dtype=torch.float64)
    weights = torch.randn(rows, entries, generator=generator, dtype=torch.float64)
    mask = torch.rand(rows, entries, generator=generator) < 0.6
    found = masked(weights * mask, (weights * ~mask) @ (x.T @ x), mask, x.T @ x)
    assert not found[~mask].any()
    for row in range(rows):
        kept = mask[row].numpy()
        best, *_ = np.linalg.lstsq(x.numpy()[:, kept], (x @ weights[row]).numpy(), rcond=None)
        np.testing.assert_allclose(found[row].numpy()[kept], best, atol=1e-5)


def test_repairing_masked_weights_never_does_worse_than_the_mask():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(50, 16, generator=generator, dtype=torch.float64) @ torch.randn(
        16, 16, generator=generator, dtype=torch.float64
    )
    weights, mask = (
        torch.randn(4, 16, generator=generator, dtype=torch.float64),
        torch.rand(4, 16, generator=generator) < 0.3,
    )
    moment = x.T @ x / len(x)
    repaired = refit.fitted(weights, mask, moment)

    def error(found):
        return float((((found - weights) @ moment) * (found - weights)).sum())

    assert error(repaired) < 0.8 * error(weights * mask)


@pytest.mark.parametrize(
    "moment", [torch.zeros(4, 4), torch.ones(4, 4), torch.diag(torch.tensor([1.0, 0, 0, 0])), -torch.eye(4)]
)
def test_singular_equations_give_finite_numbers(moment):
    assert torch.isfinite(solved(moment, torch.ones(4, 2), 0.01)).all()


def test_coefficients_are_shared_and_forgotten_when_many(monkeypatch):
    task = mlp_task()
    traced = trace(task.model, task.example_inputs)
    reconstruction = Reconstruction(task.model, traced, gather(task, traced.reading))
    calls = []
    solve = reconstruct.coefficients
    monkeypatch.setattr(reconstruct, "coefficients", lambda *given: calls.append(1) or solve(*given))
    for slices in ([0, 1, 2], [0, 1, 2], [3, 4, 5]):
        chosen = {"0": torch.tensor(slices)}
        reconstruction.repair(apply(task.model, traced, chosen), chosen)
    assert len(calls) == 2
    monkeypatch.setattr(reconstruct, "_REMEMBERED", 1)
    for slices in ([6, 7], [8, 9], [6, 7]):
        chosen = {"0": torch.tensor(slices)}
        reconstruction.repair(apply(task.model, traced, chosen), chosen)
    assert len(calls) == 5


def test_layers_that_are_dropped_are_passed_over():
    task = dataclasses.replace(mlp_task())
    traced = trace(task.model, task.example_inputs)
    reconstruction = Reconstruction(task.model, traced, gather(task, traced.reading))
    left = nn.Sequential(nn.Identity(), nn.Linear(2, 2))
    before = left[1].weight.clone()
    reconstruction.repair(left, {"0": torch.tensor([1])})
    assert torch.equal(left[1].weight, before)
