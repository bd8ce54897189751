"""A device as a search sees it: models in, measurements out. Knows benches, sessions, packing and history."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Protocol, TypeVar

import torch
from torch import nn

from autoprune.bench import memory
from autoprune.bench.artifact import Artifact
from autoprune.bench.bench import AnyBench, Bench
from autoprune.bench.lease import device_lease
from autoprune.core.clock import Clock
from autoprune.core.forecast import CostForecast
from autoprune.core.measurement import Measurement
from autoprune.core.reporter import Advance, Reporter
from autoprune.errors import AutopruneError, StorageError, UnreachableError
from autoprune.measure import history
from autoprune.measure.any_device import NOTHING
from autoprune.measure.certificate import PROCESSES, Certificate
from autoprune.measure.session import Session
from autoprune.measure.setup import Setup
from autoprune.meters import open_meter
from autoprune.profilers import Profiler
from autoprune.remote.client import WorkerBench
from autoprune.remote.packing import Packer, accepted, unpacked
from autoprune.remote.quantising import Quantiser
from autoprune.search_spaces.space import SearchSpace
from autoprune.store.device import DeviceStore, cache_folder
from autoprune.surgery import Traced
from autoprune.surgery.cut_model import CutModel
from autoprune.surgery.example import Example
from autoprune.tasks.task import batch_size, rebatch

T = TypeVar("T")

#: So often something is measured again that a lost device has made void.
_ATTEMPTS: Final = 5
#: A fresh process may take as much memory as this one; the machine keeps as much again.
_ROOM: Final = 2.0


def spare_processors(threads: int) -> bool:
    """Whether this process and one that measures on so many threads each find processors of their own."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return usable >= torch.get_num_threads() + threads


@dataclass(frozen=True)
class DeviceSpec:
    """All that makes a `Device`, wherever it is made.

    Attributes:
        setup: What is measured, how and where.
        dense: The model that others are cut from.
        example_inputs: Of the dense model.
        traced: None where nothing will be cut.
        seed: Of the order of blocks.
        clock: That tells seconds.
        forecast: Who tells what plans will cost; None where nobody asks.
        samples: What the dense model is called with on the calibration split, where models are quantised.
    """

    setup: Setup
    dense: nn.Module
    example_inputs: Any
    traced: Traced | None
    seed: int
    clock: Clock
    forecast: Forecaster | None = None
    samples: Sequence[Example] = ()

    @property
    def example(self) -> Example:
        """The inputs at the batch size that is measured."""
        return rebatch(self.example_inputs, self.setup.spec.batch)

    def packer(self, form: str, *, here: bool) -> Packer:
        """Who packs models as this device takes them.

        Args:
            form: What its profiler takes.
            here: Whether its bench is in this process.
        """
        quantiser = None
        if self.setup.quantises:
            quantiser = Quantiser(
                profiler=self.setup.profiler,
                threads=self.setup.spec.threads,
                clock=self.clock,
                samples=self.samples,
            )
        spec = self.setup.spec
        return Packer(
            form,
            here,
            dense=self.dense,
            example=self.example,
            traced=self.traced,
            work=spec.work,
            precision=spec.precision,
            quantiser=quantiser,
        )


class Forecaster(Protocol):
    """Tells what plans will cost on a device that is open."""

    def __call__(
        self, device: Device, space: SearchSpace, metrics: Sequence[str], dense: Mapping[str, float], seed: int, /
    ) -> tuple[CostForecast, ...]: ...


@dataclass(frozen=True)
class _Opened:
    """What a device has once the dense model was measured. present: seconds of a fixed piece of work at that time."""

    session: Session
    packer: Packer
    dense: Artifact
    present: float


class Device:
    """One profiler on one device, for models cut from one dense model. `close` when done."""

    def __init__(self, spec: DeviceSpec, reporter: Reporter) -> None:
        """Look at the device; models are measured once it is open.

        Args:
            spec: What it is made of.
            reporter: Told what users should know.
        """
        setup = spec.setup
        self.spec, self.setup, self.reporter = spec, setup, reporter
        self.example = spec.example
        self.batch = batch_size(self.example)
        self._profiler: Profiler | None = None
        if setup.address is None:
            self._profiler = setup.made(spec.clock)
            self.capabilities, self.fingerprint = setup.metered(self._profiler), self._profiler.fingerprint()
        else:
            able, self.fingerprint = setup.looked()
            self.capabilities = setup.rated(able)
        self.store = DeviceStore.of(f"{self.fingerprint} / {setup.spec.threads} threads / {setup.spec.precision}")
        self._here = self.capabilities.format == "module" and not setup.task
        self._bench: AnyBench | None = None
        self._opened: _Opened | None = None
        self._waited = 0.0
        self._shared = False

    @property
    def bench(self) -> AnyBench:
        """Where models run, started by now: a search that times nothing starts no process."""
        if self._bench is None:
            self._bench = self._local(self._profiler) if self._here and self._profiler is not None else self._worker()
        return self._bench

    @property
    def session(self) -> Session:
        """Of an open device."""
        return self._known.session

    @property
    def packer(self) -> Packer:
        """Of an open device."""
        return self._known.packer

    @property
    def _known(self) -> _Opened:
        if self._opened is None:
            raise RuntimeError("a device is opened before it measures")
        return self._opened

    def open(self) -> dict[str, Measurement]:
        """Measure the dense model; its measurements by key."""
        return self._steadily(self._open)

    def _open(self) -> dict[str, Measurement]:
        try:
            self.bench.fingerprint()
        except AutopruneError as error:
            if self.capabilities.format != "module" or self._profiler is None:
                raise
            self.reporter.warn(f"models are measured in this process, as another one cannot make them: {error}")
            self.bench.close()
            self._here, self._bench = True, self._local(self._profiler)
        spec, setup = self.spec, self.setup
        packer = spec.packer(self.capabilities.format, here=self._here)
        present = self.bench.speed()
        wander = history.STEADY if self._here else history.wander(self.store, present, spec.clock)
        session = Session(
            bench=self.bench,
            spec=setup.spec,
            profiler=setup.profiler,
            batch=self.batch,
            seed=spec.seed,
            wander=wander,
            limits=setup.limits,
            rates=setup.rates,
        )
        (dense,) = packer.packed(CutModel(spec.dense))
        self._opened = _Opened(session, packer, dense, present)
        return {**session.open(dense), **self._peak(dense)}

    def measure(
        self, cut: CutModel, bounds: Mapping[str, float], ceilings: Mapping[str, float] = NOTHING
    ) -> dict[str, Measurement]:
        """See `Session.measure`."""
        return accepted(self.packed(cut), lambda artifact: self.measured(artifact, bounds, ceilings))

    def rough(self, cut: CutModel) -> float:
        """See `Session.rough`."""
        return accepted(self.packed(cut), self.session.rough)

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

    def measure_again(self, models: Sequence[CutModel], advance: Advance) -> list[dict[str, Measurement]]:
        """Finished models once more, each in several fresh processes: what they will meet where they are deployed."""
        return self.measured_again([self.packed(cut) for cut in models], advance)

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
            dense=self._known.dense,
            room=room,
            certain=self.session.certain,
            limits=self.setup.limits,
            clock=self.spec.clock,
            reporter=self.reporter,
            seed=self.spec.seed,
            together=self.setup.address is not None or memory.available() > _ROOM * PROCESSES * memory.resident(),
            waited=self._waits,
        )
        return self.session.join(self._steadily(lambda: certificate.take(listed, advance)))

    def packed(self, cut: CutModel) -> Iterable[Artifact]:
        """See `Packer.packed`."""
        return self.packer.packed(cut)

    def reference(self) -> dict[str, Measurement]:
        """The dense model's measurements from every look at it so far."""
        return self.session.reference()

    def restated(self, measured: Sequence[Mapping[str, Measurement]]) -> list[dict[str, Measurement]]:
        """See `Session.restated`, of each."""
        return [self.session.restated(each) for each in measured]

    def costs(
        self, space: SearchSpace, metrics: Sequence[str], dense: Mapping[str, float], seed: int
    ) -> tuple[CostForecast, ...]:
        """What the forecaster that it was made with says; nothing where there is none."""
        forecast = self.spec.forecast
        return () if forecast is None else self._steadily(lambda: forecast(self, space, metrics, dense, seed))

    def undisturbed(self, cut: CutModel, load: Callable[[], object]) -> bool:
        """A device elsewhere is not disturbed; one here may be, where it has processors of its own, as a test tells."""
        if self.setup.address is not None:
            return True
        if self._here or not spare_processors(self.setup.spec.threads):
            return False
        test = partial(self.session.undisturbed, load=load)
        return self._steadily(lambda: accepted(self.packed(cut), test))

    def computing(self) -> AbstractContextManager[None]:
        """Held while a candidate is worked on beside the device; nothing here, where one thing follows the other."""
        return nullcontext()

    def waited(self) -> float:
        """Seconds in which finished models waited for a quiet machine."""
        return self._waited

    def _waits(self, seconds: float) -> None:
        self._waited += seconds

    def close(self) -> None:
        """End what was started, and leave a line on how fast the device was."""
        try:
            # The process that searches has other threads and other work: its looks say little of the device.
            opened = None if self._here else self._opened
            look = None if opened is None else opened.session.dense.remembered(opened.present)
            if look is not None:
                history.remember(self.store, look, self.spec.clock)
        except StorageError as error:
            self.reporter.warn(f"how fast the device was is not remembered: {error}")
        finally:
            if self._bench is not None:
                self._bench.close()
            if not self._here and self._profiler is not None:
                self._profiler.close()

    def _peak(self, artifact: Artifact) -> dict[str, Measurement]:
        if not self.setup.memory:
            return {}
        if isinstance(self.bench, Bench):
            value = self.bench.memory(artifact)
        else:
            fresh = self._worker()
            try:
                value = fresh.memory_of(artifact)
            finally:
                fresh.close()
        exact = Measurement.exact("memory", value, "B")
        return {"memory": replace(exact, device=self.fingerprint, profiler=self.setup.profiler)}

    def _worker(self) -> WorkerBench:
        task = self.setup.task if self.capabilities.format == "module" else ""
        bench = self.setup.bench(task, self.reporter.warn, self._takes_turns)
        bench.start()
        return bench

    def _takes_turns(self, holder: str) -> None:
        """Say once that somebody else measures here."""
        if not self._shared:
            self._shared = True
            self.reporter.note(f"{holder} measures on this device, too: they take turns, so that both take longer")

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
        clock, found = self.spec.clock, self.capabilities
        leases, waiting = cache_folder("leases"), self._takes_turns
        lease = device_lease(leases, self.fingerprint, clock, exclusive=found.exclusive, waiting=waiting)
        metered = open_meter(found.meter, self.setup.spec.meter)
        return Bench(profiler, lease, clock, self.setup.spec.precision, unpacked, meter=metered)
