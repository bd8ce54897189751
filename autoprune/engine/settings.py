"""What the options of a search name. Knows names; loads what they name, and finds out what a device decides."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from types import ModuleType

from optuna.samplers import BaseSampler

from autoprune import registry
from autoprune.core.address import HERE, KnownDevice
from autoprune.core.goal import SearchGoal
from autoprune.core.measurement import RunSpec
from autoprune.core.metric import MetricKey, Source
from autoprune.core.precision import precisions_of
from autoprune.core.rate import parse_rates
from autoprune.core.reporter import Reporter
from autoprune.engine.known_device import found, meant
from autoprune.errors import UsageError
from autoprune.measure.setup import Setup
from autoprune.options.defaults import PLAIN_SAMPLER, PROFILER, SAMPLER
from autoprune.options.described import described
from autoprune.options.search_options import SearchOptions
from autoprune.samplers import SamplerContext, checked, needs_forecast
from autoprune.searching.reseeded import sampler_for


@dataclass(frozen=True, kw_only=True)
class Settings(SearchOptions):
    """Options of which a device has decided what nobody else has, and what they name."""

    @classmethod
    def settled(cls, options: SearchOptions) -> Settings:
        """The options, with the device's own profiler and threads where none are given."""
        known = meant(options.device)
        named, count = (known.profiler, known.threads) if known is not None else ("", 0)
        given = {item.name: getattr(options, item.name) for item, _ in described()}
        given["sampler_options"] = options.sampler_options or {}
        given["schedule_options"] = options.schedule_options or {}
        given["regularizer_options"] = options.regularizer_options or {}
        given["plans"] = options.plans or ()
        given["profiler"] = options.profiler or named or PROFILER
        given["threads"] = (count or 1) if options.threads is None else options.threads
        return cls(**given)

    @property
    def precisions(self) -> tuple[str, ...]:
        """That plans choose from, the dense model's first."""
        return precisions_of(self.precision)

    @property
    def run_spec(self) -> RunSpec:
        return RunSpec(self.threads or 1, self.batch, self.precisions[0], meter=self.meter)

    @cached_property
    def known_device(self) -> KnownDevice | None:
        """The device where it is neither here nor a node of the cluster."""
        return meant(self.device)

    @property
    def node(self) -> str:
        """What the cluster calls the node that measures, or from which the device elsewhere is asked."""
        return HERE if self.known_device is not None else self.device

    def setups(self, task: str, wanted: Iterable[str]) -> dict[Source, Setup]:
        """What is measured, and how, by what measurements are of; without a device, of the one that `device` names.

        task: its name for other processes; wanted: metrics that a budget names.

        Raises:
            UsageError: nobody knows a device of that name, or nothing is wanted of `device`.
        """
        costs = [key for name in wanted if (key := MetricKey.parse(name)).cost is not None]
        sources = dict.fromkeys(key.source for key in costs if not key.counted) or {Source(): None}
        if self.device != HERE and all(source.device for source in sources):
            raise UsageError(
                expected=f"a limit or an objective on '{self.device}', such as latency=50%",
                received=f"metrics of {', '.join(dict.fromkeys(source.device for source in sources))} only",
                cure="leave out --device",
            )
        return {
            source: replace(
                self._setup(source, task),
                memory=any(key.metric == "memory" and key.source == source for key in costs),
                rates=parse_rates(self.rate),
            )
            for source in sorted(sources, key=lambda source: bool(source.device))
        }

    def _setup(self, source: Source, task: str) -> Setup:
        """A named device is run as it was added. What that left open is as these settings say, where they do not say it
        because `device` was added so."""
        wait, name, spec = self.on_device_loss == "wait", source.device, replace(self.run_spec, work=source.work)
        if not name:
            address = None if self.known_device is None else self.known_device.address
            return Setup(self.profiler, spec, task=task, address=address, wait=wait, precisions=self.precisions)
        own = self.known_device
        profiler = PROFILER if own is not None and own.profiler else self.profiler
        spec = replace(spec, threads=1) if own is not None and own.threads else spec
        if name == HERE:
            if self.node != HERE:
                raise UsageError(
                    expected=f"metrics without a device, or of '{self.node}', which is the one that measures",
                    received=f"some of '{HERE}'",
                    cure="leave out --device, or the name in the limit",
                )
            return Setup(profiler, spec, task, wait=wait, precisions=self.precisions)
        known = found(name)
        spec = replace(spec, threads=known.threads or spec.threads)
        return Setup(
            known.profiler or profiler, spec, task=task, address=known.address, wait=wait, precisions=self.precisions
        )

    def __post_init__(self) -> None:
        super().__post_init__()
        for item, option in described():
            name = getattr(self, item.name)
            if not option.plugins or option.several:
                continue
            if item.name == "profiler":  # its library is needed where it measures
                registry.known(option.plugins, name or PROFILER)
            elif isinstance(name, str):
                registry.load(option.plugins, name)
        parse_rates(self.rate)
        if self.meter:
            registry.known("meters", self.meter.partition(":")[0])
        for name in self.training.distillers:
            registry.load("distillers", name)
        for name in self.trackers:
            registry.known("trackers", name)
        if self.sampler_options and not isinstance(self.sampler, str):
            cure = "give them to the sampler itself"
            raise UsageError(expected="options for a sampler by its name", received="a sampler", cure=cure)
        if isinstance(self.sampler, str):
            checked(registry.load("samplers", self.sampler), self.sampler_options)
        if self.deterministic and not isinstance(self.sampler, str):
            raise UsageError(
                expected="a sampler by its name in a deterministic search, as one is made for each trial",
                received=type(self.sampler).__name__,
                cure="name one of: " + ", ".join(registry.names("samplers")),
            )

    @property
    def wants_forecast(self) -> bool:
        """Whether the sampler is told what plans are expected to cost and to hurt."""
        return isinstance(self.sampler, str) and needs_forecast(self.sampler_module, self.options)

    @property
    def options(self) -> dict[str, str]:
        """Every option of a sampler that has a name."""
        return checked(self.sampler_module, self.sampler_options) if isinstance(self.sampler, str) else {}

    @property
    def sampler_module(self) -> ModuleType:
        """Of a sampler that has a name."""
        return registry.load("samplers", str(self.sampler))

    def made_sampler(self, context: SamplerContext, told: int = 0) -> BaseSampler:
        """The sampler for a context; told: trials of earlier processes."""
        if isinstance(self.sampler, BaseSampler):
            return self.sampler
        return sampler_for(self.sampler_module.create, context, deterministic=self.deterministic, told=told)


def able(settings: Settings, goal: SearchGoal, reporter: Reporter) -> Settings:
    """The settings, with another sampler where the default one cannot tell what to trade for what.

    Raises:
        UsageError: a sampler was asked for by its name that needs a quality and a cost, and there are not both.
    """
    if goal.quality is not None and goal.cost is not None:
        return settings
    if settings.sampler != SAMPLER:
        raise UsageError(
            expected=f"a quality and a cost to trade off with the sampler '{settings.sampler}'",
            received=", ".join(metric.name for metric in goal.objectives),
            cure="add an --objective, or "
            + ("leave out warm=true" if settings.sampler == PLAIN_SAMPLER else f"take the sampler '{PLAIN_SAMPLER}'"),
        )
    reporter.note(f"no quality and cost to trade off: the sampler is '{PLAIN_SAMPLER}'")
    return replace(settings, sampler=PLAIN_SAMPLER)
