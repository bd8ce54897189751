"""The folder of one pruned model. Knows the fields of plan.json and checks them; weights are bytes here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from autoprune.core.plan import Plan
from autoprune.errors import StorageError, UsageError, describe
from autoprune.models.form import Form
from autoprune.store.files import write_atomic

SCHEMA: Final = 1
PLAN, WEIGHTS, README = "plan.json", "model.safetensors", "README.md"


@dataclass(frozen=True)
class PrunedModel:
    """What plan.json says: the task to start from, the plan, by group the indices of the slices that were kept, and the
    form that came of it; None in folders of an earlier version, whose models are traced to be rebuilt."""

    trial: int
    task: str
    plan: Plan
    slices: Mapping[str, tuple[int, ...]]
    form: Form | None = None
    weights: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "trial": self.trial,
            "task": self.task,
            "plan": self.plan.kept,
            **self.plan.beside,
            "slices": {name: list(indices) for name, indices in self.slices.items()},
            "weights": self.weights,
            **({} if self.form is None else {"form": self.form.to_json()}),
        }


def write(folder: Path, record: PrunedModel, weights: bytes, card: str) -> None:
    """Write the three files, each whole or not at all; plan.json, which names the weights' hash, comes last."""
    digest = hashlib.sha256(weights).hexdigest()
    described = replace(record, weights=f"sha256:{digest}")
    write_atomic(folder / WEIGHTS, weights)
    write_atomic(folder / README, card.encode())
    write_atomic(folder / PLAN, (json.dumps(described.to_json(), indent=1) + "\n").encode())


def read(folder: Path) -> tuple[PrunedModel, bytes]:
    """The record and the weights' bytes.

    Raises:
        StorageError: a file is missing, unreadable, of another schema, or its hash does not match.
    """
    try:
        data = json.loads((folder / PLAN).read_bytes())
        weights = (folder / WEIGHTS).read_bytes()
    except (OSError, ValueError) as error:
        raise StorageError(
            expected=f"{PLAN} and {WEIGHTS} in {folder}",
            received=describe(error),
            cure="give the folder of one model, such as runs/demo/models/17",
        ) from error
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        found = data.get("schema") if isinstance(data, dict) else type(data).__name__
        raise StorageError(
            expected=f"schema {SCHEMA} in {folder / PLAN}",
            received=repr(found),
            cure="use the version of autoprune that wrote it",
        )
    try:
        slices = {str(name): tuple(map(int, indices)) for name, indices in data["slices"].items()}
        record = PrunedModel(
            trial=int(data["trial"]),
            task=str(data["task"]),
            plan=Plan.from_json(data["plan"], data.get("precision", "")),
            slices=slices,
            form=Form.from_json(data["form"]) if "form" in data else None,
            weights=str(data["weights"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, UsageError) as error:
        raise StorageError(
            expected=f"a plan in {folder / PLAN}", received=describe(error), cure="restore the file"
        ) from error
    check_agreement(record, folder)
    if record.weights != f"sha256:{hashlib.sha256(weights).hexdigest()}":
        raise StorageError(
            expected=f"{WEIGHTS} with the hash that {PLAN} names",
            received="another one",
            cure="restore both files, the model was written only in part or changed",
        )
    return record, weights


def check_agreement(record: PrunedModel, folder: Path, sizes: Mapping[str, int] = MappingProxyType({})) -> None:
    """Refuse a record whose plan and slices say different things: one of them was changed.

    Args:
        record: Of a folder.
        folder: Where it lies.
        sizes: Slices of each group of the dense model, where they are known.

    Raises:
        StorageError: they disagree.
    """
    for name, count in record.plan.keep:
        kept = len(record.slices[name]) if name in record.slices else sizes.get(name, count)
        if kept != count:
            raise StorageError(
                expected=f"the plan and the slices of {folder / PLAN} to agree",
                received=f"{count} of '{name}' in its plan, {kept} in its slices",
                cure="restore the file, whose weights are those of the slices; another plan is tried by `autoprune "
                "evaluate TASK --plan FILE`",
            )
