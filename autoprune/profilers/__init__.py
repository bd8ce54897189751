"""What runs a model on a device. Knows the contract; each file beside this one is one profiler.

A profiler is a module with `create(spec) -> Profiler`. A profiler prepares and runs; it returns raw blocks of timings.
Statistics, pairing, locking and caching are done once, by `autoprune.measure`, for all of them.
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

    def prepare(self, artifact: Any, example_inputs: Any) -> Any:
        """Load an artifact of one of the declared formats and warm it up; the handle to run it."""
        ...

    def run_block(self, handle: Any, min_s: float, min_runs: int) -> Block:
        """Consecutive runs for at least `min_s` seconds and `min_runs` runs."""
        ...

    def release(self, handle: Any) -> None:
        """Give back what `prepare` took."""
        ...

    def close(self) -> None: ...


Create = Callable[[RunSpec, Clock], Profiler]
