"""What a run computes once and keeps: what is searched, the ranking of slices, the forecast, and what it knew of the
dense model. Knows files; not how any is made."""

from __future__ import annotations

import json
from collections.abc import Mapping

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from autoprune.core.forecast import Forecast
from autoprune.core.measurement import Measurement
from autoprune.engine.prepare import Prepared
from autoprune.errors import StorageError, describe
from autoprune.store.reading import DENSE, FORECAST, SUBJECT
from autoprune.store.run import RunDirectory
from autoprune.store.scores import RANKING
from autoprune.surgery.coverage import coverage


def keep_subject(directory: RunDirectory, prepared: Prepared) -> None:
    """What is searched, for who shows it later without the model: its groups, how much of it they are, and which way
    each metric of the task is better."""
    covered = coverage(prepared.task.model, prepared.traced, prepared.groups)
    subject = {
        "schema": 1,
        "qualities": {metric.name: metric.range_to_json() for metric in prepared.task.metrics},
        "coverage": {"params": covered.params, "flops": covered.flops, "left": covered.left, "told": str(covered)},
        "groups": [
            {
                "name": group.name,
                "kind": group.kind,
                "size": group.size,
                "frozen_reason": group.frozen_reason,
            }
            for group in prepared.groups
        ],
    }
    directory.write(SUBJECT, json.dumps(subject).encode())


def keep_ranking(directory: RunDirectory, ranking: Mapping[str, Tensor]) -> None:
    """All plans of a run cut the same slices, whichever process cuts them."""
    directory.write(RANKING, safetensors.torch.save(dict(ranking)))


def kept_ranking(directory: RunDirectory) -> dict[str, Tensor] | None:
    """What `keep_ranking` wrote; None where it did not come to that.

    Raises:
        StorageError: the file is damaged.
    """
    stored = directory.read(RANKING)
    try:
        return None if stored is None else safetensors.torch.load(stored)
    except SafetensorError as error:
        raise StorageError(
            expected=f"the ranking of an earlier search in {directory.path / RANKING}",
            received="a file that is cut off or changed",
            cure="restore it, or search anew in another --run",
        ) from error


def keep_forecast(directory: RunDirectory, forecast: Forecast) -> None:
    """A search that goes on proposes from the forecast that it began with."""
    directory.write(FORECAST, forecast.encoded())


def kept_forecast(directory: RunDirectory) -> Forecast | None:
    """What `keep_forecast` wrote; None where it did not come to that.

    Raises:
        StorageError: the file is damaged.
    """
    stored = directory.read(FORECAST)
    return None if stored is None else Forecast.decoded(stored)


def begun_with(directory: RunDirectory, dense: Mapping[str, Measurement], *, new: bool) -> Mapping[str, Measurement]:
    """The dense model's measurements when the run began, which are these where it begins: a search that goes on aims at
    what it aimed at, also where its device has become slower.

    Raises:
        StorageError: the file is damaged.
    """
    if new or directory.read(DENSE) is None:
        directory.write(DENSE, json.dumps({key: found.to_json() for key, found in dense.items()}).encode())
        return dense
    return {**dense, **kept_dense(directory)}


def kept_dense(directory: RunDirectory) -> dict[str, Measurement]:
    """The dense model's measurements when the run began; none where it did not come to that.

    Raises:
        StorageError: the file is damaged.
    """
    stored = directory.read(DENSE)
    try:
        return {} if stored is None else {k: Measurement.from_json(k, raw) for k, raw in json.loads(stored).items()}
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise StorageError(
            expected=f"the dense model's measurements in {directory.path / DENSE}",
            received=describe(error),
            cure="remove the file: the dense model as it is measured now is used",
        ) from error
