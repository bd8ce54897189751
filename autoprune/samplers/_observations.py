"""A study as observations. Knows Optuna's trials and what of them was read already; not what is made of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from autoprune.samplers import PROPOSER, PROXY_VALUE, REPEAT, SECONDS, SamplerContext
from autoprune.surrogate.knapsack import Levels
from autoprune.surrogate.observations import Observation, Observations

#: Standard deviation of a level around its plan's scale, as a share of all levels.
_SPREAD: Final = 0.25
#: Scales reach so far beyond the largest feasible one, since groups differ in what they cost.
_REACH, _MARGIN = 1.25, 0.1


class ObservationReader:
    """Reads each finished trial once."""

    def __init__(self, context: SamplerContext) -> None:
        self._context = context
        self._names = [variable.name for variable in context.space.variables]
        self._highest = np.array(context.sizes) - 1
        self._rows: dict[int, Observation | None] = {}
        self._asked: dict[int, Levels] = {}
        self._scale, self._refused = 0.0, False

    def look(self, study: Study, but: int) -> None:
        """Take in what is new; but: the trial that is being asked for."""
        for trial in study.get_trials(deepcopy=False):
            number = trial.number
            if number == but or number in self._rows:
                continue
            if number not in self._asked:
                levels = self.levels(trial)
                if levels is None:
                    continue
                self._asked[number] = self._context.space.settled(levels)
            if trial.state.is_finished():
                row = self._rows[number] = _observed(trial, self._asked[number])
                if row is not None and row.excess <= 0:
                    self._scale = max(self._scale, self._context.space.kept(row.levels))
                self._refused |= row is not None and row.excess > 0

    def levels(self, trial: FrozenTrial) -> Levels | None:
        """The plan of a trial; None where it was not asked for to its end."""
        if any(name not in trial.params for name in self._names):
            return None
        return tuple(int(trial.params[name]) for name in self._names)

    def observations(self) -> Observations:
        seen = tuple(row for _, row in sorted(self._rows.items()) if row is not None)
        return Observations(self._context.goal, seen, frozenset(self._asked.values()))

    @property
    def affordable(self) -> float:
        """The largest scale to draw from: a little more than that of the largest plan within the budget; at most 1."""
        return min(_REACH * self._scale + _MARGIN, 1.0) if self._refused else 1.0

    def scattered(self, rng: np.random.Generator) -> Levels:
        """Random levels around one scale for the whole plan, up to what the budget was seen to allow.

        Independent uniform levels nearly all cost about half of the dense model: a tight budget would see no feasible
        plan.
        """
        # The square root puts more of them near the edge, where quality is.
        scale = np.sqrt(rng.uniform()) * self.affordable
        positions = np.clip(rng.normal(scale, _SPREAD, len(self._highest)), 0, 1)
        return whole(np.round(positions * self._highest))


def whole(levels: Sequence[float] | np.ndarray) -> Levels:
    """Levels as plain numbers."""
    return tuple(int(level) for level in levels)


def _observed(trial: FrozenTrial, levels: Levels) -> Observation | None:
    if trial.state is not TrialState.COMPLETE or REPEAT in trial.user_attrs:  # what is known says no more said twice
        return None
    attributes = trial.user_attrs
    told = attributes.get(PROXY_VALUE)
    seconds, arm = float(attributes.get(SECONDS, 0.0)), str(trial.system_attrs.get(PROPOSER, ""))
    return Observation(
        number=trial.number,
        levels=levels,
        values=tuple(trial.values),
        proxy_value=told,
        excesses=dict(trial.constraints),
        seconds=seconds,
        arm=arm,
    )
