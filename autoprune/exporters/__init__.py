"""Models as files that runtimes read. Knows the contract; each file beside this one is one format.

An exporter is a module with `create(dense, example, counts) -> Exporter`; `counts` is the size of each group. A search
exports hundreds of models that differ in their sizes only, so an exporter may derive the next from what it has seen;
whoever uses a derived file checks what it computes, and asks for one made anew where that is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from torch import nn

from autoprune.surgery.example import Example


class Exporter(Protocol):
    """The contract; models are cut from the dense one that it was created with."""

    def inputs(self) -> Mapping[str, Any]:
        """The example's tensors as numpy arrays, by the names that the file's inputs have."""
        ...

    def derived(self, model: nn.Module, counts: Mapping[str, int]) -> bytes | None:
        """The model's file without tracing it; None where that is not possible, or not known yet.

        counts: what is left of the groups that were cut.
        """
        ...

    def anew(self, model: nn.Module, counts: Mapping[str, int]) -> bytes:
        """The model's file from nothing; what it shows of sizes helps to derive the next.

        Raises:
            DeviceError: the model cannot be expressed in this format.
        """
        ...


Create = Callable[[nn.Module, Example, Mapping[str, int]], Exporter]
