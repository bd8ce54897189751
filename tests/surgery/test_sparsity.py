import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from autoprune.core.plan import Plan
from autoprune.search_spaces.pattern import Pattern
from autoprune.surgery import apply, kept_slices, trace
from autoprune.surgery.sparsity import mask, masks, thin, with_weights


@given(st.integers(1, 6), st.integers(1, 4), st.integers(2, 8), st.data())
def test_at_most_n_of_each_m_inputs_stay_and_they_are_the_best(results, fours, among, data):
    least = data.draw(st.integers(1, among - 1))
    scores = torch.rand(results, fours * among, generator=torch.Generator().manual_seed(data.draw(st.integers(0, 9))))
    kept = mask(scores, 1, Pattern(keep=least, among=among), 0.5).view(results, fours, among)
    assert (kept.sum(2) == least).all()
    parts = scores.view(results, fours, among)
    worst_kept = parts.masked_fill(~kept, 2).amin(2)
    best_gone = parts.masked_fill(kept, -1).amax(2)
    assert (worst_kept >= best_gone).all()


@given(st.integers(1, 12), st.integers(1, 12), st.floats(0.05, 1))
def test_an_unstructured_mask_keeps_the_share_and_the_best(results, inputs, share):
    scores = torch.rand(results, inputs, generator=torch.Generator().manual_seed(results * 13 + inputs))
    kept = mask(scores, 1, Pattern(), share)
    assert int(kept.sum()) == max(round(share * (results * inputs)), 1)
    if not kept.all():
        assert scores[kept].min() >= scores[~kept].max()


@pytest.mark.parametrize("shape", [(8, 8), (7, 9), (3, 5), (6, 4, 3, 3)])
def test_blocks_stay_or_go_whole_also_at_the_edges(shape):
    scores = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    kept = mask(scores, 1, Pattern(rows=4, columns=4), 0.5).movedim(1, 1).flatten(1)
    for row in range(0, kept.shape[0], 4):
        for column in range(0, kept.shape[1], 4):
            block = kept[row : row + 4, column : column + 4]
            assert block.all() or not block.any()
    assert 0 < kept.float().mean() < 1


def test_inputs_of_kernels_are_grouped_tap_by_tap():
    kept = mask(torch.rand(4, 8, 3, 3), 1, Pattern(keep=2, among=4), 0.5)
    assert (kept.view(4, 2, 4, 3, 3).sum(2) == 2).all()


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))


def test_slices_and_single_weights_are_cut_by_one_plan():
    model = net()
    traced = with_weights(model, trace(model, torch.zeros(1, 6)), "2:4")
    frozen = {
        group.name: group.frozen_reason for group in traced.groups if group.kind == "weight" and group.frozen_reason
    }
    assert frozen == {"0.weight": "its 6 inputs make no groups of 4"}
    ranking = {"0": torch.arange(16.0), "2": torch.arange(8.0)}
    ranking |= {name: dict(model.named_parameters())[name].abs().flatten() for name in ("2.weight", "4.weight")}
    plan = Plan.of({"0": 12, "2": 8, "2.weight": 1, "4.weight": 2})
    slices = kept_slices(traced, ranking, plan)
    kept = masks(traced, ranking, plan, slices)
    assert set(kept) == {"2.weight"}
    cut = apply(model, traced, slices)
    thin(cut, kept)
    assert cut[2].weight.shape == (8, 12)
    assert ((cut[2].weight.view(8, 3, 4) != 0).sum(2) == 2).all()
    assert torch.equal(cut[2].weight[kept["2.weight"]], model[2].weight[:, 4:][kept["2.weight"]])


def test_sizes_count_what_a_pattern_can_keep():
    model, sizes = net(), {}
    traced = trace(model, torch.zeros(1, 6))
    for pattern in ("unstructured", "2:4", "4x4"):
        groups = [group for group in with_weights(model, traced, pattern).groups if group.kind == "weight"]
        sizes[pattern] = {group.name: (group.size, group.floor) for group in groups}
    assert sizes["unstructured"] == {"0.weight": (96, 1), "2.weight": (128, 1), "4.weight": (24, 1)}
    assert sizes["2:4"]["2.weight"] == (2, 1)
    assert sizes["4x4"] == {"0.weight": (8, 1), "2.weight": (8, 1), "4.weight": (2, 1)}
