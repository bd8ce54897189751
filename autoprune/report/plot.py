"""The picture of a front: every trial, the dense model, the finished front and the budget. Knows matplotlib's Agg."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from autoprune.core.budget import Budget
from autoprune.core.front import Front
from autoprune.core.measurement import Measurement
from autoprune.core.metric import Metric, cost, costs
from autoprune.core.trial import Trial, TrialState

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SCALES = {"s": (1e3, "ms"), "B": (2.0**-20, "MiB")}
#: Costs that differ by more than this factor are drawn by factors: small models could not be told apart.
_WIDE = 4.0
#: Of the front's own span of qualities, how far below it trials are still shown.
_BELOW = 1.0


def front_picture(
    title: str, trials: Sequence[Trial], dense: Mapping[str, Measurement], front: Front, budget: Budget
) -> bytes:
    """`front_figure` as a PNG."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # names may have letters that the font has not
        front_figure(title, trials, dense, front, budget).savefig(buffer, format="png")
    return buffer.getvalue()


def front_figure(
    title: str, trials: Sequence[Trial], dense: Mapping[str, Measurement], front: Front, budget: Budget
) -> Figure:
    """Quality against each cost; qualities of trials before fine-tuning, of the front after it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    quality = next((metric for metric in front.objectives if cost(metric.name) is None), front.objectives[0])
    against = costs(front.objectives) or [front.objectives[-1]]
    figure = Figure(figsize=(2 + 6 * len(against), 5), dpi=120)
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(against), sharey=True, squeeze=False)[0]
    for axes, metric in zip(panels, against, strict=True):
        _panel(axes, quality, against=metric, trials=trials, dense=dense, front=front, budget=budget)
    panels[0].set_ylabel(quality.name, parse_math=False)
    figure.suptitle(title, parse_math=False)  # a name is no formula
    figure.subplots_adjust(left=1 / figure.get_figwidth(), right=0.98, bottom=0.11, top=0.91, wspace=0.06)
    return figure


def _panel(
    axes: Axes,
    quality: Metric,
    against: Metric,
    trials: Sequence[Trial],
    dense: Mapping[str, Measurement],
    front: Front,
    budget: Budget,
) -> None:
    factor, unit = _SCALES.get(against.unit, (1.0, ""))

    def x(measured: Mapping[str, Measurement]) -> float:
        return measured[against.name].value * factor

    def y(measured: Mapping[str, Measurement]) -> float:
        return measured[quality.name].value

    complete = [trial.measurements for trial in trials if trial.state is TrialState.COMPLETE]
    axes.scatter([*map(x, complete)], [*map(y, complete)], s=18, c="0.65", label="trials, before fine-tuning")
    points = [trial.measurements for trial in front.trials]
    low = [x(m) - m[against.name].low * factor for m in points]
    high = [m[against.name].high * factor - x(m) for m in points]
    axes.errorbar(
        [*map(x, points)],
        [*map(y, points)],
        xerr=[low, high],
        color="C0",
        marker="o",
        markersize=6,
        # Of more than two objectives no single line through the points says who beats whom.
        linewidth=1.5 if len(front.objectives) <= 2 else 0,
        elinewidth=0.8,
        capsize=2,
        drawstyle="steps-post",
        label="front, finished",
    )
    if front.best is not None:
        best = front.best.measurements
        axes.scatter([x(best)], [y(best)], s=170, marker="*", c="C3", zorder=4, label="best within the budget")
    axes.scatter([x(dense)], [y(dense)], s=60, marker="s", c="black", zorder=3, label="dense")
    for limit in budget.limits:
        bound, label = limit.bound(dense[limit.key].value), f"budget {limit}"
        if limit.metric == against.name:
            axes.axvline(bound * factor, color="C3", linestyle="--", linewidth=1, label=label)
        elif limit.metric == quality.name:
            axes.axhline(bound, color="C3", linestyle=":", linewidth=1, label=label)
    axes.set_xlabel(f"{against.name} [{unit}]" if unit else against.name, parse_math=False)
    drawn = [limit.bound(dense[limit.key].value) * factor for limit in budget.limits if limit.metric == against.name]
    values = [each for each in (x(dense), *map(x, complete), *map(x, points), *drawn) if each > 0]
    ends = [end * factor for m in points for end in (m[against.name].low, m[against.name].high) if end > 0]
    if values and max(values) > _WIDE * min(values):
        _by_factors(axes, min(values + ends), max(values + ends))
    else:
        axes.set_xlim(left=0)
    floors = [limit.bound(dense[limit.key].value) for limit in budget.limits if limit.metric == quality.name]
    _focus(axes, [y(dense), *map(y, points), *floors], [*map(y, complete)])
    axes.grid(alpha=0.25)
    for text in axes.legend(loc="lower right", fontsize=8).get_texts():
        text.set_parse_math(False)


def _by_factors(axes: Axes, low: float, high: float) -> None:
    """A logarithmic axis of costs, with ticks at 1, 2 and 5 times powers of ten."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    low, high = low / 1.25, high * 1.25
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [step * 10.0**power for power in powers for step in (1, 2, 5) if low <= step * 10.0**power <= high]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _focus(axes: Axes, known: Sequence[float], others: Sequence[float]) -> None:
    """Show the qualities of the front and of dense, and of the others those that are not far from them; a
    note says how many lie outside."""
    low, high = min(known), max(known)
    reach = _BELOW * (high - low) or 0.05 * max(abs(high), 1e-9)
    bottom, top = low - reach, high + reach
    inside = [each for each in others if bottom <= each <= top]
    if len(inside) == len(others) or not inside:
        return
    bottom, top = min([low, *inside]), max([high, *inside])
    margin = 0.06 * (top - bottom or 1.0)
    axes.set_ylim(bottom - margin, top + margin)
    outside = len(others) - len(inside)
    note = f"{outside} trial{'s lie' if outside > 1 else ' lies'} outside"
    axes.text(0.01, 0.01, note, transform=axes.transAxes, fontsize=8, color="0.4")
