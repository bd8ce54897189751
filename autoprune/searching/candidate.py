"""From a plan to a trial: cut, repair, measure, evaluate. Knows the order of things and how a candidate may fail.

The three steps of a candidate are functions of their own, so that one candidate may be measured on its device while
another is worked on here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor, nn

from autoprune.core.budget import Budget
from autoprune.core.clock import Clock
from autoprune.core.judgement import excesses
from autoprune.core.measurement import Measurement
from autoprune.core.metric import RELATIVE, MetricKey
from autoprune.core.plan import Plan
from autoprune.core.proposal import Proposal
from autoprune.core.reporter import Reporter
from autoprune.core.trial import Timing, Trial, TrialState
from autoprune.deployment.as_run import as_run
from autoprune.errors import AutopruneError, DeviceLostError, StorageError, SurgeryError, describe
from autoprune.measure.any_device import AnyDevice
from autoprune.measure.counts import counts
from autoprune.recovery.repairs import Repair
from autoprune.surgery import CutModel, Traced, apply, kept_slices
from autoprune.surgery.sparsity import masks
from autoprune.tasks.task import Task


@dataclass(frozen=True)
class Begun:
    """A candidate on its way: cut, repaired and scored, then measured. trial: what became of it, where it ended
    early."""

    proposal: Proposal
    cut: CutModel | None = None
    timing: Timing = field(default_factory=Timing)
    scored: Mapping[str, Measurement] = field(default_factory=dict)
    measured: Mapping[str, Measurement] = field(default_factory=dict)
    trial: Trial | None = None


@dataclass(frozen=True, kw_only=True)
class Evaluator:
    """Evaluates plans of one task against one dense model.

    Attributes:
        task: Of the model, with its data.
        traced: The dense model's groups.
        ranking: Scores of slices by group.
        device: On which candidates are measured.
        budget: Limits on costs.
        dense: The dense model's measurements by key, on the search split.
        clock: That tells seconds.
        repair: What is done to each cut model.
        timed: Whether candidates are measured on the device, which finished models are in any case.
        guarded: Whether a candidate runs on the device before it runs here, as no repair runs it anyway.
        overlaps: Whether a candidate may be measured while another one is worked on.
        as_run: Whether models are scored as the device runs them; where not, in float32.
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
    guarded: bool = False
    overlaps: bool = False
    as_run: bool = True

    def __call__(self, proposal: Proposal) -> Trial:
        """Never raises for what a candidate does: a failure is a trial with its reason."""
        return self.end(self.measure(self.begin(proposal)))

    def begin(self, proposal: Proposal) -> Begun:
        """Cut, repair and score."""
        plan, own = proposal.plan, self.device.setup.spec.precision
        if self.whole(plan) and plan.precision in ("", own):
            met = excesses(self.budget, self.dense, self.dense)
            found = Trial(proposal.number, proposal.plan, TrialState.COMPLETE, self.dense, met)
            return Begun(proposal, trial=found)
        repaired = self._tried(Begun(proposal), self._cut_and_repaired)
        return repaired if self.guarded and self.timed else self._tried(repaired, self._scored)

    def measure(self, begun: Begun) -> Begun:
        """Measure on the device, as precisely as decides something: a score says what a candidate has to beat."""
        return self._tried(begun, self._measured) if self.timed else begun

    def end(self, begun: Begun) -> Trial:
        """Put together what was found."""
        scored = begun if begun.scored else self._tried(begun, self._scored)
        ended = self._tried(scored, self._ended).trial
        if ended is None:
            raise RuntimeError("a candidate that was scored has a trial")
        return ended

    def overlapping(self, plan: Plan, reporter: Reporter) -> Evaluator:
        """The evaluator, which measures one candidate while it works on another where that does not disturb.

        Args:
            plan: Whose model is measured with and without such work.
            reporter: Told that it is so.
        """
        if not self.device.setup.in_float32:  # scoring packs models, too, and tools that write files take turns
            return self
        try:
            cut = self.bare(plan)
            overlaps = self.device.undisturbed(cut, lambda: self.scores(cut, "search"))
        except (DeviceLostError, StorageError):
            raise
        except Exception:  # whatever it is, the plan's own trial fails of it and says so
            return self
        if overlaps:
            reporter.note("candidates are worked on while others are measured")
        return replace(self, overlaps=overlaps)

    def lost(self, proposal: Proposal, reason: str) -> Trial:
        """The trial of a plan whose evaluation never came back."""
        return Trial(proposal.number, proposal.plan, TrialState.FAILED, error=reason)

    def restated(self, trials: Sequence[Trial]) -> list[Trial]:
        """The trials as their latencies read with what is known of the device by now."""
        timed = [trial for trial in trials if any(MetricKey.parse(key).here == RELATIVE for key in trial.measurements)]
        measured = self.device.restated([trial.measurements for trial in timed])
        again = {
            trial.number: replace(trial, measurements=found, excesses=excesses(self.budget, found, self.dense))
            for trial, found in zip(timed, measured, strict=True)
        }
        return [again.get(trial.number, trial) for trial in trials]

    def whole(self, plan: Plan) -> bool:
        """Whether the plan cuts nothing."""
        sizes = {group.name: group.size for group in self.traced.groups}
        return all(count == sizes[name] for name, count in plan.keep)

    def scores(self, cut: CutModel, split: str) -> dict[str, Measurement]:
        """What a model scores on a split, as it is run; errors are those of `Task.score` and `as_run`."""
        return self.task.score(as_run(cut, self.device) if self.as_run else cut.model, split)

    def bare(self, plan: Plan) -> CutModel:
        """The plan's model as it is cut, in eval mode."""
        slices = kept_slices(self.traced, self.ranking, plan)
        zeros = masks(self.traced, self.ranking, plan, slices)
        return CutModel(apply(self.task.model, self.traced, slices).eval(), plan, slices, zeros)

    def cut(self, plan: Plan) -> CutModel:
        """The plan's model, repaired, in eval mode; a plan that cuts nothing leaves nothing to repair."""
        cut = self.bare(plan)
        if not self.whole(plan):
            self._repair(cut)
        return cut

    def _repair(self, cut: CutModel) -> None:
        """Repair in place; what is no number answers anything, and can score well."""
        self.repair(cut)
        cut.model.eval()
        broken = _broken(cut.model)
        if broken and (broken := broken - _broken(self.task.model)):
            raise SurgeryError(
                expected="finite weights in a cut model that was repaired",
                received=f"others in {', '.join(sorted(broken)[:3])}",
                cure="try another --repair, such as bias",
            )

    def _tried(self, begun: Begun, step: Callable[[Begun], Begun]) -> Begun:
        """The next step of a candidate, unless it has ended."""
        if begun.trial is not None:
            return begun
        try:
            return step(begun)
        except (DeviceLostError, StorageError):
            raise  # no fault of this candidate, and no other would fare better
        except Exception as error:
            failure = str(error) if isinstance(error, AutopruneError) else describe(error)
            return Begun(begun.proposal, trial=self.lost(begun.proposal, failure))

    def _cut_and_repaired(self, begun: Begun) -> Begun:
        with self.device.computing():
            start = self.clock.wall()
            cut = self.bare(begun.proposal.plan)
            done = self.clock.wall()
            self._repair(cut)
        return replace(begun, cut=cut, timing=Timing(done - start, self.clock.wall() - done))

    def _measured(self, begun: Begun) -> Begun:
        start, rivals = self.clock.wall(), begun.proposal.rivals
        known = rivals is not None and bool(begun.scored)
        limits, ceilings = bounds(self.budget, self.dense), rivals.ceilings(begun.scored) if rivals and known else {}
        found = self.device.measure(_there(begun.cut), limits, ceilings)
        return replace(begun, measured=found, timing=replace(begun.timing, measure=self.clock.wall() - start))

    def _scored(self, begun: Begun) -> Begun:
        with self.device.computing():
            start = self.clock.wall()
            scored = self.scores(_there(begun.cut), "search")
        timing = replace(begun.timing, evaluate=begun.timing.evaluate + self.clock.wall() - start)
        return replace(begun, scored=scored, timing=timing)

    def _ended(self, begun: Begun) -> Begun:
        proposal = begun.proposal
        with self.device.computing():
            counted = counts(_there(begun.cut).model, self.device.example)
        found = {**begun.scored, **begun.measured, **counted}
        met = excesses(self.budget, found, self.dense)
        trial = Trial(
            number=proposal.number,
            plan=proposal.plan,
            state=TrialState.COMPLETE,
            measurements=found,
            excesses=met,
            timing=begun.timing,
        )
        return replace(begun, trial=trial)


def _there(cut: CutModel | None) -> CutModel:
    if cut is None:
        raise RuntimeError("a candidate is cut before it is measured or scored")
    return cut


def _broken(model: nn.Module) -> set[str]:
    """Names of parameters that are not finite everywhere."""
    return {name for name, weight in model.named_parameters() if not bool(weight.isfinite().all())}


def bounds(budget: Budget, dense: Mapping[str, Measurement]) -> dict[str, float]:
    """The limits in SI units, by key."""
    return {limit.key: limit.bound(dense[limit.key].value) for limit in budget.limits}
