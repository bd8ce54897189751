"""A bench in a process of its own. Knows what is sent, how long to wait, and when a new process is needed.

What a model does there, it does to that process alone: a crash, a hang and a hunger for memory become errors with
names, and the next call finds a new process. Where that process is, and how it is reached, is the link's business.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from autoprune.bench.artifact import Artifact
from autoprune.bench.bench import WARM_S
from autoprune.core.measurement import Block, Capabilities, RunSpec
from autoprune.errors import DeviceError
from autoprune.remote.links import Link
from autoprune.remote.links.process import ProcessLink
from autoprune.remote.wire_format import packed

#: Seconds until an answer is overdue: of opening (the task may train its model), and of the first model.
OPEN_S: Final = 900.0
FIRST_S: Final = 600.0
#: A model may need so many times as long as the slowest before it.
_SLOWER: Final = 10


@dataclass
class WorkerBench:
    """What `remote.worker` offers, through a link; one request at a time.

    task: how the process finds the task whose modules it measures, empty where artifacts are whole files;
    memory: bytes that a model may use, None for most of what is free; patience: seconds until an answer is overdue, 0:
    as the profiler declares; linked: makes a link to a new process, for a profiler.
    """

    profiler: str
    spec: RunSpec
    task: str = ""
    memory: float | None = None
    patience: float = 0.0
    linked: Callable[[str], Link] = ProcessLink
    link: Link | None = field(default=None, init=False)
    _about: dict[str, Any] | None = field(default=None, init=False)
    _slowest: float = field(default=0.0, init=False)
    _started: int = field(default=0, init=False)
    _ended: bool = field(default=False, init=False)

    def start(self) -> Link:
        """Begin to open; whoever asks first waits for it."""
        if self._ended:
            raise DeviceError(
                expected="a device that is open", received="one that was closed", cure="go on with `autoprune resume`"
            )
        self._started += 1
        self.link = link = self.linked(self.profiler)
        link.start(
            {"profiler": self.profiler, "spec": asdict(self.spec), "task": self.task, "memory": self.memory},
        )
        return link

    def capabilities(self) -> Capabilities:
        raw: dict[str, Any] = self._opened()["capabilities"]
        fields: dict[str, Any] = {key: tuple(each) if isinstance(each, list) else each for key, each in raw.items()}
        return Capabilities(**fields)

    def fingerprint(self) -> str:
        return str(self._opened()["fingerprint"])

    def prepare(self, name: str, artifact: Artifact, warm_s: float = WARM_S) -> None:
        self._opened()
        start = time.monotonic()
        self._with_artifact("prepare", artifact, name=name, warm_s=warm_s)
        self._slowest = max(self._slowest, time.monotonic() - start)

    def memory_of(self, artifact: Artifact) -> float:
        """See `Bench.memory`; right only in a process that has measured nothing before."""
        return float(self._with_artifact("memory", artifact))

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
        if self.link is not None and not self.link.alive():
            self._drop()
        return self._started if self.link is not None else 0

    def close(self) -> None:
        """End the process and whatever it started, for good; what it left on disk goes too."""
        self._ended = True
        self._drop()

    def _drop(self) -> None:
        """End the process; the next request finds a new one."""
        link, self.link, self._about = self.link, None, None
        if link is not None:
            link.close()

    def _opened(self) -> dict[str, Any]:
        """What the process says of itself; a new one, where there is none or it is gone."""
        self.generation()
        link = self.link or self.start()
        if self._about is None:
            try:
                self._about = link.opened(OPEN_S)
            except BaseException:
                self._drop()
                raise
        return self._about

    def _with_artifact(self, call: str, artifact: Artifact, **more: Any) -> Any:
        """A request with an artifact, whose files are lent until it is answered."""
        link, patience = self._ready()
        message, blobs = packed(artifact)
        longer = _SLOWER * self._slowest if self._slowest else FIRST_S
        with link.lent(blobs):
            return link.ask({"call": call, "artifact": message, **more}, patience + longer)

    def _ask(self, call: str, longer: float = 0.0, **arguments: Any) -> Any:
        link, patience = self._ready()
        return link.ask({"call": call, **arguments}, patience + longer)

    def _ready(self) -> tuple[Link, float]:
        """The link to a process that has opened, and how long its answers may take at least."""
        patience = self.patience or self.capabilities().patience
        link = self.link
        if link is None:
            raise AssertionError("opened just now")
        return link, patience
