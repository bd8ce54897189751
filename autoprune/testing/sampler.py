"""What every sampler must do. Inherit `SamplerConformance` in a test class and set `name`."""

from __future__ import annotations

import optuna
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from autoprune import registry
from autoprune.core.family import Family
from autoprune.core.group import Group
from autoprune.core.space import SearchSpace
from autoprune.samplers import distributions


def small_space(groups: int = 5, size: int = 64) -> SearchSpace:
    """Groups of equal size with levels in steps of 8."""
    family = Family("test", (), ("channel",), (), 8, 8, tuple(k / 8 for k in range(1, 9)))
    return SearchSpace.build([Group(f"g{k}", "channel", size, ()) for k in range(groups)], family)


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
                study.tell(trial, state=TrialState.FAIL)
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


class BudgetAwareConformance(SamplerConformance):
    """For samplers that promise to heed constraints: late proposals are mostly within a tight budget."""

    def test_most_late_proposals_are_feasible(self) -> None:
        highest = {name: each.high for name, each in distributions(small_space()).items()}
        late = self.asked(160, seed=0, budget=0.3)[-60:]
        costs = [sum(params[name] / top for name, top in highest.items()) / len(highest) for params in late]
        assert sum(cost <= 0.3 for cost in costs) > len(costs) / 2
