"""A policy settled on the calibration split. Knows how what it proposes is computed there and timed; not policies.

What members answer is kept, so that many proposals are computed from one pass each; few of them are then timed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from autoprune.core.clock import Clock
from autoprune.core.reporter import Reporter
from autoprune.deployment.bundle import Bundle, Replayed, Served
from autoprune.deployment.bundle_times import RequestTimer
from autoprune.deployment.requests import requests_of
from autoprune.measure import limits
from autoprune.policies import Fitting, Member, Policy, Scored, Settled, policy_of
from autoprune.surgery.example import Example
from autoprune.tasks.task import Task

_SPLIT: Final = "calibration"
#: Of the time in which a bundle is measured at the end, what one proposal gets.
_PART: Final = 1 / 3


@dataclass(frozen=True, kw_only=True)
class Settling:
    """What a policy of this name is settled with.

    Attributes:
        policy: Its name.
        models: The fastest first.
        members: The same, as policies see them.
        task: That they are for.
        size: Samples of a request.
        timer: Runs requests.
        clock: Tells seconds.
        reporter: Told of progress.
    """

    policy: str
    models: Sequence[nn.Module] = field(repr=False)
    members: Sequence[Member]
    task: Task = field(repr=False)
    size: int
    timer: RequestTimer
    clock: Clock
    reporter: Reporter

    def settled(self, options: Mapping[str, str]) -> Settled:
        """What the policy chooses. options: all that it has.

        Raises:
            BudgetInfeasibleError: no members with which it can do what it is asked to.
        """
        fitting = Fitting(
            members=tuple(self.members),
            options=options,
            confidence=self._confidence,
            scored=self._scored,
            timed=self._timed,
        )
        found: Settled = policy_of(self.policy).settled(fitting)
        return found

    @cached_property
    def _known(self) -> list[dict[bytes | None, object]]:
        return [{} for _ in self.models]

    @cached_property
    def _requests(self) -> list[Example]:
        return requests_of(self.task, self.models[-1], _SPLIT, self.size)

    def _replayed(self, places: Sequence[int], decides: Policy) -> Replayed:
        return Replayed(
            [self.models[place] for place in places],
            self.policy,
            decides,
            confidence=self.task.confidence,
            clock=self.clock,
            known=[self._known[place] for place in places],
        )

    def _confidence(self, place: int) -> Tensor:
        alone = Served(self._replayed([place], _First()), self.size)
        return torch.cat([alone.bundle.sure(self.task.forward(alone, batch)) for batch in self.task.batches(_SPLIT)])

    def _scored(self, places: tuple[int, ...], decides: Policy) -> Scored:
        seconds: list[float] = []

        def seen(answered: Sequence[int]) -> None:
            each = zip(places, answered, strict=True)
            seconds.append(sum(self.members[place].takes(count) for place, count in each if count))

        served, quality = Served(self._replayed(places, decides), self.size, seen), self.task.quality
        value = self.task.score(served, _SPLIT)[quality.name].value
        sign = -1 if quality.lower_is_better else 1
        return Scored(quality=sign * value, seconds=sum(seconds) / max(len(seconds), 1))

    def _timed(self, places: tuple[int, ...], decides: Policy, beside: int) -> tuple[float, float]:
        models = [self.models[place] for place in places]
        bundle = Bundle(models, self.policy, decides, confidence=self.task.confidence, clock=self.clock)
        alone, limit_s = self.members[beside].name, _PART * limits.USUAL.certify_s
        names = " and ".join(self.members[place].name for place in places)
        with self.reporter.track(f"trying {names}", len(self._requests)) as advance:
            own, others = self.timer.served(
                bundle, {alone: self.models[beside]}, self._requests, self.clock, advance, limit_s
            )
        return float(np.mean(own)), float(np.mean(others[alone]))


class _First(Policy):
    """One member answers all."""

    def first(self, facts: Mapping[str, object]) -> int:
        return 0
