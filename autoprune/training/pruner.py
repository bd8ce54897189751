"""Pruning in a training loop of the user's own. Knows the steps of a schedule, and weights that are zero in place; not
who trains, on what, or with which optimizer.

The user's model stays the object that it is, as optimizers, wrappers and averages hold its parameters: what is to go is
zero until the end, and cut from a copy then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.calibration.ranking import rank
from autoprune.core.given_plan import GivenPlan, given_plan
from autoprune.core.plan import Plan
from autoprune.core.reporter import SILENT, Logged, Reporter
from autoprune.core.scope import Scope
from autoprune.errors import UsageError
from autoprune.finetuning.stepping import StepGradients
from autoprune.measure.counts import counts
from autoprune.measure.pruned import Pruned
from autoprune.options.defaults import REGULARIZER
from autoprune.options.training_options import TrainingOptions
from autoprune.registry import load
from autoprune.surgery import CutModel, Traced, apply
from autoprune.surgery.example import Example, Outputs
from autoprune.surgery.keep import opened, planned
from autoprune.surgery.random_state import forked_random
from autoprune.tasks.locate import locate
from autoprune.tasks.task import Task
from autoprune.training.acting import Acting
from autoprune.training.by_threshold import Threshold
from autoprune.training.difference import differing, foreseen
from autoprune.training.exchange import exchanged
from autoprune.training.live_model import LiveModel, tensors_of
from autoprune.training.schedules import Phase, TooShortError, phases_of
from autoprune.training.thinning import slice_masks, thinned, zero
from autoprune.training.timeline import Choice, choice_at, length, phase_at

_DONE, _STEPS, _PLAN, _SLICES, _ELEMENTS, _START = "done", "steps", "plan.", "slices.", "elements.", "start."


class Pruner:
    """Prunes a model while somebody else trains it.

    Slices that are to go are set to zero in place, when and as the schedule says, and stay so after each step of the
    optimizer; `finish` returns a model without them. Make it before the weights of a checkpoint are loaded.

    Example:
        >>> pruner = Pruner(model, images, keep=0.5, steps=epochs * len(loader))  # doctest: +SKIP
        >>> for images, labels in loader:  # doctest: +SKIP
        ...     loss_of(model(images), labels).backward()
        ...     optimizer.step()
        ...     pruner.step()
        ...     optimizer.zero_grad()
        >>> smaller = pruner.finish().model  # doctest: +SKIP
    """

    def __init__(
        self,
        model: nn.Module,
        example_inputs: Any,
        *,
        keep: Plan | Mapping[str, int | float] | float | None = None,
        plan: GivenPlan | None = None,
        threshold: float | None = None,
        schedule: str = "",
        schedule_options: Mapping[str, Any] | None = None,
        steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        criterion: str = "l1",
        scope: Scope = "layer",
        regularizer: str = REGULARIZER,
        regularizer_options: Mapping[str, Any] | None = None,
        pattern: str = "",
        outputs: Outputs = None,
        task: Task | str | None = None,
        freeze: str | Sequence[str] = (),
        only: str | Sequence[str] = (),
        reporter: Reporter | None = None,
    ) -> None:
        """Trace the model, and thin it out as far as the schedule does before the first step.

        Args:
            model: Any model that runs on the inputs, in any wrapper (`DistributedDataParallel`, `torch.compile`).
            example_inputs: A tensor, a tuple of arguments, or a dict of keyword arguments.
            keep: As for `prune`: one number for all groups, or numbers by group.
            plan: In its place a plan, counts by group, or the file of such.
            threshold: In their place a share of the largest score of each group: slices below it go once the schedule
                cuts. `plan` says how many stay from then on.
            schedule: When what goes; `autoprune plugins schedules` lists them. By default "gradual", with a threshold
                "regularized".
            schedule_options: Of the schedule, by name.
            steps: How often the optimizer will step.
            epochs: In its place, with `steps_per_epoch`.
            steps_per_epoch: Steps of the optimizer in an epoch, which are fewer than batches where gradients are
                accumulated.
            criterion: Which slices go first.
            scope: How one number becomes counts, as for `prune`.
            regularizer: What `penalty` is, in phases after which slices are cut.
            regularizer_options: Of the regularizer, by name.
            pattern: "unstructured", "2:4", "4x4" ... to zero single weights instead of cutting slices.
            outputs: What of the model's outputs matters; see `trace`. By default what the task says, without one all.
            task: Whose data criteria such as taylor look at; or its name.
            freeze: Regular expressions on names of groups that stay whole.
            only: The same of the only groups that may be cut.
            reporter: Told what is cut other than as it was trained; default: the logger "autoprune".

        Raises:
            UsageError: a plan that the groups cannot obey, or two plans; a schedule that is longer than the training,
                or that wants a plan beforehand where there is but a threshold; an unknown name.
            SurgeryError: the model does not run on the inputs, nothing can be cut, or slices cannot be zero in place.
        """
        given = {"keep": keep, "plan": plan, "threshold": threshold}
        if sum(each is not None for each in given.values()) != 1:
            raise UsageError(
                expected="one of keep=, plan= and threshold=",
                received=" and ".join(name for name, each in given.items() if each is not None) or "none",
                cure="pass for example keep=0.5",
            )
        self.steps = length(steps, epochs, steps_per_epoch)
        self._options = TrainingOptions(
            epochs=self.steps,
            schedule=schedule or ("gradual" if threshold is None else "regularized"),
            schedule_options={} if schedule_options is None else schedule_options,
            regularizer=regularizer,
            regularizer_options={} if regularizer_options is None else regularizer_options,
        )
        self._phases(Plan(()))
        self._criterion = load("criteria", criterion)
        self._task = locate(task, SILENT) if isinstance(task, str) else task
        self._live = LiveModel(model)
        self._example = Example.of(example_inputs, self._task.outputs if outputs is None and self._task else outputs)
        self._notes: list[str] = []
        dense = self._live.plain()
        by_name = plan is not None or isinstance(keep, Plan | Mapping)
        self._traced: Traced = opened(dense, self._example, pattern=pattern, freeze=freeze, only=only, by_name=by_name)
        if plan is not None or isinstance(keep, Plan):
            self.plan = given_plan(keep if plan is None else plan, self._traced.groups)  # type: ignore[arg-type]
        elif keep is None:
            self.plan = planned(1.0, dense, self._traced, {}, weights=bool(pattern))
        else:
            ranking = {} if scope == "layer" else self._ranking(dense)
            self.plan = planned(keep, dense, self._traced, ranking, scope=scope, weights=bool(pattern))
        self._schedule, least, self._threshold = self._phases(self.plan), self.plan, None
        if threshold is not None:
            self._threshold = Threshold(threshold, self._traced, weights=bool(pattern))
            least = self._threshold.least(dense, self._phases, self._options.schedule)
        self.done, self._chosen, self._soft = 0, Plan(()), False
        self._slices: dict[str, Tensor] = {}
        self._kept: dict[str, Tensor] = {}
        self._start: dict[str, Tensor] = {}
        if any(phase.rewound for phase in self._schedule):
            self._start = tensors_of(dense)
        self._before = counts(dense, self._example)
        if told := foreseen(dense, self._traced, least, self._example):
            (reporter or Logged()).warn(told)
        self._acting = Acting(self._live, self._traced, self._options)
        self._gradients = StepGradients()
        self._choose(self._choice(0))
        self._begin()
        self._watch()

    def step(self) -> bool:
        """Go on with the schedule; called once after each step of the optimizer.

        Returns:
            Whether a phase of the schedule begins. After the first phase of "lottery-ticket" weights are those of the
            start again, and an optimizer with a memory is best made anew.

        Raises:
            UsageError: more steps than were announced, or one after `finish` in a phase of gates.
            TaskError: gates act, and the loss does not depend on what the model returned.
        """
        if self.done == self.steps:
            raise UsageError(
                expected=f"the {self.steps} steps that were announced",
                received="one more",
                cure="say steps= of the whole training, counting steps of the optimizer",
            )
        self._acting.step()
        undecided = self._undecided
        self.done += 1
        if not self._soft:
            self._live.zero(self._kept)
        if undecided and not self._undecided:
            self._decide(self._plain())
        choice = self._choice(self.done)
        if choice is not None and choice.exchanged:
            self._exchange(choice.exchanged)
        else:
            self._choose(choice)
        if choice is not None and choice.begins:
            self._begin()
        elif found := phase_at(self._schedule, self.done):
            self._acting.at(found[1], found[0].epochs)
        self._watch()
        return choice is not None and choice.begins

    def penalty(self, loss: Tensor) -> Tensor:
        """What the regularizer adds to a loss, before its gradient is taken; zero in phases in which it does not act.

        Args:
            loss: Of a batch. The penalty of a phase is weighed by the first one.

        Returns:
            A scalar of the loss's type.
        """
        return self._acting.penalty(loss)

    def finish(self) -> Pruned:
        """Cut a copy of the model as it is now; the model itself stays as it is, and gates that act on it leave it.

        Returns:
            The smaller model, in the mode of the model, with its plan and what it costs before and after. Notes say
            where its outputs are not those of the model, and whether training ended before the schedule did.

        Raises:
            UsageError: `step` was never called.
        """
        if self.done == 0:
            raise UsageError(
                expected="a loop that calls step() after each step of its optimizer",
                received="finish() before any step()",
                cure="call pruner.step() after optimizer.step()",
            )
        self._acting.leave()
        notes, slices, thin = list(self._notes), self._slices, self._plain()
        if self._undecided:
            self._decide(thin)
        if self._chosen != self.plan:
            notes.append(
                f"training ended after {self.done} of {self.steps} steps: what the schedule left was cut untrained"
            )
            learned = self._acting.settle(dict(thin.named_parameters()))
            slices, kept = thinned(thin, self._traced, self.plan, {**self._ranking(thin), **learned})
            zero(thin, kept)
        cut = CutModel(apply(thin, self._traced, slices), self.plan, slices)
        if told := differing(thin, cut.model, self._traced, slices, self._example):
            notes.append(told)
        return Pruned.of(cut, thin, traced=self._traced, example=self._example, notes=notes, before=self._before)

    def check(self, trained: nn.Module, steps: int | None = None) -> None:
        """Whether a trainer trains what is pruned here, for as long.

        Args:
            trained: The trainer's model, or one that has the pruner's inside.
            steps: Of the trainer's optimizer; None where nobody knows.

        Raises:
            UsageError: it is another model, or another length.
        """
        self._live.check(trained)
        if steps is not None and steps != self.steps:
            raise UsageError(
                expected=f"a trainer that takes {self.steps} steps",
                received=f"one that takes {steps}",
                cure=f"make the pruner with steps={steps}",
            )

    def state_dict(self) -> dict[str, Tensor]:
        """All that is needed to go on, as tensors by name; the model's weights and the optimizer are the user's."""
        own = {_DONE: torch.tensor(self.done), _STEPS: torch.tensor(self.steps)}
        own |= {f"{_PLAN}{name}": torch.tensor(count) for name, count in self.plan.keep}
        own |= {f"{_SLICES}{name}": each.clone() for name, each in self._slices.items()}
        own |= {f"{_ELEMENTS}{name}": self._kept[name].clone() for name in self._of_single_weights & self._kept.keys()}
        own |= self._acting.state()
        return own | {f"{_START}{name}": each.clone() for name, each in self._start.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state; the model's weights are loaded by the user, before or after.

        Args:
            state: Of a pruner of the same model, plan and length.

        Raises:
            UsageError: it is another one's.
            StorageError: it has other gates.
        """
        plan = {name: int(count) for name, count in _named(state, _PLAN).items()}
        done, steps = (int(state.get(name, -1)) for name in (_DONE, _STEPS))
        decided = self._threshold is not None and plan.keys() == self.plan.kept.keys()
        own = {name: each.shape for name, each in self._live.parameters.items()}
        elements = {name: each.shape for name, each in _named(state, _ELEMENTS).items()}
        received = ""
        if (plan != self.plan.kept and not decided) or not elements.items() <= own.items():
            received = "another plan, or masks of another model"
        elif steps != self.steps or _named(state, _START).keys() != self._start.keys():
            received = f"one for {steps} steps, or another schedule"
        if received:
            raise UsageError(
                expected=f"the state of a pruner of this plan and schedule, for {self.steps} steps",
                received=received,
                cure="make the pruner with the arguments that it was made with",
            )
        if decided:
            self.plan = Plan.of(plan)
            self._schedule = self._phases(self.plan)
        self.done, self._slices, self._start = done, _named(state, _SLICES), _named(state, _START)
        latest = next(each for place in range(done, -1, -1) if (each := self._choice(place)) is not None)
        self._chosen, self._soft = latest.plan, latest.soft and done < self.steps
        self._kept = slice_masks(self._plain(), self._traced, self._slices) | _named(state, _ELEMENTS)
        self._acting.end()
        self._begin()
        self._acting.load(state)
        self._watch()

    @property
    def _of_single_weights(self) -> set[str]:
        return {group.members[0].tensor for group in self._traced.open if group.kind == "weight"}

    def _phases(self, plan: Plan) -> tuple[Phase, ...]:
        """The schedule, whose epochs are steps."""
        groups = self._traced.groups if plan.keep else ()
        try:
            return phases_of(self._options, plan, groups)
        except TooShortError as error:
            raise UsageError(
                expected=f"at least {error.least} steps for the schedule '{self._options.schedule}'",
                received=str(self.steps),
                cure="train for longer, or choose schedule='one-shot'",
            ) from error

    def _choice(self, done: int) -> Choice | None:
        return choice_at(self._schedule, self._traced.groups, done)

    def _choose(self, choice: Choice | None) -> None:
        if choice is None:
            return
        learned: Mapping[str, Tensor] = {}
        if choice.begins:
            learned = self._acting.settle(self._live.parameters)
            self._acting.end()
        plain = self._plain()
        ranking = {**self._ranking(plain), **learned}
        self._slices, self._kept = thinned(plain, self._traced, choice.plan, ranking, soft=choice.soft)
        self._chosen, self._soft = choice.plan, choice.soft
        if choice.rewound:
            self._live.put(self._start)
        self._live.zero(self._kept)

    @property
    def _undecided(self) -> bool:
        """Whether a threshold is still to say what goes."""
        return self._threshold is not None and self.done < sum(phase.epochs for phase in self._schedule[:-1])

    def _decide(self, plain: nn.Module) -> None:
        """Make the plan of what is below the threshold by now."""
        if self._threshold is not None:
            self.plan = self._threshold.plan(plain, self._ranking(plain))
            self._schedule = self._phases(self.plan)

    def _begin(self) -> None:
        """Let act what the phase wants in which the next step is."""
        if found := phase_at(self._schedule, self.done):
            later = self._schedule[self._schedule.index(found[0]) + 1 :]
            known = next((each.plan for each in later if each.plan != found[0].plan), None)
            smaller = found[0].plan if self._undecided else known
            self._acting.begin(found[0], smaller, lambda: self._ranking(self._plain()))
            self._acting.at(found[1], found[0].epochs)

    def _exchange(self, share: float) -> None:
        if not (gradients := self._gradients.taken()):
            self._note("weights stayed where no optimizer of torch stepped on the model before step()")
        plain = self._plain()
        found = exchanged(self._traced, self._kept, dict(plain.named_parameters()), gradients, share)
        of_slices = slice_masks(plain, self._traced, self._slices)
        for name, mask in found.items():
            self._kept[name] = mask & of_slices[name].to(mask.device) if name in of_slices else mask
        self._live.zero(self._kept)

    def _watch(self) -> None:
        """Where weights are exchanged after the next step, look at its gradients, which the loop may drop at once."""
        choice = self._choice(self.done + 1)
        own = self._live.parameters if choice is not None and choice.exchanged else {}
        self._gradients.watch({name: each for name, each in own.items() if name in self._kept})

    def _note(self, *notes: str) -> None:
        self._notes = list(dict.fromkeys([*self._notes, *notes]))

    def _ranking(self, plain: nn.Module) -> Mapping[str, Tensor]:
        task = None if self._task is None else replace(self._task, model=plain)
        with forked_random():  # those of the user's loop stay
            found = rank(self._criterion, plain, traced=self._traced, task=task)
        self._note(*found.notes)
        return found.scores

    def _plain(self) -> nn.Module:
        """A copy of the model, without gates."""
        with self._acting.hidden():
            return self._live.plain()


def _named(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): each for name, each in state.items() if name.startswith(prefix)}
