"""What a forecast and evaluated plans say of latency and loss increase, against trials that came later. Knows stored
trials."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from scipy.stats import kendalltau

from autoprune.core.forecast import Forecast
from autoprune.core.goal import SearchGoal
from autoprune.core.metric import COSTS, Metric
from autoprune.surrogate.observations import Observation, Observations
from autoprune.surrogate.surrogate import Surrogate

#: Numbers of plans that a prediction is refitted to.
LATENCY_SEEN, HARM_SEEN = (0, 30, 100), (15, 30, 50, 80)
#: Choices of those plans, of which some happen to tell more.
DRAWS = 8
#: Plans after those, of which loss increase is predicted.
NEXT = 20
LOOKING_AHEAD = ("auto", "dp", "ddpg")


def accuracy_of_forecast(folder: Path, runs: Sequence[dict], dense: list) -> None:
    """Print how well latencies of random plans, and harms in runs that look ahead, are forecast."""
    forecast = Forecast.decoded((folder / "forecast.json").read_bytes())
    objectives = (Metric("accuracy", "1", lower_is_better=False, high=1.0), COSTS["latency"])
    goal = SearchGoal(objectives, (dense[2], 1.0), (None, None), "loss", dense[3])
    _latency(forecast, goal, [trial for run in runs if run["method"] == "random" for trial in run["trials"]])
    _loss_increase(forecast, goal, [run["trials"] for run in runs if run["method"] in LOOKING_AHEAD])


def _latency(forecast: Forecast, goal: SearchGoal, trials: Sequence[list]) -> None:
    plans = list({tuple(trial[1]): trial for trial in trials}.values())
    most = max(LATENCY_SEEN)
    if len(plans) < most + 2 * NEXT:
        return
    print(
        f"\n| latency of {len(plans) - most} random plans, refitted to so many others (mean of {DRAWS} draws) | ",
        end="",
    )
    print("median error | rank correlation (Kendall) | within the 95 % interval |\n|---|---|---|---|")
    for count in LATENCY_SEEN:
        found = [_prior(forecast, goal, plans, count, most, draw) for draw in range(DRAWS)]
        error, rank, held = np.mean(found, axis=0)
        print(f"| {count} | {error:.1%} | {rank:.2f} | {f'{held:.0%}' if count else '-'} |")


def _prior(
    forecast: Forecast, goal: SearchGoal, plans: Sequence[list], count: int, most: int, draw: int
) -> tuple[float, float, float]:
    """Median error, rank correlation and coverage on all plans but `most`, of which so many are fitted."""
    shuffled = [plans[place] for place in np.random.default_rng(draw).permutation(len(plans))]
    later = _observations(goal, shuffled[most:])
    found = _surrogate(forecast, _observations(goal, shuffled[:count])).expected(later.levels)
    off = np.log(found.cost / later.cost)
    held = np.mean(np.abs(off) <= 1.96 * found.cost_doubt)
    return float(np.median(np.abs(np.expm1(off)))), float(kendalltau(found.cost, later.cost)[0]), float(held)


def _loss_increase(forecast: Forecast, goal: SearchGoal, runs: Sequence[Sequence[list]]) -> None:
    cells = []
    for count in HARM_SEEN:
        errors = []
        for trials in runs:
            if len(trials) >= count + NEXT:
                later = _observations(goal, trials[count : count + NEXT])
                found = _surrogate(forecast, _observations(goal, trials[:count])).expected(later.levels)
                errors.append(_distance(found.loss_increase, later, 4 * forecast.noise))
        if not errors:
            return
        cells.append(f"{statistics.mean(errors):.2f}")
    print(f"\n| loss increase of the next {NEXT} plans of {', '.join(LOOKING_AHEAD)}, after so many | ", end="")
    print(f"{' | '.join(map(str, HARM_SEEN))} |\n|---|{'---|' * len(HARM_SEEN)}")
    print(f"| error (root mean square, of its logarithm) | {' | '.join(cells)} |")


def _distance(loss_increase: np.ndarray, later: Observations, noise: float) -> float:
    """Between logarithms of harms above the noise, of plans that are not beyond the box."""
    forecast, seen = (
        np.log(np.maximum(each, 0) + noise)[later.quality_drop < 1] for each in (loss_increase, later.loss_increase)
    )
    return float(np.sqrt(np.mean((forecast - seen) ** 2)))


def _observations(goal: SearchGoal, trials: Sequence[list]) -> Observations:
    """Trials [seconds, plan, accuracy, loss, share] as a sampler sees them."""
    return Observations(
        goal, tuple(Observation(k, tuple(each[1]), (each[2], each[4]), each[3], {}) for k, each in enumerate(trials))
    )


def _surrogate(forecast: Forecast, observations: Observations) -> Surrogate:
    """Of a space it needs the numbers of levels, and what only solving asks for."""
    sizes = tuple(len(row) for row in forecast.loss_increases)
    return Surrogate(forecast, observations, SimpleNamespace(sizes=sizes, settled=lambda levels: levels))
