"""Everything that decides how a search runs, but its task, budget and effort. Knows names; loads what they name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from optuna.samplers import BaseSampler

from autoprune import registry
from autoprune.core.cluster import Cluster
from autoprune.core.defaults import CRITERION, EXECUTOR, PROFILER, REPAIR, SAMPLER
from autoprune.core.measurement import RunSpec
from autoprune.core.space import SearchSpace
from autoprune.errors import UsageError
from autoprune.searching.reseeded import Reseeded, derived

_PLURALS: Final = {
    "sampler": "samplers",
    "criterion": "criteria",
    "repair": "repairs",
    "profiler": "profilers",
    "executor": "executors",
}


@dataclass(frozen=True)
class Settings:
    """Names of plug-ins and how they run.

    storage: URL of a database for the study, empty for a journal in the run directory; deterministic: proposals depend
    on the seed and on what was told before only, in the order in which it was asked for; the others as in `Cluster` and
    `RunSpec`.
    """

    sampler: str | BaseSampler = SAMPLER
    criterion: str = CRITERION
    repair: str = REPAIR
    space: str | None = None
    profiler: str = PROFILER
    device: str = "local"
    threads: int = 1
    batch: int = 0
    precision: str = "float32"
    executor: str = EXECUTOR
    workers: int = 0
    address: str = ""
    gpus: float = 0.0
    dashboard: bool = False
    storage: str = ""
    deterministic: bool = False
    seed: int = 0

    @property
    def run_spec(self) -> RunSpec:
        return RunSpec(self.threads, self.batch, self.precision)

    @property
    def cluster(self) -> Cluster:
        return Cluster(self.workers, self.address, self.gpus, self.dashboard)

    def __post_init__(self) -> None:
        _ = self.run_spec, self.cluster  # refuse what cannot be
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            cure = "pass a whole number to seed"
            raise UsageError(expected="seed of at least 0", received=repr(self.seed), cure=cure)
        for kind in _PLURALS:
            name = getattr(self, kind)
            if isinstance(name, str):
                registry.load(_PLURALS[kind], name)
        if self.deterministic and not isinstance(self.sampler, str):
            raise UsageError(
                expected="a sampler by its name in a deterministic search, as one is made for each trial",
                received=type(self.sampler).__name__,
                cure="name one of: " + ", ".join(registry.names("samplers")),
            )

    def made_sampler(self, space: SearchSpace, told: int = 0) -> BaseSampler:
        """The sampler of a search space; told: trials of earlier processes, whose random numbers are spent."""
        if isinstance(self.sampler, BaseSampler):
            return self.sampler
        module = registry.load("samplers", self.sampler)
        if self.deterministic:
            return Reseeded(lambda seed: module.create(space, seed), self.seed)
        made: BaseSampler = module.create(space, derived(self.seed, told) if told else self.seed)
        return made
