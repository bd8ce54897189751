"""What each level of each group was expected to save and to cost, cut alone. Knows forecast.json and the levels of a
recipe; nothing is measured here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autoprune.store.reading import RunRecord


def effects(record: RunRecord) -> dict[str, Any]:
    """By group and count what the forecast says of that level, all other groups whole: the share of each cost that is
    saved, and by how much the loss rises. Groups of one variable have the same. Empty without a forecast.
    """
    forecast, space = record.forecast, record.recipe.get("search_space", {})
    levels: dict[str, list[int]] = space.get("levels", {})
    if forecast is None or not levels:
        return {}
    bundles = variables(space)
    whole = [len(levels[names[0]]) - 1 for names in bundles]
    dense = {each.metric: each.at(whole) for each in forecast.costs}
    found: dict[str, Any] = {}
    for place, names in enumerate(bundles):
        rows = []
        for level in range(len(levels[names[0]])):
            alone = [*whole[:place], level, *whole[place + 1 :]]
            costs = {each.metric: each.at(alone) for each in forecast.costs}
            saved = {name: round(1 - costs[name] / dense[name], 4) for name in costs if dense[name]}
            rows.append({"saved": saved, "loss": float(f"{forecast.loss_increases[place][level]:.3g}")})
        for name in names:
            found[name] = {str(count): row for count, row in zip(levels[name], rows, strict=True)}
    return found


def variables(space: Mapping[str, Any]) -> list[list[str]]:
    """Groups that are one variable, in the order of the space of a recipe."""
    bundle_of = {name: names for names in space.get("shared", {}).values() for name in names}
    bundles: list[list[str]] = []
    for name in space["levels"]:
        bundle = bundle_of.get(name, [name])
        if bundle not in bundles:
            bundles.append(bundle)
    return bundles
