"""The folder of a bundle: `bundle.json` for programs, weights, `README.md` for people. Knows their fields."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from autoprune.core import quantity
from autoprune.core.measurement import Measurement
from autoprune.core.metric import LATENCY
from autoprune.core.plan import Plan
from autoprune.errors import AutopruneError, StorageError, describe
from autoprune.models.form import Form
from autoprune.policies import Member, parts_of
from autoprune.store.files import storing
from autoprune.store.reading import BUNDLE

SCHEMA: Final = 1
WEIGHTS, README = "model.safetensors", "README.md"
#: What every card says.
WORST_CASE: Final = (
    "a bundle helps the mean, not the worst case: a request that a small member hands over takes as long as both, and "
    "one that the largest answers as long as that. Where each request has the same limit, take one model that keeps it"
)


@dataclass(frozen=True, kw_only=True)
class BundledModel:
    """A member.

    Attributes:
        member: As policies see it.
        plan: What it keeps of each group.
        form: What rebuilds it from the dense model.
        share: Of the samples that were measured, those that it answered; a sample that is handed over counts for both.
        measurements: By key, of the validation split, taken beside the bundle's.
    """

    member: Member
    plan: Plan = field(repr=False)
    form: Form = field(repr=False)
    share: float
    measurements: Mapping[str, Measurement] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Bundled:
    """A bundle that was written, opened again, and measured as one model.

    Attributes:
        folder: Where it lies.
        task: Name of the task that its members were made from; empty where it has none.
        policy: Which decides.
        settings: That it was settled with.
        told: What it does, in words.
        members: The fastest first.
        measurements: Of the bundle, by key: qualities of the validation split; "latency.mean", "latency.p50" and others
            over its requests; "latency", what the mean comes to beside the models of a front, by the ratio to the
            largest member's.
        stored: Bytes of its weights.
        apart: Bytes of the same, were each member stored alone.
        profiler: What ran it.
        precision: That it computes in.
        threads: Of the processor.
        requests: How many were timed.
        notes: What a user should know.
    """

    folder: Path
    task: str
    policy: str
    settings: Mapping[str, Any] = field(repr=False)
    told: str
    members: tuple[BundledModel, ...]
    measurements: Mapping[str, Measurement] = field(repr=False)
    stored: int
    apart: int
    profiler: str
    precision: str
    threads: int
    requests: int
    notes: tuple[str, ...] = ()


def write(bundled: Bundled, weights: bytes, nesting: Mapping[str, Any], folder: Path) -> None:
    """Write all files into a folder. nesting: where what is stored once belongs, as `models.nested` tells it."""
    plain = ("task", "policy", "settings", "told", "stored", "apart", "profiler", "precision", "threads", "requests")
    data = {
        "schema": SCHEMA,
        "autoprune": metadata.version("autoprune"),
        **{name: getattr(bundled, name) for name in (*plain, "notes")},
        "metrics": _metrics(bundled.measurements),
        "members": [
            {
                **vars(each.member),
                "plan": each.plan.kept,
                "form": each.form.to_json(),
                "share": each.share,
                "metrics": _metrics(each.measurements),
            }
            for each in bundled.members
        ],
        "weights": {"sha256": hashlib.sha256(weights).hexdigest(), **nesting},
    }
    with storing(folder):
        (folder / WEIGHTS).write_bytes(weights)
        (folder / README).write_text(told(bundled), encoding="utf-8")
        (folder / BUNDLE).write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def read(folder: Path) -> tuple[Bundled, bytes, Mapping[str, Any]]:
    """What `write` was given, with the weights' bytes.

    Raises:
        StorageError: a file is missing, damaged, of another schema, or the weights are others.
    """
    try:
        data = json.loads((folder / BUNDLE).read_bytes())
        weights = (folder / WEIGHTS).read_bytes()
        nesting = data.pop("weights")
        schema, _ = data.pop("schema"), data.pop("autoprune")
        measured = {key: Measurement.from_json(key, raw) for key, raw in data.pop("metrics").items()}
        members = tuple(map(_member, data.pop("members")))
        notes = tuple(data.pop("notes"))
        found = Bundled(folder=folder, members=members, measurements=measured, notes=notes, **data)
    except (OSError, ValueError, TypeError, LookupError, AttributeError, AutopruneError) as error:
        raise StorageError(
            expected=f"a bundle with its {BUNDLE} and {WEIGHTS} in {folder}",
            received=describe(error),
            cure="give a folder that `autoprune bundle` wrote",
        ) from error
    if schema != SCHEMA or nesting.get("sha256") != hashlib.sha256(weights).hexdigest():
        raise StorageError(
            expected=f"schema {SCHEMA} in {folder / BUNDLE}, and the weights whose hash it names",
            received=f"schema {schema}" if schema != SCHEMA else "other weights",
            cure="use the version of autoprune that wrote it, or restore the files",
        )
    return found, weights, nesting


def _parts(data: Mapping[str, Any]) -> tuple[float, ...]:
    """Seconds of fewer samples; older files have those of one, and a line leads from there to all."""
    if "one" not in data:
        return tuple(data["parts"])
    one, seconds, batch = data["one"], data["seconds"], data["batch"]
    return tuple(one + (seconds - one) * (count - 1) / (batch - 1) for count in parts_of(batch))


def _member(data: Mapping[str, Any]) -> BundledModel:
    return BundledModel(
        member=Member(**{name: data[name] for name in ("name", "seconds", "late", "batch")}, parts=_parts(data)),
        plan=Plan.from_json(data["plan"]),
        form=Form.from_json(data["form"]),
        share=float(data["share"]),
        measurements={key: Measurement.from_json(key, raw) for key, raw in data["metrics"].items()},
    )


def _metrics(measured: Mapping[str, Measurement]) -> dict[str, Any]:
    return {key: found.to_json() for key, found in measured.items()}


def rows(bundled: Bundled) -> list[list[str]]:
    """The bundle beside its members as cells, their head first."""
    qualities = [key for key, found in bundled.measurements.items() if found.split]
    times = [key for key in bundled.measurements if key.startswith("latency.")]
    head = ["", "samples", *qualities, *times]

    def cells(name: str, share: str, measured: Mapping[str, Measurement]) -> list[str]:
        scores = [f"{measured[key].value:.4f}" for key in qualities]
        return [name, share, *scores, *(quantity.show(measured[key].value, "s") for key in times)]

    return [
        head,
        cells("bundle", "", bundled.measurements),
        *(cells(each.member.name, f"{each.share:.0%}", each.measurements) for each in bundled.members),
    ]


def expected(bundled: Bundled) -> str:
    """What it is expected to take beside the models of the front, where their latency is known; empty where not."""
    found = bundled.measurements.get(str(LATENCY))
    if found is None:
        return ""
    shown = quantity.show_interval(found.value, found.low, found.high, found.unit)
    return f"expected latency beside the front: {shown}, {found.note}"


def told(bundled: Bundled) -> str:
    """What the README says."""
    head, *body = rows(bundled)
    lines = [head, ["---"] * len(head), *body]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    saved = 1 - bundled.stored / max(bundled.apart, 1)
    kept = quantity.show(bundled.stored, "B"), quantity.show(bundled.apart, "B")
    asked = ".asked(deadline=0.004)(...)" if bundled.policy == "deadline" else "(...)"
    notes = "".join(f"\n- {note}" for note in bundled.notes)
    beside = f"{text[0].upper()}{text[1:]}.\n\n" if (text := expected(bundled)) else ""
    return (
        f"# A bundle of {len(bundled.members)} models, by the policy '{bundled.policy}'\n\n{bundled.told}.\n\n"
        f'```python\nimport autoprune\n\nbundle = autoprune.load_bundle("{bundled.folder}")\nbundle{asked}\n```\n\n'
        f"{table}\n\nAll on the validation split; {bundled.requests} requests by the profiler '{bundled.profiler}', "
        f"{bundled.precision}, {bundled.threads} threads, the bundle and each member one after the other. `samples`: "
        f"the share that a member answers.\n\n{beside}Weights: {kept[0]}, {kept[1]} were members stored alone; slices "
        f"that are equal to the bit are stored once, which saves {saved:.1%}.\n\nTo know:\n{notes}\n"
    )
