"""Several devices as one: a model is measured on each, and every number says on which. Knows names; not what they name.

What the device `pi` measures as `latency.p99` is called `latency.p99@pi`, and `decode.p99@pi` where it only decodes; a
device that was not named, and runs whole models, keeps its keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, TypeVar

from autoprune.bench.artifact import Artifact
from autoprune.core.forecast import CostForecast
from autoprune.core.measurement import Capabilities, Measurement
from autoprune.core.metric import MetricKey, Source
from autoprune.core.reporter import Advance
from autoprune.measure.any_device import NOTHING, AnyDevice
from autoprune.measure.setup import Setup
from autoprune.search_spaces.space import SearchSpace
from autoprune.surgery.cut_model import CutModel

T = TypeVar("T")


class Devices:
    """At least one device, by what its measurements are of. setups: how each of them runs models."""

    def __init__(self, named: Mapping[Source, AnyDevice], setups: Mapping[Source, Setup]) -> None:
        self.named = dict(named)
        first = next(iter(self.named.values()))
        self.batch, self.example = first.batch, first.example
        files = [name for name, device in self.named.items() if device.capabilities.format != "module"]
        self._packing = (files or list(self.named))[0]
        self.setup = setups[self._packing]
        ran = {name: f"{setups[name].profiler} on {setups[name].spec.threads} threads" for name in self.named}
        self.fingerprint = "; ".join(
            f"{str(name) or 'device'}: {ran[name]} of {device.fingerprint}" for name, device in self.named.items()
        )
        self.capabilities = together({name: device.capabilities for name, device in self.named.items()})

    def open(self) -> dict[str, Measurement]:
        return self._joined({name: device.open() for name, device in self.named.items()})

    def measure(
        self, cut: CutModel, bounds: Mapping[str, float], ceilings: Mapping[str, float] = NOTHING
    ) -> dict[str, Measurement]:
        return self._joined(
            {name: device.measure(cut, _own(bounds, name), _own(ceilings, name)) for name, device in self.named.items()}
        )

    def measure_again(self, models: Sequence[CutModel], advance: Advance) -> list[dict[str, Measurement]]:
        *others, last = self.named
        found = {name: self.named[name].measure_again(models, lambda text: None) for name in others}
        found[last] = self.named[last].measure_again(models, advance)
        return [self._joined({name: each[k] for name, each in found.items()}) for k in range(len(models))]

    def packed(self, cut: CutModel) -> Iterable[Artifact]:
        """For the first that reads files, if any does."""
        return self.named[self._packing].packed(cut)

    def reference(self) -> dict[str, Measurement]:
        return self._joined({name: device.reference() for name, device in self.named.items()})

    def restated(self, measured: Sequence[Mapping[str, Measurement]]) -> list[dict[str, Measurement]]:
        found = {name: device.restated([_own(each, name) for each in measured]) for name, device in self.named.items()}
        return [
            {**each, **self._joined({name: again[k] for name, again in found.items()})}
            for k, each in enumerate(measured)
        ]

    def costs(
        self, space: SearchSpace, metrics: Sequence[str], dense: Mapping[str, float], seed: int
    ) -> tuple[CostForecast, ...]:
        """What is counted is the same on all: the first device is asked."""
        found: list[CostForecast] = []
        for place, (name, device) in enumerate(self.named.items()):
            keys = [MetricKey.parse(metric) for metric in metrics]
            own = [str(key.here) for key in keys if key.source == name and not key.counted]
            counted = [str(key) for key in keys if key.counted and not place]
            if own or counted:
                known = {**dense, **_own(dense, name)}
                for each in device.costs(space, [*own, *counted], known, seed):
                    found.append(replace(each, metric=_called(each.metric, name)))
        return tuple(found)

    def undisturbed(self, cut: CutModel, load: Callable[[], object]) -> bool:
        return all(device.undisturbed(cut, load) for device in self.named.values())

    def waited(self) -> float:
        return sum(device.waited() for device in self.named.values())

    @contextmanager
    def computing(self) -> Iterator[None]:
        with ExitStack() as held:
            for device in self.named.values():
                held.enter_context(device.computing())
            yield

    def close(self) -> None:
        with ExitStack() as closing:
            for device in self.named.values():
                closing.callback(device.close)

    def _joined(self, measured: Mapping[Source, Mapping[str, Measurement]]) -> dict[str, Measurement]:
        return {
            named: replace(found, metric=named)
            for name, each in measured.items()
            for key, found in each.items()
            if (named := _called(key, name))
        }


def together(named: Mapping[Source, Capabilities]) -> Capabilities:
    """What can be said of several devices: every metric of each, and the zeros that all of them skip."""
    first = next(iter(named.values()))
    metrics = tuple(filter(None, (_called(key, name) for name, each in named.items() for key in each.metrics)))
    skipped = set(first.sparsity).intersection(*(each.sparsity for each in named.values()))
    return replace(first, metrics=metrics, sparsity=tuple(sorted(skipped)))


def several(named: Mapping[Source, AnyDevice], setups: Mapping[Source, Setup]) -> AnyDevice:
    """Devices as one; the only one itself where its measurements need no other names."""
    return named[Source()] if [*named] == [Source()] else Devices(named, setups)


def described(setup: Setup, device: AnyDevice) -> dict[str, Any]:
    """How models are run on a device, for records."""
    return {
        "name": setup.profiler,
        "device": device.fingerprint,
        "threads": setup.spec.threads,
        "batch": device.batch,
        "precision": setup.spec.precision,
    }


def profilers(setups: Mapping[Source, Setup]) -> str:
    """The profilers of several devices, as messages call them."""
    return ", ".join(dict.fromkeys(setup.profiler for setup in setups.values()))


def _own(values: Mapping[str, T], name: Source) -> dict[str, T]:
    """What is said of one device, as that device says it."""
    keys = {MetricKey.parse(text): value for text, value in values.items()}
    return {str(key.here): value for key, value in keys.items() if key.source == name}


def _called(text: str, name: Source) -> str:
    """What a device says, as it is called among others; empty for what has no name there."""
    key = MetricKey.parse(text)
    named = key if key.counted else name.named(key)
    return "" if named is None else str(named)
