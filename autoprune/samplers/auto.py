"""The default: plans of the solver first; then every fourth trial whichever way of proposing gains most per second.

The arms of a bandit are the solver on what is believed and on draws from it (`dp`), and plans next to the front. Each
is credited with what its trials added to the volume that the front dominates, per second that they took, the later the
more; the next arm is drawn by how likely it is to be the best one (Thompson 1933). What a trial adds is partly luck, so
that credit misleads: the other trials stay the solver's. All arms learn from all trials, and of what an arm proposes
the plan comes first that is expected to add most.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
from optuna.samplers import BaseSampler

from autoprune.samplers import SamplerContext
from autoprune.samplers._planned import PlannedSampler
from autoprune.samplers.dp import solved
from autoprune.surrogate.acquisition import added, best_seen, box, ranked
from autoprune.surrogate.knapsack import Levels
from autoprune.surrogate.mutations import neighbours
from autoprune.surrogate.observations import Observations
from autoprune.surrogate.surrogate import Surrogate

FORECAST: Final = True
#: Few: what is proposed after them was learned from what came before.
SEEDS: Final = 5
#: One of so many trials is the bandit's.
_BANDIT: Final = 4
_ARMS: Final = ("dp", "thompson", "local")
#: By how much a gain counts less for each trial of any arm that came after.
_FADES: Final = 0.97
#: Trials of which the gain is looked at; what is older has faded.
_REMEMBERED: Final = 200
#: Places of the front whose neighbours are looked at.
_AROUND: Final = 4
#: Neighbours of a plan that are compared; of fifty groups it has thousands.
_NEAREST: Final = 100


class Bandit(PlannedSampler):
    """Draws an arm for each trial; where it has nothing new, the others are asked."""

    def propose(
        self, observations: Observations, number: int, rng: np.random.Generator
    ) -> Iterable[tuple[Levels, str]]:
        surrogate = Surrogate(self.context.required_forecast, observations, self.context.space)
        if number % _BANDIT:
            for arm, plans in solved(surrogate, number, rng):
                yield from ((plan, arm) for plan in plans)
        for arm in self._order(surrogate, rng):
            plans = (
                self._near(surrogate, rng) if arm == "local" else surrogate.front(rng if arm == "thompson" else None)
            )
            yield from ((plan, arm) for plan in ranked(surrogate, plans))

    def _order(self, surrogate: Surrogate, rng: np.random.Generator) -> list[str]:
        """Arms by a draw of what each gains per second, which is the less certain the less it was tried."""
        gain, tried = credit(surrogate, by_seconds=not self.context.deterministic)
        usual = max(sum(gain.values()) / max(sum(tried.values()), 1.0), 1e-12)
        drawn = {
            arm: (gain[arm] + usual) / (tried[arm] + 1) * rng.gamma(1 + tried[arm] / 2, 1 / (1 + tried[arm] / 2))
            for arm in _ARMS
        }
        return sorted(_ARMS, key=lambda arm: -drawn[arm])

    def _near(self, surrogate: Surrogate, rng: np.random.Generator) -> list[Levels]:
        """Neighbours of some of the plans that no other beats within the budget, the one at its edge among them."""
        observations, front = surrogate.observations, best_seen(surrogate)
        if not len(front):
            return []
        others = rng.choice(front, min(_AROUND, len(front)), replace=False).tolist()
        return [
            plan
            for k in dict.fromkeys([int(front[-1]), *others])
            for plan in neighbours(observations.seen[k].levels, surrogate.sizes, _NEAREST, rng)
        ]


def credit(surrogate: Surrogate, *, by_seconds: bool) -> tuple[dict[str, float], dict[str, float]]:
    """By arm, the volume that its trials added, per second or per trial, and how many there were; both fading with
    age."""
    observations = surrogate.observations
    gain, tried = dict.fromkeys(_ARMS, 0.0), dict.fromkeys(_ARMS, 0.0)
    worth, count = surrogate.worth_seen(), len(observations.seen)
    seconds = np.array([each.seconds if by_seconds else 1.0 for each in observations.seen])
    usual = float(np.median(seconds[seconds > 0])) if (seconds > 0).any() else 1.0
    last = np.array(
        [k for k in range(max(count - _REMEMBERED, 0), count) if observations.seen[k].arm in gain], np.int64
    )
    before = observations.feasible & (np.arange(count) < last[:, None])
    more = added(observations.cost[last], worth[last], observations.cost, worth, before, box(surrogate))
    for k, area in zip(last.tolist(), more.tolist(), strict=True):
        arm, fade = observations.seen[k].arm, _FADES ** (count - 1 - k)
        tried[arm] += fade
        if observations.feasible[k]:
            gain[arm] += fade * area * usual / (seconds[k] or usual)
    return gain, tried


def create(context: SamplerContext) -> BaseSampler:
    return Bandit(context)
