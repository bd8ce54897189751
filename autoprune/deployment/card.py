"""The card of an exported model: `export.json` for programs, `README.md` for people. Knows their fields."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from autoprune.core import quantity
from autoprune.core.measurement import Measurement
from autoprune.errors import AutopruneError, StorageError, describe
from autoprune.exporters import Subject, Written

SCHEMA: Final = 1
CARD, README = "export.json", "README.md"


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A model that was written, run and compared.

    Attributes:
        format: Such as "onnx".
        folder: Where it lies.
        file: What a user opens there.
        name: Of the model.
        task: Name of the task that scores it; empty where it has none.
        precision: That its runtime computes in.
        profiler: Its runtime, which runs it and timed it.
        inputs: Of the example: name (empty: by place), data type and shape of each tensor.
        named: Whether the file's inputs have names.
        varies: Dimensions that may be of another size: "batch", "sequence".
        versions: Of the libraries that wrote it.
        facts: What else tells the format, such as its opset.
        difference: The largest from torch's outputs, in units of the largest output.
        tolerance: What it may be; None where only scores tell, as in int8.
        compared: On what that was seen, in words.
        measurements: By key, such as "latency".
        notes: What a user should know.
        usage: Python that runs it without autoprune.
    """

    format: str
    folder: Path
    file: str
    name: str
    task: str = ""
    precision: str = "float32"
    profiler: str
    inputs: tuple[Mapping[str, Any], ...]
    named: bool
    varies: tuple[str, ...]
    versions: Mapping[str, str]
    facts: Mapping[str, Any] = field(repr=False)
    difference: float
    tolerance: float | None
    compared: str
    measurements: Mapping[str, Measurement] = field(repr=False)
    notes: tuple[str, ...] = ()
    usage: str = field(default="", repr=False)

    @classmethod
    def of(cls, subject: Subject, written: Written, **told: Any) -> Exported:
        """The card of what was written of a subject. told: the fields that neither of them knows."""
        tensors = subject.example.tensors
        names = written.inputs or [""] * len(tensors)
        inputs = tuple(
            {"name": name, "dtype": str(tensor.dtype).removeprefix("torch."), "shape": list(tensor.shape)}
            for name, tensor in zip(names, tensors, strict=True)
        )
        own = {key: value for key, value in vars(written).items() if key != "inputs"}
        return cls(
            name=subject.name,
            precision=subject.precision,
            inputs=inputs,
            named=bool(written.inputs),
            **{**own, **told},
        )

    @property
    def path(self) -> Path:
        """The file that a user opens."""
        return self.folder / self.file


def write(card: Exported, folder: Path) -> None:
    """Write both files into a folder."""
    data = {
        "schema": SCHEMA,
        "autoprune": metadata.version("autoprune"),
        **{key: value for key, value in vars(card).items() if key not in ("folder", "measurements")},
        "measurements": {key: found.to_json() for key, found in card.measurements.items()},
    }
    (folder / CARD).write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    (folder / README).write_text(_told(card), encoding="utf-8")


def read(folder: Path) -> Exported:
    """The card of a folder.

    Raises:
        StorageError: there is none, or it is damaged.
    """
    try:
        data = json.loads((folder / CARD).read_bytes())
        del data["autoprune"]
        schema = data.pop("schema")
        measured = {key: Measurement.from_json(key, raw) for key, raw in data.pop("measurements").items()}
        lists: dict[str, Any] = {key: tuple(data.pop(key)) for key in ("inputs", "varies", "notes")}
        found = Exported(folder=folder, measurements=measured, **lists, **data)
    except (OSError, ValueError, TypeError, LookupError, AttributeError, AutopruneError) as error:
        raise StorageError(
            expected=f"an exported model with its {CARD} in {folder}",
            received=describe(error),
            cure="give a folder that `autoprune export` wrote",
        ) from error
    if schema != SCHEMA:
        cure = "use the version of autoprune that wrote it"
        raise StorageError(expected=f"schema {SCHEMA} in {folder / CARD}", received=repr(schema), cure=cure)
    return found


def _told(card: Exported) -> str:
    names = [f"`{each['name']}`" if each["name"] else f"argument {place}" for place, each in enumerate(card.inputs)]
    inputs = "\n".join(
        f"- {name}: {each['dtype']} {each['shape']}" for name, each in zip(names, card.inputs, strict=True)
    )
    free = f"{' and '.join(card.varies)} may be of any size" if card.varies else "all sizes are fixed"
    made = ", ".join(f"{name} {version}" for name, version in {**card.facts, **card.versions}.items())
    seconds = card.measurements.get("latency")
    latency = ""
    if seconds is not None:
        shown = quantity.show_interval(seconds.value, seconds.low, seconds.high, seconds.unit)
        latency = f"\n\nLatency of these inputs in {card.profiler}, {card.precision}: {shown} on {seconds.device}."
    notes = "".join(f"\n- {note}" for note in card.notes)
    passed = "" if card.tolerance is None else f", at most {card.tolerance:g} is let pass"
    return (
        f"# {card.name}, as {card.format}\n\n`{card.file}`, {card.precision}, {made}.\n\n"
        f"```python\n{card.usage}\n```\n\nInputs ({free}):\n\n{inputs}\n\n"
        f"Outputs are within {card.difference:.1e} of torch's (in units of the largest{passed}), "
        f"on {card.compared}.{latency}\n" + (f"\nTo know:\n{notes}\n" if notes else "")
    )
