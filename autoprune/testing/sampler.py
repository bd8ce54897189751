"""What every sampler must do. Inherit `SamplerConformance` in a test class and set `name`."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import optuna
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState as OptunaState

from autoprune import registry
from autoprune.core.budget import Budget
from autoprune.core.clock import SystemClock
from autoprune.core.effort import Effort
from autoprune.core.forecast import CostForecast, Forecast, Term
from autoprune.core.goal import DEPTH, SearchGoal
from autoprune.core.group import Group, Member
from autoprune.core.measurement import Measurement
from autoprune.core.metric import COSTS, Metric
from autoprune.core.plan import Plan
from autoprune.core.proposal import Proposal
from autoprune.core.trial import Trial, TrialState
from autoprune.samplers import SamplerContext, checked, distributions
from autoprune.search_spaces.space import SearchSpace
from autoprune.search_spaces.space_config import SpaceConfig
from autoprune.searching.coordinator import Coordinator
from autoprune.searching.reseeded import sampler_for
from autoprune.searching.study import Study, quiet
from autoprune.store.ledger import JOURNAL, open_ledger

OBJECTIVES: Final = (Metric("quality", "1", lower_is_better=False), COSTS["params"])
SIZE: Final = 64


def small_space(groups: int = 5, size: int = SIZE) -> SearchSpace:
    """Groups of equal size with levels in steps of 8."""
    config = SpaceConfig(
        name="test",
        match=(),
        kinds=("channel",),
        frozen=(),
        step=8,
        floor=8,
        keep_ratios=tuple(k / 8 for k in range(1, 9)),
    )
    return SearchSpace.build([Group(f"g{k}", "channel", size, ()) for k in range(groups)], config)


def block_space(blocks: int = 3) -> SearchSpace:
    """A stem, and blocks of one width each, of which any may be dropped."""
    config = SpaceConfig(
        name="test",
        match=(),
        kinds=("channel", "layer"),
        frozen=(),
        step=8,
        floor=8,
        keep_ratios=tuple(k / 8 for k in range(1, 9)),
    )
    groups = [Group("stem", "channel", SIZE, ())]
    for k in range(blocks):
        inside = (Member(f"b{k}.weight"),)
        groups += [Group(f"b{k}", "layer", 1, inside, floor=0), Group(f"b{k}.width", "channel", SIZE, inside)]
    return SearchSpace.build(groups, config)


def small_context(
    space: SearchSpace, seed: int = 0, options: Mapping[str, str] | None = None, most: float = 1.0
) -> SamplerContext:
    """What a sampler is told of the problem that `pretended` answers. most: parameters allowed, as a share of dense.

    The forecast's costs are exact; its loss increase is the right order of groups, half as large as it is.
    """
    dense = pretended(Proposal(0, space.dense()))
    values = tuple(dense.value(metric.name) for metric in OBJECTIVES)
    loss_increases, terms = [], []
    for v, variable in enumerate(space.variables):
        whole = space.places(space.dense())
        row = []
        for level in range(len(variable.levels)):
            cut = pretended(Proposal(0, space.at((*whole[:v], level, *whole[v + 1 :]))))
            row.append((values[0] - cut.value("quality")) / (DEPTH * values[0]) / 2)
        loss_increases.append(tuple(row))
        counts = tuple(float(sum(level)) for level in variable.levels)
        home = [u for u in range(v) if variable.name == f"{space.variables[u].name}.width"]
        terms.append(
            Term((*home, v), (2, len(row)), (*[0.0] * len(row), *counts)) if home else Term((v,), (len(row),), counts)
        )
    forecast = Forecast((CostForecast("params", 0.0, tuple(terms)),), tuple(loss_increases), 1e-3, 1.0)
    return SamplerContext(
        space, seed, SearchGoal(OBJECTIVES, values, (None, most * values[1])), forecast, options or {}
    )


def pretended(proposal: Proposal, most: float = 1.0) -> Trial:
    """The outcome of a plan whose quality saturates in what is kept, and whose cost is that; of a block that is
    dropped, nothing is."""
    plan = proposal.plan.kept
    kept = [count * min(plan.get(name.removesuffix(".width"), 1), 1) for name, count in proposal.plan.keep]
    params, quality = float(sum(kept)), sum(count**0.5 * (k + 1) for k, count in enumerate(kept))
    found = {"quality": Measurement.exact("quality", quality, "1"), "params": Measurement.exact("params", params, "1")}
    limit = most * SIZE * len(kept)
    return Trial(proposal.number, proposal.plan, TrialState.COMPLETE, found, {"params": params / limit - 1})


class SamplerConformance:
    """Asks legal levels only, survives failures, repeats itself under one seed, and heeds the budget."""

    name: str
    #: Trials of a sequence, and those after which most proposals are within a tight budget.
    count: int = 40
    learns: int = 100

    def asked(self, count: int, seed: int, most: float = 1.0, fail_every: int = 0) -> list[dict[str, int]]:
        """Parameters of `count` trials on the problem of `pretended`."""
        space, module = small_space(), registry.load("samplers", self.name)
        context = small_context(space, seed, checked(module, {}), most)
        study = optuna.create_study(
            directions=["maximize", "minimize"], sampler=module.create(context), storage=InMemoryStorage()
        )
        ranges, found = distributions(space), []
        for number in range(count):
            with quiet():
                trial = study.ask(dict(ranges))
            found.append(dict(trial.params))
            if fail_every and number % fail_every == 0:
                study.tell(trial, state=OptunaState.FAIL)
                continue
            outcome = pretended(Proposal(number, space.plan(trial.params)), most)
            trial.set_constraint("params", outcome.excesses["params"])
            study.tell(trial, [outcome.value(metric.name) for metric in OBJECTIVES])
        return found

    def test_asks_only_legal_levels(self) -> None:
        ranges = distributions(small_space())
        for params in self.asked(self.count, seed=0):
            assert params.keys() == ranges.keys()
            assert all(ranges[name].low <= value <= ranges[name].high for name, value in params.items())

    def test_survives_failed_and_infeasible_trials(self) -> None:
        assert len(self.asked(self.count, seed=0, most=0.05, fail_every=3)) == self.count

    def test_one_seed_gives_one_sequence(self) -> None:
        assert self.asked(self.count, seed=3) == self.asked(self.count, seed=3)

    def test_a_search_that_is_killed_anywhere_goes_on_as_it_would_have(self, tmp_path: Path) -> None:
        """The journal is cut at a random byte, as a kill may leave it, again and again."""
        whole = self.searched(tmp_path / "whole", 30)
        rng = random.Random(0)  # noqa: S311 - where to cut is no secret
        run = tmp_path / "killed"
        for trials in (3, 8, 14, 15, 23, 29):
            self.searched(run, trials)
            with (run / JOURNAL).open("r+b") as file:
                size = file.seek(0, os.SEEK_END)
                file.truncate(size - rng.randrange(size // 4))
        assert self.searched(run, 30) == whole

    def searched(self, run: Path, trials: int) -> list[Plan]:
        """Plans in the order in which they were evaluated, by a search in `run` that may have begun before."""
        run.mkdir(exist_ok=True)
        space, new = small_space(), not (run / JOURNAL).exists()
        ledger = open_ledger(run, "", new=new)
        module = registry.load("samplers", self.name)
        context = small_context(space, options=checked(module, {}))
        sampler = sampler_for(module.create, context, deterministic=True)
        study = Study(ledger, "study", space, OBJECTIVES, sampler, new=new)
        coordinator = Coordinator(study, space, Budget(()), Effort(trials=trials), SystemClock(), window=2)
        for trial in coordinator.evaluated:
            coordinator.tell(trial)
        out: list[Proposal] = []
        for proposal in coordinator.proposals():
            out.extend([proposal] if proposal is not None else [])
            if proposal is None or len(out) == 2:
                coordinator.tell(pretended(out.pop()))
        for proposal in out:
            coordinator.tell(pretended(proposal))
        ledger.close()
        return [trial.plan for trial in sorted(coordinator.trials, key=lambda trial: trial.number)]

    def test_most_late_proposals_are_within_the_budget(self) -> None:
        space = small_space()
        late = self.asked(self.learns + 40, seed=0, most=0.4)[-40:]
        costs = [sum(space.plan(params).kept.values()) / (SIZE * len(space.variables)) for params in late]
        assert sum(cost <= 0.4 for cost in costs) > len(costs) / 2
