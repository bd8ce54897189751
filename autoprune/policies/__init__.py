"""Policies: which member of a bundle answers a request. Knows the contract; each file beside this one is one policy.

A policy is a module with `settled(fitting) -> Settled`, which chooses members and numbers once, as a bundle is made,
and `create(members, settings) -> Policy`, which decides for each request. FACTS are what a caller may say of a request,
OPTIONS what its user may choose, with defaults. Members stand in the order of their latency, the fastest first. A
policy never runs a model: who asks it does.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from torch import Tensor

from autoprune import registry
from autoprune.errors import UsageError
from autoprune.registry import unknown


@dataclass(frozen=True, kw_only=True)
class Member:
    """A model of a bundle, as policies see it.

    Attributes:
        name: The number of its trial, as text.
        seconds: The median that a request takes.
        late: Seconds that 99 of 100 requests take at most.
        parts: Medians for 1, 2, 4 ... samples, as long as these are fewer than a request's.
        batch: Samples of a request.
    """

    name: str
    seconds: float
    late: float
    parts: tuple[float, ...] = ()
    batch: int = 1

    def takes(self, samples: int) -> float:
        """Seconds for so many samples: on lines between the numbers that were timed, in proportion beyond a request."""
        if samples >= self.batch:
            return self.seconds * samples / self.batch
        known = [*zip(parts_of(self.batch), self.parts, strict=True), (self.batch, self.seconds)]
        place = next(k for k, (count, _) in enumerate(known) if count > samples)
        (low, least), (high, most) = known[place - 1], known[place]
        return least + (most - least) * (samples - low) / (high - low)


def parts_of(batch: int) -> tuple[int, ...]:
    """The numbers of samples, fewer than a request's, for which a member is timed: what runs two samples often takes
    as long for four, so that no one line tells."""
    return tuple(2**power for power in range((batch - 1).bit_length()))


class Policy(ABC):
    """Decides for one bundle; it may learn from what it sees, and a new one begins as it was settled."""

    @abstractmethod
    def first(self, facts: Mapping[str, Any]) -> int:
        """The place of the member that answers first. facts: what the caller says, some of FACTS."""

    def unsure(self, place: int, confidence: Callable[[], Tensor]) -> Tensor | None:
        """Which samples the next member answers again, (samples,) bool; None for none.

        Args:
            place: Of the member that answered; there is one after it.
            confidence: How sure its answers are, (samples,), more is surer.
        """
        return None

    def took(self, place: int, facts: Mapping[str, Any], seconds: float) -> None:  # noqa: B027 - most do not learn
        """Told once a request is answered. place: of the member that answered first; seconds: of the whole."""

    def drawn(self, chance: float) -> Mapping[str, Any]:
        """Facts of a request as a bundle is measured with. chance: evenly from 0 to 1."""
        return {}


@dataclass(frozen=True, kw_only=True)
class Scored:
    """quality: in the direction of more is better; seconds: that a request is expected to take."""

    quality: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Fitting:
    """What a policy is settled with.

    Attributes:
        members: All of those given.
        options: Every one of its module's OPTIONS.
        confidence: How sure a member is of the calibration split, by its place: (samples,).
        scored: (places, policy of these) -> what that is expected to come to on the calibration split.
        timed: (places, policy of these, another place) -> the mean seconds that requests of the calibration split were
            measured to take, of these together and of that one alone, one after the other.
    """

    members: tuple[Member, ...]
    options: Mapping[str, str] = field(default_factory=dict)
    confidence: Callable[[int], Tensor] = field(repr=False)
    scored: Callable[[tuple[int, ...], Policy], Scored] = field(repr=False)
    timed: Callable[[tuple[int, ...], Policy, int], tuple[float, float]] = field(repr=False)

    def number(self, name: str, least: float = 0.0) -> float:
        """An option as a number of at least so much.

        Raises:
            UsageError: it is none, or below.
        """
        try:
            found = float(self.options[name])
        except ValueError:
            found = math.nan
        if not least <= found < math.inf:
            raise UsageError(
                expected=f"{name} as a number of at least {least:g}",
                received=repr(self.options[name]),
                cure=f"write for example {name}={max(least, 0.01):g}",
            )
        return found


@dataclass(frozen=True, kw_only=True)
class Settled:
    """What a bundle keeps of a policy.

    Attributes:
        places: Members that it uses, ascending; others are left out of the bundle.
        settings: All that `create` needs besides, as JSON.
        told: In words, for people.
        rival: The place of a member that is as good alone. A bundle that is not faster than it in the mean, nor than
            any of its own members that is as good, is refused; None where it is not made to be fast in the mean.
    """

    places: tuple[int, ...]
    settings: Mapping[str, Any]
    told: str
    rival: int | None = None


def policy_of(name: str) -> ModuleType:
    """The module of a policy.

    Raises:
        UsageError: there is none of that name; the nearest is told.
    """
    return registry.load("policies", name)


def options_of(name: str, given: Mapping[str, str]) -> dict[str, str]:
    """Every option of a policy, as given or as it is by default; a policy with OPTIONS = None takes any.

    Raises:
        UsageError: one that it does not have.
    """
    known: Mapping[str, str] | None = getattr(policy_of(name), "OPTIONS", {})
    if known is None:
        return {key: str(value) for key, value in given.items()}
    for key in given:
        if key not in known:
            raise unknown(f"option of the policy '{name}'", key, tuple(known))
    return {**known, **{key: str(value) for key, value in given.items()}}


def facts_of(name: str) -> tuple[str, ...]:
    """What a caller may say of a request."""
    found: tuple[str, ...] = getattr(policy_of(name), "FACTS", ())
    return found
