"""What every pruning schedule must do. Inherit `ScheduleConformance` in a test class and set `name`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autoprune.core.group import Group, Member, check_plan
from autoprune.core.plan import Plan
from autoprune.errors import UsageError
from autoprune.options.training_options import TrainingOptions
from autoprune.training.schedules import Phase, phases_of

#: Groups of several steps and floors, a layer that can be dropped, and single weights.
GROUPS = (
    Group("wide", "channel", 96, (Member("wide.weight", 0),)),
    Group("stepped", "channel", 64, (Member("stepped.weight", 0),), step=8, floor=8),
    Group("small", "neuron", 7, (Member("small.weight", 0),)),
    Group("block", "layer", 1, (), floor=0),
    Group("table", "weight", 500, (Member("table"),), pattern="unstructured"),
)
PLAN = Plan.of({"wide": 11, "stepped": 16, "small": 7, "block": 0, "table": 50})


class ScheduleConformance:
    """Phases that shrink towards the plan, reach it, and take all epochs; what is too short is refused in one line."""

    name: str
    epochs = (6, 7, 24)

    def phases(self, epochs: int, plan: Plan = PLAN, **options: str) -> tuple[Phase, ...]:
        """Those of a plan."""
        training = TrainingOptions(epochs=epochs, schedule=self.name, schedule_options=options)
        return phases_of(training, plan, GROUPS)

    def test_the_last_phase_has_the_plan_and_all_epochs_are_used(self) -> None:
        for epochs in self.epochs:
            found = self.phases(epochs)
            assert found[-1].plan == PLAN
            assert sum(each.epochs for each in found) == epochs
            assert all(each.epochs > 0 for each in found)

    def test_models_never_grow_and_each_plan_can_be_obeyed(self) -> None:
        for epochs in self.epochs:
            before: dict[str, int] = {group.name: group.size for group in GROUPS}
            for phase in self.phases(epochs):
                for plan in (phase.plan, phase.thinned_to or phase.plan):
                    check_plan(plan, GROUPS)
                    assert all(plan.kept[name] <= size for name, size in before.items())
                before = phase.plan.kept

    def test_the_dense_plan_cuts_nothing_on_the_way(self) -> None:
        whole = Plan.of({group.name: group.size for group in GROUPS})
        assert all(phase.plan == whole for phase in self.phases(self.epochs[0], whole))

    def test_a_model_has_its_precision_in_the_end(self) -> None:
        assert self.phases(self.epochs[0], replace(PLAN, precision="int8"))[-1].plan.precision == "int8"

    def test_an_unknown_option_is_refused(self) -> None:
        with pytest.raises(UsageError, match="options of this schedule"):
            self.phases(self.epochs[0], no_such_option="1")

    def test_too_few_epochs_are_refused_with_the_number_that_is_enough(self) -> None:
        enough = next(epochs for epochs in range(1, 100) if self._fits(epochs))
        for epochs in range(1, enough):
            with pytest.raises(UsageError, match=f"--finetune-epochs {enough}"):
                self.phases(epochs)

    def _fits(self, epochs: int) -> bool:
        try:
            self.phases(epochs)
        except UsageError:
            return False
        return True
