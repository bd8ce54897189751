"""Models as files that runtimes read. Knows the contracts; each file beside this one is one format.

A format that is deployed has `write(subject, folder) -> Written`, `opened(folder, subject)`, which gives what a
profiler runs, that profiler's name as `PROFILER`, `PRECISIONS`, as `FROM_DENSE` whether opening takes the dense model,
and as `RUNS_CODE` whether it may run what is in the file: such a file is opened only by who trusts it. It only writes
and opens: what is written is run, compared with the model and timed once, by `autoprune.deployment`, for all formats.

A format that a profiler takes of candidates has `create(dense, example, counts) -> Exporter`, where `counts` is the
size of each group, and `keep(content, inputs, folder) -> Written`, which writes what was measured of a finished model,
with the names of its inputs. A search exports hundreds of models that differ in their sizes only, so an exporter may
derive the next from what it has seen; whoever uses a derived file checks what it computes, and asks for one made anew
where that is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from autoprune.models.form import Form
from autoprune.surgery.example import Example


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A finished model that is written.

    Attributes:
        model: On the processor, in eval mode.
        example: One forward pass, at the batch size whose latency counts.
        name: Of the model, for people.
        dense: What it was cut from; None where nobody knows.
        form: What rebuilds it from that; None where nobody knows.
        made_by: How the dense model is made, as `file.py:callable`; empty where only its user can.
        precision: That the file computes in.
        opset: Version of a format's operators; None for the usual one.
    """

    model: nn.Module = field(repr=False)
    example: Example = field(repr=False)
    name: str
    dense: nn.Module | None = field(default=None, repr=False)
    form: Form | None = field(default=None, repr=False)
    made_by: str = ""
    precision: str = "float32"
    opset: int | None = None


@dataclass(frozen=True, kw_only=True)
class Written:
    """What was written.

    Attributes:
        file: What a user opens, in the folder.
        inputs: Names of the file's inputs in the order of the example's tensors; empty where it is called as the model.
        varies: Dimensions that may be of another size than the example's: "batch", "sequence".
        versions: Of the libraries that wrote it.
        facts: What else tells the file, such as its opset.
        notes: What a user should know before using it.
        usage: Python that runs it without autoprune, with the file's name in it.
    """

    file: str
    usage: str
    inputs: tuple[str, ...] = ()
    varies: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Exporter(Protocol):
    """Makes files of candidates; models are cut from the dense one that it was created with."""

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


class Format(Protocol):
    """The contract of a module whose format is deployed."""

    PROFILER: str
    PRECISIONS: tuple[str, ...]
    FROM_DENSE: bool
    RUNS_CODE: bool

    def write(self, subject: Subject, folder: Path) -> Written:
        """Write the model into a folder that is there and empty.

        Raises:
            UsageError: an opset that the format does not have.
            DeviceError: the model cannot be expressed; the operator is named where the library tells it.
        """
        ...

    def opened(self, folder: Path, subject: Subject) -> Any:
        """What was written there, as the profiler's `prepare` takes it. subject: what was written, of which the model
        itself is not used."""
        ...
