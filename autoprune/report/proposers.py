"""Who proposed which candidates, and what came of them. Knows the trials and the log of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from autoprune.core.trial import TrialState
from autoprune.store.reading import RunRecord

_COUNTED: Final = ("proposed", "screened", "failed", "within", "front")


def proposers(record: RunRecord) -> list[dict[str, Any]]:
    """Who proposed, in the order of their first proposals: trials by what became of them, by how much the volume of the
    front grew with theirs, and the seconds that they took."""
    points = record.front["front"] if record.front else ()
    front = {point["trial"] for point in points}
    grown = _grown(record)
    rows: dict[str, dict[str, Any]] = {}
    for number, trial in record.trials.items():
        name = proposer(record, trial)
        row = rows.setdefault(name, {"name": name, **dict.fromkeys(_COUNTED, 0), "gain": 0.0, "seconds": 0.0})
        row["proposed"] += 1
        row["screened"] += trial["state"] == TrialState.SCREENED
        row["failed"] += trial["state"] == TrialState.FAILED
        row["within"] += trial["feasible"]
        row["front"] += number in front
        row["gain"] += grown.get(number, 0.0)
        row["seconds"] += sum(trial["seconds"].values())
    return [{**row, "gain": round(row["gain"], 4), "seconds": round(row["seconds"], 2)} for row in rows.values()]


def proposer(record: RunRecord, trial: Mapping[str, Any]) -> str:
    """Who proposed a trial: the sampler as a whole, where nobody said more."""
    return str(trial.get("proposer") or record.recipe.get("sampler", ""))


def _grown(record: RunRecord) -> dict[int, float]:
    """By trial, how much larger the volume was when it was told."""
    told = [each for each in record.events if each["event"] == "trial" and "hypervolume" in each and "trial" in each]
    before = [0.0, *(each["hypervolume"] for each in told)]
    return {each["trial"]: max(each["hypervolume"] - volume, 0.0) for each, volume in zip(told, before, strict=False)}
