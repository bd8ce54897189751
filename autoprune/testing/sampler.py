"""What every sampler must do. Inherit `SamplerConformance` in a test class and set `name`."""

from __future__ import annotations

import os
import random
from pathlib import Path

import optuna
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState as OptunaState

from autoprune import registry
from autoprune.core.budget import Budget
from autoprune.core.clock import SystemClock
from autoprune.core.effort import Effort
from autoprune.core.family import Family
from autoprune.core.group import Group
from autoprune.core.measurement import Measurement
from autoprune.core.metric import COSTS, Metric
from autoprune.core.plan import Plan
from autoprune.core.space import SearchSpace
from autoprune.core.trial import Proposal, Trial, TrialState
from autoprune.samplers import distributions
from autoprune.searching.coordinator import Coordinator
from autoprune.searching.reseeded import Reseeded
from autoprune.searching.study import Study
from autoprune.store.ledger import JOURNAL, open_ledger


def small_space(groups: int = 5, size: int = 64) -> SearchSpace:
    """Groups of equal size with levels in steps of 8."""
    family = Family("test", (), ("channel",), (), 8, 8, tuple(k / 8 for k in range(1, 9)))
    return SearchSpace.build([Group(f"g{k}", "channel", size, ()) for k in range(groups)], family)


def pretended(proposal: Proposal) -> Trial:
    """The outcome of a plan whose quality saturates in what is kept, and whose cost is that."""
    kept = [count for _, count in proposal.plan.keep]
    params, quality = float(sum(kept)), sum(count**0.5 * (k + 1) for k, count in enumerate(kept))
    found = {"quality": Measurement.exact("quality", quality, "1"), "params": Measurement.exact("params", params, "1")}
    return Trial(proposal.number, proposal.plan, TrialState.COMPLETE, found, {"params": params / 200 - 1})


class SamplerConformance:
    """Asks legal levels only, survives failures, repeats itself under one seed, and learns what the budget allows."""

    name: str

    def asked(self, count: int, seed: int, budget: float = 1.0, fail_every: int = 0) -> list[dict[str, int]]:
        """Parameters of `count` trials on a problem whose cost is the mean level and whose quality saturates."""
        space = small_space()
        study = optuna.create_study(
            directions=["maximize", "minimize"],
            sampler=registry.load("samplers", self.name).create(space, seed),
            storage=InMemoryStorage(),
        )
        ranges = distributions(space)
        found = []
        for number in range(count):
            trial = study.ask(dict(ranges))
            found.append(dict(trial.params))
            if fail_every and number % fail_every == 0:
                study.tell(trial, state=OptunaState.FAIL)
                continue
            levels = [trial.params[name] / ranges[name].high for name in sorted(ranges)]
            cost = sum(levels) / len(levels)
            quality = sum(level**0.5 * (k + 1) for k, level in enumerate(levels))
            trial.set_constraint("cost", cost / budget - 1)
            study.tell(trial, [quality, cost])
        return found

    def test_asks_only_legal_levels(self) -> None:
        ranges = distributions(small_space())
        for params in self.asked(60, seed=0):
            assert params.keys() == ranges.keys()
            assert all(ranges[name].low <= value <= ranges[name].high for name, value in params.items())

    def test_survives_failed_and_infeasible_trials(self) -> None:
        assert len(self.asked(60, seed=0, budget=0.05, fail_every=3)) == 60

    def test_one_seed_gives_one_sequence(self) -> None:
        assert self.asked(60, seed=3) == self.asked(60, seed=3)

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
        create = registry.load("samplers", self.name).create
        ledger = open_ledger(run, "", new=new)
        objectives = (Metric("quality", "1", lower_is_better=False), COSTS["params"])
        study = Study(ledger, "study", space, objectives, Reseeded(lambda seed: create(space, seed), 0), new=new)
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


class BudgetAwareConformance(SamplerConformance):
    """For samplers that promise to heed constraints: late proposals are mostly within a tight budget."""

    def test_most_late_proposals_are_feasible(self) -> None:
        highest = {name: each.high for name, each in distributions(small_space()).items()}
        late = self.asked(160, seed=0, budget=0.3)[-60:]
        costs = [sum(params[name] / top for name, top in highest.items()) / len(highest) for params in late]
        assert sum(cost <= 0.3 for cost in costs) > len(costs) / 2
