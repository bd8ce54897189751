"""`autoprune.bundle` and `autoprune.load_bundle`: several models of a front as one that adapts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path

from torch import nn

from autoprune.core.clock import SystemClock
from autoprune.core.reporter import Logged, Reporter
from autoprune.deployment.bundle import Bundle, Confidence
from autoprune.deployment.bundle_folder import Bundled, read
from autoprune.deployment.bundle_members import members_in
from autoprune.deployment.bundle_opening import open_bundle
from autoprune.deployment.bundling import bundle as made_of
from autoprune.engine.prepare import make_task
from autoprune.errors import UsageError
from autoprune.models.rebuild import task_named
from autoprune.policies import policy_of
from autoprune.surgery import unwrapped
from autoprune.tasks.task import Task


def bundle(
    subject: str | PathLike[str] | Sequence[str | PathLike[str]],
    policy: str = "cascade",
    *,
    members: Sequence[int] = (),
    options: Mapping[str, str] | None = None,
    output: str | PathLike[str] | None = None,
    task: Task | str | None = None,
    threads: int = 0,
    reporter: Reporter | None = None,
) -> Bundled:
    """Put several models of a front into one artifact, of which a policy chooses for each request.

    Numbers of the policy are chosen on the calibration split. The bundle is then written, opened again, and run as one
    model on the validation split, beside each of its members.

    Args:
        subject: A run directory, or folders of finished models of one task.
        policy: "cascade" (small first, larger if unsure), "deadline" (the largest that fits the time left), "load" (by
            the length of a queue), "context" (by a key of yours), or a plug-in.
        members: Of a run, numbers of trials; default: its front up to the best.
        options: Of the policy, by name.
        output: A folder that is not there yet; default: `bundles/POLICY` in the run.
        task: What models were made from, by default found by its name.
        threads: Of the processor; 0 for those of the run.
        reporter: Who is told of progress; default: the logger "autoprune".

    Returns:
        What was written, with what was measured.

    Raises:
        UsageError: fewer than two models, models of different tasks, an unknown policy, member or option, or a folder
            that is there.
        BudgetInfeasibleError: no members with which the policy can do what it is asked to.
        StorageError: a folder that cannot be read or written.

    Example:
        >>> autoprune.bundle("runs/digits-1", "cascade").measurements["latency.mean"].value  # doctest: +SKIP
    """
    reporter = reporter or Logged()
    policy_of(policy)
    subjects = [subject] if isinstance(subject, str | PathLike) else list(subject)
    found = members_in([Path(each) for each in subjects], members)
    first = found.models[0]
    return made_of(
        found,
        policy,
        options or {},
        task_named(first.record.task, first.folder, reporter) if task is None else make_task(task, reporter),
        None if output is None else Path(output),
        reporter,
        threads=threads,
        clock=SystemClock(),
    )


def load_bundle(
    folder: str | PathLike[str],
    task: Task | str | None = None,
    *,
    model: nn.Module | None = None,
    confidence: Confidence | None = None,
    reporter: Reporter | None = None,
) -> Bundle:
    """Open what `bundle` wrote.

    Args:
        folder: Of the bundle.
        task: What its members were made from, or its name; by default found by its name.
        model: Instead of a task, the dense model.
        confidence: Beside that model: outputs -> how sure each sample is, (samples,); a cascade needs it.
        reporter: Who is told of progress; default: the logger "autoprune".

    Returns:
        A module in eval mode that is called as the dense model; `asked(...)` says what is known of a request.

    Raises:
        UsageError: a task and a model.
        StorageError: the folder is damaged, or of another model.

    Example:
        >>> bundle = autoprune.load_bundle("runs/digits-1/bundles/cascade")  # doctest: +SKIP
        >>> logits = bundle(images)  # doctest: +SKIP
    """
    path, reporter = Path(folder), reporter or Logged()
    if model is not None and task is not None:
        raise UsageError(
            expected="either a task or model=", received="both", cure="pass load_bundle(folder, model=dense)"
        )
    if model is not None:
        return open_bundle(path, unwrapped(model), confidence, SystemClock())
    made = task_named(read(path)[0].task, path, reporter) if task is None else make_task(task, reporter)
    return open_bundle(path, made.model, confidence or made.confidence, SystemClock())
