"""Where models are run: one profiler, the device's lease, its meters. Knows how a round is taken; no statistics.

A bench returns raw blocks; what they mean is the session's business. The same bench serves in the process that searches
(`Bench`), and behind a pipe in a process of its own (`remote.client.WorkerBench`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol, TypeVar

import numpy as np

from autoprune.bench.artifact import Artifact, Decode, deviation, here
from autoprune.bench.contention import PRESSED, Watch, between
from autoprune.bench.lease import Lease, LeaseLostError, NoLease
from autoprune.bench.memory import peak_added
from autoprune.core.clock import Clock
from autoprune.core.measurement import Block, Capabilities
from autoprune.errors import DeviceError
from autoprune.meters import Meter
from autoprune.profilers import Profiler

T = TypeVar("T")

WARM_S: Final = 0.15
WARM_RUNS: Final = 5
#: How far a runtime's outputs may be from the model's own, by precision; relative L2 distance.
TOLERANCES: Final = {"float32": 0.01, "bfloat16": 0.1, "float16": 0.05, "int8": 0.1}
#: So often a measurement is taken again whose lease was lost.
_ATTEMPTS: Final = 3
_LOOK_S: Final = 0.5


class AnyBench(Protocol):
    """What a session needs of a bench."""

    def capabilities(self) -> Capabilities: ...

    def fingerprint(self) -> str: ...

    def prepare(self, name: str, artifact: Artifact, warm_s: float = WARM_S) -> None:
        """Load, compare outputs and warm up under a name; an earlier one of that name is released."""
        ...

    def rounds(self, names: Sequence[str], count: int, min_s: float, min_runs: int, seed: int) -> list[list[Block]]:
        """So many rounds, each one block of every name in random order; returned in the order of names."""
        ...

    def settle(self, limit_s: float) -> float:
        """Wait until the machine is quiet, at most so long; the seconds waited."""
        ...

    def speed(self) -> float:
        """Seconds of processor time of a fixed piece of work: how fast the device is at the moment."""
        ...

    def release(self, name: str) -> None: ...

    def generation(self) -> int:
        """Which process answers: under another number all models are gone. A dead one is started anew when asked."""
        ...

    def close(self) -> None: ...


@dataclass
class Bench:
    """A bench in this process."""

    profiler: Profiler
    lease: Lease | NoLease
    clock: Clock
    precision: str = "float32"
    decode: Decode = here
    watch: Watch = field(default_factory=Watch)
    meter: Meter | None = None
    _handles: dict[str, Any] = field(default_factory=dict, init=False)

    def capabilities(self) -> Capabilities:
        found = self.profiler.capabilities()
        return replace(found, metrics=(*found.metrics, "energy")) if self.meter is not None else found

    def fingerprint(self) -> str:
        return self.profiler.fingerprint()

    def prepare(self, name: str, artifact: Artifact, warm_s: float = WARM_S) -> None:
        """Raises DeviceError where the model does not run, or its outputs are not those of the model."""
        self.release(name)
        runnable = self.decode(artifact)
        handle = self.alone(lambda: self.profiler.prepare(runnable.model, runnable.inputs))
        try:
            if runnable.expected is not None:
                found = self.profiler.outputs(handle)
                check_outputs(found, runnable.expected, self.profiler.name, artifact.precision or self.precision)
            runs = WARM_RUNS if warm_s >= WARM_S else 1
            self.alone(lambda: self.profiler.run_block(handle, warm_s, runs))
        except BaseException:
            self.profiler.release(handle)
            raise
        self._handles[name] = handle

    def rounds(self, names: Sequence[str], count: int, min_s: float, min_runs: int, seed: int) -> list[list[Block]]:
        """Others may have the device between two rounds, never within one."""
        order = np.random.default_rng(seed)
        return [self.alone(lambda: self._round(names, order, min_s, min_runs)) for _ in range(count)]

    def settle(self, limit_s: float) -> float:
        start = self.clock.wall()
        while self.watch.pressing() > PRESSED and self.clock.wall() - start < limit_s:
            self.clock.sleep(_LOOK_S)
        return self.clock.wall() - start

    def speed(self) -> float:
        """The median of several runs of a product of matrices that fits the caches and a sum that does not."""
        small, large = np.ones((192, 192), np.float32), np.ones(2_000_000, np.float32)

        def once() -> float:
            start = self.clock.cpu()
            for _ in range(4):
                small @ small
            large.sum()
            return self.clock.cpu() - start

        return float(np.median(self.alone(lambda: [once() for _ in range(60)])))

    def memory(self, artifact: Artifact) -> float:
        """Bytes that a model needs: those of a module's weights, and what loading and running once adds at its peak.

        The process has its runtime loaded already, and a file's content.
        """
        runnable = self.decode(artifact)
        weights = 0.0
        if hasattr(runnable.model, "parameters"):
            tensors = (*runnable.model.parameters(), *runnable.model.buffers())
            weights = float(sum(tensor.numel() * tensor.element_size() for tensor in tensors))

        def work() -> None:
            handle = self.profiler.prepare(runnable.model, runnable.inputs)
            self.profiler.outputs(handle)
            self.profiler.release(handle)

        return weights + peak_added(work)

    def release(self, name: str) -> None:
        if name in self._handles:
            self.profiler.release(self._handles.pop(name))

    def generation(self) -> int:
        return 1

    def close(self) -> None:
        for name in list(self._handles):
            self.release(name)
        self.profiler.close()

    def _round(self, names: Sequence[str], order: np.random.Generator, min_s: float, min_runs: int) -> list[Block]:
        blocks = {place: self._block(names[place], min_s, min_runs) for place in order.permutation(len(names)).tolist()}
        return [blocks[place] for place in range(len(names))]

    def _block(self, name: str, min_s: float, min_runs: int) -> Block:
        before, begin, joules = self.watch.read(), self.clock.wall(), self._joules()
        block = self.profiler.run_block(self._handles[name], min_s, min_runs)
        used = self._joules() - joules
        pressure, stolen = between(before, self.watch.read(), self.clock.wall() - begin)
        metered = used / len(block.wall_s) if self.meter is not None else None
        # The first run finds another model's data in the caches.
        warm = slice(1 if len(block.wall_s) > 2 else 0, None)
        return replace(
            block,
            wall_s=block.wall_s[warm],
            cpu_s=block.cpu_s[warm],
            begin=begin,
            pressure=pressure,
            stolen=stolen,
            joules=metered,
        )

    def alone(self, work: Callable[[], T]) -> T:
        """Work while the device is ours, with what is measured meanwhile; again where it turns out not to have been."""
        for attempt in range(_ATTEMPTS):
            try:
                with self.lease.held():
                    return work()
            except LeaseLostError:
                if attempt == _ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")

    def _joules(self) -> float:
        return 0.0 if self.meter is None else self.meter.read()


def check_outputs(found: Sequence[Any], expected: Sequence[Any], profiler: str, precision: str) -> None:
    """Raises DeviceError where outputs are not those of the model, as far as its precision goes."""
    distance, most = deviation(found, expected), TOLERANCES[precision]
    if not distance <= most:
        raise DeviceError(
            expected=f"outputs of {profiler} within {most:.0%} of the model's own",
            received=f"{distance:.1%} from them",
            cure="check that the model gives the same outputs twice, or choose another --profiler",
        )
