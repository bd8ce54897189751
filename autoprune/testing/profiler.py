"""What every profiler must do. Inherit `ProfilerConformance` in a test class and set `name`."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from autoprune import registry
from autoprune.core.clock import SystemClock
from autoprune.core.measurement import RunSpec
from autoprune.errors import DeviceError
from autoprune.measure import estimator
from autoprune.profilers import Profiler


class ProfilerConformance:
    """Returns raw, positive timings of as many runs as asked, tells small from large, and refuses what cannot run."""

    name: str

    def made(self) -> Profiler:
        profiler: Profiler = registry.load("profilers", self.name).create(RunSpec(), SystemClock())
        return profiler

    def test_says_what_it_is(self) -> None:
        profiler = self.made()
        assert profiler.name == self.name
        assert "latency" in profiler.capabilities().metrics
        assert profiler.fingerprint() == self.made().fingerprint()
        assert "\n" not in profiler.fingerprint()

    def test_runs_as_long_and_as_often_as_asked(self) -> None:
        profiler = self.made()
        handle = profiler.prepare(nn.Linear(64, 64), (torch.zeros(8, 64),))
        block = profiler.run_block(handle, 0.02, 7)
        assert len(block.wall_s) >= 7
        assert sum(block.wall_s) <= 1.0
        assert len(block.cpu_s) == len(block.wall_s)
        assert all(seconds > 0 for seconds in block.wall_s)
        assert len(profiler.run_block(handle, 0.0, 3).wall_s) == 3
        profiler.release(handle)
        profiler.close()

    def test_tells_a_small_from_a_four_times_larger_model(self) -> None:
        profiler = self.made()
        inputs = (torch.zeros(64, 512),)
        small = profiler.prepare(nn.Linear(512, 512), inputs)
        large = profiler.prepare(nn.Sequential(*(nn.Linear(512, 512) for _ in range(4))), inputs)
        pairs = [(profiler.run_block(small, 0.01, 3), profiler.run_block(large, 0.01, 3)) for _ in range(9)]
        faster = sum(estimator.median(a) < estimator.median(b) for a, b in pairs)
        assert faster >= 8

    def test_refuses_inputs_that_the_model_does_not_take(self) -> None:
        with pytest.raises(DeviceError, match="expected"):
            self.made().prepare(nn.Linear(4, 4), (torch.zeros(2, 5),))
