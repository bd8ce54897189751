"""Candidates as the executor `ray` has them; fine-tuning by Ray Tune. Knows Tune's searchers and schedulers.

Tune is for long trials that are stopped early: its path costs tens of milliseconds and several files a trial, so the
many short candidates do not take it. The ladder stays the truth: a Tune trial is one stretch of a lane, from where its
checkpoint is to the next rung; what is stopped there and promoted later goes on as another trial on a reused actor.
"""

from __future__ import annotations

import logging
import os
import tempfile
from typing import Any, Final

from autoprune.core.cluster import Cluster
from autoprune.core.reporter import Reporter
from autoprune.executors.ray import RayExecutor
from autoprune.finishing.successive_halving import Ladder
from autoprune.finishing.tuner import Stinted, Tuner

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
    """Ray's workers for candidates, Ray Tune for lanes."""

    def climb(self, ladder: Ladder, tuner: Tuner) -> None:
        if not ladder.open:
            return
        self._connected()
        self._dismiss()
        for name, value in _SETTINGS.items():
            os.environ.setdefault(name, value)
        from ray import tune

        from autoprune.executors._stretch import Lanes, Rungs, Stretch

        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
        climb = Climb(ladder, self._reporter)
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
                    search_alg=Lanes(climb),
                    scheduler=Rungs(climb),
                    num_samples=-1,
                    max_concurrent_trials=self.workers,
                    reuse_actors=True,
                ),
                run_config=tune.RunConfig(
                    name="lanes",
                    storage_path=scratch,
                    verbose=0,
                    log_to_file=False,
                    failure_config=tune.FailureConfig(max_failures=0),
                ),
            ).fit()
        if climb.failure is not None:
            raise climb.failure


class Climb:
    """What the searcher and the scheduler share: the ladder, who trains which lane, and what came back.

    failure: what went wrong in this process while Tune was in charge.
    """

    def __init__(self, ladder: Ladder, reporter: Reporter) -> None:
        self._ladder, self._reporter = ladder, reporter
        self._lanes: dict[str, int] = {}
        self._deaths: dict[int, int] = {}
        self.failure: Exception | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Tune keeps a copy of its searcher to restore it, which is never asked for: the ladder is on disk."""
        return object, ()

    def __deepcopy__(self, memo: Any) -> Climb:
        return self

    @property
    def over(self) -> bool:
        return self.failure is not None or not self._ladder.open

    def begin(self, trial: str) -> dict[str, Any] | None:
        """What a trial is to train; None where there is nothing now."""
        lane = self._ladder.next()
        if lane is None:
            return None
        self._lanes[trial] = lane.trial.number
        return {
            "number": lane.trial.number,
            "plan": lane.trial.plan.kept,
            "done": lane.done,
            "compared": list(self._ladder.halving.compared(lane.trial.number)),
            "state": str(self._ladder.file(lane).resolve()) if lane.done else "",
            "folder": str(self._ladder.file(lane).parent.resolve()),
        }

    def report(self, result: Stinted) -> bool:
        """Take in an epoch; whether its trainer is to go on."""
        try:
            self._ladder.report(result)
        except Exception as error:  # Tune would make text of it; it is raised once Tune has ended
            self.failure = error
            return False
        return self._ladder.go_on(result.number)

    def died(self, trial: str) -> None:
        """The actor of a trial is no more; its lane is trained on by another one, a few times."""
        number = self._lanes[trial]
        self._deaths[number] = self._deaths.get(number, 0) + 1
        lane = self._ladder.lanes[number]
        if self._deaths[number] < _ATTEMPTS:
            lane.busy = False
            self._reporter.warn(f"the process that trained trial {number} died; it goes on from epoch {lane.done}")
        else:
            reason = f"the process that trained it died {_ATTEMPTS} times"
            self._ladder.report(Stinted(number, lane.done, error=reason))


def create(cluster: Cluster, device: str, reporter: Reporter) -> RayTuneExecutor:
    return RayTuneExecutor(cluster, device, reporter)
