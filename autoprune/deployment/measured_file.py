"""The file of a finished model that a search measured, kept beside it. Knows cards; not how models are measured.

Where the runtime is on this machine, the file is run once more before it counts: of those that were derived, one may
compute something else.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from autoprune import registry
from autoprune.bench.artifact import Artifact
from autoprune.core.clock import SystemClock
from autoprune.core.measurement import FULL, Measurement, RunSpec
from autoprune.core.metric import MetricKey
from autoprune.deployment import card
from autoprune.deployment.card import Exported
from autoprune.deployment.comparison import TOLERANCES, apart
from autoprune.errors import DeviceError
from autoprune.exporters import Subject
from autoprune.store.files import storing
from autoprune.surgery.example import arrays
from autoprune.surgery.modes import evaluating

_NOTE = "its sizes are fixed, as the search measured it; `autoprune export` writes one whose batch may vary"
_QUANTISED = (
    "its sizes are fixed, as the search measured it; it was quantised after training, with ranges of the calibration "
    "split, and the model's scores are those of this file"
)


def keep_measured(
    artifacts: Iterable[Artifact],
    subject: Subject,
    folder: Path,
    task: str,
    measured: Mapping[str, Measurement],
    profiler: str,
) -> Exported | None:
    """Write the file that was measured of a finished model, with its card, into a folder of its format's name.

    Args:
        artifacts: What was measured of it, of which the first counts that computes what the model does.
        subject: The model.
        folder: Of the finished model.
        task: Its name, which scores it.
        measured: Of the model, by key.
        profiler: That measured it, in the subject's precision.

    Returns:
        The card; None where modules were measured, or the format keeps no files.

    Raises:
        DeviceError: no file computes what the model does.
        StorageError: the folder cannot be written.
    """
    for artifact in artifacts:
        form: Any = None if artifact.format == "module" else registry.load("exporters", artifact.format)
        if not hasattr(form, "keep"):
            return None
        precision, runtime = artifact.precision or FULL, profiler if artifact.precision else form.PROFILER
        distance = _distance(artifact, runtime, subject)
        if distance is None or artifact.precision or distance <= TOLERANCES[FULL]:
            break
    else:
        raise DeviceError(
            expected="a file that computes what the model does", received="none", cure="use `autoprune export`"
        )
    home = folder / artifact.format
    with storing(home):
        shutil.rmtree(home, ignore_errors=True)  # of an earlier end of the same run
        home.mkdir(parents=True)
        written = form.keep(artifact.content, list(artifact.inputs), home)
        found = Exported.of(
            subject,
            written,
            format=artifact.format,
            folder=home,
            task=task,
            profiler=profiler,
            difference=distance or 0.0,
            tolerance=None if artifact.precision else TOLERANCES[FULL],
            compared=f"the example inputs, in {runtime} and {precision}"
            if distance is not None
            else "the device alone, whose runtime is not here",
            measurements={key: each for key, each in measured.items() if MetricKey.parse(key).cost is not None},
            notes=(_QUANTISED if artifact.precision else _NOTE,),
        )
        card.write(found, home)
    return found


def _distance(artifact: Artifact, profiler: str, subject: Subject) -> float | None:
    """The largest difference from the model's outputs, in units of the largest; None where the runtime is not here."""
    with torch.no_grad(), evaluating(subject.model):
        expected = arrays(subject.example.fresh().call(subject.model))
    try:
        runtime = registry.load("profilers", profiler).create(RunSpec(), SystemClock())
    except DeviceError:
        return None
    try:
        found = runtime.outputs(runtime.prepare(artifact.content, dict(artifact.inputs)))
    except DeviceError:
        return float("inf")
    pairs = zip(map(torch.from_numpy, found), map(torch.from_numpy, expected), strict=False)
    return max([apart(one, other) for one, other in pairs], default=0.0)
