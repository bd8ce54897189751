"""A child of this process that measures. Knows pipes, signals and scratch files."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final, TextIO

from autoprune.errors import CrashedError, DeviceError
from autoprune.remote.links import PASSIVE, answer, death, overdue
from autoprune.store.files import storing
from autoprune.store.machine import namespace

#: Scratch folders, and how much must be free where they lie in memory.
_PREFIX: Final = "autoprune-"
_ROOM: Final = 2 * 2**30
#: Bytes of its last words.
_WORDS: Final = 2**14


@dataclass
class ProcessLink:
    """Pipes to a child; it dies with this process.

    profiler: what it runs, for messages; blobs: a folder that holds them already, None for one of the link's own, from
    which they go when they are no longer lent; waits: told who has the device that the child waits for.
    """

    profiler: str
    blobs: Path | None = None
    waits: Callable[[str], None] = lambda holder: None
    process: subprocess.Popen[str] | None = field(default=None, init=False)
    _folder: Path = field(init=False)
    _errors: TextIO = field(init=False, repr=False)
    _buffer: str = field(default="", init=False, repr=False)

    def start(self, opening: Mapping[str, Any]) -> None:
        self._folder = scratch()
        self._errors = (self._folder / "stderr").open("w+", encoding="utf-8", errors="replace")
        arguments = ["--die-with-parent"] if threading.current_thread() is threading.main_thread() else []
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "autoprune.remote.worker", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**PASSIVE, **os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            start_new_session=True,
        )
        self._buffer = ""
        self._send({**opening, "blobs": str(self.blobs or self._folder)})

    def opened(self, limit_s: float) -> dict[str, Any]:
        found: dict[str, Any] = self._answer(limit_s, "to open")
        return found

    @contextlib.contextmanager
    def lent(self, blobs: Mapping[str, bytes]) -> Iterator[None]:
        try:
            with storing(self._folder):
                for name, content in blobs.items():
                    (self._folder / name).write_bytes(content)
            yield
        finally:
            for name in blobs:
                (self._folder / name).unlink(missing_ok=True)

    def ask(self, request: Mapping[str, Any], limit_s: float) -> Any:
        self._send({**request, "within_s": limit_s})  # it may outlive this process
        return self._answer(limit_s, f"to {request['call']}")

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def close(self) -> None:
        if self.process is None:
            return
        process, self.process = self.process, None
        for stream in (process.stdin, process.stdout):
            _close(stream)
        with contextlib.suppress(subprocess.TimeoutExpired):  # it is killed next
            process.wait(timeout=2)
        _kill_group(process)
        process.wait()
        self._errors.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def kill(self) -> None:
        """End it from another thread than the one that waits for its answer."""
        process = self.process
        if process is not None:
            _kill_group(process)

    def _send(self, message: Mapping[str, Any]) -> None:
        process = self._running()
        try:
            assert process.stdin is not None  # noqa: S101 - opened with a pipe above
            process.stdin.write(json.dumps(message) + "\n")
            process.stdin.flush()
        except (BrokenPipeError, OSError) as error:
            raise self._died() from error

    def _answer(self, limit_s: float, what: str) -> Any:
        return answer(lambda: self._line(limit_s, what), self.close, self.waits)

    def _line(self, limit_s: float, what: str) -> str:
        stream = self._running().stdout
        assert stream is not None  # noqa: S101 - opened with a pipe above
        while "\n" not in self._buffer:
            ready, _, _ = select.select([stream], [], [], limit_s)
            if not ready:
                self.close()
                raise overdue(what, limit_s)
            chunk = os.read(stream.fileno(), 1 << 20)
            if not chunk:
                raise self._died()
            self._buffer += chunk.decode()
        line, _, self._buffer = self._buffer.partition("\n")
        return line

    def _running(self) -> subprocess.Popen[str]:
        if self.process is None:
            raise CrashedError(expected="a process that measures", received="none", cure="measure again")
        return self.process

    def _died(self) -> DeviceError:
        """What the end of the process means; it is cleaned up."""
        code = self._running().wait()
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(size - _WORDS, 0))
        said = self._errors.read()
        self.close()
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return death(self.profiler, how, said, killed=code == -signal.SIGKILL)


def scratch() -> Path:
    """A new folder for files that live for a moment: in memory where there is enough; those of dead processes go."""
    shared = Path("/dev/shm")  # noqa: S108 - a folder of an unguessable name is made in it
    roomy = os.access(shared, os.W_OK) and shutil.disk_usage(shared).free > _ROOM
    parent = shared if roomy else Path(tempfile.gettempdir())
    for left in parent.glob(f"{_PREFIX}*-{namespace()}-*"):
        owner = left.name.removeprefix(_PREFIX).partition("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists() and Path("/proc/self").exists():
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-{namespace()}-", dir=parent))


def _close(stream: IO[str] | None) -> None:
    if stream is not None:
        with contextlib.suppress(BrokenPipeError):  # what was not sent was for a process that is gone
            stream.close()


def _kill_group(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
