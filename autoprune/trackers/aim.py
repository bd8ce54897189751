"""Aim: one run in the `.aim` repository of the working directory, or where AIM_REPO says."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from autoprune.trackers import TrackedModel, TrackedRun

LIBRARY: Final = "aim"
_EXPERIMENT: Final = "autoprune"


class Aim:
    """Series of a trial differ by their context."""

    def __init__(self, run: Any) -> None:
        self._run, self.identity = run, str(run.hash)

    def trial(self, model: TrackedModel) -> None:
        self._run["trials", str(model.trial)] = {"plan": dict(model.plan), "feasible": model.feasible}
        for name, value in model.metrics.items():
            self._run.track(value, name=name, step=model.trial, context={"subset": "trials"})

    def scalars(self, values: Mapping[str, float], step: int, trial: int | None = None) -> None:
        context = {"subset": "search"} if trial is None else {"subset": "trial", "trial": trial}
        for name, value in values.items():
            self._run.track(value, name=name, step=step, context=context)

    def finished(self, model: TrackedModel) -> None:
        self._run["finished", str(model.trial)] = dict(model.metrics)
        if model.best:
            self._run["best"] = {"trial": model.trial, **model.metrics}

    def artifact(self, path: Path, name: str) -> None:
        self._run.log_artifact(str(path), name, block=True)

    def close(self, state: str) -> None:
        self._run["state"] = state
        self._run.close()


def create(run: TrackedRun) -> Aim:
    """Goes on in the run that was begun."""
    import aim

    made = aim.Run(
        run_hash=run.identity or None,
        repo=os.environ.get("AIM_REPO") or aim.Repo.from_path(".", init=True),
        experiment=_EXPERIMENT,
        system_tracking_interval=None,
        capture_terminal_logs=False,
    )
    if not made.artifacts_uri:
        made.set_artifacts_uri((run.folder / "artifacts").absolute().as_uri())
    if not run.identity:
        made.name, made["settings"] = run.name, dict(run.settings)
    return Aim(made)
