"""A small member answers first, and a larger one what the small one is unsure of.

The threshold and the small member are those with which a request is expected to take least on the calibration split
while the quality is no lower than that of the largest alone, by at most `drop`. Only the threshold below which more
handing over never lowers the quality again is taken, so that no lucky dip is.

With `follow`, the threshold moves with what it sees, so that the share that is handed over stays as it was settled
(a quantile followed by stochastic approximation, Robbins and Monro 1951): latency is kept where inputs drift, and the
quality is not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor

from autoprune.errors import BudgetInfeasibleError
from autoprune.policies import Fitting, Member, Policy, Settled

OPTIONS: Final = {"drop": "0", "follow": "0"}
#: Shares of samples that are handed over, of which one is chosen.
_SHARES: Final = (0.9, 0.7, 0.5, 0.4, 0.3, 0.25, 0.2, 0.15, 0.1, 0.07, 0.04, 0.02, 0.0)


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
    last = len(fitting.members) - 1
    drop, follow = fitting.number("drop"), fitting.number("follow")
    aim = fitting.scored((last,), Cascade({"threshold": 0.0, "share": 0.0, "follow": 0.0})).quality - drop
    found: list[tuple[float, int, dict[str, float]]] = []
    for place in range(last):
        confidence = fitting.confidence(place).double()
        for share in _SHARES:
            settings = {"threshold": _threshold(confidence, share), "share": share, "follow": 0.0}
            scored = fitting.scored((place, last), Cascade(settings))
            if scored.quality < aim:
                break
            found.append((scored.seconds, place, settings))
    if not found:
        raise BudgetInfeasibleError(
            expected="a smaller member that keeps the largest one's quality where it is sure",
            received="none on the calibration split",
            cure="allow some loss, such as --policy-option drop=0.01, or choose other --members",
        )
    _, place, settings = min(found, key=lambda each: each[0])
    small, large = fitting.members[place], fitting.members[last]
    return Settled(
        places=(place, last),
        settings={**settings, "follow": follow},
        told=f"{small.name} answers; {large.name} answers again below a confidence of {settings['threshold']:.4g}, as "
        f"{settings['share']:.0%} of the calibration split are",
    )


def _threshold(confidence: Tensor, share: float) -> float:
    """Above so many of the values; nothing is below the least."""
    return float(torch.quantile(confidence, share)) if share else float("-inf")
