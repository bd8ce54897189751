"""Slices of each group by importance, in few numbers. Knows the scores that a run keeps; not how they were found."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Final

from autoprune.store.reading import RunRecord
from autoprune.store.scores import read_scores

#: Numbers that are drawn of a group at most: a bar is no narrower.
_BARS: Final = 48
#: Kinds of groups that have no slices to rank, or millions of them.
_OTHER: Final = ("layer", "weight")


def importance(record: RunRecord) -> dict[str, dict[str, Any]]:
    """By open group its slices from the most important one to the least: `shares` of the group's importance, each of
    `step` slices, the last perhaps of fewer. A plan keeps the first ones. Empty where the run keeps no scores."""
    groups = [each for each in record.subject.get("groups", ()) if not each["frozen_reason"]]
    scores = read_scores(record.path, {each["name"] for each in groups if each["kind"] not in _OTHER})
    shares = {name: _shares(found) for name, found in scores.items()}
    return {name: found for name, found in shares.items() if found}


def _shares(scores: Iterable[float]) -> dict[str, Any]:
    """Empty where no slice is worth anything."""
    ordered = sorted((max(each, 0.0) if math.isfinite(each) else 0.0 for each in scores), reverse=True)
    total = sum(ordered)
    if not total > 0:
        return {}
    step = math.ceil(len(ordered) / _BARS)
    sums = [sum(ordered[low : low + step]) for low in range(0, len(ordered), step)]
    return {"step": step, "shares": [float(f"{each / total:.3g}") for each in sums]}
