"""A model as the pieces of work that it consists of. Knows the record; each file beside it is one artifact format.

A format's module has `units(...) -> [Unit]` of a model and `peak_units()`. What two models share needs to be measured
only once, and what a model costs is nearly the sum of its units.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from autoprune.bench.artifact import Artifact
from autoprune.errors import DeviceError

#: Artifact formats that can be taken apart, with the file that does it.
FORMATS: Final = {"module": "aten", "onnx": "graph"}


@dataclass(frozen=True)
class Unit:
    """One operator, or several that a runtime fuses, with the sizes of all that it touches.

    operator: what it is called; family: what it does, without sizes; sizes: every number that the cut may change, in a
    fixed order; layer: the name of the module that it belongs to; flops: operations (a multiply-add is two); moved:
    bytes of all inputs and outputs; artifact: makes what a bench runs.
    """

    operator: str
    family: str
    sizes: tuple[int, ...]
    layer: str
    flops: float
    moved: float
    artifact: Callable[[], Artifact]

    @property
    def key(self) -> str:
        """The same for units that cost the same."""
        return hashlib.sha256(f"{self.family} {self.sizes}".encode()).hexdigest()[:20]


def sample_work(form: str) -> Artifact:
    """A product of matrices, as every device of an artifact format can run it."""
    product: Unit = taken_apart(form).peak_units()[0]
    return product.artifact()


def taken_apart(form: str) -> Any:
    """The module for an artifact format.

    Raises:
        DeviceError: models in this format cannot be taken apart.
    """
    if form not in FORMATS:
        raise DeviceError(
            expected=f"a profiler of one of the formats {', '.join(FORMATS)}",
            received=f"'{form}'",
            cure="measure whole models: this format has no units",
        )
    return importlib.import_module(f"autoprune.cost_model.units.{FORMATS[form]}")
