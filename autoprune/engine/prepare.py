"""Everything that is known before the first candidate: task, groups, space, checked budget. Knows no trials."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from autoprune import registry
from autoprune.core.budget import Budget
from autoprune.core.clock import SystemClock
from autoprune.core.floor import check_quality
from autoprune.core.group import Group
from autoprune.core.limit import Limit
from autoprune.core.measurement import FORWARD, Capabilities
from autoprune.core.metric import COUNTED, KV_CACHE, Metric, MetricKey, cost
from autoprune.core.rate import is_rated
from autoprune.core.reporter import Logged, Reporter
from autoprune.errors import UsageError
from autoprune.models.decoding import check_decoder
from autoprune.models.savable import savable
from autoprune.models.weights import stored
from autoprune.search_spaces import choose, is_own
from autoprune.search_spaces.locks import check_only, locks
from autoprune.search_spaces.space import SearchSpace, opened
from autoprune.search_spaces.space_config import Space, SpaceConfig
from autoprune.surgery import Traced, trace
from autoprune.surgery.coverage import Coverage, coverage
from autoprune.surgery.example import Example
from autoprune.surgery.patience import Patience
from autoprune.surgery.rows import opened_rows
from autoprune.surgery.sparsity import with_weights
from autoprune.surgery.verify import verified
from autoprune.tasks.locate import locate
from autoprune.tasks.task import Task


@dataclass(frozen=True)
class Prepared:
    """A task whose model was traced and opened; groups: all of it, those that stay whole with the reason."""

    task: Task
    traced: Traced
    config: SpaceConfig
    space: SearchSpace
    groups: tuple[Group, ...]


def make_task(task: Task | str | Callable[[], Task], reporter: Reporter) -> Task:
    """A task from itself, from its name, or from an importable function that makes it."""
    if isinstance(task, Task):
        return task
    if isinstance(task, str):
        return locate(task, reporter)
    made = task()
    if not isinstance(made, Task):
        raise UsageError(
            expected="a Task, its name, or a function that makes one",
            received=type(made).__name__,
            cure="pass autoprune.Task(...)",
        )
    name, module = getattr(task, "__qualname__", ""), getattr(task, "__module__", "__main__")
    return replace(made, spec=f"{module}:{name}") if name.isidentifier() and module != "__main__" else made


def prepare(
    task: Task,
    space: Space,
    *,
    freeze: Sequence[str] = (),
    only: Sequence[str] = (),
    reporter: Reporter | None = None,
) -> Prepared:
    """Trace the task's model and open it.

    Args:
        task: Whose model is traced.
        space: By name, as a file or an object; None for what fits the model.
        freeze: Regular expressions on names of groups that stay whole.
        only: The same of the only groups that may be cut; none for all.
        reporter: Who is told when tracing takes long; default: the logger "autoprune".

    Raises:
        SurgeryError: it does not run, or nothing in it may be cut.
        UsageError: no such search space, or a pattern that matches nothing.
    """
    config, traced = _traced(task.model, task.example, space=space, freeze=freeze, only=only, reporter=reporter)
    groups = offered(task.model, task.example, traced, config)
    return Prepared(task, traced, config, SearchSpace.build(groups, config), opened(groups, config))


def offered(model: nn.Module, example: Example, traced: Traced, config: SpaceConfig) -> tuple[Group, ...]:
    """The groups as the configuration opens them, tied as far as it asks for."""
    groups = opened(traced.groups, config)
    return savable(model, traced, groups, example) if config.savable else groups


def _traced(
    model: nn.Module,
    example: Example,
    space: Space,
    freeze: Sequence[str],
    only: Sequence[str],
    reporter: Reporter | None = None,
) -> tuple[SpaceConfig, Traced]:
    """The configuration, and the model's groups; with those of single weights where that opens them."""
    config = choose(space, (type(module).__name__ for module in model.modules()))
    traced = trace(model, example, reporter=reporter)
    traced = with_weights(model, traced, config.pattern) if "weight" in config.kinds else traced
    if "row" in config.kinds:
        patience = Patience(reporter or Logged(), SystemClock())
        traced = verified(model, example, opened_rows(traced), patience)
    if is_own(space):
        config.check_patterns(traced.groups)
    traced = traced.frozen(locks(traced.groups, freeze=freeze, only=only))
    check_only(opened(traced.groups, config), only)
    return config, traced


def inspected(
    model: nn.Module, example: Example, space: Space, *, freeze: Sequence[str] = (), only: Sequence[str] = ()
) -> tuple[SpaceConfig, tuple[Group, ...], Coverage]:
    """All groups as the configuration sees them, with its step and floor, and with its reason where it keeps one whole;
    and how much of the model they are. Arguments and errors are those of `prepare`."""
    config, traced = _traced(model, example, space, freeze, only)
    found = offered(model, example, traced, config)
    groups = tuple(replace(group, step=config.step_of(group)) for group in found)
    return config, groups, coverage(model, traced, groups)


def fingerprint(model: nn.Module) -> str:
    """A hash of a model's tensors with their names."""
    digest = hashlib.sha256()
    for name, tensor in stored(model).items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def objectives_of(budget: Budget, task: Task, capabilities: Capabilities, profiler: str) -> tuple[Metric, ...]:
    """The metrics to trade off, the most wanted first; every limit and objective is checked against what can be known.

    Raises:
        UsageError: a metric nobody provides, or a limit on a quality in the wrong direction.
    """
    own = {metric.name: metric for metric in task.metrics}
    costs = {name: cost(name) for name in (*COUNTED, *capabilities.metrics)}
    known = {**{name: metric for name, metric in costs.items() if metric is not None}, **own}
    for limit in budget.limits:
        _known(limit.metric, known, profiler, task)
        quality = own.get(limit.metric)
        if quality is not None:
            check_quality(limit, quality)
    limited = {limit.metric for limit in budget.limits}
    wanted = budget.chosen(task.quality.name)
    if not own.keys() & set(wanted):  # who proposes must see a quality whose floor decides in the end
        wanted = (*wanted, *(name for name in own if name in limited))
    chosen = tuple(_known(name, known, profiler, task) for name in wanted)
    _check_decodes(task, (*limited, *wanted))
    if limited and not limited - set(own):  # floors under qualities alone ask for the cheapest model above them
        return tuple(sorted(chosen, key=lambda metric: metric.name in own))
    return chosen


def _check_decodes(task: Task, wanted: Collection[str]) -> None:
    """Refuse what is known of decoders alone, where the task's model is none."""
    for name in wanted:
        if (key := MetricKey.parse(name)).metric == KV_CACHE or key.source.work != FORWARD:
            check_decoder(task.model, task.example, name)


def timed(wanted: Collection[str]) -> bool:
    """Whether any of these metrics is measured on a device, and not counted or scored."""
    keys = [MetricKey.parse(name) for name in wanted]
    return any(key.cost is not None and not key.counted for key in keys)


def check_enough(enough: Collection[Limit], known: Collection[str], task: Task) -> None:
    """Refuse what a candidate shall meet to be good enough where nobody can tell.

    Args:
        enough: Limits on one metric each.
        known: Metrics that are counted or measured of every candidate.
        task: With metrics of its own.

    Raises:
        UsageError: a metric that candidates do not have, or a limit in the wrong direction.
    """
    own = {metric.name: metric for metric in task.metrics}
    _check_decodes(task, [limit.metric for limit in enough])
    for limit in Budget(tuple(enough)).read_for(task.metrics).limits:
        if limit.metric in own:
            check_quality(limit, own[limit.metric])
        elif limit.metric not in known:
            raise UsageError(
                expected="--until on a metric of each candidate",
                received=str(limit),
                cure=f"add --objective {limit.metric}; known without: {', '.join([*own, *known])}",
            )


def check_zeros(space: SearchSpace, wanted: Collection[str], capabilities: Capabilities, profiler: str) -> str:
    """A note where zeroed weights leave what is wanted on the device as it is; empty where they do not.

    Raises:
        UsageError: nothing else in the space could lower it.
    """
    patterns = {group.pattern for group in space.groups if group.kind == "weight"} - set(capabilities.sparsity)
    # Zeroed weights change what runs only where the runtime skips them.
    unmoved = sorted(name for name in wanted if (found := MetricKey.parse(name).cost) is not None and found.runs)
    if not patterns or not unmoved:
        return ""
    said = f"'{profiler}' does not run {' and '.join(sorted(patterns))} zeros faster than other weights"
    if all(group.kind == "weight" for group in space.groups):
        raise UsageError(
            expected=f"something to cut that changes {' and '.join(unmoved)}",
            received=f"a search space of zeroed weights alone, and {said}",
            cure="limit what they do change, such as --budget size=30%, or open channels, neurons or heads",
        )
    return f"{said}: only the other groups change {' and '.join(unmoved)}"


def _known(name: str, known: dict[str, Metric], profiler: str, task: Task) -> Metric:
    if name in known:
        return known[name]
    if cost(name) is not None:
        if is_rated(MetricKey.parse(name).metric):
            raise UsageError(
                expected=f"a --rate for '{name}' of something that is measured here",
                received=f"none of {', '.join(known)}",
                cure="give for example --rate carbon=350g/kWh where energy is metered, or --rate price=0.12/h",
            )
        raise UsageError(
            expected=f"a metric that the profiler '{profiler}' measures",
            received=f"'{name}'",
            cure=f"known: {', '.join(known)}",
        )
    raise registry.unknown(f"metric of the task '{task.name}'", name, tuple(known))


def describe_space(prepared: Prepared) -> dict[str, Any]:
    """What would be searched, for --dry-run and run.yaml."""
    return {
        "family": prepared.config.name,
        "digest": prepared.space.digest,
        "plans": prepared.space.plans,
        "levels": {
            group.name: [counts[place] for counts in variable.levels]
            for variable in prepared.space.variables
            for place, group in enumerate(variable.groups)
        },
        "shared": {v.name: [group.name for group in v.groups] for v in prepared.space.variables if len(v.groups) > 1},
    }
