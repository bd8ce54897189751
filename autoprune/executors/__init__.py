"""Where work is done. Knows the contract; each file beside this one is one executor.

An executor is a module with `create(cluster, device, reporter) -> Executor`. `drive` draws a job whenever it has room
for one, and yields each result; jobs are drawn lazily, so that a sampler sees every result that is known by then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar, runtime_checkable

from autoprune.core.cluster import Cluster
from autoprune.core.reporter import Reporter
from autoprune.finishing.successive_halving import SuccessiveHalving
from autoprune.finishing.tuner import Tuner
from autoprune.measure.any_device import AnyDevice
from autoprune.measure.device import DeviceSpec

Job = TypeVar("Job")
Result = TypeVar("Result")
Job_contra = TypeVar("Job_contra", contravariant=True)
Result_co = TypeVar("Result_co", covariant=True)


class Work(Protocol[Job_contra, Result_co]):
    """What is done to a job, wherever that is."""

    def __call__(self, job: Job_contra, /) -> Result_co:
        """Never raises for what a candidate does."""
        ...

    def lost(self, job: Job_contra, reason: str, /) -> Result_co:
        """The result of a job whose worker died each time it was tried."""
        ...


@runtime_checkable
class Stepwise(Protocol):
    """Work of three steps, whose middle one leaves this process idle: the device is at work. overlaps: whether other
    work meanwhile leaves the device alone."""

    overlaps: bool

    def begin(self, job: Any, /) -> Any: ...

    def measure(self, begun: Any, /) -> Any: ...

    def end(self, begun: Any, /) -> Any: ...


class Executor(Protocol):
    """workers: how many jobs are worked on at a time, at most; busy: how many are now."""

    workers: int
    busy: int

    def open_device(self, device: DeviceSpec) -> AnyDevice:
        """The device on which candidates are measured, where it is."""
        ...

    def drive(self, jobs: Iterator[Job | None], work: Work[Job, Result]) -> Iterator[Result]:
        """The result of each job, as they come. A None among the jobs says: none until a result has been taken."""
        ...

    def finetune(self, halving: SuccessiveHalving, tuner: Tuner) -> None:
        """Fine-tune until every run has its outcome."""
        ...

    def close(self) -> None:
        """Let go of what was started for the work; nothing of it is left."""
        ...


Create = Callable[[Cluster, str, Reporter], Executor]
