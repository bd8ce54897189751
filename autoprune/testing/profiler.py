"""What every profiler must do. Inherit `ProfilerConformance` in a test class and set `name`."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from autoprune import registry
from autoprune.bench.artifact import deviation
from autoprune.core.clock import Clock, SystemClock
from autoprune.core.measurement import PRECISIONS, RunSpec
from autoprune.errors import DeviceError
from autoprune.measure import estimator
from autoprune.profilers import Profiler
from autoprune.surgery.example import Example, arrays
from autoprune.testing.fakes import TickingClock


@cache
def _small() -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 8)).eval(), torch.randn(4, 16)


@cache
def _small_file(form: str) -> tuple[Any, Any]:
    model, inputs = _small()
    return _exported(form, model, Example.of(inputs))


def _exported(form: str, model: nn.Module, example: Example) -> tuple[Any, Any]:
    exporter = registry.load("exporters", form).create(model, example, {})
    return exporter.anew(model, {}), dict(exporter.inputs())


class ProfilerConformance:
    """Returns raw, positive timings of as many runs as asked, computes what the model computes, tells small from large,
    tells the same twice, and refuses what cannot run. Skipped where its library or its device is missing."""

    name: str

    def made(self, clock: Clock | None = None) -> Profiler:
        try:
            module = registry.load("profilers", self.name)
            profiler: Profiler = module.create(RunSpec(), clock or SystemClock())
        except DeviceError as error:
            pytest.skip(str(error))
        return profiler

    def prepared(self, profiler: Profiler, model: nn.Module, inputs: torch.Tensor) -> Any:
        """A handle of the model, packed in the profiler's format."""
        return profiler.prepare(*self.packed(profiler, model, inputs))

    def packed(self, profiler: Profiler, model: nn.Module, inputs: torch.Tensor) -> tuple[Any, Any]:
        """The model and its inputs in the profiler's format."""
        form, example = profiler.capabilities().format, Example.of(inputs)
        return (model.eval(), example) if form == "module" else _exported(form, model.eval(), example)

    def small(self, profiler: Profiler) -> tuple[nn.Module, torch.Tensor, tuple[Any, Any]]:
        """A model with inputs, and both in the profiler's format, which is made once for all tests."""
        model, inputs = _small()
        form = profiler.capabilities().format
        return model, inputs, (model, Example.of(inputs)) if form == "module" else _small_file(form)

    def test_says_what_it_is(self) -> None:
        profiler = self.made()
        found = profiler.capabilities()
        assert profiler.name == self.name
        assert "latency" in found.metrics
        assert set(found.precisions) <= set(PRECISIONS)
        assert found.most_handles >= 2
        assert profiler.fingerprint() == self.made().fingerprint()
        assert " / " in profiler.fingerprint()
        assert "\n" not in profiler.fingerprint()

    def test_runs_as_long_and_as_often_as_asked(self) -> None:
        profiler = self.made()
        _, _, packed = self.small(profiler)
        handle = profiler.prepare(*packed)
        block = profiler.run_block(handle, 0.02, 7)
        assert len(block.wall_s) >= 7
        assert 0.01 <= sum(block.wall_s) <= 2.0
        assert len(block.cpu_s) == len(block.wall_s)
        assert all(seconds > 0 for seconds in block.wall_s)
        assert len(profiler.run_block(handle, 0.0, 3).wall_s) == 3
        profiler.release(handle)
        profiler.close()

    def test_durations_are_those_of_the_clock_that_it_was_given(self) -> None:
        profiler = self.made(TickingClock(0.25))
        _, _, packed = self.small(profiler)
        handle = profiler.prepare(*packed)
        block = profiler.run_block(handle, 0.0, 4)
        if block.wall_s[0] < 0.25:
            pytest.skip("its device keeps its own time")
        assert block.wall_s == (0.25,) * 4

    def test_computes_what_the_model_computes(self) -> None:
        profiler = self.made()
        model, inputs, packed = self.small(profiler)
        found = profiler.outputs(profiler.prepare(*packed))
        with torch.no_grad():
            expected = arrays(model(inputs))
        assert all(isinstance(each, np.ndarray) for each in found)
        assert deviation(found, expected) < 1e-4

    def test_what_it_quantises_computes_nearly_what_the_model_computes(self) -> None:
        profiler = self.made()
        found = profiler.capabilities()
        if "int8" not in found.precisions or found.format == "module":
            pytest.skip("it makes no int8 of files")
        model, inputs, (content, named) = self.small(profiler)
        try:
            made = registry.load("profilers", self.name).quantised(content, [named])
        except DeviceError as error:
            if "pip install" not in error.cure:
                raise
            pytest.skip(f"its tool for int8 is not here: {error.cure}")
        with torch.no_grad():
            apart = deviation(profiler.outputs(profiler.prepare(made, named)), arrays(model(inputs)))
        assert 0 < apart < 0.05

    def test_computes_on_other_inputs_than_it_was_prepared_with(self) -> None:
        profiler = self.made()
        model, first, (artifact, inputs) = self.small(profiler)
        handle = profiler.prepare(artifact, inputs)
        others = torch.randn(4, 16)
        given = Example.of(others) if isinstance(inputs, Example) else dict.fromkeys(inputs, others.numpy())
        with torch.no_grad():
            assert deviation(profiler.outputs(handle, given), arrays(model(others))) < 1e-4
            assert deviation(profiler.outputs(handle, inputs), arrays(model(first))) < 1e-4

    @pytest.mark.slow
    def test_tells_a_small_from_a_four_times_larger_model_and_itself_from_nothing(self) -> None:
        profiler = self.made()
        inputs = torch.zeros(64, 512)
        small = self.prepared(profiler, nn.Linear(512, 512), inputs)
        same = self.prepared(profiler, nn.Linear(512, 512), inputs)
        large = self.prepared(profiler, nn.Sequential(*(nn.Linear(512, 512) for _ in range(4))), inputs)
        rounds = [[profiler.run_block(each, 0.01, 3) for each in (small, same, large)] for _ in range(15)]
        small_s, same_s, large_s = (
            np.array([estimator.median(block) for block in of]) for of in zip(*rounds, strict=True)
        )
        assert np.median(large_s / small_s) > 1.5
        assert abs(np.log(np.median(same_s / small_s))) < np.log(1.3)

    def test_refuses_inputs_that_the_model_does_not_take(self) -> None:
        profiler = self.made()
        form = profiler.capabilities().format
        if form == "module":
            with pytest.raises(DeviceError, match="expected"):
                profiler.prepare(nn.Linear(4, 4), Example.of(torch.zeros(2, 5)))
        else:
            content, inputs = _small_file(form)
            with pytest.raises(DeviceError, match="expected"):
                profiler.prepare(content, {name: np.zeros((2, 5), np.float32) for name in inputs})

    def test_refuses_an_artifact_that_is_none(self) -> None:
        profiler = self.made()
        if profiler.capabilities().format != "module":
            with pytest.raises(DeviceError, match="expected"):
                profiler.prepare(b"no model at all", {})
