"""A small member answers first, and a larger one what the small one is unsure of.

The quality may be at most `drop` below that of the largest given. All pairs of members are computed, with thresholds
from the one that hands over most; the first that does not keep the quality ends that, so that none is taken which
keeps it by chance. The few pairs with which a request is expected to take least are run on the calibration split, and
the one that gains most is taken. Where one member alone is as good and no slower, there is no cascade.

With `follow`, the threshold moves with what it sees, so that the share that is handed over stays as it was settled
(a quantile followed by stochastic approximation, Robbins and Monro 1951): latency is kept where inputs drift, and the
quality is not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

from torch import Tensor

from autoprune.errors import BudgetInfeasibleError
from autoprune.policies import Fitting, Member, Policy, Settled

OPTIONS: Final = {"drop": "0", "follow": "0"}
#: Shares of samples that are handed over, of which one is chosen.
_SHARES: Final = (0.9, 0.7, 0.5, 0.4, 0.3, 0.25, 0.2, 0.15, 0.1, 0.07, 0.04, 0.02)
#: Pairs that are measured.
_MEASURED: Final = 3


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
    rival = min((place for place, each in enumerate(alone) if each.quality >= aim), key=lambda p: alone[p].seconds)
    pairs = [_fastest(fitting, places, aim) for places in combinations(range(len(members)), 2)]
    hopeful = sorted((each for each in pairs if each.seconds < alone[rival].seconds), key=lambda each: each.seconds)
    tried = [(fitting.timed(each.places, Cascade(each.settings), rival), each) for each in hopeful[:_MEASURED]]
    if not tried:
        raise _slow(f"all pairs expected to take longer there than {members[rival].name} alone")
    (own, other), best = min(tried, key=lambda each: each[0][0] / each[0][1])
    small, large = (members[place].name for place in best.places)
    if own >= other:
        raise _slow(f"{1e3 * own:.3g} ms for {small} and {large}, {1e3 * other:.3g} ms for {members[rival].name} alone")
    threshold, share = best.settings["threshold"], best.settings["share"]
    return Settled(
        places=best.places,
        settings={**best.settings, "follow": follow},
        told=f"{small} answers; {large} answers again below a confidence of {threshold:.4g}, as {share:.0%} of the "
        "calibration split are",
        rival=rival,
    )


@dataclass(frozen=True, kw_only=True)
class _Pair:
    """seconds: that a request is expected to take; infinite where no threshold keeps the quality."""

    seconds: float
    places: tuple[int, int]
    settings: Mapping[str, float]


def _fastest(fitting: Fitting, places: tuple[int, int], aim: float) -> _Pair:
    """Two members with the threshold that keeps the aim, and all before it do, in the least time."""
    confidence = fitting.confidence(places[0]).double()
    best = _Pair(seconds=math.inf, places=places, settings={})
    for share in _SHARES:
        settings = {"threshold": float(confidence.quantile(share)), "share": share, "follow": 0.0}
        scored = fitting.scored(places, Cascade(settings))
        if scored.quality < aim:
            break
        if scored.seconds < best.seconds:
            best = _Pair(seconds=scored.seconds, places=places, settings=settings)
    return best


def _slow(received: str) -> BudgetInfeasibleError:
    return BudgetInfeasibleError(
        expected="two members whose mean latency on the calibration split is below that of one that is as good as the "
        "largest",
        received=received,
        cure="deploy that one, allow some loss, such as --policy-option drop=0.01, or choose other --members",
    )
