"""Classifiers: accuracy and cross-entropy, on arrays or loaders. Knows how to split, batch and score."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from autoprune.core.measurement import Measurement
from autoprune.core.metric import Metric
from autoprune.errors import TaskError
from autoprune.tasks.task import SPLITS, Task, forward

METRICS: Final = (
    Metric("accuracy", "1", lower_is_better=False, high=1.0),
    Metric("loss", "1", lower_is_better=True),
)
#: Shares of one data set that is given whole.
SHARES: Final = {"train": 0.4, "calibration": 0.1, "search": 0.2, "validation": 0.15, "test": 0.15}
_Z: Final = 1.96
_TEMPERATURE: Final = 2.0


@dataclass(frozen=True)
class Batches:
    """Two tensors of equal length, `size` at a time; with `shuffle` in a new order on each pass.

    The order is drawn from torch's global state, which training seeds for each epoch: one of its own would go on from
    whatever was trained before. A last batch of one sample joins the one before it: batch statistics of one sample do
    not exist.
    """

    inputs: Tensor
    targets: Tensor
    size: int
    shuffle: bool = False

    def __len__(self) -> int:
        return len(self._sizes())

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        count = len(self.inputs)
        order = torch.randperm(count) if self.shuffle else torch.arange(count)
        for chosen in order.split(self._sizes()):
            yield self.inputs[chosen], self.targets[chosen]

    def _sizes(self) -> list[int]:
        full, rest = divmod(len(self.inputs), self.size)
        sizes = [self.size] * full + [rest] * bool(rest)
        return [*sizes[:-2], sizes[-2] + 1] if rest == 1 and full else sizes


def Classification(  # noqa: N802 - read as the kind of task it makes
    model: nn.Module,
    *,
    data: tuple[Any, Any] | None = None,
    splits: Mapping[str, Any] | None = None,
    example_inputs: Any = None,
    batch_size: int = 64,
    name: str = "classification",
    seed: int = 0,
) -> Task:
    """Make a task of a classifier from inputs (N, ...) to logits (N, classes), alone or in an output with `.logits`.

    Args:
        model: Trained.
        data: Arrays (inputs, labels) that are shuffled by `seed` and split in the proportions of `SHARES`.
        splits: Instead, by name, arrays (inputs, labels) or iterables of such batches.
        example_inputs: The batch whose latency counts; default: the first calibration sample alone.
        batch_size: Of the batches that arrays are cut into.
        name: Of the task.
        seed: Of the shuffle.

    Returns:
        A task whose quality is the accuracy, with the cross-entropy as its loss and distillation by divergence.

    Raises:
        TaskError: too little data for disjoint splits, unequal lengths, or neither or both of data and splits.

    Example:
        >>> Classification(model, data=(images, labels), example_inputs=(images[:8],))  # doctest: +SKIP
    """
    if (data is None) == (splits is None):
        raise TaskError(
            expected="either data or splits",
            received="both" if data else "neither",
            cure="pass data=(inputs, labels) or splits={...}",
        )
    weights = model.parameters() if isinstance(model, nn.Module) else ()  # anything else is refused by `Task`
    dtype = next((weight.dtype for weight in weights if weight.is_floating_point()), torch.float32)
    given = splits if splits is not None else divide(*arrays("data", data, dtype), seed)
    batches = {key: _batches(key, part, batch_size, dtype) for key, part in given.items()}
    if example_inputs is None:
        if "calibration" not in batches:
            raise TaskError(
                expected=f"the splits {', '.join(SPLITS)}",
                received=", ".join(batches) or "none",
                cure="add splits['calibration']",
            )
        first = next(iter(batches["calibration"]), None)
        if first is None:
            raise TaskError(
                expected="at least one batch in splits['calibration']", received="an empty split", cure="give it data"
            )
        example_inputs = (first[0][:1],)
    return Task(
        name=name,
        model=model,
        example_inputs=example_inputs,
        splits=batches,
        evaluate=evaluate,
        metrics=METRICS,
        forward=forward,
        loss=loss,
        distance=distance,
    )


def evaluate(model: nn.Module, batches: Iterable[Any]) -> dict[str, Measurement]:
    """Accuracy with its Wilson interval, and mean cross-entropy with a normal one."""
    correct, losses = 0, []
    for inputs, targets in batches:
        logits = logits_of(model(inputs))
        correct += int((logits.argmax(-1) == targets).sum())
        losses.append(functional.cross_entropy(logits, targets, reduction="none").double())
    each = torch.cat(losses)
    count = len(each)
    low, high = wilson(correct, count)
    mean = float(each.mean())
    half = _Z * float(each.std()) / math.sqrt(count) if count > 1 else 0.0
    return {
        "accuracy": Measurement(metric="accuracy", value=correct / count, unit="1", low=low, high=high, n=count),
        "loss": Measurement(metric="loss", value=mean, unit="1", low=mean - half, high=mean + half, n=count),
    }


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
    """Mean cross-entropy of logits against a batch (inputs, labels)."""
    return functional.cross_entropy(logits_of(outputs), batch[1])


def distance(outputs: Any, taught: Any) -> Tensor:
    """Kullback-Leibler divergence from softened teacher to student, scaled by T^2 (Hinton et al. 2015)."""
    soft = functional.log_softmax(logits_of(taught) / _TEMPERATURE, -1)
    own = functional.log_softmax(logits_of(outputs) / _TEMPERATURE, -1)
    return functional.kl_div(own, soft, reduction="batchmean", log_target=True) * _TEMPERATURE**2


def wilson(hits: int, count: int) -> tuple[float, float]:
    """The 95 % score interval of a proportion (Wilson 1927)."""
    share = hits / count
    centre = (share + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    half = _Z / (1 + _Z**2 / count) * math.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2))
    return max(0.0, min(centre - half, share)), min(1.0, max(centre + half, share))


def divide(
    inputs: Tensor, targets: Tensor, seed: int, shares: Mapping[str, float] = SHARES
) -> dict[str, tuple[Tensor, Tensor]]:
    """Disjoint random parts in the given shares; the last one takes the remainder."""
    count = len(inputs)
    sizes = [math.floor(share * count) for share in shares.values()]
    sizes[-1] = count - sum(sizes[:-1])
    if min(sizes) < 1:
        raise TaskError(
            expected=f"at least {math.ceil(1 / min(shares.values()))} samples to split",
            received=f"{count}",
            cure="pass more data, or your own splits",
        )
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return {name: (inputs[part], targets[part]) for name, part in zip(shares, order.split(sizes), strict=True)}


def arrays(name: str, data: Any, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """A pair of arrays of equal, positive length as tensors: floating-point inputs as `dtype`, labels (N,) as int64."""
    try:
        inputs, targets = (torch.as_tensor(part) for part in data)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TaskError(
            expected=f"{name} as (inputs, labels)", received=type(data).__name__, cure="pass two arrays of equal length"
        ) from error
    if inputs.dim() < 1 or len(inputs) != len(targets) or len(inputs) == 0:
        raise TaskError(
            expected=f"inputs and labels of equal, positive length in {name}",
            received=f"shapes {list(inputs.shape)} and {list(targets.shape)}",
            cure="pass at least one sample with its label",
        )
    if targets.dim() != 1 or not torch.equal(targets.long().to(targets.dtype), targets):
        raise TaskError(
            expected=f"the class of each sample of {name} as a whole number",
            received=f"labels of shape {list(targets.shape)} and {str(targets.dtype).removeprefix('torch.')}",
            cure="pass labels.argmax(-1) where they are one-hot; for other targets write a Task with a loss of its own",
        )
    return inputs.to(dtype) if inputs.is_floating_point() else inputs, targets.long()


def _batches(name: str, part: Any, size: int, dtype: torch.dtype) -> Any:
    pair = isinstance(part, Sequence) and len(part) == 2 and all(hasattr(array, "shape") for array in part)
    if not pair:
        return part
    inputs, targets = arrays(f"splits['{name}']", part, dtype)
    return Batches(inputs, targets, size, shuffle=name == "train")
