"""Repair layer after layer, against numpy's least squares in float64."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import autoprune
from autoprune.recovery.sequential import Sequential
from autoprune.surgery import apply, trace
from autoprune.testing.criterion import task_of

SIDE, RIDGE = 2, 0.01


def grouped_task(groups):
    """Channels that are cut, and two convolutions later one in groups, which then gets other inputs than before."""
    torch.manual_seed(0)
    return task_of(
        nn.Sequential(
            nn.Conv2d(3, 12, 1), nn.ReLU(), nn.Conv2d(12, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, groups=groups),
            nn.Flatten(), nn.Linear(8 * SIDE**2, 5),
        ), 3, SIDE, SIDE,
    )  # fmt: skip


def fitted(columns, error):
    """(inputs,) the change of one result's weights: least squares about the means, with a ridge."""
    centred, error = columns - columns.mean(0), error - error.mean()
    moment = centred.T @ centred / len(columns)
    if not moment.any():  # an inactive channel
        return np.zeros(len(moment))
    ridge = max(RIDGE, 0.5 * len(moment) / len(columns)) * np.trace(moment) / len(moment)
    return np.linalg.solve(moment + ridge * np.eye(len(moment)), centred.T @ error / len(columns))


@pytest.mark.parametrize("groups", [2, 8])
def test_a_kernel_in_groups_is_the_least_squares_solution_of_each_group(groups):
    task = grouped_task(groups)
    traced = trace(task.model, task.example_inputs)
    slices = {"0": torch.arange(4)}
    cut = apply(task.model, traced, slices).eval()
    Sequential(task, traced).repair(cut, slices, {})
    x = torch.cat([batch[0] for batch in task.split("calibration")])
    with torch.no_grad():
        gets, dense = cut[:4](x), task.model[:4](x)
        columns = functional.unfold(gets, 3, padding=1).transpose(1, 2).reshape(-1, groups, 9 * 8 // groups)
        given = task.model[4]
        wanted = given(dense).movedim(1, -1).reshape(-1, 8)
        has = given(gets).movedim(1, -1).reshape(-1, 8)
        results = cut[4](gets).movedim(1, -1).reshape(-1, 8)
    for result in range(8):
        group = result * groups // 8
        change = fitted(columns[:, group].numpy(), (wanted - has)[:, result].numpy())
        np.testing.assert_allclose((cut[4].weight - given.weight)[result].detach().flatten(), change, atol=1e-5)
    torch.testing.assert_close(results.mean(0), wanted.mean(0), atol=1e-5, rtol=0)
    assert (results - wanted).square().mean() < (has - wanted).square().mean()


def test_a_kernel_whose_inputs_never_change_is_left_as_it_is():
    task = grouped_task(8)
    with torch.no_grad():
        task.model[2].bias[3] = -1e3
    traced = trace(task.model, task.example_inputs)
    cut = apply(task.model, traced, {"0": torch.arange(4)}).eval()
    Sequential(task, traced).repair(cut, {"0": torch.arange(4)}, {})
    assert torch.equal(cut[4].weight[3], task.model[4].weight[3])
    assert not torch.equal(cut[4].weight[2], task.model[4].weight[2])


class Branch(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(5, 9), nn.Linear(9, 5)

    def forward(self, x):
        return x + self.down(self.hidden(x))

    def hidden(self, x):
        return self.up(x).tanh()


def test_what_a_dropped_layer_added_is_for_those_after_it_to_add_by_least_squares():
    torch.manual_seed(0)
    task = task_of(nn.Sequential(nn.Linear(5, 5), Branch(), Branch(), Branch()), 5)
    model = autoprune.prune(task.model, task.example_inputs, {"1": 0}, task=task, repair="sequential").model
    x = torch.cat([batch[0] for batch in task.split("calibration")])
    with torch.no_grad():
        for last in (2, 3):
            dense, gets = task.model[: last + 1](x), model[:last](x)
            given, enters = task.model[last].down, model[last].hidden(gets)
            error = (dense - gets - given(enters)).double().numpy()
            for result in range(5):
                change = fitted(enters.double().numpy(), error[:, result])
                np.testing.assert_allclose((model[last].down.weight - given.weight)[result], change, atol=1e-5)
            torch.testing.assert_close(model[: last + 1](x).mean(0), dense.mean(0), atol=1e-5, rtol=0)
