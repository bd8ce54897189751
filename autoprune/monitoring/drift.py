"""Whether a stream of samples comes from where a reference came from: conformal test martingales. Knows numbers that
are told of samples; not what they mean.

A sample's p-value is its smoothed rank among the reference and the samples before it. Where all of them are
exchangeable, p-values are independent and uniform, whatever the distribution is (Vovk, Gammerman and Shafer 2005,
"Algorithmic Learning in a Random World", chapter 8). Bets on them whose mean is 1, with capital that jumps between
several ("simple jumper", Vovk 2021, "Testing randomness", arXiv:1906.09256), are then a martingale M of mean 1, and
Ville's inequality (1939) bounds what it ever reaches: P(sup M >= c) <= 1 / c. Of D martingales at a time one reaches
D / a with a probability of at most a (the union bound).

Each window begins anew with the reference alone, so that a change late in a long stream is not weighed against all that
was lost before it: at most a false alarms a window, on average over references.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

#: Of bets 1 + e (p - 1/2) each e: small p-values below 0, large ones above.
_BETS: Final = np.array([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0])
#: Beside these, 1 / (2 sqrt(p)) and the same of 1 - p, which win soon where a shift is large.
_ACCOUNTS: Final = len(_BETS) + 2
#: The share of all capital that goes to other bets, a sample.
_JUMP: Final = 0.01
#: Of a number of 12 bits, what is below its last one; what is below any such number but 0.
_BELOW: Final = 2.0**-14
_LEAST: Final = 1e-12


@dataclass(frozen=True, kw_only=True)
class Shift:
    """How one number is other than it was. name: of what is told of samples; deviations: by how many of the reference's
    standard deviations its mean in the window is higher."""

    name: str
    deviations: float


class DriftTest:
    """Of one stream.

    told: samples of the window that is open; samples: of all; windows: that ended; alarms: windows that raised one.
    """

    def __init__(self, names: tuple[str, ...], reference: Floats, window: int, rate: float, seed: int = 0) -> None:
        """
        Args:
            names: Of the numbers that are told of a sample.
            reference: (samples, names)
            window: Samples after which it begins anew.
            rate: Of false alarms a window, at most.
            seed: Of how ties are broken.
        """
        self._names, self._count, self._window, self._rate = names, len(reference), window, rate
        self._mean, self._deviation = reference.mean(0), reference.std(0)
        self._rng = np.random.default_rng(seed)
        # One sorted array of all numbers, as those of a complex number go by its real part first.
        self._places = np.arange(len(names))[:, None]
        self._sorted = np.sort((self._places + 1j * self._untied(reference)).reshape(-1))
        self._seen = np.empty((len(names), window))
        self.alarms = self.windows = self.samples = 0
        self._before = False
        self._begin()

    def _begin(self) -> None:
        self.told, self._alarmed = 0, False
        self._sum = np.zeros(len(self._names))
        self._capital = np.full((_ACCOUNTS, len(self._names)), 1 / _ACCOUNTS)
        self._most = 1.0

    @property
    def evidence(self) -> float:
        """The smallest rate of false alarms a window at which this window would have alarmed."""
        return min(len(self._names) / self._most, 1.0)

    @property
    def drifting(self) -> bool:
        """Whether this window has alarmed, or the last one did and this one is not through."""
        return self._alarmed or self._before

    def add(self, told: Floats) -> bool:
        """Take in samples, in their order; whether they raise the alarm, which a window does once.

        told: (samples, names), of which those beyond the window's end are left out.
        """
        if self.told == self._window:
            self.windows += 1
            self._before = self._alarmed
            self._begin()
        told = told[: self._window - self.told]
        p_values = self._p_values(self._untied(told))
        self._sum += told.sum(0)
        jumping = 1 - (1 - _JUMP) ** len(told)
        self._capital = (1 - jumping) * self._capital + jumping * self._capital.mean(0)
        self._capital *= _won(p_values)
        self._most = max(self._most, float(self._capital.sum(0).max()))
        raised = not self._alarmed and self.evidence <= self._rate
        self._alarmed |= raised
        self.alarms += raised
        return raised

    def _untied(self, told: Floats) -> Doubles:
        """(names, samples) numbers of 12 bits with chance in the bits below, so that no two are the same."""
        chance = self._rng.random(told.T.shape)
        return told.T * (1 + _BELOW * chance) + _LEAST * chance

    def _p_values(self, told: Doubles) -> Doubles:
        """(names, samples) which share of the reference and of the samples up to each is below it; itself counts for a
        part by chance."""
        known, count = self.told, told.shape[1]
        seen = self._seen[:, : known + count]
        seen[:, known:] = told
        self.told += count
        self.samples += count
        below = np.searchsorted(self._sorted, self._places + 1j * told) - self._count * self._places
        earlier = (seen[:, None] < told[..., None]) & (np.arange(known + count) < known + np.arange(count)[:, None])
        ranks = below + earlier.astype(np.float32) @ np.ones(known + count, np.float32)
        return (ranks + self._rng.random(told.shape)) / (self._count + known + 1 + np.arange(count))

    @property
    def means(self) -> list[float]:
        """Of each number in this window; none before its first sample."""
        return [float(each) for each in self._sum / self.told] if self.told else []

    def shifts(self) -> list[Shift]:
        """How each number's mean in this window is other than in the reference; none before its first sample."""
        far = np.maximum(self._deviation, _LEAST)
        off = [(now - mean) / each for now, mean, each in zip(self.means, self._mean, far, strict=False)]
        return [Shift(name=name, deviations=float(each)) for name, each in zip(self._names, off, strict=False)]


def _won(p_values: Doubles) -> Doubles:
    """(bets, names) what each bet makes of its capital with these p-values (names, samples)."""
    p_values = p_values.clip(_LEAST, 1 - _LEAST)
    linear = (1 + _BETS[:, None, None] * (p_values - 0.5)).prod(-1)
    powers = [1 / np.sqrt(4 * p_values).prod(-1), 1 / np.sqrt(4 * (1 - p_values)).prod(-1)]
    won: Doubles = np.concatenate([linear, powers])
    return won
