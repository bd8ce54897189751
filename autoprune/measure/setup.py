"""What is measured, how and where. Knows names and addresses; starts a process where one must be asked."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from autoprune import registry
from autoprune.core.address import DeviceAddress
from autoprune.core.clock import Clock
from autoprune.core.measurement import FORWARD, FULL, QUANTISED, Capabilities, RunSpec
from autoprune.core.rate import Rate
from autoprune.errors import UsageError
from autoprune.measure import limits
from autoprune.measure.limits import Limits
from autoprune.meters import open_meter
from autoprune.profilers import Profiler
from autoprune.remote.client import WorkerBench
from autoprune.remote.links.connect import reached
from autoprune.remote.links.retry import Tell


@dataclass(frozen=True)
class Setup:
    """What is measured, and how: the profiler by name, how it runs models, the task's name for other processes.

    task: empty where no other process can make the dense model; its modules are then measured in this process;
    address: of the device, None for this machine; wait: for a device that does not answer, however long that takes;
    precisions: that plans choose from, where that of `spec` is not the only one;
    memory: whether each measurement also has the model's peak memory, for which a process of its own is started;
    limits: how much is measured; rates: by which other costs follow.
    """

    profiler: str
    spec: RunSpec
    task: str = ""
    address: DeviceAddress | None = None
    wait: bool = True
    precisions: tuple[str, ...] = ()
    memory: bool = False
    limits: Limits = field(default_factory=lambda: limits.USUAL)
    rates: tuple[Rate, ...] = ()

    def at(self, work: str) -> Setup:
        """The same for some work of a model; its peak memory is that of whole passes."""
        return replace(self, spec=replace(self.spec, work=work), memory=self.memory and work == FORWARD)

    @property
    def in_float32(self) -> bool:
        """Whether all models run in float32."""
        return {self.spec.precision, *self.precisions} == {FULL}

    @property
    def quantises(self) -> bool:
        """Whether some models are quantised."""
        return QUANTISED in (self.spec.precision, *self.precisions)

    def made(self, clock: Clock) -> Profiler:
        """The profiler in this process.

        Raises:
            UsageError: no profiler of that name, or it cannot compute in that precision.
            DeviceError: its library is missing.
        """
        profiler: Profiler = registry.load("profilers", self.profiler).create(self.spec, clock)
        self.check(profiler.capabilities())
        return profiler

    def check(self, capabilities: Capabilities) -> None:
        """Raises UsageError where models cannot be run as they are to be."""
        for each in (self.spec.precision, *self.precisions):
            if each not in capabilities.precisions:
                raise UsageError(
                    expected=f"a precision that '{self.profiler}' computes in",
                    received=f"'{each}'",
                    cure=f"known: {', '.join(capabilities.precisions)}",
                )
        if len(self.precisions) > 1 and capabilities.format == "module":
            raise UsageError(
                expected=f"one precision for '{self.profiler}', which takes no files",
                received=",".join(self.precisions),
                cure="choose one, or --profiler onnxruntime",
            )
        if self.spec.work != FORWARD and capabilities.format != "module":
            raise UsageError(
                expected=f"a profiler of torch modules for '{self.spec.work}'",
                received=f"'{self.profiler}', which runs files of whole models",
                cure="pass --profiler torch",
            )
        if self.address is not None and capabilities.format == "module" and not self.task:
            raise UsageError(
                expected=f"a task that {self.address.shown} can make by its name, for '{self.profiler}'",
                received="one that was made here",
                cure="measure with a profiler that takes files, such as onnxruntime",
            )

    def bench(self, task: str, tell: Tell, waits: Tell = lambda holder: None) -> WorkerBench:
        """A process that measures, on the device; waits: told who has it, where another one does."""
        linked = reached(self.address, tell, wait=self.wait, waits=waits)
        return WorkerBench(self.profiler, self.spec, task, linked=linked)

    def looked(self) -> tuple[Capabilities, str]:
        """Capabilities and fingerprint of a device elsewhere, not waited for long: its address may be wrong."""
        bench = replace(self, wait=False).bench("", lambda _: None)
        try:
            found = bench.capabilities(), bench.fingerprint()
        finally:
            bench.close()
        self.check(found[0])
        return found

    def capabilities(self, clock: Clock) -> Capabilities:
        """What the profiler can do, with energy where its machine meters it, and with what follows by rates."""
        if self.address is not None:
            return self.rated(self.looked()[0])
        profiler = self.made(clock)
        found = self.metered(profiler)
        profiler.close()
        return found

    def metered(self, profiler: Profiler) -> Capabilities:
        """What a profiler in this process can do, with energy where this machine counts it, and what follows by rates.

        Raises:
            DeviceError: it does not, and was asked to.
        """
        found = profiler.capabilities()
        metered = ("energy",) if open_meter(found.meter, self.spec.meter) is not None else ()
        return self.rated(replace(found, metrics=(*found.metrics, *metered)))

    def rated(self, found: Capabilities) -> Capabilities:
        """The same with what follows by rates from what is measured."""
        more = (rate.metric for rate in self.rates if rate.base in found.metrics)
        return replace(found, metrics=(*found.metrics, *more))
