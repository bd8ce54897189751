"""Candidates as the executor `ray` has them; fine-tuning by Ray Tune. Knows Tune's searchers and schedulers.

Tune is for long trials that are stopped early: its path costs tens of milliseconds and several files a trial, so the
many short candidates do not take it. `SuccessiveHalving` stays the truth: a Tune trial is one stretch of a run, from
where its checkpoint is to the next rung; what is stopped there and promoted later goes on as another trial on a reused
actor.
"""

from __future__ import annotations

import logging
import os
import tempfile
from typing import Any, Final

from autoprune.core.cluster import Cluster
from autoprune.core.reporter import Reporter
from autoprune.executors.ray import RayExecutor
from autoprune.finishing.lane import Lane
from autoprune.finishing.successive_halving import SuccessiveHalving
from autoprune.finishing.tuner import EpochResult, Tuner

#: How often a stretch is tried whose actor died.
_ATTEMPTS: Final = 3
_SETTINGS: Final = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_MAX_PENDING_TRIALS_PG": "2",
    "TUNE_RESULT_BUFFER_LENGTH": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "100000",
    "TUNE_WARN_THRESHOLD_S": "1000",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_WARN_SLOW_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "1000",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
}


class RayTuneExecutor(RayExecutor):
    """Ray's workers for candidates, Ray Tune for runs."""

    def finetune(self, halving: SuccessiveHalving, tuner: Tuner) -> None:
        if not halving.open:
            return
        self._connected()
        self._dismiss()
        for name, value in _SETTINGS.items():
            os.environ.setdefault(name, value)
        from ray import tune

        from autoprune.executors._stretch import FinetuneRuns, Rungs, Stretch

        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
        bridge = TuneBridge(halving, self._reporter)
        processors, gpus = self._share()
        trainable = tune.with_resources(
            tune.with_parameters(Stretch, packed=self._packed(tuner), threads=max(int(processors), 1)),
            {"cpu": min(processors, 1.0), "gpu": gpus},
        )
        # Tune writes pickles of its own state: none of them is to lie in the run, or is ever read.
        with tempfile.TemporaryDirectory(prefix="autoprune-tune-") as scratch:
            tune.Tuner(
                trainable,
                tune_config=tune.TuneConfig(
                    search_alg=FinetuneRuns(bridge),
                    scheduler=Rungs(bridge),
                    num_samples=-1,
                    max_concurrent_trials=self.workers,
                    reuse_actors=True,
                ),
                run_config=tune.RunConfig(
                    name="runs",
                    storage_path=scratch,
                    verbose=0,
                    log_to_file=False,
                    failure_config=tune.FailureConfig(max_failures=0),
                ),
            ).fit()
        if bridge.failure is not None:
            raise bridge.failure


class TuneBridge:
    """What the searcher and the scheduler share: the halving, who trains which run, and what came back.

    failure: what went wrong in this process while Tune was in charge.
    """

    def __init__(self, halving: SuccessiveHalving, reporter: Reporter) -> None:
        self._halving, self._reporter = halving, reporter
        self._runs: dict[str, Lane] = {}
        self._deaths: dict[Lane, int] = {}
        self.failure: Exception | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Tune keeps a copy of its searcher to restore it, which is never asked for: what is known is on disk."""
        return object, ()

    def __deepcopy__(self, memo: Any) -> TuneBridge:
        return self

    @property
    def over(self) -> bool:
        return self.failure is not None or not self._halving.open

    def begin(self, trial: str) -> dict[str, Any] | None:
        """What a trial is to train; None where there is nothing now."""
        run = self._halving.next()
        if run is None:
            return None
        self._runs[trial] = run.lane
        return {
            "lane": run.lane.to_json(),
            "plan": run.trial.plan.kept,
            **run.trial.plan.beside,
            "done": run.done,
            "compared": list(self._halving.rule.compared(run.lane)),
            "scores": {name: score.to_json() for name, score in run.scores.items()},
            "state": str(self._halving.file(run).resolve()) if run.done else "",
            "folder": str(self._halving.file(run).parent.resolve()),
        }

    def report(self, result: EpochResult) -> bool:
        """Take in an epoch; whether its trainer is to go on."""
        try:
            self._halving.report(result)
        except Exception as error:  # Tune would make text of it; it is raised once Tune has ended
            self.failure = error
            return False
        return self._halving.go_on(result.lane)

    def died(self, trial: str) -> None:
        """The actor of a trial is no more; its run is trained on by another one, a few times."""
        lane = self._runs[trial]
        self._deaths[lane] = self._deaths.get(lane, 0) + 1
        run = self._halving.runs[lane]
        if self._deaths[lane] < _ATTEMPTS:
            run.busy = False
            self._reporter.warn(f"the process that trained {lane.told} died; it goes on from epoch {run.done}")
        else:
            reason = f"the process that trained it died {_ATTEMPTS} times"
            self._halving.report(EpochResult(lane, run.done, error=reason))


def create(cluster: Cluster, device: str, reporter: Reporter) -> RayTuneExecutor:
    return RayTuneExecutor(cluster, device, reporter)
