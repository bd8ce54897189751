"""A plan that a sampler asks to be evaluated. Knows records only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from autoprune.core.plan import Plan
from autoprune.core.rivals import Rivals


@dataclass(frozen=True)
class Proposal:
    """A candidate to be.

    Attributes:
        number: Of its trial.
        plan: What it keeps.
        rivals: What it has to beat; None where it is measured as precisely as if there were nobody.
    """

    number: int
    plan: Plan
    rivals: Rivals | None = None


def contested(proposals: Iterable[Proposal | None], rivals: Callable[[], Rivals | None]) -> Iterator[Proposal | None]:
    """Proposals, each with what it has to beat by the moment at which it goes out."""
    for proposal in proposals:
        yield proposal and replace(proposal, rivals=rivals())
