"""What runs on a cluster: workers that hold a model and its data, and the one that has the device. Knows Ray's actors.

Each class here lives in a process of its own on some node; `RemoteDevice` is what the others have of the device.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any, Final

import ray
import ray.cloudpickle
import torch

from autoprune.bench.artifact import Artifact
from autoprune.bench.compute_lock import Gate
from autoprune.core.forecast import CostForecast
from autoprune.core.measurement import Capabilities, Measurement
from autoprune.core.reporter import Advance, Reporter
from autoprune.errors import CrashedError, DeviceError, DeviceLostError
from autoprune.measure.any_device import NOTHING
from autoprune.measure.certificate import PROCESSES
from autoprune.measure.device import Device, DeviceSpec
from autoprune.remote.packing import Packer, accepted
from autoprune.search_spaces.space import SearchSpace
from autoprune.surgery.cut_model import CutModel

#: What a call raises whose actor, or its node, is no more.
DEAD: Final = (
    ray.exceptions.RayActorError,
    ray.exceptions.OutOfMemoryError,
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.NodeDiedError,
    ray.exceptions.ActorUnschedulableError,
    ray.exceptions.ObjectLostError,
    ray.exceptions.OwnerDiedError,
)
#: How often a measurement is tried whose process died, and how long an answer is waited for at a time.
_ATTEMPTS: Final = 3
_LOOK_S: Final = 15.0
#: Until a process that is started anew is asked again, and until it must be there.
_PAUSE_S, _START_S = 0.5, 180.0


class EvaluatorActor:
    """Does one job at a time with work that it unpacks once."""

    def __init__(self, threads: int) -> None:
        torch.set_num_threads(threads)
        self._key, self._work = "", lambda job: job

    def ready(self) -> None:
        """Answered once this process is there."""

    def run(self, key: str, packed: Sequence[Any], job: Any) -> Any:
        """packed: a list with the reference of the work, so that Ray does not fetch it for each job."""
        if key != self._key:
            self._key, self._work = key, ray.cloudpickle.loads(ray.get(packed[0]))
        return self._work(job)


#: Of a device that no node of the cluster has.
_ELSEWHERE: Final = ""


class _Noted:
    """Keeps what a device has to say until somebody asks."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []

    def note(self, text: str) -> None:
        self.said.append(("note", text))

    def warn(self, text: str) -> None:
        self.said.append(("warn", text))

    def track(self, label: str, total: int, done: int = 0) -> AbstractContextManager[Advance]:
        del label, total, done
        return nullcontext(lambda text: None)


@dataclass(frozen=True)
class About:
    """What others must know of a device: where it is, what it can, and whether work beside it would disturb it."""

    capabilities: Capabilities
    fingerprint: str
    batch: int
    node: str


class DeviceActor:
    """Has a device. Measurements come one after the other, and on the device's own processor nobody works meanwhile:
    on this machine's, where the device is no other one.

    Every call brings what the device is made of, since this process may be the successor of one that died.
    """

    def __init__(self) -> None:
        self._noted = _Noted()
        self._gate, self._one = Gate.of_this_machine(), threading.Lock()
        self._making = threading.Lock()
        self._made: Device | None = None
        self._dense: dict[str, Measurement] | None = None

    def ready(self) -> None:
        """Answered once this process is there."""

    def ask(self, packed: Sequence[Any], call: str, *arguments: Any) -> Any:
        """The answer of one of the methods below; packed: a list with the reference of a `DeviceSpec`."""
        with self._making:
            if self._made is None:
                spec: DeviceSpec = ray.cloudpickle.loads(ray.get(packed[0]))
                self._made = Device(spec, self._noted)
        return getattr(self, call)(*arguments)

    def about(self) -> About:
        device = self._device
        node = ray.get_runtime_context().get_node_id() if device.setup.address is None else _ELSEWHERE
        return About(device.capabilities, device.fingerprint, device.batch, node)

    def open(self) -> tuple[dict[str, Measurement], bool]:
        """The dense model's measurements, and whether models are measured in this very process."""
        with self._measuring():
            return self._opened(), self._device.packer.here

    def measured(
        self, artifact: Artifact, bounds: Mapping[str, float], ceilings: Mapping[str, float]
    ) -> dict[str, Measurement]:
        with self._measuring():
            self._opened()
            return self._device.measured(artifact, bounds, ceilings)

    def measured_again(self, models: Sequence[Sequence[Artifact]]) -> list[dict[str, Measurement]]:
        with self._measuring():
            self._opened()
            return self._device.measured_again(models, lambda text: None)

    def reference(self) -> dict[str, Measurement]:
        with self._measuring():
            self._opened()
            return self._device.reference()

    def restated(self, measured: Sequence[Mapping[str, Measurement]]) -> list[dict[str, Measurement]]:
        with self._measuring():
            self._opened()
            return self._device.restated(measured)

    def costs(
        self, space: SearchSpace, metrics: Sequence[str], dense: Mapping[str, float], seed: int
    ) -> tuple[CostForecast, ...]:
        with self._measuring():
            self._opened()
            return self._device.costs(space, metrics, dense, seed)

    def waited(self) -> float:
        return self._device.waited()

    def said(self) -> list[tuple[str, str]]:
        """What was noted since the last time, with its kind."""
        said, self._noted.said = self._noted.said, []
        return said

    def close(self) -> None:
        self._device.close()

    @property
    def _device(self) -> Device:
        if self._made is None:
            raise RuntimeError("a device is made before it is asked")
        return self._made

    def _measuring(self) -> AbstractContextManager[Any]:
        return self._gate.measuring() if self._device.setup.address is None else self._one

    def _opened(self) -> dict[str, Measurement]:
        """After this process was started anew, too: those before knew the reference, this one must look."""
        if self._dense is None:
            self._dense = self._device.open()
        return self._dense


class RemoteDevice:
    """A device on some node, for those who have models: they pack, it measures."""

    def __init__(self, actor: Any, packed: Any, resource: str, spec: DeviceSpec, reporter: Reporter) -> None:
        """packed: reference of the spec; resource: what only the device's node offers, empty where that is this one;
        reporter: of this process."""
        self._actor, self._spec, self._resource = actor, [packed], resource
        self._reporter: Reporter | None = reporter
        self._about: About = self._ask("about")
        self.capabilities, self.fingerprint = self._about.capabilities, self._about.fingerprint
        self.setup, self.batch, self.example = spec.setup, self._about.batch, spec.example
        self._packing = spec
        self._packer: Packer | None = None

    def open(self) -> dict[str, Measurement]:
        dense, here = self._ask("open")
        self._packer = self._packing.packer(self.capabilities.format, here=here)
        self._tell()
        return dict(dense)

    def measure(
        self, cut: CutModel, bounds: Mapping[str, float], ceilings: Mapping[str, float] = NOTHING
    ) -> dict[str, Measurement]:
        asked = dict(bounds), dict(ceilings)
        return accepted(self.packed(cut), lambda artifact: self._ask("measured", artifact, *asked))

    def measure_again(self, models: Sequence[CutModel], advance: Advance) -> list[dict[str, Measurement]]:
        found: list[dict[str, Measurement]] = self._ask("measured_again", [list(self.packed(each)) for each in models])
        self._tell()
        for _ in range(PROCESSES):
            advance("")
        return found

    def reference(self) -> dict[str, Measurement]:
        return dict(self._ask("reference"))

    def restated(self, measured: Sequence[Mapping[str, Measurement]]) -> list[dict[str, Measurement]]:
        return list(self._ask("restated", [dict(each) for each in measured])) if measured else []

    def costs(
        self, space: SearchSpace, metrics: Sequence[str], dense: Mapping[str, float], seed: int
    ) -> tuple[CostForecast, ...]:
        found: tuple[CostForecast, ...] = self._ask("costs", space, list(metrics), dict(dense), seed)
        self._tell()
        return found

    def undisturbed(self, cut: CutModel, load: Callable[[], object]) -> bool:
        return False  # workers and the device's process arrange it among themselves

    def computing(self) -> AbstractContextManager[None]:
        beside = self.capabilities.cpu_time and ray.get_runtime_context().get_node_id() == self._about.node
        return Gate.of_this_machine().working() if beside else nullcontext()

    def waited(self) -> float:
        return float(self._ask("waited"))

    def close(self) -> None:
        with suppress(ray.exceptions.RayError, DeviceError):  # where it is gone, nothing is left to close
            self._tell()
            self._ask("close")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_reporter": None}

    def packed(self, cut: CutModel) -> Iterable[Artifact]:
        if self._packer is None:
            raise RuntimeError("a device is opened before it measures")
        return self._packer.packed(cut)

    def _tell(self) -> None:
        if self._reporter is not None:
            for kind, text in self._ask("said"):
                getattr(self._reporter, kind)(text)

    def _ask(self, call: str, *arguments: Any) -> Any:
        """The answer of the device's process; where that dies, its successor is asked, once it is there."""
        for attempt in range(_ATTEMPTS):
            answer = self._actor.ask.remote(self._spec, call, *arguments)
            try:
                return self._waited(answer)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None
            except DEAD as error:
                self._there()
                if attempt == _ATTEMPTS - 1:
                    raise CrashedError(
                        expected="the process that has the device to answer",
                        received=f"its death, {_ATTEMPTS} times ({type(error).__name__})",
                        cure="run the model on its example inputs alone",
                    ) from error
                self._await_successor()
        raise AssertionError  # pragma: no cover

    def _await_successor(self) -> None:
        """Until a process that died has a successor, or should have had one: while that starts, every call fails."""
        begin = time.monotonic()
        while time.monotonic() - begin < _START_S:
            try:
                self._waited(self._actor.ready.remote())
            except DEAD:
                self._there()
                time.sleep(_PAUSE_S)
            else:
                return

    def _waited(self, answer: Any) -> Any:
        """However long the device is in use by others; not longer than it exists."""
        while True:
            try:
                return ray.get(answer, timeout=_LOOK_S)
            except ray.exceptions.GetTimeoutError:
                self._there()

    def _there(self) -> None:
        if self._resource and self._resource not in ray.cluster_resources():
            raise DeviceLostError(
                expected=f"a node that offers '{self._resource}'",
                received="none any more",
                cure="start it again, and go on with `autoprune resume`",
            )
