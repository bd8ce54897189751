"""What is sent to be measured. Knows bytes and names; not how a model was made, and no library but numpy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Artifact:
    """A model on its way to a device.

    format: of the content: "onnx", "unit" (one operator as JSON), or "module"; content: a file's bytes, of a module its
    weights (empty: those of the task); slices: what is kept of the task's groups, for a module; inputs: by name;
    expected: outputs that the runtime must give on the inputs (empty: not known beforehand); module: the module itself
    with its example, where it is measured in the process that made it; precision: of the content, where it is another
    one than the bench's.
    """

    format: str
    content: bytes = b""
    slices: Mapping[str, Sequence[int]] = field(default_factory=dict)
    inputs: Mapping[str, Array] = field(default_factory=dict)
    expected: tuple[Array, ...] = ()
    module: tuple[Any, Any] | None = None
    precision: str = ""


@dataclass(frozen=True)
class Runnable:
    """An artifact as a profiler takes it, and what its outputs must be (None: not known)."""

    model: Any
    inputs: Any
    expected: Sequence[Array] | None


Decode = Callable[[Artifact], Runnable]


def here(artifact: Artifact) -> Runnable:
    """What needs no decoding: a module of this process, or a file that its runtime reads."""
    if artifact.module is not None:
        return Runnable(*artifact.module, artifact.expected or None)
    return Runnable(artifact.content, dict(artifact.inputs), artifact.expected or None)


def deviation(found: Sequence[Array], expected: Sequence[Array]) -> float:
    """The largest relative L2 distance between outputs; infinite where shapes differ, or where they are not finite.

    Where both are not finite, they must be the same: -inf of a mask, NaN of nothing.

    Outputs beyond the shorter list are not compared: runtimes leave out what nobody reads.
    """
    worst = 0.0
    for got, want in zip(found, expected, strict=False):
        if np.shape(got) != np.shape(want):
            return float("inf")
        a, b = np.asarray(got, np.float64), np.asarray(want, np.float64)
        finite = np.isfinite(b)
        if not np.array_equal(a[~finite], b[~finite], equal_nan=True) or not np.isfinite(a[finite]).all():
            return float("inf")
        distance = float(np.linalg.norm(a[finite] - b[finite]))
        worst = max(worst, distance / max(float(np.linalg.norm(b[finite])), 1e-12))
    return worst if found else float("inf")
