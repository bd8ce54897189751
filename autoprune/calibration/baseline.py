"""What a finished model saw and how sure it was when it was made: the baseline that its life in production is compared
with. Knows one pass over two splits, and the file beside the model; not what comparing is.

Each number that is told of samples is kept sorted by itself, so that no sample is kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from autoprune.calibration.batches import pieces
from autoprune.calibration.telling import (
    Floats,
    Telling,
    TokenTelling,
    ValueTelling,
    arguments,
    inputs_by_name,
    is_tokens,
    sureness,
    telling_from_json,
    verdicts,
)
from autoprune.errors import StorageError, describe
from autoprune.store.files import write_atomic
from autoprune.surgery.modes import evaluating
from autoprune.tasks.task import Task

BASELINE: Final = "baseline.json"
_SCHEMA: Final = 1
#: Why a look that succeeds may find nothing.
_NOTHING: Final = {
    "inputs are not watched": "the model is called with no tensors",
    "answers are not watched": "the task has no confidence, or they have no number for each class",
}
#: Samples that a baseline is made of, at most.
_SAMPLES: Final = 512
#: That are run at a time.
_ROWS: Final = 64

Found = TypeVar("Found")


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What was told of the samples of one stream.

    Attributes:
        names: Of the numbers that are told of a sample.
        sorted: (samples, names), each number by itself in ascending order.
    """

    names: tuple[str, ...]
    sorted: Floats

    @classmethod
    def of(cls, names: tuple[str, ...], told: Floats) -> Reference:
        return cls(names=names, sorted=np.sort(told, axis=0))

    def to_json(self) -> dict[str, Any]:
        # Nine digits tell any number of 24 bits.
        return {name: [float(f"{x:.9g}") for x in each] for name, each in zip(self.names, self.sorted.T, strict=True)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Reference:
        return cls(names=tuple(data), sorted=np.array(list(data.values()), dtype=np.float32).T.copy())


@dataclass(frozen=True, kw_only=True)
class InputBaseline:
    """One tensor that the model is called with. telling: what is told of its samples; reference: what was."""

    telling: Telling
    reference: Reference


@dataclass(frozen=True, kw_only=True)
class AnswerBaseline:
    """What a classifier answers.

    Attributes:
        leaf: Which of the tensors of an answer has a number for each class.
        reference: How sure it was of samples that it was not fitted to.
        agreement: The share of their positions in which it named the class that the dense model did.
    """

    leaf: int
    reference: Reference
    agreement: float


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """Of one finished model.

    Attributes:
        inputs: By the name of the argument.
        answers: None where it does not classify.
        notes: What cannot be watched, and why.
    """

    inputs: Mapping[str, InputBaseline]
    answers: AnswerBaseline | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, model: nn.Module, task: Task) -> Baseline:
        """Look at a finished model: at its inputs on the calibration split, and at its answers on the validation split,
        to which nothing in it was fitted.

        Args:
            model: Cut and trained.
            task: Whose model is the dense one.
        """
        with torch.no_grad(), evaluating(model), evaluating(task.model):
            inputs, seen = _tried(lambda: _inputs(model, task), "inputs are not watched")
            answers, sure = _tried(lambda: _answers(model, task), "answers are not watched")
        return cls(inputs=inputs or {}, answers=answers, notes=tuple(filter(None, (seen, sure))))

    def to_json(self) -> dict[str, Any]:
        """As JSON; `from_json` is the inverse."""
        found: dict[str, Any] = {
            "schema": _SCHEMA,
            "inputs": {
                name: {"telling": each.telling.to_json(), "reference": each.reference.to_json()}
                for name, each in self.inputs.items()
            },
            "notes": list(self.notes),
        }
        if self.answers is not None:
            known = self.answers
            found["answers"] = {
                "leaf": known.leaf, "reference": known.reference.to_json(), "agreement": known.agreement
            }  # fmt: skip
        return found

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Baseline:
        """Raises KeyError, TypeError, ValueError or AttributeError of anything else than `to_json` wrote."""
        if data["schema"] != _SCHEMA:
            raise ValueError(f"schema {data['schema']!r}")
        inputs = {
            str(name): InputBaseline(
                telling=telling_from_json(each["telling"]), reference=Reference.from_json(each["reference"])
            )
            for name, each in data["inputs"].items()
        }
        known = data.get("answers")
        answers = known and AnswerBaseline(
            leaf=int(known["leaf"]),
            reference=Reference.from_json(known["reference"]),
            agreement=float(known["agreement"]),
        )
        return cls(inputs=inputs, answers=answers, notes=tuple(map(str, data["notes"])))


def keep(baseline: Baseline, folder: Path) -> None:
    """Write it beside the model."""
    write_atomic(folder / BASELINE, json.dumps(baseline.to_json()).encode())


def kept(folder: Path) -> Baseline | None:
    """What `keep` wrote; None in the folder of a model that has none.

    Raises:
        StorageError: the file is damaged.
    """
    path = folder / BASELINE
    if not path.is_file():
        return None
    try:
        return Baseline.from_json(json.loads(path.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StorageError(
            expected=f"what a model saw when it was made in {path}",
            received=describe(error),
            cure="restore the file, or remove it and pass task=",
        ) from error


def _tried(look: Callable[[], Found | None], otherwise: str) -> tuple[Found | None, str]:
    """What a look at the user's data found, and why it found nothing: a task need not be able to run a split batch by
    batch, and no model is lost of that."""
    try:
        found = look()
    except Exception as error:
        return None, f"{otherwise}: {describe(error)}"
    return found, "" if found else f"{otherwise}: {_NOTHING[otherwise]}"


class _Looked(Exception):  # noqa: N818 - no error: inputs are all that is asked, and what follows is left out
    pass


def _inputs(model: nn.Module, task: Task) -> dict[str, InputBaseline]:
    """Of values, what is told of each batch is kept; of tokens, the samples themselves until all were seen."""
    names, tellings = arguments(model), dict[str, ValueTelling]()
    values, tokens = dict[str, list[Floats]](), dict[str, list[Tensor]]()

    def look(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        for name, given in inputs_by_name(args, kwargs, names).items():
            if is_tokens(given):
                tokens.setdefault(name, []).extend(given.to("cpu", copy=True))
            else:
                telling = tellings.setdefault(name, ValueTelling.of(given))
                values.setdefault(name, []).append(telling(given))
        raise _Looked

    handle = model.register_forward_pre_hook(look, with_kwargs=True)
    try:
        for part in _parts(task, "calibration"):
            with suppress(_Looked):
                task.forward(model, part)
    finally:
        handle.remove()
    found = {name: _input(telling, values[name]) for name, telling in tellings.items()}
    # Bands come from every other sample and are read of the rest: of the samples that they come from, none has a token
    # that was never seen.
    for name, rows in tokens.items():
        telling = TokenTelling.of(rows[::2])
        found[name] = _input(telling, [telling(row[None]) for row in rows[1::2]])
    return found


def _input(telling: Telling, told: list[Floats]) -> InputBaseline:
    return InputBaseline(telling=telling, reference=Reference.of(telling.names, np.concatenate(told)))


def _answers(model: nn.Module, task: Task) -> AnswerBaseline | None:
    """None where the task does not say how sure answers are, or they have no number for each class."""
    if task.confidence is None:
        return None
    place, sure, alike = -1, [], []
    for part in _parts(task, "validation"):
        out = task.forward(model, part)
        place = _classes(task.example.taken(out), out)
        if place < 0:
            return None
        answers = tree_leaves(out)[place]
        dense = tree_leaves(task.forward(task.model, part))[place]
        sure.append(sureness(answers))
        alike.append((verdicts(answers) == verdicts(dense)).mean(1))
    reference = Reference.of(("confidence",), np.concatenate(sure))
    return AnswerBaseline(leaf=place, reference=reference, agreement=float(np.concatenate(alike).mean()))


def _classes(taken: Any, out: Any) -> int:
    """Where among the leaves of an answer the one is that matters and has a number for each class; -1: nowhere."""
    wanted = [leaf for leaf in tree_leaves(taken) if isinstance(leaf, Tensor)]
    if not wanted or wanted[0].dim() < 2 or not wanted[0].is_floating_point():
        return -1
    classes = wanted[0].shape[1 if wanted[0].dim() > 3 else -1]
    return next((k for k, leaf in enumerate(tree_leaves(out)) if leaf is wanted[0] and classes > 1), -1)


def _parts(task: Task, split: str) -> Iterator[Any]:
    """Batches of a split in small pieces, until about `_SAMPLES` samples were seen."""
    parts = (part for batch in task.batches(split) for part in pieces(batch, _ROWS))
    return islice(parts, -(-_SAMPLES // _ROWS))
