"""From a plan to a trial: cut, repair, evaluate, measure. Knows the order of things and how a candidate may fail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor, nn

from autoprune.core.budget import Budget
from autoprune.core.clock import Clock
from autoprune.core.measurement import Measurement
from autoprune.core.metric import parted
from autoprune.core.plan import Plan
from autoprune.core.trial import Proposal, Timing, Trial, TrialState
from autoprune.errors import AutopruneError, DeviceLostError, StorageError, SurgeryError, describe
from autoprune.measure.counts import counts
from autoprune.measure.device import AnyDevice
from autoprune.recovery.repairs import Repair
from autoprune.surgery import Traced, apply, kept_slices
from autoprune.surgery.sparsity import masks
from autoprune.tasks.task import Task


@dataclass(frozen=True)
class Evaluator:
    """Evaluates plans of one task against one dense model.

    ranking: scores of slices by group; dense: the dense model's measurements by key, on the search split; repair: heals
    a cut model; timed: whether candidates are measured on the device, which finished models are in any case.
    """

    task: Task
    traced: Traced
    ranking: Mapping[str, Tensor]
    device: AnyDevice
    budget: Budget
    dense: Mapping[str, Measurement]
    clock: Clock
    repair: Repair
    timed: bool = True

    def __call__(self, proposal: Proposal) -> Trial:
        """Never raises for what a candidate does: a failure is a trial with its reason."""
        if self.whole(proposal.plan):
            return Trial(
                proposal.number,
                proposal.plan,
                TrialState.COMPLETE,
                self.dense,
                excesses(self.budget, self.dense, self.dense),
            )
        try:
            return self._evaluated(proposal)
        except (DeviceLostError, StorageError):
            raise  # no fault of this candidate, and no other would fare better
        except Exception as error:
            failure = str(error) if isinstance(error, AutopruneError) else describe(error)
            return Trial(proposal.number, proposal.plan, TrialState.FAILED, error=failure)

    def lost(self, proposal: Proposal, reason: str) -> Trial:
        """The trial of a plan whose evaluation never came back."""
        return Trial(proposal.number, proposal.plan, TrialState.FAILED, error=reason)

    def restated(self, trials: Sequence[Trial]) -> list[Trial]:
        """The trials as their latencies read with what is known of the device by now."""
        timed = [trial for trial in trials if any(parted(key)[0] == "latency.relative" for key in trial.measurements)]
        measured = self.device.restated([trial.measurements for trial in timed])
        again = {
            trial.number: replace(trial, measurements=found, excesses=excesses(self.budget, found, self.dense))
            for trial, found in zip(timed, measured, strict=True)
        }
        return [again.get(trial.number, trial) for trial in trials]

    def slices(self, plan: Plan) -> dict[str, Tensor]:
        """What the plan keeps, by group that it cuts; empty for the dense plan."""
        return kept_slices(self.traced, self.ranking, plan)

    def masks(self, plan: Plan) -> dict[str, Tensor]:
        """Which elements stay, by weight that the plan thins out."""
        return masks(self.traced, self.ranking, plan, self.slices(plan))

    def whole(self, plan: Plan) -> bool:
        """Whether the plan cuts nothing."""
        sizes = {group.name: group.size for group in self.traced.groups}
        return all(count == sizes[name] for name, count in plan.keep)

    def bare(self, plan: Plan) -> nn.Module:
        """The plan's model as it is cut, in eval mode."""
        return apply(self.task.model, self.traced, self.slices(plan)).eval()

    def cut(self, plan: Plan) -> nn.Module:
        """The plan's model, repaired, in eval mode; a plan that cuts nothing leaves nothing to repair."""
        if self.whole(plan):
            return self.bare(plan)
        slices = self.slices(plan)
        model = apply(self.task.model, self.traced, slices).eval()
        self._heal(model, plan, slices)
        return model.eval()

    def _heal(self, model: nn.Module, plan: Plan, slices: Mapping[str, Tensor]) -> None:
        """Repair in place; what is no number answers anything, and can score well."""
        self.repair(model, slices, self.masks(plan))
        broken = _broken(model)
        if broken and (broken := broken - _broken(self.task.model)):
            raise SurgeryError(
                expected="finite weights in a cut model that was healed",
                received=f"others in {', '.join(sorted(broken)[:3])}",
                cure="try another --repair, such as bias",
            )

    def _evaluated(self, proposal: Proposal) -> Trial:
        with self.device.computing():
            start = self.clock.wall()
            slices = self.slices(proposal.plan)
            model = apply(self.task.model, self.traced, slices).eval()
            cut = self.clock.wall()
            self._heal(model, proposal.plan, slices)
            healed = self.clock.wall()
        # A candidate runs first where it can do no harm: what takes a process down takes the one that measures.
        timed = self.device.measure(model, slices, bounds(self.budget, self.dense)) if self.timed else {}
        with self.device.computing():
            counted = counts(model, self.device.example)
            measured = self.clock.wall()
            scored = self.task.score(model, "search")
            timing = Timing(cut - start, self.clock.wall() - measured + healed - cut, measured - healed)
        found = {**scored, **timed, **counted}
        return Trial(
            proposal.number,
            proposal.plan,
            TrialState.COMPLETE,
            found,
            excesses(self.budget, found, self.dense),
            timing,
        )


def _broken(model: nn.Module) -> set[str]:
    """Names of parameters that are not finite everywhere."""
    return {name for name, weight in model.named_parameters() if not bool(weight.isfinite().all())}


def bounds(budget: Budget, dense: Mapping[str, Measurement]) -> dict[str, float]:
    """The limits in SI units, by key."""
    return {limit.key: limit.bound(dense[limit.key].value) for limit in budget.limits}


def excesses(budget: Budget, measured: Mapping[str, Measurement], dense: Mapping[str, Measurement]) -> dict[str, float]:
    """How far each limit is broken, by key; <= 0 is met.

    A measured cost is held against its limit by the worse end of its interval. A share of the dense model's latency is
    compared as the paired ratio, which knows better than two latencies. A quality counts by its value: dense and pruned
    are scored on the same samples, so their intervals do not add.
    """
    intervals: dict[str, tuple[float, float]] = {}
    for limit in budget.limits:
        found = measured[limit.key]
        relative = measured.get(limit.relative_key)
        if not limit.is_cost:
            intervals[limit.key] = (found.value, found.value)
        elif limit.basis == "share" and relative is not None:
            whole = dense[limit.key].value
            intervals[limit.key] = (relative.low * whole, relative.high * whole)
        else:
            intervals[limit.key] = (found.low, found.high)
    return budget.excesses(intervals, {limit.key: dense[limit.key].value for limit in budget.limits})


def judged(trial: Trial, budget: Budget, dense: Mapping[str, Measurement]) -> Trial:
    """A trial held against every limit, of qualities too, as it is; one that was not evaluated is left as it was."""
    if trial.state is not TrialState.COMPLETE:
        return trial
    return replace(trial, excesses=excesses(budget, trial.measurements, dense))
