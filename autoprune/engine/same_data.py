"""Whether a run goes on with what it was begun with: its data, and how the dense model scores on it. Knows identities;
what is done where they differ is decided here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Final

from torch import nn

from autoprune.core.measurement import Measurement
from autoprune.core.reporter import Reporter
from autoprune.engine.run_artifacts import kept_dense
from autoprune.errors import StorageError, TaskError, describe
from autoprune.store.reading import DATA
from autoprune.store.run import RunDirectory
from autoprune.tasks.identity import DataIdentity, undisturbed
from autoprune.tasks.task import SPLITS, Task

#: On these models are judged; the others are only learned from.
_JUDGED: Final = SPLITS[1:]
#: How far two scores of one model may differ: as a share, and in samples.
_SHARE, _SAMPLES = 1e-3, 2
_CURE: Final = "restore the data, the seeds of its splits and the metric as they were, or search anew in another --run"


def check_same_data(directory: RunDirectory, task: Task, reporter: Reporter, *, new: bool, trained: bool) -> None:
    """Write down what the data is known by, or compare it with what is written.

    Args:
        directory: Of the run.
        task: With its splits.
        reporter: Warned of what only training and calibration see, and of what cannot be told.
        new: Whether the run begins.
        trained: Whether "train" is read at all.

    Raises:
        TaskError: models would be judged on other data than those before them.
    """
    before = {} if new else _kept(directory)
    names = (*SPLITS, *(["train"] if trained else []))
    with undisturbed():
        found = {name: DataIdentity.of(task.split(name)) for name in names}
        if not before:
            directory.write(DATA, json.dumps({name: asdict(each) for name, each in found.items()}).encode())
        for name in (name for name in names if name in before and found[name] != before[name]):
            _differs(name, before[name], found[name], DataIdentity.of(task.split(name)), reporter)


def _kept(directory: RunDirectory) -> dict[str, DataIdentity]:
    """What the data was known by when the run began; nothing where that was not written down."""
    stored = directory.read(DATA)
    try:
        return {} if stored is None else {name: DataIdentity(**each) for name, each in json.loads(stored).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise StorageError(
            expected=f"what the data of the run is known by in {directory.path / DATA}",
            received=describe(error),
            cure="restore the file; or remove it, and nothing is compared",
        ) from error


def _differs(name: str, before: DataIdentity, now: DataIdentity, again: DataIdentity, reporter: Reporter) -> None:
    """Refuse or warn of a split that is not as it was; again: a second look."""
    judged, shuffled = name in _JUDGED, now.count == before.count and again.digest != now.digest
    if shuffled:
        if judged:
            reporter.warn(
                f"splits['{name}'] comes in another order, or changed, each time: nobody can tell whether it is what "
                "this run began with"
            )
        return
    sizes = "" if now.count == before.count else f" ({now.count} and not {before.count} batches or samples)"
    if not judged:
        reporter.warn(f"splits['{name}'] is not the one that this run began with{sizes}")
        return
    raise TaskError(
        expected=f"the splits['{name}'] that this run began with, on which its candidates are judged",
        received=f"other samples{sizes}",
        cure=_CURE,
    )


def check_same_scores(
    directory: RunDirectory, task: Task, model: nn.Module, scored: Mapping[str, Measurement], reporter: Reporter
) -> None:
    """Compare how the dense model scores with how it did when the run began.

    Args:
        directory: Of the run.
        task: Whose model is the one that it was.
        model: That model, as it is run.
        scored: Its scores on the search split by now.
        reporter: Warned where scores are not repeatable.

    Raises:
        TaskError: other scores, which are the same a second time.
    """
    before = kept_dense(directory)
    other = [name for name, found in scored.items() if name in before and not _alike(before[name], found)]
    if not other:
        return
    again, name = task.score(model, "search"), other[0]
    values = f"{scored[name].value:.6g} and not {before[name].value:.6g}"
    if not _alike(scored[name], again[name]):
        reporter.warn(f"the dense model's {name} is another one each time ({values}): earlier scores compare roughly")
        return
    raise TaskError(
        expected=f"the {name} that the dense model had on the search split when this run began",
        received=values,
        cure=_CURE,
    )


def _alike(one: Measurement, other: Measurement) -> bool:
    share = max(_SHARE, _SAMPLES / one.n if one.n > 1 else 0.0)
    return abs(one.value - other.value) <= max(share * abs(one.value), 1e-9)
