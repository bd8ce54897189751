import math

import pytest
from scipy.stats import spearmanr

from autoprune.finishing.halving import HalvingRule, bins, rungs, spearman, stretches


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [(0, ()), (1, (1,)), (2, (1, 2)), (3, (1, 3)), (6, (2, 6)), (9, (3, 9)), (27, (3, 9, 27)), (81, (3, 9, 27, 81))],
)
def test_rungs_are_thirds(epochs, expected):
    assert rungs(epochs) == expected


def test_bins_keep_the_order_and_differ_by_one_at_most():
    found = bins(range(11), 4)
    assert [each for group in found for each in group] == list(range(11))
    assert {len(group) for group in found} <= {2, 3}
    assert bins([1, 2], 5) == [[1], [2]]
    assert bins([], 3) == []


def climbed(rule, score):
    """Every candidate is trained as far as it gets; epochs of each."""
    done = dict.fromkeys(rule.members, 0)
    while True:
        ready = [c for c in done if done[c] == 0 or rule.decision(c, done[c]) == "go"]
        if not ready:
            return done
        for candidate in ready:
            done[candidate] += 1
            rule.report(candidate, done[candidate], score(candidate))


def test_the_best_of_each_bin_goes_on_whatever_the_others_score():
    rule = HalvingRule(9, {c: c // 3 for c in range(9)})
    done = climbed(rule, lambda c: 100 * (c // 3) + [1, 3, 2][c % 3])
    assert [c for c, epochs in done.items() if epochs == 9] == [1, 4, 7]
    assert sum(done.values()) == 3 * 9 + 6 * 3


def test_nine_in_a_bin_are_halved_twice():
    rule = HalvingRule(27, dict.fromkeys(range(9), 0))
    done = climbed(rule, lambda c: c)
    assert sorted(done.values()) == [3] * 6 + [9] * 2 + [27]
    assert done[8] == 27


@pytest.mark.parametrize(("lanes", "epochs"), [(1, 6), (3, 9), (9, 27), (12, 6), (4, 2)])
def test_lanes_are_trained_for_as_many_epochs_as_is_foretold(lanes, epochs):
    rule = HalvingRule(epochs, dict.fromkeys(range(lanes), 0))
    done = climbed(rule, lambda c: c)
    assert sum(done.values()) == rule.most == sum(each * longer for each, longer in stretches(lanes, epochs))


def test_nobody_waits_for_a_candidate_that_failed():
    rule = HalvingRule(3, dict.fromkeys(range(3), 0))
    for candidate in (0, 1):
        rule.report(candidate, 1, candidate)
    assert rule.decision(1, 1) == "wait"
    rule.drop(2)
    assert (rule.decision(0, 1), rule.decision(1, 1)) == ("stop", "go")


def test_who_was_stopped_stays_so_when_somebody_fails_later():
    rule = HalvingRule(27, dict.fromkeys(range(5), 0))
    for candidate in range(5):
        rule.report(candidate, 3, -candidate)
    before = [rule.decision(candidate, 3) for candidate in range(5)]
    assert before == ["go", "go", "stop", "stop", "stop"]
    rule.drop(0)
    assert [rule.decision(candidate, 3) for candidate in range(1, 5)] == before[1:]


@pytest.mark.parametrize(
    "values", [([1, 2, 3, 4], [1, 3, 2, 9]), ([1, 1, 2, 5, 5], [3, 1, 1, 0, 7]), ([3, 2, 1], [1, 2, 3])]
)
def test_rank_correlation_is_scipys(values):
    assert spearman(*values) == pytest.approx(spearmanr(*values).statistic)


def test_rank_correlation_of_what_does_not_vary_is_not_a_number():
    assert math.isnan(spearman([1, 1, 1], [1, 2, 3]))
