"""Classifiers: a score and cross-entropy, on arrays or loaders. Knows neither how arrays are split nor scores made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from autoprune.core.measurement import Measurement
from autoprune.core.metric import Metric
from autoprune.errors import TaskError
from autoprune.registry import unknown
from autoprune.tasks.arrays import divide, source, tensors
from autoprune.tasks.batch import classify, device_of, inputs_of, labels_of, moved
from autoprune.tasks.scores import SCORES, cross_entropy
from autoprune.tasks.split import Source, Split
from autoprune.tasks.task import SPLITS, Scores, Task

_SCORE: Final = "score"
LOSS: Final = Metric("loss", "1", lower_is_better=True)
_TEMPERATURE: Final = 2.0


def Classification(  # noqa: N802 - read as the kind of task it makes
    model: nn.Module,
    *,
    data: tuple[Any, Any] | Callable[[], tuple[Any, Any]] | None = None,
    splits: Mapping[str, Any] | Callable[[], Mapping[str, Any]] | None = None,
    example_inputs: Any = None,
    batch_size: int = 64,
    name: str = "classification",
    seed: int = 0,
    metric: str | Callable[[Tensor, Tensor], float] = "accuracy",
    stratify: bool = True,
) -> Task:
    """Make a task of a classifier from inputs (N, ...) to logits (N, classes), alone or in an output with `.logits`.

    Args:
        model: Trained.
        data: Arrays (inputs, labels) that are shuffled by `seed` and split in the proportions of `SHARES`; of a model
            with several inputs, a tuple of arrays or a mapping of them by name in place of inputs. Or a function
            without arguments that loads them when they are first needed.
        splits: Instead, by name, arrays (inputs, labels) or iterables of batches (see `classify` for their forms); or
            functions that load them.
        example_inputs: The batch whose latency counts; default: the first calibration sample alone, for which the data
            is loaded at once.
        batch_size: Of the batches that arrays are cut into.
        name: Of the task.
        seed: Of the shuffle.
        metric: The quality: accuracy, balanced_accuracy, f1 (macro), top5; or a function of logits (N, classes) and
            labels (N,) whose name it takes and of which more is better.
        stratify: Whether every split of `data` gets its share of each class.

    Returns:
        A task with that quality, the cross-entropy as its loss and distillation by divergence.

    Raises:
        TaskError: too little data for disjoint splits, unequal lengths, neither or both of data and splits, or no such
            metric.

    Example:
        >>> Classification(model, data=(images, labels), example_inputs=(images[:8],))  # doctest: +SKIP
    """
    if (data is None) == (splits is None):
        raise TaskError(
            expected="either data or splits",
            received="both" if data else "neither",
            cure="pass data=(inputs, labels) or splits={...}",
        )
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise TaskError(
            expected="a batch_size of at least 1", received=repr(batch_size), cure="pass a whole number, such as 64"
        )
    weights = model.parameters() if isinstance(model, nn.Module) else ()  # anything else is refused by `Task`
    dtype = next((weight.dtype for weight in weights if weight.is_floating_point()), torch.float32)

    def divided() -> Mapping[str, Any]:
        """The splits of the data, loaded by now."""
        return divide(*tensors("data", data() if callable(data) else data, dtype), seed, stratify=stratify)

    def batched(given: Mapping[str, Any]) -> dict[str, Source]:
        return {key: source(key, part, batch_size, dtype) for key, part in given.items()}

    def load() -> Mapping[str, Source]:
        return batched(divided() if splits is None else splits() if callable(splits) else splits)

    wanted = example_inputs is None or not (callable(data) or callable(splits))
    batches: Mapping[str, Source] | Callable[[], Mapping[str, Source]] = load() if wanted else load
    quality, evaluate = _quality(metric)
    return Task(
        name=name,
        model=model,
        example_inputs=_example(batches) if example_inputs is None and isinstance(batches, Mapping) else example_inputs,
        splits=batches,
        evaluate=evaluate,
        metrics=(quality, LOSS),
        forward=classify,
        loss=loss,
        distance=distance,
        outputs=logits_of,
        confidence=confidence,
    )


def _example(splits: Mapping[str, Source]) -> Any:
    """The first calibration sample alone."""
    if "calibration" not in splits:
        raise TaskError(
            expected=f"the splits {', '.join(SPLITS)}",
            received=", ".join(splits) or "none",
            cure="add splits['calibration']",
        )
    args, kwargs = inputs_of(next(iter(Split("calibration", splits["calibration"]))))
    return {key: value[:1] for key, value in kwargs.items()} or tuple(value[:1] for value in args)


def _quality(metric: str | Callable[[Tensor, Tensor], float]) -> tuple[Metric, Callable[[nn.Module, Any], Scores]]:
    """What a classifier is searched for, and what scores it."""
    if callable(metric):
        name = getattr(metric, "__name__", type(metric).__name__)
        name = name if name.isidentifier() else _SCORE  # a lambda has none that a limit could use
        return Metric(name, "1", lower_is_better=False), partial(_evaluate, name=name, score=metric)
    if metric not in SCORES:
        raise unknown("metric of a classifier", str(metric), tuple(SCORES))
    return Metric(metric, "1", lower_is_better=False, high=1.0), partial(_evaluate, name=metric, score=SCORES[metric])


def _evaluate(
    model: nn.Module, batches: Iterable[Any], *, name: str, score: Callable[[Tensor, Tensor], float | Measurement]
) -> Mapping[str, float | Measurement]:
    """A score of all logits and labels, and their mean cross-entropy."""
    device = device_of(model)
    logits, labels = [], []
    for given in batches:
        batch = moved(given, device)
        logits.append(logits_of(classify(model, batch)).float())
        labels.append(labels_of(batch).long())
    both = torch.cat(logits), torch.cat(labels)
    return {name: score(*both), LOSS.name: cross_entropy(*both)}


def logits_of(outputs: Any) -> Tensor:
    """The logits in what a classifier returned: itself, its field of that name, or its first entry."""
    if isinstance(outputs, Tensor):
        return outputs
    found = getattr(outputs, "logits", None)
    found = outputs[0] if found is None and isinstance(outputs, tuple | list) and outputs else found
    if not isinstance(found, Tensor):
        raise TaskError(
            expected="a classifier that returns logits, alone, as `.logits` or first in a tuple",
            received=type(outputs).__name__,
            cure="wrap the model so that it does, or write a Task with an evaluate of your own",
        )
    return found


def loss(outputs: Any, batch: Any) -> Tensor:
    """Mean cross-entropy of logits against the labels of a batch."""
    return functional.cross_entropy(logits_of(outputs), labels_of(batch).long())


def confidence(outputs: Any) -> Tensor:
    """The largest probability of each sample, (N,)."""
    return logits_of(outputs).softmax(-1).amax(-1)


def distance(outputs: Any, taught: Any) -> Tensor:
    """Kullback-Leibler divergence from softened teacher to student, scaled by T^2 (Hinton et al. 2015)."""
    soft = functional.log_softmax(logits_of(taught) / _TEMPERATURE, -1)
    own = functional.log_softmax(logits_of(outputs) / _TEMPERATURE, -1)
    return functional.kl_div(own, soft, reduction="batchmean", log_target=True) * _TEMPERATURE**2
