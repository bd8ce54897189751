"""Whether a finished model is to be made anew, and what a new one is worth beside it. Knows runs, two models of one
task and the rules; makes no model."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final

from torch import nn

from autoprune.core.measurement import Measurement
from autoprune.core.reporter import SILENT
from autoprune.engine.paired import Paired, paired
from autoprune.engine.result import Result, model_folder
from autoprune.errors import StorageError, describe
from autoprune.models.folder import PrunedModel, read
from autoprune.models.rebuild import assemble
from autoprune.store.files import write_atomic
from autoprune.store.reading import DATA, RENEWAL, read_front, read_recipe
from autoprune.tasks.task import Task

_SCHEMA: Final = 1
#: On which models are compared: nothing is fitted to it.
SPLIT: Final = "validation"
#: Below this, a gain is not chance.
_LEVEL: Final = 0.05
_VERSION: Final = re.compile(r"(.+)-v(\d+)")


@dataclass(frozen=True, kw_only=True)
class Due:
    """Whether a model is to be renewed for a task.

    Attributes:
        due: Whether it is.
        said: Why, in one line.
        behind: The model beside the task's dense one, which is the other.
    """

    due: bool
    said: str
    behind: Paired


@dataclass(frozen=True, kw_only=True)
class Renewed:
    """What `renew` returns.

    Attributes:
        result: Of the search or the single plan, in a run directory of its own.
        version: Its number; the first run is 1.
        due: Whether a renewal was called for.
        compared: The old model and the renewed one, which is the other; None where nothing met the budget.
        better: Whether the renewed one is to be taken.
        said: Why, in one line.
    """

    result: Result = field(repr=False)
    version: int
    due: Due
    compared: Paired | None
    better: bool
    said: str


@dataclass(frozen=True, kw_only=True)
class OldModel:
    """The best model of a run, and what the run says of it.

    Attributes:
        run: The run directory.
        folder: Of the model.
        record: What its plan.json says.
        weights: Of the model.
        score: Its quality on the validation split of its own task; None where it was not scored there.
        dense: That of its own dense model; the same.
    """

    run: Path
    folder: Path
    record: PrunedModel
    weights: bytes = field(repr=False)
    score: Measurement | None
    dense: Measurement | None

    @classmethod
    def of(cls, run: Path, quality: str) -> OldModel:
        """Read it.

        Raises:
            StorageError: it is no run with a best model.
        """
        front = read_front(run)
        folder, _ = model_folder(run)
        record, weights = read(folder)
        best = next(point for point in front["front"] if point["trial"] == front["best"])
        score, dense = (_kept(each["metrics"], quality) for each in (best, front["dense"]))
        return cls(run=run, folder=folder, record=record, weights=weights, score=score, dense=dense)

    def on(self, task: Task) -> nn.Module:
        """The model, of the dense model of a task, which may have other weights.

        Raises:
            StorageError: it was cut from another architecture.
        """
        return assemble(
            self.record, self.weights, dense=task.model, example=task.example, folder=self.folder, reporter=SILENT
        )


def judged_due(old: OldModel, task: Task) -> Due:
    """Hold an old model against a task. It is due where the 95 % interval of how far it is behind the task's dense
    model begins beyond what that was when it was made; or where its score's interval ends below what that was."""
    behind, name = paired(task, SPLIT, old.on(task), task.model), task.quality.name
    now = f"its {name} is {behind.one:.4g}, dense {behind.other:.4g}"
    if old.score is None or old.dense is None:
        return Due(due=behind.low > 0, said=f"{now}; its run does not say what they were", behind=behind)
    before = f"{old.score.value:.4g} and {old.dense.value:.4g} when it was made"
    sign = -1 if task.quality.lower_is_better else 1
    if behind.low > max(sign * (old.dense.value - old.score.value), 0.0):
        interval = f"[{behind.low:.4g}, {behind.high:.4g}]"
        return Due(due=True, said=f"{now}: further behind {interval} than before; {before}", behind=behind)
    worse = behind.one_low > old.score.high if sign < 0 else behind.one_high < old.score.low
    return Due(due=worse, said=f"{now}: {'worse than' if worse else 'as good as'} before; {before}", behind=behind)


def judged_better(compared: Paired | None) -> tuple[bool, str]:
    """Whether a renewed model is to be taken, and why: it is better, and that by chance in less than one case in 20."""
    if compared is None:
        return False, "keep the old model: no renewed one met the budget"
    better = compared.gain > 0 and compared.p_value < _LEVEL
    told = (
        f"{compared.metric} {compared.one:.4g} and {compared.other:.4g} renewed, a gain of {compared.gain:.4g} "
        f"[{compared.low:.4g}, {compared.high:.4g}], p = {compared.p_value:.2g}"
    )
    return better, f"{'take the renewed model' if better else 'keep the old model'}: {told}"


def next_version(run: Path) -> Path:
    """Where the next version of a run goes, beside it: `digits-1`, `digits-1-v2`, ..."""
    name = run.resolve().name
    found = _VERSION.fullmatch(name)
    name, number = (found.group(1), int(found.group(2)) + 1) if found else (name, 2)
    return next(path for path in (run.parent / f"{name}-v{k}" for k in count(number)) if not path.exists())


def version_of(run: Path) -> int:
    """The number of a run: 1 where it renewed none.

    Raises:
        StorageError: what it says of itself is damaged.
    """
    path = run / RENEWAL
    try:
        return int(json.loads(path.read_bytes())["version"]) if path.is_file() else 1
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StorageError(
            expected=f"the version of a renewed run in {path}",
            received=describe(error),
            cure="restore the file, or remove it, and the run counts as the first one",
        ) from error


def keep_renewal(renewed: Renewed, old: OldModel) -> None:
    """Write beside a renewed run what it renewed, how both compare, and by what each is known."""
    run = renewed.result.run
    best = renewed.result.best
    record = {
        "schema": _SCHEMA,
        "version": renewed.version,
        "renews": os.path.relpath(old.run, run),
        "due": {"due": renewed.due.due, "said": renewed.due.said},
        "better": renewed.better,
        "said": renewed.said,
        "compared": None if renewed.compared is None else asdict(renewed.compared),
        "old": _known(old.run, old.folder),
        "new": _known(run, None if best is None else best.folder),
    }
    write_atomic(run / RENEWAL, (json.dumps(record, indent=1) + "\n").encode())


def _known(run: Path, folder: Path | None) -> dict[str, Any]:
    """By what a run and its best model are known: hashes of the plan, the weights, the dense model and the data."""
    recipe, data = read_recipe(run), run / DATA
    found = {"dense": recipe.get("model"), "data": json.loads(data.read_bytes()) if data.is_file() else {}}
    if folder is None:
        return found
    record, _ = read(folder)
    plan = hashlib.sha256(json.dumps(record.plan.kept).encode()).hexdigest()
    return {
        "model": f"{folder.parent.name}/{folder.name}",
        "weights": record.weights,
        "plan": f"sha256:{plan}",
        **found,
    }


def _kept(metrics: Mapping[str, Any], quality: str) -> Measurement | None:
    found = metrics.get(quality)
    return Measurement.from_json(quality, found) if found and found.get("split") == SPLIT else None
