"""What Ray Tune runs: a trainable, a searcher and a scheduler. Knows Tune's classes; `SuccessiveHalving` decides."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray.cloudpickle
import torch
from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from autoprune.core.measurement import Measurement
from autoprune.core.plan import Plan
from autoprune.finishing.lane import Lane
from autoprune.finishing.tuner import EpochJob, EpochResult, Tuner
from autoprune.store.files import write_atomic


class Stretch(tune.Trainable):
    """Trains a run epoch by epoch; the state after each goes through a file, its scores through Tune."""

    def setup(self, config: dict[str, Any], packed: bytes = b"", threads: int = 1) -> None:
        torch.set_num_threads(threads)
        self._tuner: Tuner = ray.cloudpickle.loads(packed)
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._folder = Path(new_config["folder"])
        plan = Plan.from_json(new_config["plan"], new_config.get("precision", ""))
        state = Path(new_config["state"]).read_bytes() if new_config["state"] else b""
        scores = {name: Measurement.from_json(name, raw) for name, raw in new_config["scores"].items()}
        compared = tuple(new_config["compared"])
        self._job = EpochJob(
            Lane.from_json(new_config["lane"]),
            plan,
            done=new_config["done"],
            state=state,
            compared=compared,
            scores=scores,
        )
        return True

    def step(self) -> dict[str, Any]:
        found = self._tuner(self._job)
        self._job = replace(self._job, done=found.done, state=found.state, scores=found.scores)
        path = self._folder / f"{found.lane.name}-{found.done}.sent"
        if found.state:
            write_atomic(path, found.state)
        # As text: Tune makes one level of what has several.
        lane = json.dumps(found.lane.to_json())
        scores = json.dumps({name: score.to_json() for name, score in found.scores.items()})
        told = {"scores": scores, "file": str(path), "loss": found.loss, "error": found.error}
        return {"lane": lane, "epochs": found.done, **told}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Tune may ask when it stops an actor; the halving has the state already."""


def _epoch_result(result: dict[str, Any]) -> EpochResult:
    lane, done = Lane.from_json(json.loads(result["lane"])), result["epochs"]
    if result["error"]:
        return EpochResult(lane, done, error=result["error"])
    scores = {name: Measurement.from_json(name, raw) for name, raw in json.loads(result["scores"]).items()}
    path = Path(result["file"])
    state = path.read_bytes()
    path.unlink()
    return EpochResult(lane, done, scores, state, result["loss"])


class FinetuneRuns(Searcher):
    """Suggests the runs that are to go on."""

    def __init__(self, bridge: Any) -> None:
        super().__init__()
        self._bridge = bridge

    def suggest(self, trial_id: str) -> Any:
        return Searcher.FINISHED if self._bridge.over else self._bridge.begin(trial_id)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        if error:
            self._bridge.died(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: what is known is on disk."""
        Path(checkpoint_path).write_text("{}", encoding="utf-8")

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a resumed search begins a new experiment from that."""


class Rungs(FIFOScheduler):
    """Stops a trial where its run waits, is stopped or has ended."""

    def __init__(self, bridge: Any) -> None:
        super().__init__()
        self._bridge = bridge

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        goes_on = self._bridge.report(_epoch_result(result))
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)
