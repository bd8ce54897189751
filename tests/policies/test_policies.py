"""Every policy, by the registry, and what each promises."""

import random

import pytest
import torch

from autoprune import registry
from autoprune.errors import BudgetInfeasibleError, UsageError
from autoprune.policies import Member, cascade, deadline, load, options_of
from autoprune.testing.policy import MEMBERS, PolicyConformance


@pytest.mark.parametrize("name", registry.names("policies"), scope="class")
class TestEveryPolicy(PolicyConformance):
    @pytest.fixture(autouse=True)
    def _named(self, name):
        self.name = name
        self.options = {"night": "small"} if name == "context" else {}


def test_a_member_takes_less_for_fewer_samples():
    member = Member(name="a", seconds=0.010, late=0.012, parts=(0.004, 0.008), batch=4)
    assert [member.takes(count) for count in (1, 2, 3, 4, 8)] == pytest.approx([0.004, 0.008, 0.009, 0.010, 0.020])
    assert Member(name="a", seconds=0.01, late=0.01).takes(1) == 0.01


def test_a_threshold_that_follows_hands_over_the_same_share_of_harder_samples():
    chance = torch.Generator().manual_seed(0)
    shares = {}
    for follow in (0.0, 0.02):
        policy = cascade.Cascade({"threshold": 0.2, "share": 0.2, "follow": follow})
        handed = [
            float(policy.unsure(0, lambda: torch.rand(8, generator=chance) ** 3).float().mean()) for _ in range(400)
        ]
        shares[follow] = sum(handed[100:]) / 300
    assert shares[0.0] == pytest.approx(0.2 ** (1 / 3), abs=0.03)  # of the cubes of even numbers
    assert shares[0.02] == pytest.approx(0.2, abs=0.03)


def test_few_deadlines_are_missed_on_a_machine_that_is_slower_than_it_was():
    policy = deadline.create(MEMBERS, {"late": 0.005, "rate": 0.1})
    chance, missed, larger = random.Random(0), 0, 0
    for _ in range(6000):
        left = chance.uniform(0.003, 0.012)
        place = policy.first({"deadline": left})
        took = 2.0 * MEMBERS[place].seconds * chance.lognormvariate(0, 0.1)  # the smallest keeps each of them
        policy.took(place, {"deadline": left}, took)
        missed, larger = missed + (took > left), larger + (place > 0)
    assert missed / 6000 < 0.01
    assert larger > 2000


def test_the_queue_decides_which_member_works_it_off_in_time():
    policy = load.create(MEMBERS, {"wait": 0.016})
    assert [policy.first({"queue": waiting}) for waiting in (0, 3, 4, 7, 8, 99)] == [2, 2, 1, 1, 0, 0]


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("cascade", {"drap": "0.1"}, "did you mean 'drop'"),
        ("cascade", {"drop": "-1"}, "drop as a number of at least 0"),
        ("cascade", {"drop": "much"}, "drop as a number"),
        ("load", {"wait": "0.0001"}, "wait as a number of at least 0.001"),
        ("context", {}, "a key and the member"),
        ("context", {"night": "smal"}, "did you mean 'small'"),
        ("context", {"night": "large"}, "at least two members"),
    ],
)
def test_options_that_cannot_be_obeyed(name, given, words):
    suite = PolicyConformance()
    suite.name, suite.options = name, given
    with pytest.raises(UsageError, match=words):
        suite.settled()


def test_a_cascade_that_loses_quality_or_gains_no_time_is_refused(monkeypatch):
    suite = PolicyConformance()
    suite.name = "cascade"
    monkeypatch.setattr(cascade, "_SHARES", (0.1,))
    with pytest.raises(BudgetInfeasibleError, match="longer there than large alone; .*--policy-option drop"):
        suite.settled()


def test_options_are_those_of_the_module():
    assert options_of("cascade", {"drop": "0.1"}) == {"drop": "0.1", "follow": "0"}
