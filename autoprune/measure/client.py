"""A bench in a process of its own. Knows how to start it, how long to wait, and what its death means.

What a model does there, it does to that process alone: a crash, a hang and a hunger for memory become errors with
names, and the next call finds a new process.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Final

import numpy as np

from autoprune import errors
from autoprune.core.measurement import Block, Capabilities, RunSpec
from autoprune.errors import AutopruneError, CrashedError, DeviceError, ExhaustedError, TimedOutError, one_line
from autoprune.measure.artifact import Artifact
from autoprune.measure.bench import WARM_S
from autoprune.measure.memory import available
from autoprune.store.device import cache_folder
from autoprune.store.files import storing

#: Seconds until an answer is overdue: of opening (the task may train its model), and of the first model.
OPEN_S: Final = 900.0
FIRST_S: Final = 600.0
#: A model may need so many times as long as the slowest before it.
_SLOWER: Final = 10
#: What libraries say that end a process because they got no memory.
_STARVED: Final = ("Thread creation failed", "bad_alloc", "Cannot allocate memory")
#: Scratch folders, and how much must be free where they lie in memory.
_PREFIX: Final = "autoprune-"
_ROOM: Final = 2 * 2**30
#: The share of the machine's free memory that a model may use.
_MEMORY: Final = 0.9
#: Threads that wait by spinning would disturb the very thing that is measured.
PASSIVE: Final = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "0",
    "KMP_BLOCKTIME": "0",
    "OPENBLAS_NUM_THREADS": "1",
}


@dataclass
class WorkerBench:
    """What `measure.worker` offers, through a pipe; one request at a time.

    task: how the process finds the task whose modules it measures, empty where artifacts are whole files;
    memory: bytes that a model may use, None for most of what is free; patience: seconds until an answer is overdue, 0:
    as the profiler declares.
    """

    profiler: str
    spec: RunSpec
    task: str = ""
    memory: float | None = None
    patience: float = 0.0
    _process: subprocess.Popen[str] | None = field(default=None, init=False)
    _about: dict[str, Any] | None = field(default=None, init=False)
    _slowest: float = field(default=0.0, init=False)
    _started: int = field(default=0, init=False)

    def start(self) -> None:
        """Begin to open; whoever asks first waits for it."""
        self._started += 1
        self._folder = _scratch()
        self._errors = (self._folder / "stderr").open("w+", encoding="utf-8", errors="replace")
        arguments = ["--die-with-parent"] if threading.current_thread() is threading.main_thread() else []
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "autoprune.measure.worker", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**PASSIVE, **os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            start_new_session=True,
        )
        self._buffer = ""
        self._send(
            {
                "profiler": self.profiler,
                "spec": asdict(self.spec),
                "task": self.task,
                "leases": str(cache_folder("leases")),
                "memory": self.memory if self.memory is not None else _allowed(),
            }
        )

    def capabilities(self) -> Capabilities:
        raw: dict[str, Any] = self._opened()["capabilities"]
        fields: dict[str, Any] = {key: tuple(each) if isinstance(each, list) else each for key, each in raw.items()}
        return Capabilities(**fields)

    def fingerprint(self) -> str:
        return str(self._opened()["fingerprint"])

    def prepare(self, name: str, artifact: Artifact, warm_s: float = WARM_S) -> None:
        self._opened()
        start = time.monotonic()
        self._with_files("prepare", artifact, name=name, warm_s=warm_s)
        self._slowest = max(self._slowest, time.monotonic() - start)

    def memory_of(self, artifact: Artifact) -> float:
        """See `Bench.memory`; right only in a process that has measured nothing before."""
        return float(self._with_files("memory", artifact))

    def rounds(self, names: Sequence[str], count: int, min_s: float, min_runs: int, seed: int) -> list[list[Block]]:
        longer = count * len(names) * (self._slowest + min_s)
        found = self._ask("rounds", longer, names=list(names), count=count, min_s=min_s, min_runs=min_runs, seed=seed)
        return [[Block.from_json(raw) for raw in blocks] for blocks in found]

    def settle(self, limit_s: float) -> float:
        return float(self._ask("settle", limit_s, limit_s=limit_s))

    def speed(self) -> float:
        return float(self._ask("speed"))

    def release(self, name: str) -> None:
        if self.generation():
            self._ask("release", name=name)

    def generation(self) -> int:
        if self._process is not None and self._process.poll() is not None:
            self.close()
        return self._started if self._process is not None else 0

    def close(self) -> None:
        """End the process and whatever it started; what it left on disk goes too."""
        if self._process is None:
            return
        process, self._process, self._about = self._process, None, None
        for stream in (process.stdin, process.stdout):
            _close(stream)
        with contextlib.suppress(subprocess.TimeoutExpired):  # it is killed next
            process.wait(timeout=2)
        _kill_group(process)
        process.wait()
        self._errors.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _opened(self) -> dict[str, Any]:
        if self._process is None:
            self.start()
        if self._about is None:
            try:
                self._about = self._answer(OPEN_S, "to open")
            except BaseException:
                self.close()
                raise
        return self._about

    def _with_files(self, call: str, artifact: Artifact, **more: Any) -> Any:
        """A request with an artifact, whose files are gone when it is answered."""
        self._opened()
        digest = hashlib.sha256(artifact.content).hexdigest()
        with tempfile.TemporaryDirectory(dir=self._folder) as place:
            folder = Path(place)
            expected = {f"{k:04d}": each for k, each in enumerate(artifact.expected)}
            with storing(folder):
                if artifact.content:
                    (folder / digest).write_bytes(artifact.content)
                message = {
                    "format": artifact.format,
                    "file": str(folder / digest) if artifact.content else "",
                    "sha256": digest,
                    "slices": {name: list(kept) for name, kept in artifact.slices.items()},
                    "inputs": _stored(folder / "inputs.npz", artifact.inputs),
                    "expected": _stored(folder / "expected.npz", expected),
                }
            longer = _SLOWER * self._slowest if self._slowest else FIRST_S
            return self._ask(call, longer, artifact=message, **more)

    def _ask(self, call: str, longer: float = 0.0, **arguments: Any) -> Any:
        patience = self.patience or self.capabilities().patience
        self._send({"call": call, **arguments})
        try:
            return self._answer(patience + longer, f"to {call}")
        except AutopruneError:
            raise
        except BaseException:  # interrupted: its answer would be taken for that of the next request
            self.close()
            raise

    def _send(self, message: Mapping[str, Any]) -> None:
        process = self._running()
        try:
            assert process.stdin is not None  # noqa: S101 - opened with a pipe above
            process.stdin.write(json.dumps(message) + "\n")
            process.stdin.flush()
        except (BrokenPipeError, OSError) as error:
            raise self._died() from error

    def _answer(self, limit_s: float, what: str) -> Any:
        reply: dict[str, Any] = {"waiting": True}
        while "waiting" in reply:  # for a device that another process has: nobody's fault
            line = self._line(limit_s, what)
            try:
                reply = json.loads(line)
            except ValueError as error:
                raise DeviceError(
                    expected="an answer as JSON from the process that measures",
                    received=one_line(line, 100),
                    cure="check what the task prints",
                ) from error
        if "error" in reply:
            raise _error(reply["error"])
        return reply["ok"]

    def _line(self, limit_s: float, what: str) -> str:
        stream = self._running().stdout
        assert stream is not None  # noqa: S101 - opened with a pipe above
        while "\n" not in self._buffer:
            ready, _, _ = select.select([stream], [], [], limit_s)
            if not ready:
                self.close()
                raise TimedOutError(
                    expected=f"the process that measures {what} within {limit_s:.0f} s",
                    received="no answer, so it was ended",
                    cure="look for what never returns in the model, or measure a smaller batch",
                )
            chunk = os.read(stream.fileno(), 1 << 20)
            if not chunk:
                raise self._died()
            self._buffer += chunk.decode()
        line, _, self._buffer = self._buffer.partition("\n")
        return line

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            raise CrashedError(expected="a process that measures", received="none", cure="measure again")
        return self._process

    def _died(self) -> DeviceError:
        """What the end of the process means; it is cleaned up."""
        process = self._running()
        code = process.wait()
        self._errors.seek(0)
        said = [line for line in self._errors.read().splitlines() if line.strip()]
        self.close()
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        if code == -signal.SIGKILL or any(word in "".join(said) for word in _STARVED):
            return ExhaustedError(
                expected="a model that fits the memory",
                received=f"the process that measures ended ({how}), as it does where memory is used up",
                cure="prune more, or measure a smaller batch",
            )
        return CrashedError(
            expected=f"{self.profiler} to run the model",
            received=f"the process that measures died ({how}){': ' + one_line(said[-1], 200) if said else ''}",
            cure="run the model on its example inputs alone",
        )


def _error(raw: Mapping[str, str]) -> errors.AutopruneError:
    """The same error as in the other process, of the same type."""
    kind = getattr(errors, raw["kind"], DeviceError)
    kind = kind if isinstance(kind, type) and issubclass(kind, errors.AutopruneError) else DeviceError
    made: errors.AutopruneError = kind(expected=raw["expected"], received=raw["received"], cure=raw["cure"])
    return made


def _stored(file: Path, arrays: Mapping[str, Any]) -> str:
    if not arrays:
        return ""
    np.savez(file, **arrays)
    return str(file)


def _scratch() -> Path:
    """A new folder for files that live for a moment: in memory where there is enough; those of dead processes go."""
    shared = Path("/dev/shm")  # noqa: S108 - a folder of an unguessable name is made in it
    roomy = os.access(shared, os.W_OK) and shutil.disk_usage(shared).free > _ROOM
    parent = shared if roomy else Path(tempfile.gettempdir())
    for left in parent.glob(f"{_PREFIX}*"):
        owner = left.name.removeprefix(_PREFIX).partition("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists() and Path("/proc/self").exists():
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=parent))


def _allowed() -> float | None:
    free = available()
    return _MEMORY * free if free < float("inf") else None


def _close(stream: IO[str] | None) -> None:
    if stream is not None:
        with contextlib.suppress(BrokenPipeError):  # what was not sent was for a process that is gone
            stream.close()


def _kill_group(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
