"""`autoprune.check`: an artifact held against a budget and a quality floor. Knows limits; `engine.checked_artifact` has
what is measured of which artifact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

from autoprune.api.notebook import usual_reporter
from autoprune.core.address import HERE
from autoprune.core.budget import Budget
from autoprune.core.floor import check_quality
from autoprune.core.limit import Limit
from autoprune.core.measurement import Measurement
from autoprune.core.reporter import Reporter
from autoprune.engine.checked_artifact import Where, artifact_of
from autoprune.errors import UsageError
from autoprune.tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class Held:
    """A limit, and what was measured.

    Attributes:
        limit: That is to be kept.
        bound: The limit in SI units.
        measured: What is held against it.
        kept: Whether the worse end of its interval keeps it.
    """

    limit: Limit
    bound: float
    measured: Measurement
    kept: bool


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What `check` returns.

    Attributes:
        limits: Each with what was measured.
        measurements: All of them by key.
    """

    limits: tuple[Held, ...]
    measurements: Mapping[str, Measurement] = field(repr=False)

    @property
    def kept(self) -> bool:
        """Whether every limit is kept."""
        return all(each.kept for each in self.limits)


def check(
    subject: str | PathLike[str],
    budget: str | Sequence[str] = (),
    *,
    floor: str | Sequence[str] = (),
    device: str = HERE,
    profiler: str = "",
    threads: int = 0,
    task: Task | str | None = None,
    split: str = "validation",
    trust: bool = False,
    reporter: Reporter | None = None,
) -> Checked:
    """Measure an artifact, and hold it against limits.

    Args:
        subject: The folder of a finished model, a run directory (its best model), or what `export` wrote: its folder or
            the file in it.
        budget: Limits, such as "latency=5ms"; costs in absolute terms, as no dense model is measured beside it.
        floor: Limits on qualities, such as "accuracy>=0.98" or "accuracy>=-1%"; the same as more of `budget`.
        device: Where costs are measured.
        profiler: What runs it; by default that of the device, else what its run measured with or the export's own.
        threads: Of the processor; 0 for those of the device, or of the run.
        task: That scores it, where no file names it, or an export names one that is code.
        split: Of the data, on which qualities are scored.
        trust: Whether an export may run code: a file as it is opened (see `load_exported`), and the task that it names
            as `file.py:callable` or `module:callable`. A finished model's folder is opened by its task in any case.
        reporter: Who is told of progress; default: the logger "autoprune".

    Returns:
        Each limit with its measurement, and whether it is kept.

    Raises:
        UsageError: no limit, a share of the dense model's cost, what is not measured of this artifact, a profiler that
            does not run its format, or no task but one that is code of an export.
        DeviceError: it cannot be measured.
        StorageError: there is no such artifact, or one that is not opened without trust.

    Example:
        >>> autoprune.check("runs/digits-1", "latency=5ms", floor="accuracy>=0.97").kept  # doctest: +SKIP
    """
    limits = Budget.parse(*_listed(budget), *_listed(floor))
    _absolute(limits)
    where = Where(device=device, profiler=profiler, threads=threads, trust=trust, reporter=reporter or usual_reporter())
    artifact = artifact_of(Path(subject), task, where)
    known: dict[str, Measurement] = {}
    dense: dict[str, Measurement] = {}
    if any(limit.is_cost for limit in limits.limits):
        known |= artifact.costs()
    if not all(limit.is_cost for limit in limits.limits):
        scoring = artifact.task()
        limits = limits.read_for(scoring.metrics)
        for limit in limits.limits:
            for metric in scoring.metrics:
                if metric.name == limit.metric:
                    check_quality(limit, metric)
        known |= scoring.score(artifact.model(), split)
        if any(limit.basis != "absolute" for limit in limits.limits):
            dense = scoring.score(scoring.model, split)
    return Checked(limits=tuple(_held(limit, known, dense) for limit in limits.limits), measurements=known)


def _listed(limits: str | Sequence[str]) -> Sequence[str]:
    return [limits] if isinstance(limits, str) else limits


def _absolute(budget: Budget) -> None:
    """Refuse no limit at all, and shares of a dense model that is not there."""
    if not budget.limits:
        raise UsageError(expected="a limit", received="none", cure="give for example --budget latency=5ms")
    for limit in budget.limits:
        if limit.is_cost and limit.basis != "absolute":
            raise UsageError(
                expected="costs in absolute terms, as no dense model is measured beside an artifact",
                received=str(limit),
                cure="write for example latency=5ms",
            )


def _held(limit: Limit, known: Mapping[str, Measurement], dense: Mapping[str, Measurement]) -> Held:
    found = known.get(limit.key)
    if found is None:
        raise UsageError(
            expected=f"a limit on {', '.join(known)}",
            received=str(limit),
            cure="limit what is measured of this artifact, on this device",
        )
    own = dense[limit.key].value if limit.key in dense else 0.0
    # A quality is held by its value, as in a search: its interval is that of the data, not of the artifact.
    ends = (found.low, found.high) if limit.is_cost else (found.value, found.value)
    return Held(limit=limit, bound=limit.bound(own), measured=found, kept=limit.excess(*ends, own) <= 0)
