"""`autoprune.prune`: cut one model by one plan, without a search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from autoprune.core.clock import SystemClock
from autoprune.core.plan import Plan
from autoprune.core.reporter import SILENT
from autoprune.core.scope import Scope
from autoprune.engine.prepare import make_task, offered
from autoprune.errors import UsageError
from autoprune.measure.pruned import Pruned
from autoprune.options.defaults import REPAIR
from autoprune.recovery.calibrate import calibrate
from autoprune.search_spaces import choose, is_own
from autoprune.search_spaces.space import SearchSpace
from autoprune.search_spaces.space_config import Space
from autoprune.surgery import Traced, apply, kept_slices, unwrapped
from autoprune.surgery.cut_model import CutModel
from autoprune.surgery.example import Example, Outputs
from autoprune.surgery.keep import opened, planned
from autoprune.surgery.sparsity import masks
from autoprune.tasks.task import Task


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
        scope: How one number becomes counts, "layer", "global", "threshold", "percentile", "relative" or
            "erdos-renyi"; see `core.scope`.
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
    by_name = isinstance(keep, Plan | Mapping)
    traced = opened(model, example, pattern=pattern, freeze=freeze, only=only, by_name=by_name)
    model = unwrapped(model)
    given = made and replace(made, model=model)
    calibrated = calibrate(
        model,
        traced,
        criterion=criterion,
        repair=repair or (REPAIR if given else "none"),
        clock=SystemClock(),
        task=given,
    )
    ranking = calibrated.ranking
    if space is not None:
        plan = _spaced(model, example, traced, space, keep, alone=scope == "layer" and not pattern)
    elif isinstance(keep, Plan):
        plan = keep
    else:
        instead, weights = calibrated.instead, bool(pattern)
        plan = planned(keep, model, traced, ranking, instead=instead, scope=scope, weights=weights)
    slices = kept_slices(traced, ranking, plan)
    cut = CutModel(apply(model, traced, slices), plan, slices, masks(traced, ranking, plan, slices))
    calibrated.repair(cut)
    return Pruned.of(cut, model, traced, example, calibrated.notes)


def _spaced(model: nn.Module, example: Example, traced: Traced, space: Space, keep: object, *, alone: bool) -> Plan:
    """Every group that the search space opens at the level nearest to one ratio."""
    if not alone or isinstance(keep, bool) or not isinstance(keep, int | float) or not 0 < keep <= 1:
        raise UsageError(
            expected="one keep ratio above 0 and at most 1 beside space=, and neither scope= nor pattern=",
            received=repr(keep) if alone else "more",
            cure="pass for example keep=0.5, space='hf'",
        )
    config = choose(space, ())
    if is_own(space):
        config.check_patterns(traced.groups)
    return SearchSpace.build(offered(model, example, traced, config), config).uniform(keep)
