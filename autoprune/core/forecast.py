"""What plans are expected to cost and to hurt, found once before a search. Knows tables; not how they were filled.

A predicted cost screens and steers; only a measured one is reported.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from autoprune.errors import StorageError, describe


@dataclass(frozen=True)
class Term:
    """A part of the cost that depends on some variables only.

    variables: their places in the search space, ascending; shape: their numbers of levels; values: the cost at each
    combination of levels, the last variable's changing fastest, in SI units.
    """

    variables: tuple[int, ...]
    shape: tuple[int, ...]
    values: tuple[float, ...]

    def at(self, levels: Sequence[int]) -> float:
        """The part's cost under a plan, given as the level of each variable of the space."""
        place = 0
        for variable, size in zip(self.variables, self.shape, strict=True):
            place = place * size + levels[variable]
        return self.values[place]


@dataclass(frozen=True)
class ModuleCost:
    """What one module adds to a cost by its own work, without that of modules inside it: offset + sum of terms."""

    name: str
    offset: float
    terms: tuple[Term, ...]

    def at(self, levels: Sequence[int]) -> float:
        """In SI units, under a plan given as the level of each variable."""
        return self.offset + sum(term.at(levels) for term in self.terms)


@dataclass(frozen=True)
class CostForecast:
    """cost = offset + sum of terms.

    error: relative standard deviation of a prediction, 0 where it is counted; modules: the same cost by module, in the
    order in which they run, less what belongs to none; empty where nobody knows.
    """

    metric: str
    offset: float
    terms: tuple[Term, ...]
    error: float = 0.0
    modules: tuple[ModuleCost, ...] = ()

    def at(self, levels: Sequence[int]) -> float:
        """The predicted cost in SI units of a plan, given as the level of each variable."""
        return self.offset + sum(term.at(levels) for term in self.terms)


@dataclass(frozen=True)
class Forecast:
    """costs: by metric; loss_increases: for each variable what each of its levels adds to the task's loss (or takes
    from its quality) when it alone is cut, 0 for the last; noise: standard deviation of one such score by chance;
    seconds: of wall time that all this took."""

    costs: tuple[CostForecast, ...]
    loss_increases: tuple[tuple[float, ...], ...]
    noise: float
    seconds: float

    def cost(self, metric: str) -> CostForecast | None:
        """The forecast of one cost; None where there is none."""
        return next((each for each in self.costs if each.metric == metric), None)

    def encoded(self) -> bytes:
        """As JSON."""
        return json.dumps(asdict(self), allow_nan=False).encode()

    @classmethod
    def decoded(cls, content: bytes) -> Forecast:
        """The inverse of `encoded`.

        Raises:
            StorageError: something is missing, or is not what it should be.
        """
        try:
            data = json.loads(content)
            found = cls(
                tuple(_cost(raw) for raw in data["costs"]),
                tuple(tuple(map(float, row)) for row in data.get("loss_increases") or data["damage"]),
                float(data["noise"]),
                float(data["seconds"]),
            )
            terms = (term for each in found.costs for term in each.terms)
            shares = (term for each in found.costs for module in each.modules for term in module.terms)
            numbers = itertools.chain(*found.loss_increases, *(term.values for term in (*terms, *shares)))
            good = all(map(math.isfinite, numbers))
        except (KeyError, TypeError, ValueError) as error:
            raise _unreadable(describe(error)) from error
        if not good:
            raise _unreadable("a number that is not finite")
        return found


def _cost(raw: Mapping[str, Any]) -> CostForecast:
    modules = tuple(
        ModuleCost(str(each["name"]), float(each["offset"]), _terms(each["terms"])) for each in raw.get("modules", ())
    )
    return CostForecast(str(raw["metric"]), float(raw["offset"]), _terms(raw["terms"]), float(raw["error"]), modules)


def _terms(raw: Iterable[Mapping[str, Any]]) -> tuple[Term, ...]:
    terms = tuple(
        Term(tuple(map(int, each["variables"])), tuple(map(int, each["shape"])), tuple(map(float, each["values"])))
        for each in raw
    )
    if any(math.prod(term.shape) != len(term.values) for term in terms):
        raise ValueError("a table of another size than its levels")
    return terms


def _unreadable(received: str) -> StorageError:
    cure = "remove the run's forecast.json; it is made anew"
    return StorageError(expected="a forecast that an earlier search made", received=received, cure=cure)
