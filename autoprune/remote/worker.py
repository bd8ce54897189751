"""A process of its own that measures. Knows JSON lines in and out; statistics and time limits are the caller's.

    python -m autoprune.remote.worker

The first line says what to open: profiler, how to run, the task where models are torch modules, how much memory may be
used, and the folder of files (empty: a new one). Every further line is one request; every answer is one line:
{"ok": ...} or {"error": ...}. Big things are files, named by their SHA-256. A model that takes this process down takes
nothing else with it, and a process that only measures is what the model will meet where it is deployed. torch is
imported only if the runtime is torch.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import math
import os
import resource
import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Final

from autoprune import registry
from autoprune.bench.artifact import Artifact, Runnable, here
from autoprune.bench.bench import Bench
from autoprune.bench.lease import device_lease
from autoprune.bench.memory import available
from autoprune.core.clock import SystemClock
from autoprune.core.measurement import RunSpec
from autoprune.core.reporter import Silent
from autoprune.errors import AutopruneError, DeviceError, ExhaustedError, RefusedError, describe
from autoprune.meters import open_meter
from autoprune.remote.graph_check import check_graph
from autoprune.remote.links import told
from autoprune.remote.links.process import scratch
from autoprune.remote.wire_format import unpacked
from autoprune.store.device import cache_folder

#: What may be asked for.
CALLS: Final = ("prepare", "rounds", "settle", "speed", "memory", "release")
_PR_SET_PDEATHSIG: Final = 1
#: Seconds after which a request that is too slow ends this process, where its caller has not.
_GRACE_S: Final = 5.0
#: The share of the machine's free memory that a model may use.
_MEMORY: Final = 0.9
#: Bytes of the largest file that it may write, what it says among them.
_FILE: Final = 2**28
#: What allocators say when there is nothing left.
_EXHAUSTED: Final = (
    "can't allocate memory",
    "out of memory",
    "bad_alloc",
    "failed to allocate",
    "cannot allocate memory",
)


class _Models:
    """Makes torch modules from the task that this process located by its name."""

    def __init__(self, task: str, spec: RunSpec) -> None:
        self._name, self._spec = task, spec

    @cached_property
    def _task(self) -> Any:
        from autoprune.tasks.locate import locate

        return locate(self._name, Silent())

    @cached_property
    def _traced(self) -> Any:
        from autoprune.surgery.find import find

        return find(self._task.model, self._task.example)

    @cached_property
    def _inputs(self) -> Any:
        from autoprune.tasks.task import rebatch

        return rebatch(self._task.example_inputs, self._spec.batch)

    def make(self) -> None:
        """Locate and trace now: what is wrong with the task must be said first, and no model's time is to hold it."""
        _ = self._traced

    def decode(self, artifact: Artifact) -> Runnable:
        if artifact.format == "unit":
            from autoprune.bench.replay import replay

            model, inputs = replay(artifact.content)
            return Runnable(model, inputs, None)
        if artifact.format != "module":
            return here(artifact)
        import torch

        from autoprune.models.decoding import at_work
        from autoprune.models.weights import load_into
        from autoprune.surgery import apply
        from autoprune.surgery.example import arrays

        slices = {name: torch.tensor(kept, dtype=torch.int64) for name, kept in artifact.slices.items()}
        # The dense model is copied too, so that all models lie in memory alike.
        model = apply(self._task.model, self._traced, slices).eval()
        if artifact.content:
            load_into(model, artifact.content, "the artifact")
        part, inputs = at_work(model, self._inputs, self._spec.work)
        with torch.no_grad():
            expected = arrays(inputs.fresh().call(part))
        # What keeps a cache fills it where it is measured, in that precision.
        return Runnable(*at_work(model, self._inputs, self._spec.work), expected or None)


class _Alarm:
    """Ends this process where a request takes too long and nobody may be left to end it from outside."""

    def __init__(self) -> None:
        self._limit_s = 0.0

    def set(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self.again()

    def again(self) -> None:
        """The time begins anew; the kernel's own action on the signal also ends what never returns to Python."""
        signal.alarm(math.ceil(self._limit_s + _GRACE_S) if self._limit_s else 0)


class _Host:
    """One method a request."""

    def __init__(self, opened: Mapping[str, Any], waiting: Callable[[str], None], alarm: _Alarm) -> None:
        spec, clock, self.alarm = RunSpec(**opened["spec"]), SystemClock(), alarm
        profiler = registry.load("profilers", opened["profiler"]).create(spec, clock)
        found = profiler.capabilities()
        self._format = found.format
        lease = device_lease(
            cache_folder("leases"), profiler.fingerprint(), clock, exclusive=found.exclusive, waiting=waiting
        )
        models = _Models(opened["task"], spec)
        if opened["task"]:
            models.make()
        self._bench = Bench(
            profiler, lease, clock, spec.precision, models.decode, meter=open_meter(found.meter, spec.meter)
        )
        self.blobs = Path(opened["blobs"]) if opened["blobs"] else scratch()
        self.own = not opened["blobs"]
        _limit(min(_allowed(), opened["memory"] or float("inf")), opened["task"])

    def about(self) -> dict[str, Any]:
        return {
            "fingerprint": self._bench.fingerprint(),
            "capabilities": asdict(self._bench.capabilities()),
            "blobs": str(self.blobs),
        }

    def prepare(self, name: str, artifact: Mapping[str, Any], warm_s: float) -> None:
        self._bench.prepare(name, self._artifact(artifact), warm_s)

    def rounds(self, names: list[str], count: int, min_s: float, min_runs: int, seed: int) -> list[list[Any]]:
        return [[asdict(b) for b in blocks] for blocks in self._bench.rounds(names, count, min_s, min_runs, seed)]

    def settle(self, limit_s: float) -> float:
        return self._bench.settle(limit_s)

    def speed(self) -> float:
        return self._bench.speed()

    def memory(self, artifact: Mapping[str, Any]) -> float:
        return self._bench.memory(self._artifact(artifact))

    def release(self, name: str) -> None:
        self._bench.release(name)

    def answer(self, request: dict[str, Any]) -> Any:
        """What a request asks for."""
        call = request.pop("call", "")
        self.alarm.set(request.pop("within_s", 0.0))
        if call not in CALLS:
            raise RefusedError(
                expected=f"one of {', '.join(CALLS)}", received=repr(call)[:80], cure="use the same version there"
            )
        return getattr(self, call)(**request)

    def _artifact(self, message: Mapping[str, Any]) -> Artifact:
        artifact = unpacked(message, self._read)
        if artifact.format not in (self._format, "unit"):
            raise RefusedError(
                expected=f"a model as '{self._format}'",
                received=repr(artifact.format)[:80],
                cure="use the same version there",
            )
        if artifact.format == "onnx":
            check_graph(artifact.content)
        return artifact

    def _read(self, name: str) -> bytes:
        return (self.blobs / name).read_bytes()


def _limit(bytes_more: float, task: str) -> None:
    """Refuse more memory than that beyond what is used by now; a process that dies leaves no image of itself, and what
    it says fills no disk."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if not task:  # which may well write what it is made of
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        most = _FILE if hard == resource.RLIM_INFINITY else min(_FILE, hard)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    if bytes_more < float("inf"):
        used = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmData"))
        most = int(int(used.split()[1]) * 1024 + bytes_more)
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def _allowed() -> float:
    return _MEMORY * available()


def _failure(error: Exception) -> dict[str, str]:
    if isinstance(error, MemoryError) or any(said in str(error).lower() for said in _EXHAUSTED):
        error = ExhaustedError(
            expected="a model that fits the memory",
            received=describe(error),
            cure="prune more, or measure a smaller batch",
        )
    if not isinstance(error, AutopruneError):
        absent = isinstance(error, ModuleNotFoundError)
        cure = "install that where it is measured" if absent else "run the model on its example inputs alone"
        error = DeviceError(expected="a measurement", received=describe(error), cure=cure)
    return told(error)


def _ruined(reply: Mapping[str, Any]) -> bool:
    """Whether the device's context is beyond use: an error of a card stays until its process ends."""
    said = reply.get("error", {}).get("received", "")
    return "CUDA error" in said or "AcceleratorError" in said


def _say(answers: IO[str], reply: Mapping[str, Any]) -> None:
    print(json.dumps(reply), file=answers, flush=True)


def main() -> int:
    # What the task or a runtime prints must not mix with the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    if "--die-with-parent" in sys.argv and sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    with contextlib.suppress(OSError):  # where memory ends all the same, this process goes first
        Path("/proc/self/oom_score_adj").write_text("1000")
    with contextlib.ExitStack() as closing:
        return _served(answers, closing)


def _served(answers: IO[str], closing: contextlib.ExitStack) -> int:
    """Answer until nobody asks any more."""
    host: _Host | None = None
    alarm = _Alarm()

    def waiting(holder: str) -> None:
        alarm.again()
        _say(answers, {"waiting": holder})

    for line in sys.stdin:
        request = json.loads(line)
        try:
            if host is None:
                host = _Host(request, waiting, alarm)
                if host.own:
                    closing.callback(shutil.rmtree, host.blobs, ignore_errors=True)
                answer = host.about()
            else:
                answer = host.answer(request)
            reply = {"ok": answer}
        except Exception as error:  # every failure is the caller's to judge
            reply = {"error": _failure(error)}
        alarm.set(0.0)
        _say(answers, reply)
        if _ruined(reply):
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
