"""front.json, schema 1: the contract that other programs read. Knows its fields; values are SI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from autoprune.core.budget import Budget
from autoprune.core.front import Front
from autoprune.core.measurement import Measurement
from autoprune.core.metric import Metric
from autoprune.core.trial import Trial, TrialState

SCHEMA: Final = 1


def document(
    *,
    run: str,
    task: str,
    seed: int,
    seconds: float,
    devices: Mapping[str, Mapping[str, Any]],
    budget: Budget,
    objectives: Sequence[str],
    trials: Sequence[Trial],
    dense: Mapping[str, Measurement],
    front: Front,
    test: Mapping[str, Mapping[str, Measurement]],
    partial: bool,
    qualities: Sequence[Metric] = (),
    prefer: str = "",
    stages: Mapping[str, float] | None = None,
    failures: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The object that front.json holds; `best` is null where nothing met the budget.

    qualities: what the task scores; prefer: how the best was chosen; devices: how models were run, by the name of the
    device; `profiler` is the first of them, and `devices` is there only where they have names; stages: seconds by
    stage; failures: by what was done to all of the few that are finished, why that failed for each of them; empty
    where it did not.
    """
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    best = front.best
    return {
        "schema": SCHEMA,
        "run": run,
        "task": task,
        "seed": seed,
        "seconds": round(seconds, 3),
        "stages": {name: round(each, 3) for name, each in (stages or {}).items()},
        "profiler": dict(next(iter(devices.values()))),
        **({"devices": {name: dict(each) for name, each in devices.items()}} if any(devices) else {}),
        "budget": [str(limit) for limit in budget.limits],
        "objectives": list(objectives),
        "qualities": {metric.name: metric.range_to_json() for metric in qualities},
        "prefer": prefer,
        "partial": partial,
        "trials": {
            "complete": len(complete),
            "infeasible": sum(not trial.feasible for trial in complete),
            "failed": sum(trial.state is TrialState.FAILED for trial in trials),
            "screened": sum(trial.state is TrialState.SCREENED for trial in trials),
        },
        "dense": {"metrics": metrics(dense)},
        "front": [
            {
                "trial": trial.number,
                "feasible": trial.feasible,
                "uncertain": uncertain(trial.measurements, trial.feasible, budget, dense),
                "metrics": metrics(trial.measurements),
                **trial.plan.beside,
                "plan": f"models/{trial.number}/plan.json",
                "model": f"models/{trial.number}/model.safetensors",
            }
            for trial in front.trials
        ],
        "best": None if best is None else best.number,
        "test": {name: metrics(scores) for name, scores in test.items()},
        **({"failures": said} if (said := {name: why for name, why in (failures or {}).items() if why}) else {}),
    }


def uncertain(
    measured: Mapping[str, Measurement], feasible: bool, budget: Budget, dense: Mapping[str, Measurement]
) -> bool:
    """Whether a model is beyond the budget by its intervals only: every value alone is within."""
    return not feasible and all(
        limit.met_by(measured[limit.key].value, dense[limit.key].value)
        for limit in budget.limits
        if limit.key in measured
    )


def metrics(measured: Mapping[str, Measurement]) -> dict[str, Any]:
    return {key: found.to_json() for key, found in measured.items()}
