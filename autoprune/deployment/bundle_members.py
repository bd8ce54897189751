"""Which models a bundle is made of. Knows runs, folders and their records; not policies, nor how models are run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from autoprune.core.measurement import QUANTISED, Measurement
from autoprune.errors import UsageError
from autoprune.models.folder import PLAN, PrunedModel, read
from autoprune.models.form import Form
from autoprune.registry import unknown
from autoprune.store.reading import BUNDLES, read_front

_LEAST: Final = 2


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A model of a bundle.

    Attributes:
        name: The number of its trial.
        folder: Where it lies.
        record: What its plan.json says.
        form: What rebuilds it from the dense model.
        weights: Bytes of its safetensors file.
        measured: What the front of its run says of it, by key.
    """

    name: str
    folder: Path
    record: PrunedModel = field(repr=False)
    form: Form = field(repr=False)
    weights: bytes = field(repr=False)
    measured: Mapping[str, Measurement] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Members:
    """What is put together.

    Attributes:
        models: At least two, each once.
        place: Where bundles of them lie.
        usual: How their run measured: profiler, device, threads, batch, precision, as far as it is known.
    """

    models: tuple[Chosen, ...]
    place: Path
    usual: Mapping[str, Any]


def members_in(subjects: Sequence[Path], trials: Sequence[int]) -> Members:
    """The models of a run's front, or of several folders.

    Args:
        subjects: A run directory, or folders of finished models.
        trials: Of a run, numbers of its models; none for those of its front up to the best.

    Raises:
        UsageError: fewer than two, models of different tasks or dense models, quantised ones, or no such trial.
        StorageError: a folder is damaged.
    """
    if len(subjects) == 1 and not (subjects[0] / PLAN).is_file():
        found = _of_run(subjects[0], trials)
    elif trials:
        raise UsageError(
            expected="--members of one run", received=f"{len(subjects)} folders", cure="name the run alone"
        )
    else:
        names = [path.resolve().name for path in subjects]
        alike = len({*names}) < len(names)
        models = tuple(_read(path, str(path) if alike else name) for path, name in zip(subjects, names, strict=True))
        found = Members(models=models, place=Path(BUNDLES), usual={})
    folders = {each.folder.resolve() for each in found.models}
    if len(folders) < max(_LEAST, len(found.models)):
        raise UsageError(
            expected="at least two models, each once",
            received=", ".join(each.name for each in found.models) or "none",
            cure="name others, such as --members 5,36; `autoprune front RUN` lists them",
        )
    _check_alike(found.models)
    return found


def _of_run(run: Path, trials: Sequence[int]) -> Members:
    front = read_front(run)
    points = {point["trial"]: point for point in front["front"]}
    if not trials:
        listed = [*points]
        trials = listed[: listed.index(front["best"]) + 1] if front["best"] in points else listed
    for trial in trials:
        if trial not in points and not (run / "models" / str(trial) / PLAN).is_file():
            raise unknown("finished model of the run", str(trial), tuple(map(str, points)))
    models = tuple(
        _read(run / "models" / str(trial), str(trial), points.get(trial, {"metrics": {}})["metrics"])
        for trial in trials
    )
    recorded = front["profiler"]
    if recorded.get("precision") == QUANTISED:
        raise _quantised(f"a run of {QUANTISED}")
    usual = {key: recorded[key] for key in ("name", "device", "threads", "batch", "precision") if key in recorded}
    return Members(models=models, place=run / BUNDLES, usual=usual)


def _read(folder: Path, name: str, metrics: Mapping[str, Any] | None = None) -> Chosen:
    record, weights = read(folder)
    if record.form is None:
        raise UsageError(
            expected=f"a model in {folder} that says what it was cut from",
            received="one of an earlier version",
            cure="load it and save it once more",
        )
    measured = {key: Measurement.from_json(key, raw) for key, raw in (metrics or {}).items()}
    return Chosen(name=name, folder=folder, record=record, form=record.form, weights=weights, measured=measured)


def _quantised(received: str) -> UsageError:
    return UsageError(
        expected="models that are not quantised, as a bundle runs modules of torch",
        received=received,
        cure="name others by --members, or search in float32",
    )


def _check_alike(models: Sequence[Chosen]) -> None:
    first = models[0]
    for each in models:
        if each.record.plan.precision == QUANTISED:
            raise _quantised(each.name)
    for each in models[1:]:
        tasks = (first.record.task, each.record.task)
        if tasks[0] != tasks[1]:
            raise UsageError(
                expected="models of one task",
                received=" and ".join(f"'{task}'" if task else "one without a name" for task in tasks),
                cure="bundle models of one run",
            )
        if first.form.weights != each.form.weights or first.form.groups != each.form.groups:
            raise UsageError(
                expected="models that were cut from one dense model",
                received=f"{each.folder}, whose dense model is another than that of {first.folder}",
                cure="bundle models of one run",
            )
