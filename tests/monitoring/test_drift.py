"""The sequential test: how often it alarms where nothing changed, and how soon where something did."""

import numpy as np
import pytest
import torch

from autoprune.calibration.telling import ValueTelling
from autoprune.monitoring.drift import DriftTest

NAMES = ("mean", "spread", "part")


def drawn(rng, count):
    """Samples of three dependent numbers with heavy tails, rounded so that many are the same."""
    common = rng.standard_t(2, (count, 1))
    return np.round(common + rng.standard_t(2, (count, 3)), 0).astype(np.float32)


def test_false_alarms_are_at_most_as_many_as_asked_for_whatever_the_distribution():
    """Ville's inequality with the union bound, against 250 windows with a reference of their own each."""
    rng = np.random.default_rng(0)
    alarms = 0
    for seed in range(250):
        test = DriftTest(NAMES, drawn(rng, 60), 100, 0.1, seed)
        alarms += sum(test.add(drawn(rng, 25)) for _ in range(4))
    assert alarms <= 0.1 * 250


@pytest.mark.parametrize("late", [0, 130])
def test_a_shift_by_a_deviation_is_found_soon_after_it_begins(late):
    rng = np.random.default_rng(1)
    test = DriftTest(NAMES, rng.normal(size=(300, 3)).astype(np.float32), 256, 1e-4)
    assert not any(test.add(rng.normal(size=(10, 3)).astype(np.float32)) for _ in range(late // 10))
    shift = np.array([0, 1.5, 0])
    found = [test.add((rng.normal(size=(10, 3)) + shift).astype(np.float32)) for _ in range(20)]
    assert found.index(True) < 12
    assert max(test.shifts(), key=lambda each: each.deviations).name == "spread"
    assert test.drifting
    assert test.evidence <= 1e-4


def test_what_is_no_number_is_a_shift():
    images = torch.randn(200, 1, 4, 4)
    telling = ValueTelling.of(images)
    reference = np.concatenate([telling(part) for part in images.split(10)])
    test = DriftTest(telling.names, reference, 256, 1e-4)
    assert any(test.add(telling(torch.full((10, 1, 4, 4), float("nan")))) for _ in range(10))
