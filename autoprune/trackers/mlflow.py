"""MLflow: a run with a child run a trial, in `mlflow.db` of the working directory unless MLFLOW_TRACKING_URI names a
server."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from autoprune.trackers import TrackedModel, TrackedRun

if TYPE_CHECKING:
    from mlflow import MlflowClient

LIBRARY: Final = "mlflow"
_EXPERIMENT: Final = "autoprune"
_TRIAL: Final = "autoprune.trial"
_ENDS: Final = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
#: What a name or a value may not have, and how long a value may be; parameters at a time.
_STRANGE: Final = re.compile(r"[^\w\-. :/]")
_LONGEST: Final = 500
_AT_ONCE: Final = 100
_NONE: Final[Mapping[str, Any]] = MappingProxyType({})


class MLflow:
    """By the client alone, so that a run that the user's program has open stays what it is."""

    def __init__(self, client: MlflowClient, run: TrackedRun, experiment: str) -> None:
        self._client, self._experiment, self._name = client, experiment, run.name
        self._children: dict[int, str] = {}
        self._resumed = bool(run.identity)
        if run.identity:
            self.identity = run.identity
            client.update_run(self.identity, status="RUNNING")
        else:
            self.identity = client.create_run(experiment, run_name=run.name).info.run_id
            self._log(self.identity, parameters=run.settings)

    def trial(self, model: TrackedModel) -> None:
        child = self._child(model.trial)
        self._log(child, model.metrics, parameters=model.plan, tags={"feasible": str(model.feasible).lower()})
        self._client.set_terminated(child, _ENDS["finished" if model.metrics else "failed"])

    def scalars(self, values: Mapping[str, float], step: int, trial: int | None = None) -> None:
        self._log(self.identity if trial is None else self._child(trial), values, step)

    def finished(self, model: TrackedModel) -> None:
        finished = {f"finished/{name}": value for name, value in model.metrics.items()}
        self._log(self._child(model.trial), finished)
        if model.best:
            best = {f"best/{name}": value for name, value in model.metrics.items()}
            self._log(self.identity, best, tags={"best": str(model.trial)})

    def artifact(self, path: Path, name: str) -> None:
        folder = name.rpartition("/")[0]
        self._client.log_artifact(self.identity, str(path), folder or None)

    def close(self, state: str) -> None:
        self._client.set_terminated(self.identity, _ENDS[state])

    def _child(self, trial: int) -> str:
        """The run of a trial: known, made by the process that began, or made now."""
        if trial not in self._children:
            of = f"tags.`mlflow.parentRunId` = '{self.identity}' and tags.`{_TRIAL}` = '{trial}'"
            found = self._client.search_runs([self._experiment], of, max_results=1) if self._resumed else []
            tags = {"mlflow.parentRunId": self.identity, _TRIAL: str(trial)}
            made = found[0] if found else self._client.create_run(self._experiment, None, tags, f"trial {trial}")
            self._children[trial] = made.info.run_id
        return self._children[trial]

    def _log(
        self,
        run: str,
        metrics: Mapping[str, float] = _NONE,
        step: int = 0,
        parameters: Mapping[str, Any] = _NONE,
        tags: Mapping[str, str] = _NONE,
    ) -> None:
        """All in one request, as far as a server takes it: each is a transaction."""
        from mlflow.entities import Metric, Param, RunTag

        now = int(time.time() * 1e3)
        values = [Metric(_legal(name), value, now, step) for name, value in metrics.items()]
        told = [Param(_legal(name), str(value)[:_LONGEST]) for name, value in parameters.items()]
        self._client.log_batch(run, values, told[:_AT_ONCE], [RunTag(name, value) for name, value in tags.items()])
        for start in range(_AT_ONCE, len(told), _AT_ONCE):
            self._client.log_batch(run, params=told[start : start + _AT_ONCE])


def _legal(name: str) -> str:
    return _STRANGE.sub("_", name)


def create(run: TrackedRun) -> MLflow:
    """Goes on in the run that was begun."""
    # Read as it is imported, and there are no other switches: its own reports go over the network, its news to stderr.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    from mlflow import MlflowClient

    client, name = MlflowClient(), os.environ.get("MLFLOW_EXPERIMENT_NAME", _EXPERIMENT)
    known = client.get_experiment_by_name(name)
    return MLflow(client, run, client.create_experiment(name) if known is None else known.experiment_id)
