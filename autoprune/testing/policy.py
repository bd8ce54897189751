"""What every policy must do. Inherit `PolicyConformance` in a test class and set `name`; `options`, where it has no
defaults that do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import ModuleType
from typing import ClassVar

import torch
from torch import Tensor, nn

from autoprune.core.clock import SystemClock
from autoprune.deployment.bundle import Bundle
from autoprune.policies import Fitting, Member, Policy, Scored, Settled, facts_of, options_of, policy_of

#: Three members, each twice as slow as the one before it.
MEMBERS = tuple(
    Member(name=name, seconds=seconds, late=1.2 * seconds, parts=(0.4 * seconds, 0.6 * seconds), batch=4)
    for name, seconds in (("small", 0.001), ("middle", 0.002), ("large", 0.004))
)
_CHANCES = (0.0, 0.3, 0.6, 0.999)


class PolicyConformance:
    """A policy chooses at least two members, is told by JSON, begins alike each time, and has each sample answered by a
    member."""

    name: str
    options: ClassVar[Mapping[str, str]] = {}

    def module(self) -> ModuleType:
        return policy_of(self.name)

    def settled(self) -> Settled:
        """With members of which the largest alone is right, wherever a smaller one is not sure."""

        def scored(places: tuple[int, ...], policy: Policy) -> Scored:
            handed = 0.0
            if len(places) > 1:
                unsure = policy.unsure(0, lambda: torch.linspace(0, 1, 100))
                handed = 0.0 if unsure is None else float(unsure.float().mean())
            largest = len(MEMBERS) - 1
            right = 1.0 if places[0] == largest or (places[-1] == largest and handed >= 0.2) else 0.8
            return Scored(quality=right, seconds=MEMBERS[places[0]].seconds + handed * MEMBERS[places[-1]].seconds)

        fitting = Fitting(
            members=MEMBERS,
            options=options_of(self.name, self.options),
            confidence=lambda place: torch.linspace(0, 1, 100),
            scored=scored,
            timed=lambda places, policy, beside: (scored(places, policy).seconds, MEMBERS[beside].seconds),
        )
        found: Settled = self.module().settled(fitting)
        return found

    def policy(self) -> Policy:
        """As it is opened from a file."""
        settled = self.settled()
        members = [MEMBERS[place] for place in settled.places]
        made: Policy = self.module().create(members, json.loads(json.dumps(settled.settings)))
        return made

    def test_it_settles_for_several_members_and_says_so(self) -> None:
        settled = self.settled()
        assert len(settled.places) >= 2
        assert list(settled.places) == sorted({*settled.places} & {*range(len(MEMBERS))})
        assert settled.rival is None or settled.rival in range(len(MEMBERS))
        assert settled.told

    def test_facts_that_it_draws_are_those_that_it_asks_for_and_none_need_be_told(self) -> None:
        policy, count = self.policy(), len(self.settled().places)
        for chance in _CHANCES:
            facts = policy.drawn(chance)
            assert {*facts} <= {*facts_of(self.name)}
            assert policy.first(facts) in range(count)
        assert policy.first({}) in range(count)

    def test_a_new_one_begins_as_the_last_one_did(self) -> None:
        first, other = self.policy(), self.policy()
        begun = [other.first(other.drawn(chance)) for chance in _CHANCES]
        for chance in _CHANCES * 5:
            first.took(first.first(first.drawn(chance)), first.drawn(chance), 1.0)
            first.unsure(0, lambda: torch.rand(4))
        again = self.policy()
        assert [again.first(again.drawn(chance)) for chance in _CHANCES] == begun

    def test_each_sample_is_answered_by_a_member(self) -> None:
        count = len(self.settled().places)
        members = [_Constant(place) for place in range(count)]
        bundle = Bundle(members, self.name, self.policy(), confidence=_sure, clock=SystemClock())
        inputs = torch.linspace(0, 1, 8)[:, None]
        for chance in _CHANCES:
            out = bundle.asked(**bundle.drawn(chance))(inputs)
            assert out.shape == (8, 2)
            assert torch.equal(out[:, 1:], inputs)  # no sample has another one's answer
            assert {*out[:, 0].tolist()} <= {*range(count)}
        assert bundle.samples == 8 * len(_CHANCES)


class _Constant(nn.Module):
    """Answers with its place, and with the sample itself."""

    def __init__(self, place: int) -> None:
        super().__init__()
        self.place = place

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.cat([torch.full_like(inputs, self.place), inputs], 1)


def _sure(out: Tensor) -> Tensor:
    return out[:, 1]
