"""Each criterion's formula on small groups, worked out by hand."""

import numpy as np
import pytest
import torch

from autoprune import registry
from autoprune.criteria import GroupView, InputStats, Moments, View, hessian, ridged
from autoprune.surgery.contractions import Contraction


def scored(rows, role="out", reads=None):
    rows = torch.tensor(rows, dtype=torch.float64)
    return GroupView("g", len(rows), (View("w", rows, torch.arange(len(rows)), len(rows), role, reads),))


def score(name, group):
    return registry.load("criteria", name).score(group).tolist()


def reads(mean, covariance):
    moments = Moments(Contraction("w", 1, "b"), torch.tensor(mean).double(), torch.tensor(covariance).double(), 1, 100)
    return InputStats(moments, torch.arange(len(mean))[:, None])


def test_lamp_is_a_share_of_what_is_as_large_or_larger():
    assert score("lamp", scored([[1.0], [2.0], [3.0]])) == pytest.approx([1 / 14, 4 / 13, 9 / 9])
    assert score("lamp", scored([[2.0], [2.0]])) == pytest.approx([0.5, 0.5])


def test_the_slice_nearest_to_all_others_goes_first():
    found = score("geometric_median", scored([[0.0, 0.0], [4.0, 0.0], [2.0, 0.0]]))
    assert found == pytest.approx([6.0, 6.0, 4.0])


def test_scales_of_normalisation_are_taken_alone_where_there_are_any():
    views = (
        View("w", torch.ones(2, 3).double(), torch.arange(2), 2, "out"),
        View("bn.weight", torch.tensor([[-2.0], [1.0]]).double(), torch.arange(2), 2, "scale"),
    )
    assert score("bn_scale", GroupView("g", 2, views)) == [2.0, 1.0]
    assert score("bn_scale", GroupView("g", 2, views[:1])) == pytest.approx([3**0.5] * 2)


def test_wanda_and_flap_weigh_columns_by_their_inputs():
    group = scored([[1.0, -1.0], [2.0, 0.0]], "in", reads([1.0, 0.0], [[3.0, 0.0], [0.0, 9.0]]))
    assert score("wanda", group) == [2 * 2.0, 2 * 3.0]
    assert score("flap", group) == [(4 - 1) * 2.0, 9 * 4.0]


def test_a_slice_that_others_can_stand_in_for_costs_nothing():
    # inputs 0 and 1 are the same up to a factor, input 2 stands alone
    covariance = [[1.0, 2.0, 0.0], [2.0, 4.0, 0.0], [0.0, 0.0, 1.0]]
    group = scored([[1.0], [1.0], [0.5]], "in", reads([0.0, 0.0, 0.0], covariance))
    found = score("hessian", group)
    assert min(found) == found[0] < 0.02
    assert max(found) == found[1]


def test_chance_follows_the_slice_and_not_its_place():
    first = score("random", scored([[0.3], [1.7], [0.9]]))
    assert score("random", scored([[0.9], [0.3], [1.7]])) == [first[2], first[0], first[1]]
    assert len(set(first)) == 3


@pytest.mark.parametrize(("slices", "each", "double"), [(60, 1, True), (40, 3, True), (60, 1, False)])
def test_hessian_is_greedy_removal_one_slice_at_a_time(monkeypatch, slices, each, double):
    monkeypatch.setattr(hessian, "_DOUBLE", 2000 if double else 0)
    monkeypatch.setattr(hessian, "_PENDING", 8)  # so that matrices are brought up to date, and shrink, several times
    monkeypatch.setattr(hessian, "_SHARE", 1000)
    generator = torch.Generator().manual_seed(0)
    size = slices * each
    inputs = torch.randn(4 * size, size, generator=generator, dtype=torch.float64)
    inputs = inputs @ torch.randn(size, size, generator=generator, dtype=torch.float64) / size**0.5
    weight = torch.randn(size, 8, generator=generator, dtype=torch.float64)
    moments = Moments(Contraction("w", 1, "b"), inputs.mean(0), inputs.T.cov(correction=0), 1, len(inputs))
    places = torch.arange(slices).repeat_interleave(each)
    view = View("w", weight, places, slices, "in", InputStats(moments, torch.arange(size)[:, None]))
    found = hessian.score(GroupView("g", slices, (view,)))

    # What is left is inverted anew for each slice, and the whole weight is fitted for it.
    moment = ridged(moments.covariance)
    left, last = list(range(slices)), 0.0
    energy = float((weight.T @ moments.covariance @ weight).trace())
    for _ in range(30):
        kept = torch.cat([torch.arange(s * each, (s + 1) * each) for s in left])
        inverse = torch.linalg.inv(moment[kept][:, kept])
        repaired = inverse @ (moment[kept] @ weight)
        blocks = [slice(k * each, (k + 1) * each) for k in range(len(left))]
        costs = [float((repaired[b].T @ torch.linalg.solve(inverse[b, b], repaired[b])).trace()) for b in blocks]
        gone = int(np.argmin(costs))
        last += costs[gone] / energy
        assert float(found[left.pop(gone)]) == pytest.approx(last, rel=1e-6 if double else 1e-3)
