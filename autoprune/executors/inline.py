"""One candidate after the other, in this process."""

from __future__ import annotations

from collections.abc import Iterator

from autoprune.core.trial import Proposal, Trial
from autoprune.executors import Evaluate


def drive(proposals: Iterator[Proposal], evaluate: Evaluate) -> Iterator[Trial]:
    """Yield each proposal's trial before the next proposal is drawn."""
    for proposal in proposals:
        yield evaluate(proposal)
