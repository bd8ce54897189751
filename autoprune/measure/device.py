"""A device as a search sees it: models in, measurements out. Knows benches, sessions, packing and history."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, Protocol, TypeVar

import torch
from torch import nn

from autoprune.core.clock import Clock
from autoprune.core.forecast import CostForecast
from autoprune.core.measurement import Capabilities, Measurement
from autoprune.core.reporter import Advance, Reporter
from autoprune.core.space import SearchSpace
from autoprune.errors import AutopruneError, StorageError, UnreachableError
from autoprune.measure import estimator, history
from autoprune.measure.artifact import Artifact
from autoprune.measure.bench import AnyBench, Bench
from autoprune.measure.certificate import Certificate
from autoprune.measure.client import WorkerBench
from autoprune.measure.energy import meter
from autoprune.measure.lease import device_lease
from autoprune.measure.packing import Packer, Slices, accepted, unpacked
from autoprune.measure.session import NOTHING, Session
from autoprune.measure.setup import Setup
from autoprune.measure.table import Table
from autoprune.measure.units import Unit, taken_apart
from autoprune.profilers import Profiler
from autoprune.store.device import DeviceStore, cache_folder
from autoprune.surgery import Traced
from autoprune.surgery.example import Example
from autoprune.tasks.task import batch_size, rebatch

T = TypeVar("T")

#: So often something is measured again that a lost device has made void.
_ATTEMPTS: Final = 5


class AnyDevice(Protocol):
    """What a search needs of a device: a `Device` of this process, or one elsewhere."""

    capabilities: Capabilities
    fingerprint: str
    batch: int
    example: Example

    def open(self, *, patient: bool = True) -> dict[str, Measurement]:
        """Measure the dense model; patient: wait for a quiet machine, as those do whose candidates are timed."""
        ...

    def measure(
        self, model: nn.Module, slices: Slices, bounds: Mapping[str, float], ceilings: Mapping[str, float] = NOTHING
    ) -> dict[str, Measurement]:
        """Measure a candidate; see `Session.measure`."""
        ...

    def measure_again(
        self, models: Sequence[tuple[nn.Module, Slices]], advance: Advance
    ) -> list[dict[str, Measurement]]:
        """Measure finished models in fresh processes."""
        ...

    def reference(self) -> dict[str, Measurement]:
        """What is known of the dense model by now."""
        ...

    def restated(self, measured: Sequence[Mapping[str, Measurement]]) -> list[dict[str, Measurement]]:
        """Earlier measurements as they read by now."""
        ...

    def costs(
        self, space: SearchSpace, metrics: Sequence[str], dense: Mapping[str, float], seed: int
    ) -> tuple[CostForecast, ...]:
        """What plans of a space will cost, without running them."""
        ...

    def undisturbed(self, model: nn.Module, slices: Slices, load: Callable[[], object]) -> bool:
        """Whether work in this process leaves measurements as they are; load: such work."""
        ...

    def computing(self) -> AbstractContextManager[None]:
        """Held while a candidate is worked on, so that nothing is measured meanwhile that this would disturb."""
        ...

    def waited(self) -> float:
        """Seconds in which finished models waited for a quiet machine."""
        ...

    def close(self) -> None:
        """End what was started."""
        ...


def spare_processors(threads: int) -> bool:
    """Whether this process and one that measures on so many threads each find processors of their own."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return usable >= torch.get_num_threads() + threads


@dataclass(frozen=True)
class DeviceSpec:
    """All that makes a `Device`, wherever it is made; dense: the model that others are cut from."""

    setup: Setup
    dense: nn.Module
    example_inputs: Any
    traced: Traced | None
    seed: int
    clock: Clock

    @property
    def example(self) -> Example:
        """The inputs at the batch size that is measured."""
        return rebatch(self.example_inputs, self.setup.spec.batch)

    def made(self, reporter: Reporter) -> Device:
        """The device, in this process."""
        about = (self.setup, self.dense, self.example_inputs, self.traced, self.seed, self.clock)
        return Device(*about, reporter)


@dataclass
class Device:
    """One profiler on one device, for models cut from one dense model. `close` when done."""

    setup: Setup
    dense: nn.Module
    example_inputs: Any
    traced: Traced | None
    seed: int
    clock: Clock
    reporter: Reporter
    session: Session = field(init=False)
    _profiler: Profiler | None = field(init=False)
    _bench: AnyBench = field(init=False)
    _waited: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        spec, self._profiler = self.setup.spec, None
        if self.setup.address is None:
            self._profiler = self.setup.made(self.clock)
            self.capabilities, self.fingerprint = self._profiler.capabilities(), self._profiler.fingerprint()
        else:
            self.capabilities, self.fingerprint = self.setup.looked()
        self.store = DeviceStore.of(f"{self.fingerprint} / {spec.threads} threads / {spec.precision}")
        self.example = rebatch(self.example_inputs, self.setup.spec.batch)
        self.batch = batch_size(self.example)
        self._here = self.capabilities.format == "module" and not self.setup.task
        self._bench = self._local(self._profiler) if self._here and self._profiler is not None else self._worker()

    def open(self, *, patient: bool = True) -> dict[str, Measurement]:
        """Measure the dense model; its measurements by key. patient: see `Session.open`."""
        return self._steadily(lambda: self._opened(patient))

    def _opened(self, patient: bool) -> dict[str, Measurement]:
        try:
            self._bench.fingerprint()
        except AutopruneError as error:
            if self.capabilities.format != "module" or self._profiler is None:
                raise
            self.reporter.warn(f"models are measured in this process, as another one cannot make them: {error}")
            self._bench.close()
            self._here, self._bench = True, self._local(self._profiler)
        self.packer = Packer(self.capabilities.format, self._here, self.dense, self.example, self.traced)
        self._present = self._bench.speed()
        wander = history.STEADY if self._here else history.wander(self.store, self._present, self.clock)
        spec, name = self.setup.spec, self.setup.profiler
        self.session = Session(self._bench, spec, name, self.batch, self.seed, wander, self.setup.limits)
        (self._reference,) = self.packer.packed(self.dense, {})
        return {**self.session.open(self._reference, patient=patient), **self._peak(self._reference)}

    def measure(
        self, model: nn.Module, slices: Slices, bounds: Mapping[str, float], ceilings: Mapping[str, float] = NOTHING
    ) -> dict[str, Measurement]:
        """See `Session.measure`; slices: what the model kept of the dense one's groups, by group that was cut."""
        return accepted(self.packer.packed(model, slices), lambda artifact: self.measured(artifact, bounds, ceilings))

    def rough(self, model: nn.Module, slices: Slices) -> float:
        """See `Session.rough`."""
        return accepted(self.packer.packed(model, slices), self.session.rough)

    def measured(
        self,
        artifact: Artifact,
        bounds: Mapping[str, float],
        ceilings: Mapping[str, float] = NOTHING,
        *,
        finished: bool = False,
    ) -> dict[str, Measurement]:
        """`measure` of a model that is packed; finished: see `Session.measure`."""
        return self._steadily(
            lambda: {**self.session.measure(artifact, bounds, ceilings, finished=finished), **self._peak(artifact)}
        )

    def measure_again(
        self, models: Sequence[tuple[nn.Module, Slices]], advance: Advance
    ) -> list[dict[str, Measurement]]:
        """Finished models once more, each in several fresh processes: what they will meet where they are deployed."""
        return self.measured_again([self.packer.packed(model, slices) for model, slices in models], advance)

    def measured_again(self, models: Sequence[Iterable[Artifact]], advance: Advance) -> list[dict[str, Measurement]]:
        """`measure_again` of models that are packed; of each, what the device accepts first."""
        if self._here:
            self.reporter.warn(
                "no other process could find this task by name (it was made in a notebook or a script): "
                "its models are measured again in this process"
            )
            return [
                accepted(artifacts, lambda artifact: self.measured(artifact, {}, finished=True)) for artifacts in models
            ]
        listed = [list(artifacts) for artifacts in models] if self.setup.address is not None else models
        room = max(self.capabilities.most_handles - 1, 1)
        certificate = Certificate(
            opened=self._worker,
            dense=self._reference,
            room=room,
            certain=self.session.certain,
            limits=self.setup.limits,
            clock=self.clock,
            reporter=self.reporter,
            seed=self.seed,
            waited=self._waits,
        )
        return self.session.join(self._steadily(lambda: certificate.take(listed, advance)))

    def reference(self) -> dict[str, Measurement]:
        """The dense model's measurements from every look at it so far."""
        return self.session.reference()

    def restated(self, measured: Sequence[Mapping[str, Measurement]]) -> list[dict[str, Measurement]]:
        """See `Session.restated`, of each."""
        return [self.session.restated(each) for each in measured]

    def costs(
        self, space: SearchSpace, metrics: Sequence[str], dense: Mapping[str, float], seed: int
    ) -> tuple[CostForecast, ...]:
        """See `foretell.costs`."""
        from autoprune.measure import foretell  # which is built on this

        return self._steadily(lambda: foretell.costs(self, space, metrics, dense, seed))

    def undisturbed(self, model: nn.Module, slices: Slices, load: Callable[[], object]) -> bool:
        """A device elsewhere is not disturbed; one here may be, where it has processors of its own, as a test tells."""
        if self.setup.address is not None:
            return True
        if self._here or not spare_processors(self.setup.spec.threads):
            return False
        test = partial(self.session.undisturbed, load=load)
        return self._steadily(lambda: accepted(self.packer.packed(model, slices), test))

    def computing(self) -> AbstractContextManager[None]:
        """Held while a candidate is worked on beside the device; nothing here, where one thing follows the other."""
        return nullcontext()

    def waited(self) -> float:
        """Seconds in which finished models waited for a quiet machine."""
        return self._waited

    def _waits(self, seconds: float) -> None:
        self._waited += seconds

    def units(self, model: nn.Module, slices: Slices) -> list[Unit]:
        """The pieces of work that a model consists of on this device; see `measure.units`."""
        apart = taken_apart(self.capabilities.format)
        if self.capabilities.format == "module":
            found: list[Unit] = apart.units(model, self.example)
            return found
        return accepted(self.packer.packed(model, slices), lambda artifact: list(apart.units(artifact.content)))

    def table(self) -> Table:
        """What is known of units on this device, from this and earlier runs."""
        return Table.of(self.store)

    def tabulate(self, table: Table, units: Iterable[Unit], limit_s: float) -> int:
        """Measure the units that a table lacks, as far as time allows; how many that were."""
        return table.measure(self._bench, table.missing(units), self.clock, limit_s)

    def keep(self, table: Table) -> None:
        """Write a table down for later runs, which can do without."""
        try:
            table.keep()
        except StorageError as error:
            self.reporter.warn(f"the device's table is not kept: {error}")

    def alone(self, unit: Unit, rounds: int) -> list[float]:
        """The median seconds of a unit in each of so many blocks."""
        self._bench.prepare("alone", unit.artifact())
        limits = self.setup.limits
        blocks = self._bench.rounds(["alone"], rounds, limits.block_s, limits.block_runs, self.seed)
        self._bench.release("alone")
        return [estimator.median(block) for (block,) in blocks]

    def close(self) -> None:
        """End what was started, and leave a line on how fast the device was."""
        try:
            # The process that searches has other threads and other work: its looks say little of the device.
            if hasattr(self, "session") and not self._here:
                look = self.session.dense.remembered(self._present)
                if look is not None:
                    history.remember(self.store, look, self.clock)
        except StorageError as error:
            self.reporter.warn(f"how fast the device was is not remembered: {error}")
        finally:
            self._bench.close()
            if not self._here and self._profiler is not None:
                self._profiler.close()

    def _peak(self, artifact: Artifact) -> dict[str, Measurement]:
        if not self.setup.memory:
            return {}
        if isinstance(self._bench, Bench):
            value = self._bench.memory(artifact)
        else:
            fresh = self._worker()
            try:
                value = fresh.memory_of(artifact)
            finally:
                fresh.close()
        exact = Measurement.exact("memory", value, "B")
        return {"memory": replace(exact, device=self.fingerprint, profiler=self.setup.profiler)}

    def _worker(self) -> WorkerBench:
        bench = self.setup.bench(self.setup.task if self.capabilities.format == "module" else "", self.reporter.warn)
        bench.start()
        return bench

    def _steadily(self, work: Callable[[], T]) -> T:
        """Work, again where the device forgot meanwhile what it was doing."""
        for attempt in range(_ATTEMPTS):
            try:
                return work()
            except UnreachableError as error:
                if not self.setup.wait or attempt == _ATTEMPTS - 1:
                    raise
                self.reporter.warn(f"measured again, as the device was lost: {error.received}")
        raise AssertionError("unreachable")

    def _local(self, profiler: Profiler) -> Bench:
        lease = device_lease(
            cache_folder("leases"), self.fingerprint, self.clock, exclusive=self.capabilities.exclusive
        )
        metered = meter(self.capabilities.meter)
        return Bench(profiler, lease, self.clock, self.setup.spec.precision, unpacked, meter=metered)
