"""Pruning in a training loop of the user's own. Knows the steps of a schedule, and weights that are zero in place; not
who trains, on what, or with which optimizer.

The user's model stays the object that it is, as optimizers, wrappers and averages hold its parameters: what is to go is
zero until the end, and cut from a copy then.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.calibration.ranking import rank
from autoprune.core.given_plan import GivenPlan, given_plan
from autoprune.core.plan import Plan
from autoprune.core.reporter import SILENT, Logged, Reporter
from autoprune.core.scope import Scope
from autoprune.core.training_options import TrainingOptions
from autoprune.errors import UsageError
from autoprune.measure.counts import counts
from autoprune.measure.pruned import Pruned
from autoprune.models.masks import from_torch_prune, plain_parameters
from autoprune.registry import load
from autoprune.surgery import CutModel, Traced, apply, twin, unwrapped
from autoprune.surgery.example import Example, Outputs
from autoprune.surgery.keep import opened, planned
from autoprune.surgery.wrappers import inner
from autoprune.tasks.locate import locate
from autoprune.tasks.task import Task
from autoprune.training.difference import differing, foreseen
from autoprune.training.exchange import exchanged
from autoprune.training.gating import Gating
from autoprune.training.schedules import Phase, TooShortError, phases_of
from autoprune.training.stepping import StepGradients
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
        schedule: str = "gradual",
        schedule_options: Mapping[str, Any] | None = None,
        steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        criterion: str = "l1",
        scope: Scope = "layer",
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
            schedule: When what goes; `autoprune plugins schedules` lists them.
            schedule_options: Of the schedule, by name.
            steps: How often the optimizer will step.
            epochs: In its place, with `steps_per_epoch`.
            steps_per_epoch: Steps of the optimizer in an epoch, which are fewer than batches where gradients are
                accumulated.
            criterion: Which slices go first.
            scope: How one number becomes counts, as for `prune`.
            pattern: "unstructured", "2:4", "4x4" ... to zero single weights instead of cutting slices.
            outputs: What of the model's outputs matters; see `trace`. By default what the task says, without one all.
            task: Whose data criteria such as taylor look at; or its name.
            freeze: Regular expressions on names of groups that stay whole.
            only: The same of the only groups that may be cut.
            reporter: Told what is cut other than as it was trained; default: the logger "autoprune".

        Raises:
            UsageError: a plan that the groups cannot obey, or two plans; a schedule that is longer than the training;
                an unknown name.
            SurgeryError: the model does not run on the inputs, nothing can be cut, or slices cannot be zero in place.
        """
        if (keep is None) == (plan is None):
            raise UsageError(
                expected="keep= or plan=",
                received="neither" if keep is None else "both",
                cure="pass for example keep=0.5",
            )
        self.steps = length(steps, epochs, steps_per_epoch)
        self._options = TrainingOptions(
            epochs=self.steps,
            schedule=schedule,
            schedule_options={} if schedule_options is None else schedule_options,
        )
        self._phases(Plan(()))
        self._criterion = load("criteria", criterion)
        self._task = locate(task, SILENT) if isinstance(task, str) else task
        self._user = inner(model) or model
        self._gating: Gating | None = None
        self._example = Example.of(example_inputs, self._task.outputs if outputs is None and self._task else outputs)
        self._notes: list[str] = []
        dense = self._plain()
        by_name = plan is not None or isinstance(keep, Plan | Mapping)
        self._traced: Traced = opened(dense, self._example, pattern=pattern, freeze=freeze, only=only, by_name=by_name)
        if plan is not None or isinstance(keep, Plan):
            self.plan = given_plan(keep if plan is None else plan, self._traced.groups)  # type: ignore[arg-type]
        else:
            ranking = {} if scope == "layer" else self._ranking(dense)
            self.plan = planned(keep or 0, dense, self._traced, ranking, scope=scope, weights=bool(pattern))
        self._schedule = self._phases(self.plan)
        self.done, self._chosen, self._soft = 0, Plan(()), False
        self._slices: dict[str, Tensor] = {}
        self._kept: dict[str, Tensor] = {}
        self._start: dict[str, Tensor] = {}
        if any(phase.rewound for phase in self._schedule):
            self._start = {name: each.detach().cpu().clone() for name, each in _state(dense).items()}
        self._before = counts(dense, self._example)
        if told := foreseen(dense, self._traced, self.plan, self._example):
            (reporter or Logged()).warn(told)
        self._gradients = StepGradients()
        self._choose(self._choice(0))
        self._gate()
        self._watch()

    def step(self) -> bool:
        """Go on with the schedule; called once after each step of the optimizer.

        Returns:
            Whether a phase of the schedule begins. After the first phase of "lottery-ticket" weights are those of the
            start again, and an optimizer with a memory is best made anew.

        Raises:
            UsageError: more steps than were announced.
            TaskError: gates act, and the loss does not depend on what the model returned.
        """
        if self.done == self.steps:
            raise UsageError(
                expected=f"the {self.steps} steps that were announced",
                received="one more",
                cure="say steps= of the whole training, counting steps of the optimizer",
            )
        if self._gating is not None:
            self._gating.step()
        self.done += 1
        if not self._soft:
            self._zero()
        choice = self._choice(self.done)
        if choice is not None and choice.exchanged:
            self._exchange(choice.exchanged)
        else:
            self._choose(choice)
        self._gate()
        self._watch()
        return choice is not None and choice.begins

    def finish(self) -> Pruned:
        """Cut a copy of the model as it is now; the model itself stays as it is.

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
        notes, slices, thin = list(self._notes), self._slices, self._plain()
        if self._chosen != self.plan:
            notes.append(
                f"training ended after {self.done} of {self.steps} steps: what the schedule left was cut untrained"
            )
            learned = self._settled(dict(thin.named_parameters()))
            with self._undisturbed():
                slices, kept = thinned(thin, self._traced, self.plan, {**self._ranking(thin), **learned})
            zero(thin, kept)
        cut = CutModel(apply(thin, self._traced, slices), self.plan, slices)
        if told := differing(thin, cut.model, self._traced, slices, self._example):
            notes.append(told)
        return Pruned.of(cut, thin, self._traced, self._example, notes, self._before)

    def check(self, trained: nn.Module, steps: int | None = None) -> None:
        """Whether a trainer trains what is pruned here, for as long.

        Args:
            trained: The trainer's model, or one that has the pruner's inside.
            steps: Of the trainer's optimizer; None where nobody knows.

        Raises:
            UsageError: it is another model, or another length.
        """
        own = {id(parameter) for parameter in self._user.parameters()}
        if not own <= {id(parameter) for parameter in trained.parameters()}:
            raise UsageError(
                expected="a trainer of the pruner's own model",
                received=f"a {type(trained).__name__} with other parameters",
                cure="pass the same object to both",
            )
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
        own |= {} if self._gating is None else self._gating.state()
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
        done, steps = (int(state[name]) if name in state else -1 for name in (_DONE, _STEPS))
        own = {name: each.shape for name, each in plain_parameters(unwrapped(self._user)).items()}
        elements = {name: each.shape for name, each in _named(state, _ELEMENTS).items()}
        if plan != self.plan.kept or not elements.items() <= own.items():
            received = "another plan, or masks of another model"
        elif steps != self.steps or _named(state, _START).keys() != self._start.keys():
            received = f"one for {steps} steps, or another schedule"
        else:
            received = ""
        if received:
            raise UsageError(
                expected=f"the state of a pruner of this plan and schedule, for {self.steps} steps",
                received=received,
                cure="make the pruner with the arguments that it was made with",
            )
        self.done, self._slices, self._start = done, _named(state, _SLICES), _named(state, _START)
        latest = next(each for place in range(done, -1, -1) if (each := self._choice(place)) is not None)
        self._chosen, self._soft = latest.plan, latest.soft and done < self.steps
        self._kept = slice_masks(self._plain(), self._traced, self._slices) | _named(state, _ELEMENTS)
        self._ungate()
        self._gate(state)
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
        learned = self._settled(plain_parameters(unwrapped(self._user)))
        self._ungate()
        plain = self._plain()
        with self._undisturbed():
            ranking = {**self._ranking(plain), **learned}
            self._slices, self._kept = thinned(plain, self._traced, choice.plan, ranking, soft=choice.soft)
        self._chosen, self._soft = choice.plan, choice.soft
        if choice.rewound:
            self._rewind()
        self._zero()

    def _gate(self, state: Mapping[str, Tensor] | None = None) -> None:
        """Let gates act where the schedule says so, as they are or as a state has them."""
        now, local = phase_at(self._schedule, self.done) or (None, 0)
        if now is None or not now.gate:
            return
        if self._gating is None:
            live = self._user, plain_parameters(unwrapped(self._user))
            self._gating = Gating(now, CutModel(self._plain()), self._traced, 0, live)
        if state is not None:
            self._gating.load(state)
        self._gating.at(local, now.epochs)

    def _ungate(self) -> None:
        if self._gating is not None:
            self._gating.end()
        self._gating = None

    def _settled(self, parameters: Mapping[str, nn.Parameter]) -> Mapping[str, Tensor]:
        """Scores of slices by gates, which parameters are multiplied by; nothing where no gates act."""
        return {} if self._gating is None else self._gating.settle(parameters)

    def _exchange(self, share: float) -> None:
        if not (gradients := self._gradients.taken()):
            self._note("weights stayed where no optimizer of torch stepped on the model before step()")
        plain = self._plain()
        found = exchanged(self._traced, self._kept, dict(plain.named_parameters()), gradients, share)
        of_slices = slice_masks(plain, self._traced, self._slices)
        for name, mask in found.items():
            self._kept[name] = mask & of_slices[name].to(mask.device) if name in of_slices else mask
        self._zero()

    def _watch(self) -> None:
        """Where weights are exchanged after the next step, look at its gradients, which the loop may drop at once."""
        choice = self._choice(self.done + 1)
        wanted = self._kept.keys() if choice is not None and choice.exchanged else ()
        own = plain_parameters(unwrapped(self._user)) if wanted else {}
        self._gradients.watch({name: each for name, each in own.items() if name in wanted})

    def _note(self, *notes: str) -> None:
        self._notes = list(dict.fromkeys([*self._notes, *notes]))

    def _ranking(self, plain: nn.Module) -> Mapping[str, Tensor]:
        task = None if self._task is None else replace(self._task, model=plain)
        found = rank(self._criterion, plain, traced=self._traced, task=task)
        self._note(*found.notes)
        return found.scores

    @contextmanager
    def _undisturbed(self) -> Iterator[None]:
        """Random numbers of the user's loop are drawn as if nothing was looked at here."""
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            yield

    def _plain(self) -> nn.Module:
        """A copy of the model without wrappers, in which what `torch.nn.utils.prune` has masked is zero."""
        with nullcontext() if self._gating is None else self._gating.detached():
            plain = twin(unwrapped(self._user), meta=False)[0]
        from_torch_prune(plain)
        return plain

    def _zero(self) -> None:
        own = plain_parameters(unwrapped(self._user))
        with torch.no_grad():
            for name in self._kept.keys() & own.keys():
                mask = self._kept[name] = self._kept[name].to(own[name].device)
                own[name].masked_fill_(~mask, 0)

    def _rewind(self) -> None:
        model = unwrapped(self._user)
        own = {**plain_parameters(model), **dict(model.named_buffers())}
        with torch.no_grad():
            for name in self._start.keys() & own.keys():
                own[name].copy_(self._start[name])


def _state(model: nn.Module) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _named(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): each for name, each in state.items() if name.startswith(prefix)}
