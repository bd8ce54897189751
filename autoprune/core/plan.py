"""How much of each prunable group is kept. Knows counts; not weights, indices or models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autoprune.errors import UsageError


@dataclass(frozen=True)
class Plan:
    """Slices kept by group: hashable, JSON, and all that a worker needs to know of a candidate.

    Attributes:
        keep: (group, count) pairs, sorted by the group's name.
        precision: That the model runs in, where plans choose it; empty for that of the run.

    Example:
        >>> Plan.of({"stem": 16, "head": 8}).keep
        (('head', 8), ('stem', 16))
    """

    keep: tuple[tuple[str, int], ...]
    precision: str = ""

    @classmethod
    def of(cls, kept: Mapping[str, int], precision: str = "") -> Plan:
        """The plan that keeps so many slices of each group.

        Args:
            kept: Counts by the group's name.
            precision: Of the model; empty for that of the run.

        Raises:
            UsageError: a count that is not a whole number of at least 0.
        """
        for name, count in kept.items():
            if isinstance(count, bool) or not isinstance(count, int) or count < 0:
                raise UsageError(
                    expected=f"a whole number of at least 0 for '{name}'",
                    received=repr(count),
                    cure="keep at least one slice of every group; only layers can be dropped",
                )
        return cls(tuple(sorted(kept.items())), precision)

    @property
    def kept(self) -> dict[str, int]:
        """Counts by the group's name."""
        return dict(self.keep)

    @property
    def beside(self) -> dict[str, str]:
        """What records have beside the counts: the precision, where it was chosen."""
        return {"precision": self.precision} if self.precision else {}

    @classmethod
    def from_json(cls, data: Any, precision: str = "") -> Plan:
        """From the decoded JSON object {group: count}, and what a record has beside it."""
        if not isinstance(data, dict):
            raise UsageError(
                expected="an object of counts by group",
                received=type(data).__name__,
                cure="pass a plan that autoprune wrote",
            )
        return cls.of(data, str(precision))
