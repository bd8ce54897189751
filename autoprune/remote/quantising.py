"""Files in float32 made into int8 before they are sent. Knows calibration inputs, and who has the tool for it.

Each file is run here before and after: in float32, to see that it is the model; in int8, as the outputs that are scored
here must be those that are timed there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from autoprune import registry
from autoprune.bench.artifact import Artifact
from autoprune.bench.bench import check_outputs
from autoprune.core.clock import Clock
from autoprune.core.measurement import FULL, QUANTISED, RunSpec
from autoprune.errors import DeviceError
from autoprune.profilers import Profiler
from autoprune.surgery.example import Example, arrays

#: Files that are kept at hand: each is asked for as often as it is scored, measured and saved.
_KEPT: Final = 8


@dataclass(frozen=True, kw_only=True)
class Quantiser:
    """Makes int8 of files.

    Attributes:
        profiler: That runs them, by name; its module has the tool.
        threads: That it runs on.
        clock: Tells seconds.
        samples: What the dense model is called with on the calibration split; where there is none, ranges of
            activations are those of the example inputs, which is enough to time a model.
    """

    profiler: str
    threads: int
    clock: Clock
    samples: Sequence[Example] = field(default=(), repr=False)
    _known: dict[str, Artifact] = field(default_factory=dict, init=False, repr=False)

    def quantised(self, artifacts: Iterable[Artifact]) -> Iterator[Artifact]:
        """Each of the files that computes what the model does, in int8.

        Raises:
            DeviceError: none does, or the profiler's tool refuses it.
        """
        refused: DeviceError | None = None
        for artifact in artifacts:
            try:
                made = self._made(artifact)
            except DeviceError as error:
                refused = error
                continue
            refused = None
            yield made
        if refused is not None:
            raise refused

    def _made(self, artifact: Artifact) -> Artifact:
        key = hashlib.sha256(artifact.content).hexdigest()
        if key not in self._known:
            module: Any = registry.load("profilers", self.profiler)
            runtime: Profiler = module.create(RunSpec(self.threads), self.clock)
            check_outputs(_run(runtime, artifact), artifact.expected, self.profiler, FULL)
            names = [*artifact.inputs]
            samples = [dict(zip(names, arrays(each.tensors), strict=True)) for each in self.samples]
            content = module.quantised(artifact.content, samples or [dict(artifact.inputs)])
            made = replace(artifact, content=content, precision=QUANTISED)
            made = replace(made, expected=tuple(map(np.asarray, _run(runtime, made))))
            runtime.close()
            while len(self._known) >= _KEPT:
                del self._known[next(iter(self._known))]
            self._known[key] = made
        return self._known[key]


def _run(runtime: Profiler, artifact: Artifact) -> list[Any]:
    handle = runtime.prepare(artifact.content, dict(artifact.inputs))
    try:
        return runtime.outputs(handle)
    finally:
        runtime.release(handle)
