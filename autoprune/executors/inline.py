"""One job after the other, in this process; the device may be at work beside it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import Any

from autoprune.core.address import HERE
from autoprune.core.cluster import Cluster
from autoprune.core.reporter import Reporter
from autoprune.errors import DeviceError, UsageError
from autoprune.executors import Job, Result, Stepwise, Work
from autoprune.finishing.successive_halving import SuccessiveHalving
from autoprune.finishing.tuner import Tuner
from autoprune.measure.any_device import AnyDevice
from autoprune.measure.device import Device, DeviceSpec


class Inline:
    """No other process but the one that measures."""

    workers = busy = 1

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter

    def open_device(self, device: DeviceSpec) -> AnyDevice:
        return Device(device, self._reporter)

    def drive(self, jobs: Iterator[Job | None], work: Work[Job, Result]) -> Iterator[Result]:
        """Yield each result before the next job is drawn; of work that overlaps, one job more is drawn before."""
        if isinstance(work, Stepwise) and work.overlaps:
            yield from _overlapped(jobs, work)
            return
        for job in jobs:
            if job is not None:
                yield work(job)

    def finetune(self, halving: SuccessiveHalving, tuner: Tuner) -> None:
        for result in self.drive(halving.jobs(), tuner):
            halving.report(result)

    def close(self) -> None:
        """Nothing was started."""


def _overlapped(jobs: Iterator[Any], work: Stepwise) -> Iterator[Any]:
    """The device has a job in another thread, while this one begins the next and ends the one before."""
    under_way: Future[Any] | None = None
    for job in jobs:
        begun = None if job is None else work.begin(job)
        measured = None if under_way is None else under_way.result()
        under_way = None if job is None else _aside(partial(work.measure, begun))
        if measured is not None:
            yield work.end(measured)
    if under_way is not None:
        yield work.end(under_way.result())


def _aside(call: Callable[[], Any]) -> Future[Any]:
    """What is called in another thread, which does not keep a process alive that was stopped."""
    promised: Future[Any] = Future()

    def run() -> None:
        try:
            promised.set_result(call())
        except BaseException as error:  # whoever waits for the result gets it
            promised.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return promised


def create(cluster: Cluster, device: str, reporter: Reporter) -> Inline:
    """Raises DeviceError for a device elsewhere, UsageError for more than one worker."""
    if device != HERE:
        raise DeviceError(
            expected=f"the device '{HERE}' with the executor 'inline'",
            received=f"'{device}'",
            cure="add it with `autoprune devices add`, or take --executor ray for a node of a cluster",
        )
    if cluster != Cluster() and cluster != Cluster(workers=1):
        raise UsageError(
            expected="one worker on this machine with the executor 'inline'",
            received=", ".join(f"{k}={v!r}" for k, v in vars(cluster).items() if v),
            cure="give --executor ray",
        )
    return Inline(reporter)
