"""One measurement at a time on a device. Knows leases between processes of one machine; not what is measured.

A lock that its holder keeps for ever is no good: a holder may be stopped in the middle. A lease is renewed by a thread
of the holder; where that stops, it expires and the next process takes it with a higher fencing number, by which the
old holder learns, when it wakes, that what it measured meanwhile counts for nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import filelock

from autoprune.core.clock import Clock
from autoprune.errors import DeviceError
from autoprune.store.files import storing
from autoprune.store.machine import boot, namespace

#: A lease that is not renewed for so long belongs to nobody.
TERM_S: Final = 8.0
_RENEW_S: Final = 1.0
_POLL_S: Final = 0.01
_TELL_S: Final = 2.0


class LeaseLostError(DeviceError):
    """Another process took the device meanwhile; what was measured under the lease is void."""


@dataclass
class Lease:
    """A device that one process holds at a time.

    path: of the lease's record; its folder exists; waiting: called with who has the device, each time that some seconds
    were waited for it, at once or in all. Reentrant: who holds it may hold it again.
    """

    path: Path
    clock: Clock
    term_s: float = TERM_S
    waiting: Callable[[str], None] = lambda holder: None
    _depth: int = field(default=0, init=False)
    _waited: float = field(default=0.0, init=False)
    _fence: int = field(default=0, init=False)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Wait for the device and hold it.

        Raises:
            LeaseLostError: at the end, where it expired meanwhile and another process took it.
        """
        if self._depth:
            yield
            return
        self._take()
        self._depth += 1
        ended = threading.Event()
        renewing = threading.Thread(target=self._renew, args=(ended,), daemon=True)
        renewing.start()
        try:
            yield
        finally:
            ended.set()
            renewing.join()
            self._depth -= 1
            kept = self._give_back()
        if not kept:
            raise LeaseLostError(
                expected=f"to hold the device for a whole measurement (lease {self._fence})",
                received="the lease expired, as this process was stopped, and another one took the device",
                cure="measure again; do not stop a process that measures",
            )

    def _take(self) -> None:
        looked = self.clock.wall()
        while True:
            with storing(self.path), self._exclusive():
                record = self._read()
                if self._free(record):
                    self._fence = int(record.get("fence", 0)) + 1
                    self._write(self.clock.wall() + self.term_s)
                    return
            # Of many short waits, as of two searches that take turns, none is long.
            self._waited, looked = self._waited + self.clock.wall() - looked, self.clock.wall()
            if self._waited > _TELL_S:
                self._waited = 0.0
                self.waiting(f"process {record.get('pid')}")
            self.clock.sleep(_POLL_S)

    def _free(self, record: dict[str, Any]) -> bool:
        """Whether nobody holds it: never taken, given back, expired, of an earlier boot, or its holder is dead."""
        if record.get("boot") != boot() or not self.clock.wall() < float(record.get("until", 0)):
            return True
        if record.get("namespace") != namespace():  # of another container: whether it lives cannot be seen from here
            return False
        try:
            os.kill(int(record["pid"]), 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        return False

    def _renew(self, ended: threading.Event) -> None:
        while not ended.wait(_RENEW_S):
            # What cannot be written now may be in a second; else it expires, and the end tells whether it was taken.
            with contextlib.suppress(OSError), self._exclusive():
                if self._ours(self._read()):
                    self._write(self.clock.wall() + self.term_s)

    def _give_back(self) -> bool:
        """Whether it was still ours."""
        with storing(self.path), self._exclusive():
            ours = self._ours(self._read())
            if ours:
                self._write(0.0)
        return ours

    def _ours(self, record: dict[str, Any]) -> bool:
        return {**record, "until": 0.0} == self._record(0.0)

    def _exclusive(self) -> filelock.BaseFileLock:
        return filelock.FileLock(self.path.with_suffix(".lock"))

    def _read(self) -> dict[str, Any]:
        try:
            record = json.loads(self.path.read_bytes())
        except (OSError, ValueError):  # nobody has held it yet, or its holder died while writing
            return {}
        return record if isinstance(record, dict) else {}

    def _write(self, until: float) -> None:
        written = self.path.with_suffix(".new")  # a name for all, as only one at a time writes
        written.write_text(json.dumps(self._record(until)))
        written.replace(self.path)

    def _record(self, until: float) -> dict[str, Any]:
        return {
            "pid": os.getpid(), "namespace": namespace(), "fence": self._fence, "until": until, "boot": boot()
        }  # fmt: skip


class NoLease:
    """For devices that take any number of measurements at once."""

    @contextmanager
    def held(self) -> Iterator[None]:
        yield


def device_lease(
    folder: Path,
    fingerprint: str,
    clock: Clock,
    *,
    exclusive: bool,
    waiting: Callable[[str], None] = lambda holder: None,
) -> Lease | NoLease:
    """What must be held around each measurement on the device of that fingerprint.

    All runtimes of one processor share it: the device is the first part of the fingerprint.
    """
    if not exclusive:
        return NoLease()
    # The boot names the machine: a home directory may be shared by several with the same processor.
    device = f"{boot()} {fingerprint.partition(' / ')[0]}"
    return Lease(folder / f"{hashlib.sha256(device.encode()).hexdigest()[:16]}.lease", clock, waiting=waiting)
