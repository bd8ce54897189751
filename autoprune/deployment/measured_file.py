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
from autoprune.core.measurement import Measurement, RunSpec
from autoprune.core.metric import MetricKey
from autoprune.deployment import card
from autoprune.deployment.card import Exported
from autoprune.deployment.comparison import TOLERANCES, apart
from autoprune.errors import DeviceError
from autoprune.exporters import Subject
from autoprune.store.files import storing

_NOTE = "its sizes are fixed, as the search measured it; `autoprune export` writes one whose batch may vary"


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
        distance = _distance(artifact, form.PROFILER)
        if distance is None or distance <= TOLERANCES["float32"]:
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
            tolerance=TOLERANCES["float32"],
            compared=f"the example inputs, in {form.PROFILER} and float32"
            if distance is not None
            else "the device alone, whose runtime is not here",
            measurements={key: each for key, each in measured.items() if MetricKey.parse(key).cost is not None},
            notes=(_NOTE,),
        )
        card.write(found, home)
    return found


def _distance(artifact: Artifact, profiler: str) -> float | None:
    """The largest difference from the model's outputs, in units of the largest; None where the runtime is not here."""
    try:
        runtime = registry.load("profilers", profiler).create(RunSpec(), SystemClock())
    except DeviceError:
        return None
    try:
        found = runtime.outputs(runtime.prepare(artifact.content, dict(artifact.inputs)))
    except DeviceError:
        return float("inf")
    pairs = zip(map(torch.from_numpy, found), map(torch.from_numpy, artifact.expected), strict=False)
    return max([apart(one, other) for one, other in pairs], default=0.0)
