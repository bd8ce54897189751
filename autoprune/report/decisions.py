"""What a search decided, and on what evidence: `decisions.md`. Knows the records of a run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from autoprune.core import quantity
from autoprune.core.budget import Budget
from autoprune.report.proposers import proposers
from autoprune.report.verdict import verdict
from autoprune.store.reading import RunRecord

#: By which reasons of one kind differ; and kinds that are told at most.
_NUMBER: Final = re.compile(r"[\d.]+")
_REASONS: Final = 5


def decisions(record: RunRecord) -> str:
    """Markdown: a paragraph a decision, in the order in which they were made."""
    made = [*_asked(record), *_looked_ahead(record), *_candidates(record), *_trained(record), *_chosen(record)]
    lines = [f"## {name}\n\n{text}\n" for name, text in made]
    return "\n".join([f"# What was decided in {record.path.resolve().name}\n", *lines])


def _asked(record: RunRecord) -> Iterator[tuple[str, str]]:
    recipe = record.recipe
    limits = "; ".join(limit.meaning() for limit in Budget.parse(*recipe["budget"]).limits) or "no limit"
    yield "What was asked", f"{limits}. Traded off: {', '.join(recipe['objectives'])}."
    if told := record.subject.get("coverage", {}).get("told"):
        space = recipe.get("search_space", {})
        yield (
            "What may be cut",
            f"{len(space.get('levels', {}))} groups of the space '{space.get('family')}'; {told}.",
        )


def _looked_ahead(record: RunRecord) -> Iterator[tuple[str, str]]:
    sampler = record.recipe.get("sampler")
    if record.forecast is None:
        yield "Who proposed", f"`{sampler}`, without a forecast."
        return
    took = quantity.spell(record.forecast.seconds)
    errors = ", ".join(f"{each.metric} to {each.error:.1%}" for each in record.forecast.costs if each.error)
    certain = f"; one standard deviation of what it says of whole models: {errors}" if errors else ""
    yield "Who proposed", f"`{sampler}`, on a forecast that took {took}{certain}."


def _candidates(record: RunRecord) -> Iterator[tuple[str, str]]:
    states = [each["state"] for each in record.trials.values()]
    within = sum(each["feasible"] for each in record.trials.values())
    yield (
        "Which candidates were looked at",
        f"{states.count('complete')} were cut, repaired, scored and measured, {within} of them within the limits "
        f"on costs; {states.count('failed')} failed, {states.count('screened')} were dismissed unmeasured.",
    )
    reasons: dict[str, list[str]] = {}
    for each in record.trials.values():
        if each.get("error"):
            reasons.setdefault(_NUMBER.sub("", each["error"]), []).append(each["error"])
    commonest = sorted(reasons.values(), key=lambda alike: -len(alike))[:_REASONS]
    if commonest:
        told = (f"- {f'{len(alike)} times, such as: ' if len(alike) > 1 else ''}{alike[0]}" for alike in commonest)
        yield "Why candidates failed or were dismissed", "\n".join(told)
    rows = [
        f"- {row['name']}: {row['proposed']} proposed, {row['screened']} of them dismissed and {row['failed']} failed; "
        f"{row['within']} within the limits, {row['front']} on the front; volume added: {row['gain']:g}"
        for row in proposers(record)
    ]
    if rows:
        yield "What came of whose proposals", "\n".join(rows)


def _trained(record: RunRecord) -> Iterator[tuple[str, str]]:
    for rate in _events(record, "learning rate")[-1:]:
        tried = ", ".join(f"{loss:.4g} at {name}" for name, loss in rate["losses"].items())
        yield "At which rate finished models were trained", f"{rate['rate']:g}; losses after a few steps: {tried}."
    epochs: dict[int, int] = {}
    for each in _events(record, "epoch"):
        epochs[each["trial"]] = max(each["epoch"], epochs.get(each["trial"], 0))
    if epochs:
        told = ", ".join(f"{trial} ({count})" for trial, count in sorted(epochs.items()))
        yield "What was fine-tuned", f"{len(epochs)} candidates: trials (epochs) {told}."
    others = {each["trial"]: each["recipe"] for each in _events(record, "recipe")}
    if others:
        told = ", ".join(f"trial {trial} by {recipe}" for trial, recipe in sorted(others.items()))
        yield "Which models other recipes trained better", f"{told}."
    agree = [
        f"- {each['first']} and {each['then']}: {each['spearman']:+.2f} over {each['candidates']} candidates"
        for each in _events(record, "rank correlation")
    ]
    if agree:
        yield "Whether early scores foretold later ones", "Rank correlations (Spearman):\n\n" + "\n".join(agree)


def _chosen(record: RunRecord) -> Iterator[tuple[str, str]]:
    said = "\n".join(f"- **{name}**: {text}" for name, text in verdict(record))
    yield "What is best", said
    rows = [_row(point, record.recipe["objectives"]) for point in (record.front or {}).get("front", ())]
    if rows:
        yield f"Among which {'finished models' if record.has_finished_models else 'candidates'}", "\n".join(rows)


def _row(point: Mapping[str, Any], objectives: Sequence[str]) -> str:
    found = [(name, point["metrics"].get(name)) for name in objectives]
    told = ", ".join(
        f"{name} {quantity.show_interval(each['value'], each['low'], each['high'], each['unit'])}"
        for name, each in found
        if each
    )
    return f"- trial {point['trial']}: {told}{'' if point['feasible'] else ', not within the budget'}"


def _events(record: RunRecord, name: str) -> list[Mapping[str, Any]]:
    return [each for each in record.events if each["event"] == name]
