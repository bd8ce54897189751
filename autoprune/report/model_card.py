"""The card of a finished model, in the form of model hubs: metadata in YAML, then what people ask. Knows the records of
its run; what the folder holds is told by who saved it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import yaml

from autoprune.core import quantity
from autoprune.core.address import HERE
from autoprune.core.budget import Budget
from autoprune.core.metric import RELATIVE, MetricKey
from autoprune.report.command import search_command
from autoprune.report.facts import facts
from autoprune.store.reading import RunRecord

#: Of what a search was asked, what is told already or says nothing of one model.
_TOLD: Final = ("task", "versions")
#: Groups that are named of those that stayed whole for one reason.
_NAMED: Final = 6


def model_card(record: RunRecord, front: Mapping[str, Any], trial: int, stored: str) -> str:
    """The README of one model of a front.

    Args:
        record: Of its run.
        front: `front.json` of the run.
        trial: Its number.
        stored: What its folder holds and how it is loaded: a title, and paragraphs.

    Returns:
        Markdown.
    """
    point = next(each for each in front["front"] if each["trial"] == trial)
    folder = f"{record.path}/models/{trial}"
    title, _, body = stored.partition("\n\n")
    parts = [
        f"---\n{yaml.safe_dump(_metadata(record, front, point), sort_keys=False, allow_unicode=True)}---",
        title,
        _standing(front, point),
        body.strip(),
        "## Numbers",
        _numbers(record, front, point),
        _read(front, point),
        "## How it was made",
        _bullets(
            f"{name}: {text}" for name, text in (*facts(record), *_trained(record, trial)) if name not in _TOLD and text
        ),
        f"```\n{search_command(record.recipe)}\n```",
        "## What stayed whole",
        _bullets(_whole(record)),
        "## Export and check",
        "\n".join(["```", *map(shlex.join, _commands(record, front, folder)), "```"]),
        "## Limits",
        _bullets(_limits(front, point)),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _metadata(record: RunRecord, front: Mapping[str, Any], point: Mapping[str, Any]) -> dict[str, Any]:
    """What a hub reads: https://huggingface.co/docs/hub/model-cards."""
    scores = [*_scores(front, point)]
    results = [
        {
            "task": {"type": "other", "name": front["task"]},
            "dataset": {"type": "other", "name": front["task"], "split": split},
            "metrics": [{"type": name, "value": found["value"]} for name, found in scores if found["split"] == split],
        }
        for split in dict.fromkeys(found["split"] for _, found in scores)
    ]
    return {
        "library_name": "pytorch",
        "tags": ["autoprune", "pruning", "model-compression"],
        "metrics": [*dict.fromkeys(name for name, _ in scores)],
        "model-index": [{"name": f"{record.path.resolve().name}-{point['trial']}", "results": results}],
    }


def _scores(front: Mapping[str, Any], point: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield from ((name, found) for name, found in point["metrics"].items() if found.get("split"))
    if point["trial"] == front["best"]:
        yield from front["test"].get("best", {}).items()


def _standing(front: Mapping[str, Any], point: Mapping[str, Any]) -> str:
    budget = " and ".join(limit.meaning() for limit in Budget.parse(*front["budget"]).limits)
    if point["trial"] == front["best"]:
        return f"The best of its search within the budget ({budget or 'none was set'})."
    if point["feasible"]:
        return f"Within the budget ({budget or 'none was set'}); another model of its search is the best."
    return f"{'Not certain to be within' if point.get('uncertain') else 'Beyond'} the budget ({budget})."


def _numbers(record: RunRecord, front: Mapping[str, Any], point: Mapping[str, Any]) -> str:
    """Each metric of the model beside the dense model's, with 95 % intervals; on the search split, of its candidate."""
    candidate = record.trials.get(point["trial"], {}).get("metrics", {}) if record.has_finished_models else {}
    rows = [
        (name, f"{found['split']}, before fine-tuning", record.dense.get(name), found)
        for name, found in candidate.items()
        if found.get("split")
    ]
    rows += [
        (name, found.get("split", ""), front["dense"]["metrics"].get(name), found)
        for name, found in point["metrics"].items()
    ]
    if point["trial"] == front["best"]:
        test = front["test"]
        rows += [(name, "test", test["dense"].get(name), found) for name, found in test.get("best", {}).items()]
    lines = [f"| {name} | {split} | {_shown(dense)} | {_shown(own)} |" for name, split, dense, own in rows]
    return "\n".join(["| metric | split | dense | this model |", "|---|---|---|---|", *lines])


def _read(front: Mapping[str, Any], point: Mapping[str, Any]) -> str:
    """How the table is read."""
    counts = {found["split"]: found["n"] for _, found in _scores(front, point) if found.get("n", 0) > 1}
    samples = " and ".join(f"{count} samples of the {split} split" for split, count in counts.items())
    timed = any(MetricKey.parse(key).here == RELATIVE for key in point["metrics"])
    said = [
        "In brackets: 95 % intervals.",
        f"Qualities are of {samples}." if samples else "",
        "`latency.relative` is the share of the dense model's latency, both measured side by side." if timed else "",
    ]
    return " ".join(filter(None, said))


def _trained(record: RunRecord, trial: int) -> Iterator[tuple[str, str]]:
    """What this model went through after it was cut, and the dense model that it was cut from."""
    epochs = {each["epoch"] for each in record.events if each["event"] == "epoch" and each["trial"] == trial}
    rates = [each["rate"] for each in record.events if each["event"] == "learning rate"]
    recipes = [each["recipe"] for each in record.events if each["event"] == "recipe" and each["trial"] == trial]
    if epochs:
        how = f", by the recipe {recipes[-1]}" if recipes else f", at a learning rate of {rates[-1]:g}" if rates else ""
        yield "fine-tuned", f"{_counted(max(epochs), 'epoch')}{how}"
    if "model" in record.recipe:
        yield "cut from", f"a dense model whose weights have the fingerprint `{record.recipe['model']}`"


def _shown(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "-"
    text = quantity.show_interval(found["value"], found["low"], found["high"], found["unit"])
    return text if found.get("valid", True) else f"{text}, disturbed"


def _whole(record: RunRecord) -> Iterator[str]:
    """How much may be cut, and by reason the groups that may not."""
    if told := record.subject.get("coverage", {}).get("told"):
        yield told
    whole: dict[str, list[str]] = {}
    for each in record.subject.get("groups", ()):
        if each["frozen_reason"]:
            whole.setdefault(each["frozen_reason"], []).append(f"`{each['name']}`")
    for reason, names in sorted(whole.items(), key=lambda each: -len(each[1])):
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        yield f"{', '.join(names[:_NAMED])}{more}: {reason}"


def _commands(record: RunRecord, front: Mapping[str, Any], folder: str) -> Iterator[list[str]]:
    """The export, and the check of what the budget limits where the run measured; no dense model is beside it then."""
    yield ["autoprune", "export", folder, "--format", "onnx"]
    dense = front["dense"]["metrics"]
    limits = [limit for limit in Budget.parse(*front["budget"]).limits if limit.key in dense and "@" not in limit.key]
    bounds = [replace(limit, value=limit.bound(dense[limit.key]["value"]), basis="absolute") for limit in limits]
    device = record.recipe.get("device", HERE)
    if bounds:
        elsewhere = [] if device == HERE else ["--device", device]
        budget = [word for bound in bounds for word in ("--budget", str(bound))]
        yield ["autoprune", "check", folder, *budget, *elsewhere]


def _limits(front: Mapping[str, Any], point: Mapping[str, Any]) -> Iterator[str]:
    device = front["profiler"]
    yield (
        f"costs hold on {device.get('device', 'the device named above')}, at a batch of {device.get('batch')}, "
        f"{_counted(device.get('threads'), 'thread')} and {point.get('precision', device.get('precision'))}"
    )
    if any(not found.get("valid", True) for found in point["metrics"].values()):
        yield "other work disturbed what is called so above: measure it again when the device is quiet"
    if front["partial"]:
        yield "it was repaired but not fine-tuned, as its search was stopped"
    split = "search" if front["partial"] else "validation"
    yield f"the {split} split chose among the models, so that the best reads a little too well there"
    if point["trial"] != front["best"] or not front["test"].get("best"):
        yield "it was not scored on the test split: only the best of a finished search is"
    yield "nobody looked at anything but these metrics: fairness, robustness and calibration may have changed"


def _counted(count: object, name: str) -> str:
    return f"{count} {name}{'' if count == 1 else 's'}"


def _bullets(lines: Iterator[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
