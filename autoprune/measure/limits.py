"""How much is measured, and how long it may take. Knows numbers only; who measures obeys them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

#: Of the time of a whole search, the part in which a quiet machine may be waited for, and finished models measured.
_WAITING, _CERTIFYING = 1 / 20, 1 / 8


@dataclass(frozen=True)
class Limits:
    """Seconds, counts and precisions of measuring.

    Attributes:
        block_s: Seconds of a block at least. Short blocks, many of them: a shared machine changes its speed over tenths
            of a second, and what the two blocks of a pair share cancels. On such a machine blocks of 10 to 20 ms gave
            narrower intervals than blocks of 50 ms in equal time.
        block_runs: Runs of a block at least.
        warm_s: Seconds that a candidate runs before it counts, once what it computes was compared.
        lot: Pairs that are asked for at a time, and the fewest that a candidate gets.
        most: Pairs that a candidate gets at most.
        cap_s: Seconds of runs after which a candidate is left at what it is.
        far: Half width of a ratio's 95 % interval that is enough for the order of candidates.
        near: The same where a limit lies within the interval.
        baseline: Blocks of the dense model at the start.
        baseline_s: Seconds of runs that these may take, where there are enough of them.
        wait_s: Seconds that a quiet machine is waited for at the start, where only the wall tells times.
        certify_s: Seconds in which all finished models are measured again, waiting for a quiet machine among them and
            their processes' starts left out.
        certify_rounds: Rounds that each of these processes takes, at least and at most.
    """

    block_s: float = 0.015
    block_runs: int = 1
    warm_s: float = 0.03
    lot: int = 3
    most: int = 60
    cap_s: float = 0.5
    far: float = 0.05
    near: float = 0.02
    baseline: int = 36
    baseline_s: float = 2.0
    wait_s: float = 10.0
    certify_s: float = 20.0
    certify_rounds: tuple[int, int] = (2, 30)

    def within(self, seconds: float) -> Limits:
        """The same where all of a search has so many seconds: less of them goes into waiting for a quiet machine."""
        return replace(
            self,
            wait_s=min(self.wait_s, _WAITING * seconds),
            certify_s=min(self.certify_s, _CERTIFYING * seconds),
        )


#: What is used unless somebody says otherwise.
USUAL: Final = Limits()
