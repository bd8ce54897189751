"""Who may measure on a device. Knows leases, their processes and the one queue; neither HTTP nor what is measured.

A lease is a process that measures, for one driver, as long as it asks at least every `ttl_s` seconds. All jobs of all
leases run one at a time, first come first served. A lease that ends takes its process with it, and what a job of it
brings after that is thrown away: its driver finds that the lease is gone, and measures again under a new one with a
higher fencing number.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from autoprune.agent.settings import AgentSettings, FullError
from autoprune.errors import AutopruneError, DeviceError, RefusedError, UnreachableError, describe
from autoprune.remote.client import OPEN_S
from autoprune.remote.links import told
from autoprune.remote.links.process import ProcessLink
from autoprune.store.files import write_atomic

#: The job that opens a lease's process.
OPENING: Final = "open"
#: Answers kept of each lease: drivers ask for one at a time.
_KEPT: Final = 32
_AT_ONCE: Final = 8
_SWEEP_S: Final = 0.5


class ConflictError(RefusedError):
    """A job's id that stands for something else."""


Log = Callable[[Mapping[str, Any]], None]


@dataclass
class Job:
    """A request with its answer; body: the whole order, so that the same id cannot mean two things."""

    id: str
    body: str
    work: Callable[[], Any]
    call: str
    files: contextlib.AbstractContextManager[None]
    state: str = "queued"
    reply: dict[str, Any] | None = None
    done: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class Lease:
    """One driver's process."""

    id: str
    fence: int
    link: ProcessLink
    opening: Mapping[str, Any]
    seen: float
    jobs: OrderedDict[str, Job] = field(default_factory=OrderedDict)
    running: bool = False
    opened: bool = False
    over: str = ""


class Leases:
    """All leases of one device. Runs in one event loop."""

    def __init__(self, settings: AgentSettings, folder: Path, blobs: Path, log: Log) -> None:
        self._settings, self._blobs, self._log = settings, blobs, log
        self._fences = folder / "fence.json"
        self._fence = _stored(self._fences)
        self._device = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self.known: dict[str, Lease] = {}
        self.waiting: OrderedDict[str, Job] = OrderedDict()

    def grant(self, opening: Mapping[str, Any]) -> Lease:
        """A new lease, whose process begins to open when its turn comes.

        Raises:
            FullError: there are as many as may be.
        """
        if len(self.known) >= self._settings.leases:
            raise FullError(
                expected=f"at most {self._settings.leases} leases at a time",
                received="one more",
                cure="wait until another driver has ended",
            )
        self._fence += 1
        write_atomic(self._fences, json.dumps(self._fence).encode())
        link = ProcessLink(str(opening["profiler"]), self._blobs)
        limit = self._settings.memory
        asked = opening["memory"]
        memory = min(limit, asked) if limit is not None and asked is not None else asked or limit
        lease = Lease(secrets.token_hex(16), self._fence, link, {**opening, "memory": memory}, time.monotonic())
        self.known[lease.id] = lease
        self._enqueue(lease, Job(OPENING, "", lambda: link.opened(OPEN_S), OPENING, contextlib.nullcontext()))
        return lease

    def find(self, lease: str, fence: int) -> Lease:
        """A lease, which its driver has asked for just now.

        Raises:
            UnreachableError: it has ended, or was never granted.
        """
        found = self.known.get(lease)
        if found is None or found.fence != fence:
            raise gone("it ended, or the agent was started anew")
        found.seen = time.monotonic()
        return found

    def order(
        self,
        lease: Lease,
        job: str,
        body: str,
        request: Mapping[str, Any],
        limit_s: float,
        files: contextlib.AbstractContextManager[None],
    ) -> Job:
        """A job of that id: a new one, or the one that was ordered before.

        Raises:
            ConflictError: the id stands for another request. FullError: too many are not done yet. UnreachableError:
                the lease's process died, and the lease with it.
        """
        known = lease.jobs.get(job)
        if known is not None:
            if known.body != body:
                raise ConflictError(expected="one request a job id", received="another one", cure="take a new id")
            return known
        if lease.opened and not lease.link.alive():
            self.end(lease, "its process died")
            raise gone(lease.over)
        if sum(not job.done.is_set() for job in lease.jobs.values()) >= _AT_ONCE:
            raise FullError(expected=f"at most {_AT_ONCE} jobs at a time", received="one more", cure="wait for one")
        limit = min(limit_s, self._settings.job_s)
        made = Job(job, body, lambda: lease.link.ask(request, limit), str(request["call"]), files)
        self._enqueue(lease, made)
        return made

    def ahead(self, job: Job) -> int:
        """How many jobs come first."""
        return list(self.waiting.values()).index(job) if job.state == "queued" else 0

    def end(self, lease: Lease, why: str) -> None:
        """End a lease with its process; its jobs bring nothing any more."""
        if self.known.pop(lease.id, None) is None:
            return
        lease.over = why
        lease.link.kill()
        for job in lease.jobs.values():
            if not job.done.is_set():
                job.reply = {"error": told(gone(why))}
                job.done.set()
        self._log({"event": "lease ended", "lease": lease.id, "fence": lease.fence, "why": why})
        if not lease.running:
            self._start(asyncio.to_thread(lease.link.close))

    async def sweep(self) -> None:
        """End leases that nobody asks for, for ever."""
        while True:
            slept = time.monotonic()
            await asyncio.sleep(_SWEEP_S)
            now = time.monotonic()
            for lease in list(self.known.values()):
                lease.seen += max(now - slept - 2 * _SWEEP_S, 0.0)  # the agent itself was stopped: nobody was heard
                if now - lease.seen > self._settings.ttl_s:
                    self.end(lease, f"nobody asked for {self._settings.ttl_s:.0f} s")

    async def close(self) -> None:
        for lease in list(self.known.values()):
            self.end(lease, "the agent ends")
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _enqueue(self, lease: Lease, job: Job) -> None:
        lease.jobs[job.id] = job
        while len(lease.jobs) > _KEPT and next(iter(lease.jobs.values())).done.is_set():
            lease.jobs.popitem(last=False)
        self.waiting[f"{lease.id} {job.id}"] = job
        job.files.__enter__()
        self._start(self._run(lease, job))

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, lease: Lease, job: Job) -> None:
        try:
            async with self._device:
                del self.waiting[f"{lease.id} {job.id}"]
                if lease.over:
                    return
                job.state, lease.running = "running", True
                begin = time.monotonic()
                # Another process may have the device, for which answers wait; not longer than this, with all behind it.
                ending = asyncio.get_running_loop().call_later(2 * self._settings.job_s, lease.link.kill)
                try:
                    reply = await self._worked(lease, job)
                finally:
                    ending.cancel()
                    end, lease.running = time.monotonic(), False
            about = {"lease": lease.id, "fence": lease.fence, "job": job.id, "call": job.call}
            failed = reply.get("error", {}).get("kind", "")
            self._log({"event": "job", **about, "begin": begin, "end": end, "failed": failed, "late": bool(lease.over)})
            if lease.over:  # ended while it ran: what came of it counts for nothing
                await asyncio.to_thread(lease.link.close)
                return
            job.reply = reply
            lease.opened = True
        finally:
            job.files.__exit__(None, None, None)
            job.state, job.work = "done", _nothing
            job.done.set()

    async def _worked(self, lease: Lease, job: Job) -> dict[str, Any]:
        if job.id == OPENING:
            try:
                # Not in a thread: a child dies with the thread that started it. Not before its turn: opening is work.
                lease.link.start(lease.opening)
            except (OSError, AutopruneError) as error:
                return _failed(error)
        return await asyncio.to_thread(_answered, job.work)


def gone(why: str) -> UnreachableError:
    """The lease is over."""
    return UnreachableError(
        expected="a lease that the agent knows",
        received=f"one that is over: {why}",
        cure="measure again under a new one",
    )


def _answered(work: Callable[[], Any]) -> dict[str, Any]:
    try:
        return {"ok": work()}
    except Exception as error:  # whatever happens to one lease is that lease's
        return _failed(error)


def _failed(error: Exception) -> dict[str, Any]:
    if not isinstance(error, AutopruneError):
        error = DeviceError(
            expected="an answer of the process that measures", received=describe(error), cure="measure again"
        )
    return {"error": told(error)}


def _nothing() -> None:
    """What is left of a job's work: it may hold a large request."""


def _stored(path: Path) -> int:
    """The last fencing number; where that cannot be read, one beyond all that this clock could have given."""
    try:
        return int(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return 0
    except (OSError, ValueError, TypeError):
        return int(time.time())
