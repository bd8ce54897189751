"""A small member answers first, and a larger one what the small one is unsure of.

The two members and the threshold are those with which a request is expected to take least on the calibration split,
while the quality is at most `drop` below that of the largest given. Thresholds are tried from the one that hands over
most; the first that does not keep the quality ends that, so that none is taken which keeps it by chance. Where one
member alone is as good and no slower, there is no cascade.

With `follow`, the threshold moves with what it sees, so that the share that is handed over stays as it was settled
(a quantile followed by stochastic approximation, Robbins and Monro 1951): latency is kept where inputs drift, and the
quality is not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, Final

from torch import Tensor

from autoprune.errors import BudgetInfeasibleError
from autoprune.policies import Fitting, Member, Policy, Settled

OPTIONS: Final = {"drop": "0", "follow": "0"}
#: Shares of samples that are handed over, of which one is chosen.
_SHARES: Final = (0.9, 0.7, 0.5, 0.4, 0.3, 0.25, 0.2, 0.15, 0.1, 0.07, 0.04, 0.02)


class Cascade(Policy):
    """settings: threshold; share: that it hands over; follow: how far the threshold moves a sample, in confidence."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.threshold = float(settings["threshold"])
        self._share, self._rate = float(settings["share"]), float(settings["follow"])

    def first(self, facts: Mapping[str, Any]) -> int:
        return 0

    def unsure(self, place: int, confidence: Callable[[], Tensor]) -> Tensor:
        rows = confidence() < self.threshold
        if self._rate:
            self.threshold -= self._rate * (int(rows.sum()) - self._share * len(rows))
        return rows


def create(members: Sequence[Member], settings: Mapping[str, Any]) -> Policy:
    del members
    return Cascade(settings)


def settled(fitting: Fitting) -> Settled:
    members = fitting.members
    drop, follow = fitting.number("drop"), fitting.number("follow")
    nobody = Cascade({"threshold": -math.inf, "share": 0.0, "follow": 0.0})
    alone = [fitting.scored((place,), nobody) for place in range(len(members))]
    aim = alone[-1].quality - drop
    found = [each for places in combinations(range(len(members)), 2) for each in _kept(fitting, places, aim)]
    single = min(each.seconds for each in alone if each.quality >= aim)
    seconds, places, settings = min(found, key=lambda each: each[0], default=(math.inf, (0, 0), {}))
    if seconds >= single:
        raise BudgetInfeasibleError(
            expected="two members that are faster together than one that is as good as the largest",
            received=f"{seconds:.3g} s at best on the calibration split, and {single:.3g} s",
            cure="allow some loss, such as --policy-option drop=0.01, or choose other --members",
        )
    small, large = (members[place].name for place in places)
    return Settled(
        places=places,
        settings={**settings, "follow": follow},
        told=f"{small} answers; {large} answers again below a confidence of {settings['threshold']:.4g}, as "
        f"{settings['share']:.0%} of the calibration split are",
    )


def _kept(
    fitting: Fitting, places: tuple[int, int], aim: float
) -> Iterator[tuple[float, tuple[int, int], dict[str, float]]]:
    """Thresholds between two members with which the aim is kept, with expected seconds, until one does not."""
    confidence = fitting.confidence(places[0]).double()
    for share in _SHARES:
        settings = {"threshold": float(confidence.quantile(share)), "share": share, "follow": 0.0}
        scored = fitting.scored(places, Cascade(settings))
        if scored.quality < aim:
            return
        yield scored.seconds, places, settings
