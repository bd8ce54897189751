"""Weights & Biases: one run, offline in the run directory until `wandb sync`, unless WANDB_MODE says otherwise."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from autoprune.trackers import TrackedModel, TrackedRun

LIBRARY: Final = "wandb"
_PROJECT: Final = "autoprune"
_EXIT: Final = {"finished": 0, "stopped": 130, "failed": 1}


class WeightsAndBiases:
    """Every series has a step of its own: trials, or epochs; the finished models are a table."""

    def __init__(self, library: Any, run: Any, name: str) -> None:
        self._library, self._run, self.identity = library, run, str(run.id)
        self._files = library.Artifact(f"run-{name}", type="autoprune-run")
        self._rows: list[TrackedModel] = []
        for series, step in (("trial/*", "trial/number"), ("search/*", "search/trials"), ("stages/*", "search/trials")):
            run.define_metric(step)
            run.define_metric(series, step_metric=step)

    def trial(self, model: TrackedModel) -> None:
        plan = {f"plan/{name}": kept for name, kept in model.plan.items()}
        values = {f"trial/{name}": value for name, value in model.metrics.items()}
        self._run.log({"trial/number": model.trial, "trial/feasible": int(model.feasible), **plan, **values})

    def scalars(self, values: Mapping[str, float], step: int, trial: int | None = None) -> None:
        if trial is None:
            self._run.log({"search/trials": step, **values})
            return
        epoch = f"trial-{trial}/epoch"
        self._run.define_metric(f"trial-{trial}/*", step_metric=epoch)
        self._run.log({epoch: step, **{f"trial-{trial}/{name}": value for name, value in values.items()}})

    def finished(self, model: TrackedModel) -> None:
        self._rows.append(model)
        if model.best:
            self._run.summary.update({"best/trial": model.trial, **{f"best/{k}": v for k, v in model.metrics.items()}})

    def artifact(self, path: Path, name: str) -> None:
        self._files.add_file(str(path), name)

    def close(self, state: str) -> None:
        if self._rows:
            names = [*dict.fromkeys(name for model in self._rows for name in model.metrics)]
            rows = [[m.trial, m.feasible, m.best, *(m.metrics.get(name) for name in names)] for m in self._rows]
            table = self._library.Table(["trial", "feasible", "best", *names], rows)
            self._run.log({"finished models": table})
        self._run.log_artifact(self._files)
        self._run.finish(_EXIT[state])


def create(run: TrackedRun) -> WeightsAndBiases:
    """Goes on in the run that was begun; offline, as another part of it, which `wandb sync` puts together."""
    # Read as it is imported: what it says of its own errors goes over the network.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    mode: Any = os.environ.get("WANDB_MODE", "offline")
    run.folder.mkdir(parents=True, exist_ok=True)
    made = wandb.init(
        project=os.environ.get("WANDB_PROJECT", _PROJECT),
        mode=mode,
        dir=os.environ.get("WANDB_DIR", run.folder),
        name=run.name,
        id=run.identity or None,
        resume="allow" if run.identity else None,
        config=dict(run.settings),
        settings=wandb.Settings(console="off", silent=True, x_disable_stats=True, save_code=False),
    )
    return WeightsAndBiases(wandb, made, run.name)
