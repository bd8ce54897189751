"""`autoprune.prune`: cut one model by one plan, without a search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

from torch import nn

from autoprune.core.clock import SystemClock
from autoprune.core.defaults import REPAIR
from autoprune.core.group import Group
from autoprune.core.locks import check_only, locks, patterns
from autoprune.core.measurement import Measurement
from autoprune.core.options import Space
from autoprune.core.plan import Plan
from autoprune.core.reporter import SILENT
from autoprune.core.scope import Scope, scoped
from autoprune.core.space import SearchSpace
from autoprune.engine.given_plan import kept_of
from autoprune.engine.prepare import make_task, offered
from autoprune.errors import SurgeryError, UsageError, describe
from autoprune.measure.counts import counts
from autoprune.models.configuration import configure
from autoprune.models.folder import PrunedModel, write
from autoprune.models.weights import to_bytes
from autoprune.recovery.calibrate import Calibrated, calibrate
from autoprune.search_spaces import choose
from autoprune.surgery import Traced, apply, kept_slices, trace, twin, unwrapped
from autoprune.surgery.coverage import coverage
from autoprune.surgery.cut_model import CutModel
from autoprune.surgery.example import Example, Outputs
from autoprune.surgery.gaps import Gaps, reopened
from autoprune.surgery.quantised import QUANTISED, quantised_modules
from autoprune.surgery.sparsity import masks, with_weights
from autoprune.tasks.task import Task


@dataclass(frozen=True)
class Pruned:
    """What `prune` returns.

    Attributes:
        model: The smaller model, of the class of the one that was passed in, without wrappers.
        plan: What was kept of every group that was opened.
        slices: By group, the indices that were kept.
        traced: All groups of the dense model.
        before: Parameters, operations and size of the dense model, by key.
        after: The same of the smaller one.
        notes: What a criterion could not rank, whose inputs are unknown, and what a configuration cannot say.
        gaps: By name of a list of layers that got shorter, the places in the dense model's that were dropped.
    """

    model: nn.Module = field(repr=False)
    plan: Plan
    slices: Mapping[str, tuple[int, ...]] = field(repr=False)
    traced: Traced = field(repr=False)
    before: Mapping[str, Measurement] = field(repr=False)
    after: Mapping[str, Measurement] = field(repr=False)
    notes: tuple[str, ...] = ()
    gaps: Gaps = field(default_factory=dict, repr=False)

    def __repr__(self) -> str:
        return f"Pruned({type(self.model).__name__}, {', '.join(self._costs())})"

    def _costs(self) -> list[str]:
        lines = []
        for key, title in (("params", "parameters"), ("flops", "operations"), ("size", "bytes on disk")):
            old, new = self.before[key].value, self.after[key].value
            lines.append(f"{title}: {old:.4g} -> {new:.4g} ({new / max(old, 1):.0%})")
        return lines

    def summary(self) -> str:
        """A few lines for people: what it costs now, and what could not be cut."""
        return "\n".join([*self._costs(), self.traced.summary(), *(f"  note: {note}" for note in self.notes)])

    def save(self, folder: str | PathLike[str]) -> None:
        """Write plan, weights and a card; `autoprune.load` rebuilds the model from them and the dense one.

        Raises:
            StorageError: the folder cannot be written.
        """
        card = f"# {type(self.model).__name__}, pruned\n\n{self.summary()}\n"
        weights = to_bytes(self.model, partial(reopened, gaps=self.gaps))
        write(Path(folder), PrunedModel(0, "", self.plan, self.slices), weights, card)


def prune(
    model: nn.Module,
    example_inputs: Any,
    keep: Plan | Mapping[str, int | float] | float = 0.5,
    *,
    criterion: str = "l1",
    scope: Scope = "layer",
    space: Space = None,
    pattern: str = "",
    repair: str = "",
    outputs: Outputs = None,
    task: Task | str | None = None,
    freeze: str | Sequence[str] = (),
    only: str | Sequence[str] = (),
) -> Pruned:
    """Cut a copy of a model; the one passed in is left as it is.

    Args:
        model: Any model that runs on the inputs. Wrappers such as `DistributedDataParallel` are taken off.
        example_inputs: A tensor, a tuple of arguments, or a dict of keyword arguments.
        keep: One number for all groups of slices, as `scope` reads it (by default the ratio in (0, 1] that each group
            keeps); or by group a ratio (a float) or a count (an int); or a `Plan`. Groups that are left out stay whole,
            those tied to one that is named follow it.
        criterion: Which slices go first.
        scope: "layer", "global", "threshold" or "percentile": how one number becomes counts; see `core.scope`.
        space: A search space, by name ("hf"), as a file or an object: `keep` is then the ratio that every group it
            opens keeps, or comes nearest to.
        pattern: "unstructured", "2:4", "4x4" ... to zero single weights instead of cutting slices.
        repair: How what is left is fitted; by default what a search uses where there is a task, and none without.
        outputs: What of the model's outputs matters; see `trace`. By default what the task says, without one all.
        task: Whose data criteria such as taylor, and repairs, look at; or its name, such as "my_task.py:task".
        freeze: Regular expressions on names of groups that stay whole.
        only: The same of the only groups that may be cut; those tied to one that is named follow it.

    Returns:
        The smaller model with its plan, and what it costs before and after.

    Raises:
        UsageError: a plan that the groups cannot obey, an unknown name, a pattern that matches nothing, or no task
            where data is needed.
        SurgeryError: the model does not run on the inputs, or one number is given and nothing in it can be cut.

    Example:
        >>> pruned = prune(model, images, keep=0.5)  # doctest: +SKIP
        >>> pruned.model(images)  # doctest: +SKIP
    """
    made = None if task is None else make_task(task, SILENT)
    example = Example.of(example_inputs, made.outputs if outputs is None and made else outputs)
    traced, model = trace(model, example), unwrapped(model)
    if pattern:
        traced = with_weights(model, traced, pattern)
    locked = {"freeze": patterns(freeze, "freeze"), "only": patterns(only, "only")}
    traced = traced.frozen(locks(traced.groups, **locked))
    by_name = isinstance(keep, Plan | Mapping)
    check_only(traced.groups if by_name else _of_one_number(traced, weights=bool(pattern)), locked["only"])
    given = made and replace(made, model=model)
    calibrated = calibrate(
        model,
        traced,
        criterion=criterion,
        repair=repair or (REPAIR if given else "none"),
        clock=SystemClock(),
        task=given,
    )
    if space is not None:
        plan = _spaced(model, example, traced, space, keep, alone=scope == "layer" and not pattern)
    else:
        plan = keep if isinstance(keep, Plan) else _plan(keep, model, traced, calibrated, scope, weights=bool(pattern))
    slices = kept_slices(traced, calibrated.ranking, plan)
    cut = apply(model, traced, slices)
    zeros = masks(traced, calibrated.ranking, plan, slices)
    calibrated.repair(CutModel(cut, plan, slices, zeros))
    before = counts(twin(model, meta=False)[0], example)  # running the user's own might fill its caches
    after = _counted(cut, example)
    configured = configure(model, cut, traced, slices, example)
    kept = {name: tuple(chosen.tolist()) for name, chosen in slices.items()}
    return Pruned(
        model=cut,
        plan=plan,
        slices=kept,
        traced=traced,
        before=before,
        after=after,
        notes=(*calibrated.notes, *configured.notes),
        gaps=configured.gaps,
    )


def _counted(model: nn.Module, example: Example) -> dict[str, Measurement]:
    """What the cut model costs; it may take ways that no proof has seen, where its numbers decide on them."""
    try:
        return counts(twin(model, meta=False)[0], example)
    except Exception as error:
        raise SurgeryError(
            expected=f"{type(model).__name__} to run on its example inputs when cut",
            received=describe(error),
            cure="pass example inputs that reach all of its modules, or keep more",
        ) from error


def _of_one_number(traced: Traced, *, weights: bool) -> list[Group]:
    """All groups; those that one number leaves whole say so."""
    return [
        replace(group, frozen_reason=group.frozen_reason or f"it is of kind {group.kind}")
        if (group.kind == "weight") != weights or group.kind == "layer"
        else group
        for group in traced.groups
    ]


def _spaced(model: nn.Module, example: Example, traced: Traced, space: Space, keep: object, *, alone: bool) -> Plan:
    """Every group that the search space opens at the level nearest to one ratio."""
    if not alone or isinstance(keep, bool) or not isinstance(keep, int | float) or not 0 < keep <= 1:
        raise UsageError(
            expected="one keep ratio above 0 and at most 1 beside space=, and neither scope= nor pattern=",
            received=repr(keep) if alone else "more",
            cure="pass for example keep=0.5, space='hf'",
        )
    config = choose(space, ())
    return SearchSpace.build(offered(model, example, traced, config), config).uniform(keep)


def _plan(
    keep: Mapping[str, int | float] | float,
    model: nn.Module,
    traced: Traced,
    calibrated: Calibrated,
    scope: Scope,
    *,
    weights: bool,
) -> Plan:
    if not isinstance(keep, Mapping):
        groups = [group for group in traced.open if (group.kind == "weight") == weights]
        if not groups:
            raise SurgeryError(
                expected="at least one weight to zero" if weights else "at least one group that can be cut",
                received=f"nothing to prune ({_main_reason(model, traced, weights=weights)})",
                cure="`autoprune.trace(model, inputs)` lists every group with its reason",
            )
        scores = {name: each.tolist() for name, each in calibrated.ranking.items()}
        return scoped(groups, scores, scope, keep, calibrated.instead)
    return kept_of(keep, traced.groups)


def _main_reason(model: nn.Module, traced: Traced, *, weights: bool) -> str:
    """Why most of the parameters stay whole."""
    left = coverage(model, traced, [group for group in traced.groups if (group.kind == "weight") == weights]).left
    packed = next(quantised_modules(model), None) is not None
    return next(iter(left), QUANTISED if packed else "no weights")
