"""Pruning schedules: in how many phases a model is cut while it is trained. One file each, named on the command line.

A schedule is a module with `phases(context)`, and OPTIONS (what `--schedule-option` takes, with defaults as text) if it
has any. It says what is cut when; not how slices are ranked, healed or trained.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Final

from autoprune import registry
from autoprune.core.group import Group
from autoprune.core.plan import Plan
from autoprune.errors import UsageError
from autoprune.finetuning.distillers import progressive
from autoprune.options.defaults import REGULARIZER
from autoprune.options.training_options import TrainingOptions

#: Epochs that two parts take at least.
_PARTS: Final = 2


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """Single weights that go while as many others come, again and again within a phase.

    Attributes:
        share: Of the weights that are there, how many go the first time; fewer each time, along a cosine.
        until: The share of the phase after which none go any more.
        times: How often until then, at most once a step.
    """

    share: float
    until: float
    times: int


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A stretch of training of one model.

    Attributes:
        plan: What the model of the phase before is cut to when this one begins.
        epochs: That it is trained for.
        thinned_to: What slices are set to zero for while it is trained, more and more of them; None: none are.
        gate: By which kind of gates these slices are closed, in place of being set to zero; empty for none.
        soft: Whether slices that were set to zero may grow again until they are chosen anew.
        rewound: Whether the slices that stay begin with the dense model's weights, and not with what they have learnt.
        exchange: Of the plan's single weights, which other ones may take their places.
    """

    plan: Plan
    epochs: int
    thinned_to: Plan | None = None
    gate: str = ""
    soft: bool = False
    rewound: bool = False
    exchange: Exchange | None = None


@dataclass(frozen=True, kw_only=True)
class ScheduleContext:
    """What a schedule knows.

    Attributes:
        plan: What is left in the end.
        groups: Of the dense model, with the plan's names; none as long as there is no model.
        epochs: Of all phases.
        options: Every one of the module's OPTIONS.
    """

    plan: Plan
    groups: Sequence[Group]
    epochs: int
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def dense(self) -> Plan:
        """All slices of every group that the plan names."""
        return self.between(0.0)

    def between(self, share: float, *, geometric: bool = False) -> Plan:
        """A plan on the way from the dense model to the end.

        Args:
            share: Of the way, from 0 to 1.
            geometric: Whether each step keeps the same share of what was left, and not the same number.

        Returns:
            Counts that the groups can obey, never below those of the end.
        """
        sizes = {group.name: group.size for group in self.groups}
        whole = Plan.of({name: sizes[name] for name, _ in self.plan.keep}, self.plan.precision)
        return between(whole, self.plan, self.groups, share, geometric=geometric)

    @property
    def of_weights(self) -> bool:
        """Whether the plan is of single weights alone, none of which is cut."""
        kinds = {group.name: group.kind for group in self.groups}
        return all(kinds[name] == "weight" for name, _ in self.plan.keep)

    def two_parts(self, schedule: str, option: str, usual: float | None = None) -> tuple[int, int]:
        """Epochs before and after a moment, at least one each.

        Args:
            schedule: Its name, for messages.
            option: The share of all epochs that the first part takes.
            usual: What "auto" means, where the option may be that.

        Raises:
            UsageError: fewer than two epochs, or an option that is no share.
        """
        share = usual if usual is not None and self.options[option] == "auto" else self.share(option)
        if self.epochs < _PARTS:
            raise too_short(schedule, self.epochs, _PARTS)
        first = min(max(round(share * self.epochs), 1), self.epochs - 1)
        return first, self.epochs - first

    def number(self, name: str, least: int) -> int:
        """An option that is a whole number.

        Raises:
            UsageError: it is none, or below the least.
        """
        text = self.options[name]
        if not text.isdigit() or int(text) < least:
            raise UsageError(
                expected=f"{name} as a whole number of at least {least}",
                received=repr(text),
                cure=f"write for example {name}={max(least, 3)}",
            )
        return int(text)

    def share(self, name: str) -> float:
        """An option between 0 and 1, both excluded.

        Raises:
            UsageError: it is another one.
        """
        try:
            found = float(self.options[name])
        except ValueError:
            found = math.nan
        if not 0 < found < 1:
            raise UsageError(
                expected=f"{name} between 0 and 1",
                received=repr(self.options[name]),
                cure=f"write for example {name}=0.6",
            )
        return found


def cubic(done: float) -> float:
    """How far along cutting is: fast at first, where much is superfluous (Zhu, Gupta 2017, equation 1).

    Args:
        done: The share of the steps that are over.
    """
    return 1 - (1 - done) ** 3


def between(start: Plan, end: Plan, groups: Iterable[Group], share: float, *, geometric: bool = False) -> Plan:
    """A plan on the way from one to a smaller one.

    Args:
        start: What is kept at first.
        end: What is kept in the end, of the same groups.
        groups: With their steps.
        share: Of the way, from 0 to 1.
        geometric: Whether each step keeps the same share of what was left, and not the same number.

    Returns:
        Counts that the groups can obey, never below those of the end.
    """
    steps = {group.name: group.step for group in groups}
    kept = {}
    for name, size in start.keep:
        count, step = end.kept[name], steps[name]
        wanted = size * (count / size) ** share if geometric and count else size - share * (size - count)
        kept[name] = min(max(math.ceil(round(wanted / step, 6)) * step, count), size)
    return Plan.of(kept, end.precision)


def phases_of(options: TrainingOptions, plan: Plan, groups: Sequence[Group]) -> tuple[Phase, ...]:
    """The phases in which a model is cut to a plan.

    Args:
        options: Of the training, with the schedule's name.
        plan: What is left in the end.
        groups: Of the dense model.

    Raises:
        UsageError: the schedule does not fit into the epochs, has no such option, or has no phase in which the
            regularizer could act.
        RuntimeError: a schedule that does not come to the plan in so many epochs.
    """
    module = registry.load("schedules", options.schedule)
    own = checked(module, options.schedule_options)
    context = ScheduleContext(plan=plan, groups=groups, epochs=options.epochs, options=own)
    found: tuple[Phase, ...] = module.phases(context)
    if not found or found[-1].plan != plan or sum(each.epochs for each in found) != options.epochs:
        raise RuntimeError(f"the schedule '{options.schedule}' does not come to the plan in {options.epochs} epochs")
    if len(found) == 1 and options.regularizer != REGULARIZER:
        raise UsageError(
            expected=f"a schedule that trains a model before it is cut, for the regularizer '{options.regularizer}'",
            received=f"'{options.schedule}', by which all is cut at once",
            cure="pass --schedule regularized, gradual, soft, iterative or lottery-ticket",
        )
    return found


def check_schedule(options: TrainingOptions, groups: Sequence[Group] = ()) -> None:
    """Refuse a schedule that fits neither into the training nor to the model, or an option that it does not take; and a
    distiller that learns from the last round where there is but one.

    Args:
        options: Of the training, with the schedule's name.
        groups: Of the dense model, as far as they are known.

    Raises:
        UsageError: it is one of these.
    """
    phases = phases_of(options, Plan(()), groups)
    name = next((each for each in options.distillers if progressive(each)), "")
    if name and len(phases) == 1:
        raise UsageError(
            expected=f"a schedule of several rounds for the distiller '{name}'",
            received=f"'{options.schedule}', whose only teacher is the dense model",
            cure="pass --schedule iterative, or --distill logits, which is the same there",
        )


def checked(module: ModuleType, given: Mapping[str, str]) -> dict[str, str]:
    """Every option of a schedule's module, as given or as it is by default.

    Raises:
        UsageError: one that it does not have.
    """
    return registry.with_defaults("schedule", getattr(module, "OPTIONS", {}), given)


class TooShortError(UsageError):
    """A training that ends before its schedule does. least: epochs that it needs."""

    least = 1


def too_short(name: str, epochs: int, least: int) -> TooShortError:
    """The error for a training that ends before the schedule does."""
    error = TooShortError(
        expected=f"at least {least} epochs of fine-tuning for the schedule '{name}'",
        received=str(epochs),
        cure=f"pass --finetune-epochs {least}, or another --schedule",
    )
    error.least = least
    return error
