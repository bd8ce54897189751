"""Jobs on a Ray cluster: workers that stay, each with the model and the data; and one process that has the device."""

from __future__ import annotations

import itertools
import math
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from autoprune.core.address import HERE
from autoprune.core.cluster import Cluster
from autoprune.core.reporter import Reporter
from autoprune.errors import DeviceError, TaskError, describe
from autoprune.executors import Job, Result, Work
from autoprune.executors._cluster import Connection, connect
from autoprune.finishing.successive_halving import SuccessiveHalving
from autoprune.finishing.tuner import Tuner
from autoprune.measure.any_device import AnyDevice
from autoprune.measure.device import DeviceSpec
from autoprune.tasks.locate import BY_PATH, package_of

#: How often a job is tried whose worker died.
_ATTEMPTS: Final = 3
#: A job that takes so many times as long as the slowest before it, and at least so many seconds, will never end. While
#: none has ended, nobody can tell.
_SLOWER: Final = 20.0
_PATIENCE_S: Final = 900.0
_POLL_S: Final = 1.0
_PLACE_S: Final = 20.0
#: Enough of a device's resource to be placed on its node; the device is kept by its lease.
_TOUCH: Final = 0.001


@dataclass
class _Running:
    job: Any
    attempt: int = 0
    worker: Any = None
    began: float = 0.0


class _Stream:
    """Jobs that are drawn one by one: none after the end, and after a None none before a result was taken."""

    def __init__(self, jobs: Iterator[Any]) -> None:
        self._jobs, self.ended, self._dry = jobs, False, False

    def moved(self) -> None:
        """A result was taken."""
        self._dry = False

    def next(self) -> _Running | None:
        """A job, or None where there is none now."""
        job = None if self.ended or self._dry else next(self._jobs, _END)
        self.ended, self._dry = self.ended or job is _END, job is None
        return None if job is None or job is _END else _Running(job)


class RayExecutor:
    """Connects when it is first needed. busy: workers that have a job."""

    def __init__(self, cluster: Cluster, device: str, reporter: Reporter) -> None:
        self._cluster, self._device, self._reporter = cluster, device, reporter
        self.workers = cluster.workers or len(os.sched_getaffinity(0))
        self.busy = 0
        self._patient = False
        self._connection: Connection | None = None
        self._idle: list[Any] = []
        self._hired: dict[Any, Any] = {}
        self._failures = 0
        self._keys = itertools.count()

    def open_device(self, device: DeviceSpec) -> AnyDevice:
        """The device in a process of its own, on this machine or on the node that is called so.

        Raises:
            DeviceError: no node of the cluster is called so, or there are fewer GPUs than asked for.
        """
        ray = self._connected()
        from autoprune.executors._remote import DeviceActor, RemoteDevice

        # A job that waits for a device which is out of reach does not hang.
        self._patient |= device.setup.address is not None and device.setup.wait
        resource = "" if self._device == HERE else f"device:{self._device}"
        offered = ray.cluster_resources()
        if resource and resource not in offered:
            known = sorted(name.removeprefix("device:") for name in offered if name.startswith("device:"))
            raise DeviceError(
                expected=f"a node that was started with --resources='{{\"{resource}\": 1}}'",
                received=f"none; devices of this cluster: {', '.join(known) or 'none'}",
                cure="start its node so, or choose one of those",
            )
        if offered.get("GPU", 0.0) < self._cluster.gpus * self.workers:
            raise DeviceError(
                expected=f"{self._cluster.gpus * self.workers:g} GPUs for {self.workers} workers",
                received=f"{offered.get('GPU', 0.0):g} in the cluster",
                cure="lower --gpus or --workers",
            )
        placed: dict[str, Any] = {"resources": {resource: _TOUCH}}
        if not resource:
            node = ray.get_runtime_context().get_node_id()
            here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node, soft=False)
            placed = {"scheduling_strategy": here}
        options = {"num_cpus": 0, "max_restarts": -1, "max_concurrency": self.workers + 4, **placed}
        name = f"profiler:{self._device}:{ray.get_runtime_context().get_job_id()}:{next(self._keys)}"
        actor = ray.remote(DeviceActor).options(name=name, **options).remote()
        return RemoteDevice(actor, ray.put(self._packed(device)), resource, device, self._reporter)

    def drive(self, jobs: Iterator[Job | None], work: Work[Job, Result]) -> Iterator[Result]:
        """At most one job a worker is out; a job whose worker dies is done again by another one."""
        ray = self._connected()
        key, packed = f"work {next(self._keys)}", [ray.put(self._packed(work))]
        again: list[_Running] = []
        running: dict[Any, _Running] = {}
        slowest, began, stream = 0.0, time.monotonic(), _Stream(jobs)
        try:
            while True:
                self._hire(self.workers - len(running))
                while self._idle and (next_up := again.pop() if again else stream.next()) is not None:
                    next_up.worker, next_up.began = self._idle.pop(), time.monotonic()
                    running[next_up.worker.run.remote(key, packed, next_up.job)] = next_up
                self.busy = len(running)
                if not running and (self._idle or (stream.ended and not again)):
                    return
                for reference in ray.wait([*running, *self._hired], num_returns=1, timeout=_POLL_S)[0]:
                    if reference in self._hired:
                        self._arrived(reference)
                        continue
                    done = running.pop(reference)
                    self.busy = len(running)
                    result = self._result(done, reference, work)
                    if result is _AGAIN:
                        again.append(done)
                        continue
                    slowest = max(slowest, time.monotonic() - done.began)
                    yield result
                    stream.moved()
                overdue = max(_PATIENCE_S, _SLOWER * slowest) if slowest and not self._patient else math.inf
                for each in running.values():
                    if time.monotonic() - each.began > overdue:
                        ray.kill(each.worker)
                if not running and not self._idle and time.monotonic() - began > _PLACE_S:
                    began = math.inf
                    free = ray.available_resources()
                    self._reporter.warn(
                        f"no worker has found a place yet: each wants {self._share()[0]:.2g} processors and "
                        f"{self._cluster.gpus:g} GPUs; free: {free.get('CPU', 0):g} and {free.get('GPU', 0):g}"
                    )
        finally:
            self.busy = 0
            for each in running.values():
                ray.kill(each.worker)

    def _result(self, done: _Running, reference: Any, work: Work[Any, Any]) -> Any:
        """What a worker gave; `_AGAIN` where it died and its job is to be done again."""
        import ray

        try:
            result = ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except ray.exceptions.RayError as error:
            reason = f"the process of a worker died ({type(error).__name__.removesuffix('Error')})"
            done.attempt += 1
            if done.attempt < _ATTEMPTS:
                self._reporter.warn(f"{reason}; its candidate is evaluated again")
                return _AGAIN
            return work.lost(done.job, f"{reason}, {_ATTEMPTS} times")
        self._idle.append(done.worker)
        return result

    def finetune(self, halving: SuccessiveHalving, tuner: Tuner) -> None:
        for result in self.drive(halving.jobs(), tuner):
            halving.report(result)

    def close(self) -> None:
        if self._connection is not None:
            self._idle.clear()
            self._hired.clear()
            self._connection.close()
            self._connection = None

    def _connected(self) -> ModuleType:
        """Ray, once this process is connected to its cluster."""
        import ray
        import ray.util.scheduling_strategies

        if self._connection is None:
            self._connection = connect(self._cluster, self.workers, self._reporter)
            if not self._cluster.workers and self._cluster.address:
                self.workers = max(int(ray.cluster_resources().get("CPU", 1)), 1)
        return ray

    def _hire(self, count: int) -> None:
        """As many workers without a job; who finds no place in the cluster now comes when there is one."""
        import ray

        from autoprune.executors._remote import EvaluatorActor

        processors, gpus = self._share()
        options = {"num_cpus": min(processors, 1.0), "num_gpus": gpus, "max_restarts": 0}
        while len(self._idle) + len(self._hired) < count:
            made = ray.remote(EvaluatorActor).options(scheduling_strategy="SPREAD", **options)
            worker: Any = made.remote(max(int(processors), 1))
            self._hired[worker.ready.remote()] = worker

    def _arrived(self, reference: Any) -> None:
        """A worker that was hired is there, or will never be.

        Raises:
            DeviceError: it is the last of too many that did not start.
        """
        import ray

        worker = self._hired.pop(reference)
        try:
            ray.get(reference)
        except ray.exceptions.RayError as error:
            self._failures += 1
            if self._failures > _ATTEMPTS * self.workers:
                raise DeviceError(
                    expected="workers that start",
                    received=f"{self._failures} that died at once ({describe(error)})",
                    cure="install the same versions of autoprune and torch on all nodes",
                ) from error
        else:
            self._failures = 0
            self._idle.append(worker)

    def _share(self) -> tuple[float, float]:
        """Processors and GPUs of one worker; those of the cluster are dealt out so that all workers find a place."""
        import ray

        return ray.cluster_resources().get("CPU", 1.0) / self.workers, self._cluster.gpus

    def _dismiss(self) -> None:
        """End the workers that have nothing to do, so that others find a place."""
        import ray

        for worker in (*self._idle, *self._hired.values()):
            ray.kill(worker)
        self._idle.clear()
        self._hired.clear()

    def _packed(self, what: Any) -> bytes:
        """Something for another process, with the modules that only this one can find.

        Raises:
            TaskError: it cannot be sent.
        """
        import ray

        try:
            with _by_value(ray.cloudpickle):
                packed: bytes = ray.cloudpickle.dumps(what)
        except Exception as error:
            raise TaskError(
                expected="a task that can be sent to another process",
                received=describe(error),
                cure="keep open files, locks and connections out of the model, the data and evaluate; "
                "or search with --executor inline",
            ) from error
        return packed


_END: Final = object()
_AGAIN: Final = object()


def create(cluster: Cluster, device: str, reporter: Reporter) -> RayExecutor:
    return RayExecutor(cluster, device, reporter)


@contextmanager
def _by_value(pickler: Any) -> Iterator[None]:
    """Modules that were found by the path of a file, those beside it, and its package travel with what uses them."""
    files = {
        name: Path(module.__file__)
        for name, module in tuple(sys.modules.items())
        if getattr(module, "__file__", None) and isinstance(module.__file__, str)
    }
    found = [file for name, file in files.items() if name.startswith(BY_PATH)]
    beside = {file.parent for file in found}
    packages = {root / name.partition(".")[0] for root, name in map(package_of, found) if root is not None}
    named = [
        sys.modules[name]
        for name, file in files.items()
        if (file.parent in beside or packages & {*file.parents})
        and "site-packages" not in file.parts
        and name != "__main__"
        and sys.modules[name].__name__ == name
    ]
    for module in named:
        pickler.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in named:
            pickler.unregister_pickle_by_value(module)
