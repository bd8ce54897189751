"""Reinforcement learning: an agent walks through the variables and chooses what each keeps (AMC, He et al. 2018).

As AMC, with these differences: the budget is part of the state and drawn anew for each episode, so that one agent
serves the whole front; the wall that keeps an episode within its budget is the latency predictor's, not a count of
operations; levels are rounded before the wall; the replay holds executed actions, those of all trials of the study,
each under the budget that its plan really needed; of several episodes that one is executed that is expected to add most
to the front; and the actor begins as a clone of the solver's plans (`warm=false`: it does not).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final

import numpy as np
from optuna.samplers import BaseSampler

from autoprune.samplers import WARM, SamplerContext, warm
from autoprune.samplers._actor import ActorCritic
from autoprune.samplers._planned import PlannedSampler
from autoprune.samplers.evolution import aimed
from autoprune.surrogate.acquisition import ranked
from autoprune.surrogate.initial_plans import initial_plans
from autoprune.surrogate.knapsack import Levels
from autoprune.surrogate.mutations import repaired
from autoprune.surrogate.observations import Floats, Ints, Observations
from autoprune.surrogate.surrogate import Surrogate

FORECAST: Final = True
OPTIONS: Final = {WARM: "true"}
#: Gradient steps for each trial that is told.
_STEPS: Final = 12
#: Standard deviation of the noise on actions at first, of a clone less, and from episode to episode.
_NOISE, _NOISE_WARM, _FADES, _LEAST = 0.5, 0.15, 0.95, 0.02
#: Episodes that are played for a trial, of which the one is executed that promises most; each noisier than the last.
_EPISODES, _BOLDER = 6, 1.5
_SHOWN: Final = 24
#: After so many trials what the solver showed counts half.
_FAITH: Final = 50
_NAME: Final = "ddpg"
_FEATURES: Final = 11


class BudgetedAgent(PlannedSampler):
    """Learns from each trial once, in their order."""

    def __init__(self, context: SamplerContext) -> None:
        super().__init__(context)
        self._road = _Road(context, Surrogate(context.required_forecast, Observations(context.goal, ()), context.space))
        self._agent: ActorCritic | None = None
        self._learned: set[int] = set()
        self._episodes = 0

    def propose(
        self, observations: Observations, number: int, rng: np.random.Generator
    ) -> Iterable[tuple[Levels, str]]:
        agent = self._taught(observations)
        surrogate = Surrogate(self.context.required_forecast, observations, self.context.space)
        known = warm(self.context.options)
        noise = max((_NOISE_WARM if known else _NOISE) * _FADES**self._episodes, _LEAST)
        played = []
        for k in range(_EPISODES):
            budget = aimed(surrogate, rng)
            plan = self._episode(agent, surrogate, budget, noise * _BOLDER**k, rng)
            if surrogate.cost_limits:  # the episode keeps to one cost
                plan = repaired(plan, budget, surrogate.sizes, partial(surrogate.pressure, target=budget), rng)
            played.append(plan)
        yield from ((plan, _NAME) for plan in ranked(surrogate, played))

    def _taught(self, observations: Observations) -> ActorCritic:
        """The agent, after all that is known was learned from."""
        context, road = self.context, self._road
        if self._agent is None:
            self._agent = ActorCritic(_FEATURES, context.seed)
            if warm(context.options):
                walks = [
                    road.walked(plan)
                    for plan in initial_plans(
                        context.required_forecast, context.goal, context.space, context.seed, _SHOWN
                    )
                ]
                if walks:  # else nothing is expected to be within the budget
                    states, actions = (np.concatenate(each) for each in zip(*walks, strict=True))
                    self._agent.clone(states, actions, np.random.default_rng(context.seed))
        for each, loss_increase in zip(observations.seen, observations.loss_increase, strict=True):
            if each.number not in self._learned:
                self._learned.add(each.number)
                self._episodes += each.arm == _NAME
                self._agent.remember(*road.walked(each.levels), -float(np.log1p(max(loss_increase, 0.0) / road.scale)))
                faith = _FAITH / (_FAITH + len(self._learned))
                self._agent.train(_STEPS, faith, np.random.default_rng([context.seed, each.number, 2]))
        return self._agent

    def _episode(
        self, agent: ActorCritic, surrogate: Surrogate, budget: float, noise: float, rng: np.random.Generator
    ) -> Levels:
        """A plan within the budget, chosen variable by variable."""
        road = self._road
        factor = float(surrogate.cost_estimate.quick(np.zeros((1, len(self.context.sizes)), int))[0]) / road.least
        budget /= factor  # the road is as the forecast was made; what evaluated plans say of its scale counts here
        levels: list[int] = []
        for size in self.context.sizes:
            action = _truncated(agent.act(road.state(levels, budget)), noise, rng)
            levels.append(min(round(action * (size - 1)), road.wall(levels, budget)))
        return tuple(levels)


class _Road:
    """The variables in order, as states of an agent; all costs as the forecast has them."""

    def __init__(self, context: SamplerContext, surrogate: Surrogate) -> None:
        self._sizes, self._cost = context.sizes, surrogate.cost_estimate.quick
        count = len(self._sizes)
        dense = np.array(self._sizes) - 1
        whole = np.tile(dense, (count, 1))
        np.fill_diagonal(whole, 0)
        self._saves = np.maximum(1.0 - self._cost(whole), 0.0)
        self._rest = np.append(np.cumsum(self._saves[::-1])[::-1], 0.0)
        rows = [np.array(row) for row in context.required_forecast.loss_increases]
        hurts = np.array([[row[0], row[len(row) // 2]] for row in rows])
        self._hurts = np.log1p(hurts / max(float(np.median(hurts)), 1e-9)) / 5
        kinds = sorted({variable.groups[0].kind for variable in context.space.variables})
        self._kinds = [kinds.index(v.groups[0].kind) / max(len(kinds) - 1, 1) for v in context.space.variables]
        self._dense = dense
        self.least = float(self._cost(np.zeros((1, count), int))[0])
        self.scale = max(float(np.median(hurts[:, 0])), 1e-6)

    def state(self, levels: Sequence[int], budget: float) -> Floats:
        """Where an episode is that has chosen some levels: the next variable, what it could save and hurt, what was
        saved and what could be saved after it, the last action, and the budget with what is left of it."""
        v, count = len(levels), len(self._sizes)
        ends = np.array([(*levels, *self._dense[v:]), (*levels, *np.zeros(count - v, int))])
        reduced, floor = self._cost(ends)
        last = levels[-1] / self._dense[v - 1] if levels else 1.0
        return np.array([
            v / count, self._kinds[v], np.log2(self._sizes[v]) / 4, self._saves[v], *self._hurts[v], 1 - reduced,
            self._rest[v + 1], last, budget, budget - floor,
        ])  # fmt: skip

    def wall(self, levels: Sequence[int], budget: float) -> int:
        """The highest level of the next variable that the budget leaves, with all after it at their floor."""
        v, size = len(levels), self._sizes[len(levels)]
        after = len(self._sizes) - v - 1
        plans: Ints = np.array([(*levels, level, *[0] * after) for level in range(size)])
        within = np.flatnonzero(self._cost(plans) <= budget)
        return int(within[-1]) if within.size else 0

    def walked(self, plan: Levels) -> tuple[Floats, Floats]:
        """States and executed actions of the episode that ended in a plan, under the budget that it needs."""
        budget = float(self._cost(np.array([plan]))[0])
        states = np.stack([self.state(plan[:v], budget) for v in range(len(plan))])
        return states, np.array(plan) / self._dense


def _truncated(mean: float, deviation: float, rng: np.random.Generator) -> float:
    """A draw from a normal distribution cut off at 0 and 1."""
    for _ in range(32):
        drawn = rng.normal(mean, deviation)
        if 0 <= drawn <= 1:
            return float(drawn)
    return float(np.clip(mean, 0, 1))


def create(context: SamplerContext) -> BaseSampler:
    return BudgetedAgent(context)
