"""Asynchronous successive halving (ASHA, Li et al. 2020, algorithm 2), as Ray Tune's scheduler of that name decides.
Knows bins, rungs and scores; not how anything is trained.

Nobody waits at a rung: who comes there goes on if it is among the best third of those that came there before. No worker
is idle, and some are trained on that a later one would have beaten.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from autoprune.finishing.halving import ETA, HalvingRule
from autoprune.finishing.lane import Lane

#: What Ray Tune's scheduler reads of a result, and says of a trial that ends.
_TIME: Final = "time"
_PLACE: Final = "place"
_STOP: Final = "STOP"


def _asha(**options: Any) -> Any:
    from ray.tune.schedulers import ASHAScheduler

    return ASHAScheduler(**options)


@dataclass(frozen=True)
class _Trial:
    """What Ray Tune's scheduler asks of a trial."""

    trial_id: str


@dataclass
class AshaRule(HalvingRule):
    """scheduler: makes Ray Tune's."""

    scheduler: Callable[..., Any] = _asha

    @property
    def most(self) -> int:
        """Epochs of all lanes together, should each be better than those before it."""
        return len(self.members) * self.epochs

    def report(self, lane: Lane, epoch: int, score: tuple[float, ...]) -> None:
        """A lane comes to a rung, where it is decided at once; the last one is for all who come there."""
        super().report(lane, epoch, score)
        if epoch in self.compared(lane)[:-1] and (lane, epoch) not in self._given:
            before = {
                each: known
                for (each, at), known in self._scores.items()
                if at == epoch and each != lane and self.members[each] == self.members[lane]
            }
            self._given[lane, epoch] = "go" if self._good({**before, lane: score}) else "stop"

    def settle(self, lane: Lane, epoch: int, decision: str) -> None:
        """What an earlier process decided stays: it rests on the order in which scores came."""
        self._given[lane, epoch] = decision

    def _good(self, scores: Mapping[Lane, tuple[float, ...]]) -> bool:
        """Whether the last of these goes on; the scheduler is told places, as scores may be of several parts."""
        order = sorted(set(scores.values()))
        scheduler = self.scheduler(
            time_attr=_TIME, metric=_PLACE, mode="max", grace_period=1, max_t=ETA, reduction_factor=ETA
        )
        action = ""
        for lane, score in scores.items():
            trial = _Trial(lane.name)
            scheduler.on_trial_add(None, trial)
            action = scheduler.on_trial_result(None, trial, {_TIME: 1, _PLACE: order.index(score)})
        return action != _STOP
