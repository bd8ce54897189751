"""What a search needs of a device, wherever that is. Knows the contract only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import Final, Protocol

from autoprune.bench.artifact import Artifact
from autoprune.core.forecast import CostForecast
from autoprune.core.measurement import Capabilities, Measurement
from autoprune.core.reporter import Advance
from autoprune.measure.setup import Setup
from autoprune.search_spaces.space import SearchSpace
from autoprune.surgery.cut_model import CutModel
from autoprune.surgery.example import Example

#: No limits, no ceilings.
NOTHING: Final[Mapping[str, float]] = MappingProxyType({})


class AnyDevice(Protocol):
    """What a search needs of a device: a `Device` of this process, or one elsewhere. setup: of what `packed` gives."""

    capabilities: Capabilities
    fingerprint: str
    setup: Setup
    batch: int
    example: Example

    def open(self) -> dict[str, Measurement]:
        """Measure the dense model. Only a device that is open measures others."""
        ...

    def measure(
        self, cut: CutModel, bounds: Mapping[str, float], ceilings: Mapping[str, float] = NOTHING
    ) -> dict[str, Measurement]:
        """Measure a candidate; see `Session.measure`."""
        ...

    def measure_again(self, models: Sequence[CutModel], advance: Advance) -> list[dict[str, Measurement]]:
        """Measure finished models in fresh processes."""
        ...

    def packed(self, cut: CutModel) -> Iterable[Artifact]:
        """What is measured of a model; the first that computes what it does counts. Only of a device that is open."""
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

    def undisturbed(self, cut: CutModel, load: Callable[[], object]) -> bool:
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
