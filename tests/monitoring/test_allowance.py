"""What looking may take of a model's time."""

from autoprune.monitoring.allowance import Allowance


def looks(calls, cost, share=0.01, seconds=1.0):
    """How many of so many calls are looked at, where a look costs that much."""
    allowance, count = Allowance(share), 0
    for call in range(calls):
        if allowance.allows:
            count += 1
            allowance.spend(cost(call))
        allowance.earn(seconds)
    return count, allowance.spent


def test_looks_take_their_share_whatever_one_costs():
    for cost in (0.05, 0.5):
        _, spent = looks(1000, lambda _, cost=cost: cost)
        assert abs(spent - 10) <= 2 * cost
    assert looks(100, lambda _: 0.001)[0] == 100


def test_one_look_during_which_the_processor_was_taken_away_does_not_end_all_others():
    count, _ = looks(1000, lambda call: 100.0 if call == 100 else 0.1)
    assert count > 80


def test_no_share_is_no_look():
    assert looks(10, lambda _: 0.1, share=0.0) == (0, 0.0)
