"""What a run computes once and keeps: the ranking of slices, the forecast, and what it knew of the dense model. Knows
files; not how any is made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from autoprune.core.forecast import Forecast
from autoprune.core.measurement import Measurement
from autoprune.errors import StorageError, describe
from autoprune.store.run import RunDirectory

_RANKING: Final = "ranking.safetensors"
_FORECAST: Final = "forecast.json"
_DENSE: Final = "dense.json"


def keep_ranking(directory: RunDirectory, ranking: Mapping[str, Tensor]) -> None:
    """All plans of a run cut the same slices, whichever process cuts them."""
    directory.write(_RANKING, safetensors.torch.save(dict(ranking)))


def kept_ranking(directory: RunDirectory) -> dict[str, Tensor] | None:
    """What `keep_ranking` wrote; None where it did not come to that.

    Raises:
        StorageError: the file is damaged.
    """
    stored = directory.read(_RANKING)
    try:
        return None if stored is None else safetensors.torch.load(stored)
    except SafetensorError as error:
        raise StorageError(
            expected=f"the ranking of an earlier search in {directory.path / _RANKING}",
            received="a file that is cut off or changed",
            cure="restore it, or search anew in another --run",
        ) from error


def keep_forecast(directory: RunDirectory, forecast: Forecast) -> None:
    """A search that goes on proposes from the forecast that it began with."""
    directory.write(_FORECAST, forecast.encoded())


def kept_forecast(directory: RunDirectory) -> Forecast | None:
    """What `keep_forecast` wrote; None where it did not come to that.

    Raises:
        StorageError: the file is damaged.
    """
    stored = directory.read(_FORECAST)
    return None if stored is None else Forecast.decoded(stored)


def begun_with(directory: RunDirectory, dense: Mapping[str, Measurement], *, new: bool) -> Mapping[str, Measurement]:
    """The dense model's measurements when the run began, which are these where it begins: a search that goes on aims at
    what it aimed at, also where its device has become slower.

    Raises:
        StorageError: the file is damaged.
    """
    if new or directory.read(_DENSE) is None:
        directory.write(_DENSE, json.dumps({key: found.to_json() for key, found in dense.items()}).encode())
        return dense
    return {**dense, **kept_dense(directory)}


def kept_dense(directory: RunDirectory) -> dict[str, Measurement]:
    """The dense model's measurements when the run began; none where it did not come to that.

    Raises:
        StorageError: the file is damaged.
    """
    stored = directory.read(_DENSE)
    try:
        return {} if stored is None else {k: Measurement.from_json(k, raw) for k, raw in json.loads(stored).items()}
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise StorageError(
            expected=f"the dense model's measurements in {directory.path / _DENSE}",
            received=describe(error),
            cure="remove the file: the dense model as it is measured now is used",
        ) from error
