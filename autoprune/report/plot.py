"""The picture of a front: every trial, the dense model, the finished front and the budget. Knows matplotlib's Agg."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

from autoprune.core.budget import Budget
from autoprune.core.front import Front
from autoprune.core.measurement import Measurement
from autoprune.core.metric import COSTS, Metric
from autoprune.core.trial import Trial, TrialState

_SCALES = {"s": (1e3, "ms"), "B": (2.0**-20, "MiB")}


def front_picture(
    title: str, trials: Sequence[Trial], dense: Mapping[str, Measurement], front: Front, budget: Budget
) -> bytes:
    """A PNG of quality against the first cost; qualities of trials before fine-tuning, of the front after it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    quality = next((metric for metric in front.objectives if metric.name not in COSTS), front.objectives[0])
    cost = next((metric for metric in front.objectives if metric.name in COSTS), front.objectives[-1])
    factor, unit = _SCALES.get(cost.unit, (1.0, ""))
    figure = Figure(figsize=(8, 5), dpi=120)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()

    def at(measured: Mapping[str, Measurement], metric: Metric) -> float:
        return measured[metric.name].value * (factor if metric is cost else 1.0)

    complete = [trial.measurements for trial in trials if trial.state is TrialState.COMPLETE]
    axes.scatter(
        [at(m, cost) for m in complete],
        [at(m, quality) for m in complete],
        s=18,
        c="0.65",
        label="trials, before fine-tuning",
    )
    points = [trial.measurements for trial in front.trials]
    low = [at(m, cost) - m[cost.name].low * factor for m in points]
    high = [m[cost.name].high * factor - at(m, cost) for m in points]
    axes.errorbar(
        [at(m, cost) for m in points],
        [at(m, quality) for m in points],
        xerr=[low, high],
        color="C0",
        marker="o",
        markersize=6,
        linewidth=1.5,
        elinewidth=0.8,
        capsize=2,
        drawstyle="steps-post",
        label="front, finished",
    )
    if front.best is not None:
        best = front.best.measurements
        axes.scatter(
            [at(best, cost)], [at(best, quality)], s=170, marker="*", c="C3", zorder=4, label="best within the budget"
        )
    axes.scatter([at(dense, cost)], [at(dense, quality)], s=60, marker="s", c="black", zorder=3, label="dense")
    for limit in budget.limits:
        if limit.metric == cost.name:
            axes.axvline(
                limit.bound(dense[limit.key].value) * factor,
                color="C3",
                linestyle="--",
                linewidth=1,
                label=f"budget {limit}",
            )
        elif limit.metric == quality.name:
            axes.axhline(
                limit.bound(dense[limit.key].value), color="C3", linestyle=":", linewidth=1, label=f"budget {limit}"
            )
    axes.set_xlabel(f"{cost.name} [{unit}]" if unit else cost.name)
    axes.set_ylabel(quality.name)
    axes.set_xlim(left=0)
    axes.set_title(title)
    axes.grid(alpha=0.25)
    axes.legend(loc="lower right", fontsize=8)
    figure.tight_layout()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
