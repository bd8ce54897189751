"""What runs a model on a device. Knows the contract; each file beside this one is one profiler.

A profiler is a module with `create(spec, clock) -> Profiler`. A profiler prepares and runs; it returns raw blocks of
timings. Statistics, pairing, locking, metering and checking of outputs are done once, by `autoprune.measure`, for all.
Its library is imported by its module, so a missing one is said when the profiler is asked for.

One that takes files and has int8 among its precisions has `quantised(content, samples) -> bytes` beside `create`, which
makes int8 of a file in float32. samples: inputs by name, as `prepare` takes them, that show ranges of activations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from autoprune.core.clock import Clock
from autoprune.core.measurement import Block, Capabilities, RunSpec


class Profiler(Protocol):
    """The contract. A handle is whatever `prepare` returns; it is valid until `release`."""

    name: str

    def capabilities(self) -> Capabilities: ...

    def fingerprint(self) -> str:
        """The device, runtime and version in one line: equal exactly where timings are comparable."""
        ...

    def prepare(self, artifact: Any, inputs: Any) -> Any:
        """Load an artifact of the declared format; the handle to run it on `inputs`.

        artifact: for the format "module" a torch module in eval mode, with inputs as `surgery.example.Example`; for
        other formats the file's bytes, with inputs as a mapping from names to numpy arrays.
        """
        ...

    def outputs(self, handle: Any, inputs: Any = None) -> list[Any]:
        """Run once; every output as a numpy array, in the model's order. They are checked before a time counts.

        inputs: others than those that it was prepared with, in the same form; exported models are scored on them.
        """
        ...

    def run_block(self, handle: Any, min_s: float, min_runs: int) -> Block:
        """Consecutive runs for at least `min_s` seconds and `min_runs` runs; warming up is the caller's."""
        ...

    def release(self, handle: Any) -> None:
        """Give back what `prepare` took."""
        ...

    def close(self) -> None: ...


Create = Callable[[RunSpec, Clock], Profiler]
