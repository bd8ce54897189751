"""How precisely a measurement is worth taking. Knows what it decides; takes none.

Its place among others needs a few pairs, the side of a limit on which a candidate lies may need many, and one that is
beaten anyway need not be pinned down at a limit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from autoprune.core.metric import LATENCY, RELATIVE, SLOW_HOURS, MetricKey
from autoprune.measure.estimator import Interval
from autoprune.measure.limits import Limits
from autoprune.measure.reference import Reference, scaled


@dataclass(frozen=True)
class Decision:
    """What is to be decided of one candidate.

    Attributes:
        edges: Limits on its latency in seconds.
        ceiling: Share of the dense model's latency beyond which it is beaten, wherever limits are.
        finished: Whether it is no candidate any more, and pinned down in any case.
    """

    edges: tuple[float, ...] = ()
    ceiling: float = math.inf
    finished: bool = False

    @classmethod
    def of(
        cls,
        bounds: Mapping[str, float],
        ceilings: Mapping[str, float],
        dense: Reference,
        batch: int,
        *,
        finished: bool = False,
    ) -> Decision:
        """From limits on latency and on throughput, in SI units by key, and ceilings of costs by key."""
        slowed = dense.slow / dense.typical
        known = {MetricKey.parse(text): bound for text, bound in bounds.items()}
        latencies = [
            bound / (slowed if key == SLOW_HOURS else 1.0) for key, bound in known.items() if key.plain == LATENCY
        ]
        rates = [batch / bound for key, bound in known.items() if key.metric == "throughput"]
        return cls((*latencies, *rates), ceilings.get(str(RELATIVE), math.inf), finished)

    def precision(self, ratio: Interval, dense: Reference, limits: Limits) -> float:
        """The half width of the ratio's interval that is worth measuring."""
        if self.finished:
            return limits.near
        if ratio.low > self.ceiling:
            return limits.far
        latency = scaled(ratio, dense.typical)
        return limits.near if any(latency.low <= edge <= latency.high for edge in self.edges) else limits.far
