"""`autoprune profile --by-layer` and `--table`: where a model's time goes, and what its plans will cost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from autoprune.api.notebook import usual_reporter
from autoprune.api.profile import Subject
from autoprune.core.clock import SystemClock
from autoprune.core.measurement import Measurement, RunSpec
from autoprune.core.reporter import Reporter
from autoprune.cost_model.device_table import DeviceTable
from autoprune.cost_model.latency_forecast import Tabulated, tabulate
from autoprune.cost_model.layer_profile import Layer, layers
from autoprune.cost_model.roofline import Roofline, roofline
from autoprune.cost_model.staircase import Staircase, staircases
from autoprune.engine.prepare import make_task, prepare
from autoprune.measure.device import Device, DeviceSpec
from autoprune.measure.setup import Setup
from autoprune.surgery import Traced
from autoprune.surgery.cut_model import CutModel
from autoprune.tasks.task import Task

#: Seconds for units of one model, and for all sweeps of counts.
_UNITS_S = 60.0
_SWEEPS_S = 40.0


@dataclass(frozen=True)
class LayerProfile:
    """A model's latency, the device's roof, and its layers in the order in which they run."""

    latency: Measurement
    roof: Roofline
    layers: tuple[Layer, ...]


def by_layer(subject: Subject, profiler: str, spec: RunSpec, reporter: Reporter | None = None) -> LayerProfile:
    """Time, operations and bytes of each module.

    Raises:
        DeviceError: the profiler is missing, cannot run the model, or has a format that cannot be taken apart.
    """
    with _opened(subject, None, profiler, spec, reporter or usual_reporter()) as (device, latency):
        known = DeviceTable.of(device)
        units = known.units(CutModel(subject.model))
        known.fill(units, _UNITS_S)
        known.keep()
        roof = roofline(device)
        return LayerProfile(latency, roof, tuple(layers(units, known.table, latency.value, roof)))


def latency_table(
    task: Task | str, profiler: str, spec: RunSpec, space: str | None = None, reporter: Reporter | None = None
) -> tuple[Tabulated, tuple[Staircase, ...]]:
    """Build the device's latency table for a task's search space, calibrate it, and find where latency steps.

    Raises:
        DeviceError: as in `by_layer`.
    """
    reporter = reporter or usual_reporter()
    prepared = prepare(make_task(task, reporter), space)
    subject = Subject(prepared.task.model, prepared.task.example_inputs, prepared.task.spec)
    with _opened(subject, prepared.traced, profiler, spec, reporter) as (device, _):
        built = tabulate(device, prepared.space, 0)
        known = DeviceTable(device, built.table)
        found = tuple(staircases(known, prepared.space.groups, _SWEEPS_S))
        known.keep()
        return built, found


@contextmanager
def _opened(
    subject: Subject, traced: Traced | None, profiler: str, spec: RunSpec, reporter: Reporter
) -> Iterator[tuple[Device, Measurement]]:
    """A device that has measured the model, with its latency."""
    setup = Setup(profiler, spec, subject.task)
    subject.model.eval()
    device = Device(
        DeviceSpec(
            setup=setup, dense=subject.model, example_inputs=subject.inputs, traced=traced, seed=0, clock=SystemClock()
        ),
        reporter,
    )
    try:
        yield device, device.open()["latency"]
    finally:
        device.close()
