"""The contract of a task: model, data, metric. Knows what a user must provide and checks what comes back."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import torch
from torch import Tensor, nn

from autoprune.core.measurement import Measurement
from autoprune.core.metric import Metric, cost
from autoprune.core.reporter import Reporter
from autoprune.errors import AutopruneError, TaskError, UsageError, describe
from autoprune.surgery.example import Example
from autoprune.surgery.modes import evaluating

#: Disjoint parts of the data: statistics for repair; scores of candidates; the choice between finalists; the last word.
SPLITS: Final = ("calibration", "search", "validation", "test")

#: How often an evaluation that raises is tried in all.
ATTEMPTS: Final = 2

Scores = float | Mapping[str, float | Measurement]


def forward(model: nn.Module, batch: Any) -> Any:
    """Run a batch: a mapping as keywords without `labels`, of a tuple the first entry, anything else as it is."""
    if isinstance(batch, Mapping):
        return model(**{key: value for key, value in batch.items() if key != "labels"})
    return model(batch[0] if isinstance(batch, tuple | list) else batch)


@dataclass(frozen=True)
class Task:
    """What autoprune needs to know of a model.

    Attributes:
        name: Of runs and messages.
        model: Trained, on any device.
        example_inputs: What one forward pass takes at the batch size whose latency counts: a tensor, a tuple of
            arguments, or a dict of keyword arguments.
        splits: By name, an iterable of batches for each of `SPLITS`, and "train" to fine-tune on.
        evaluate: (model, batches of a split) -> the score, or scores by name.
        metrics: What scores mean; the first one is the quality that is searched for.
        forward: (model, batch) -> outputs, for repair and distillation.
        loss: (outputs, batch) -> a scalar to fine-tune on; None where the model must not be trained.
        distance: (outputs, outputs of the dense model) -> a scalar to distil with; None to go without.
        choose_batch: (threads, reporter) -> the batch whose latency counts on this machine where the user names none;
            None: that of the example inputs.
        spec: How another process finds this task (`file.py:callable`), filled in by `locate`.

    Raises:
        TaskError: something is missing or empty.
    """

    name: str
    model: nn.Module = field(repr=False)
    example_inputs: Any = field(repr=False)
    splits: Mapping[str, Iterable[Any]] = field(repr=False)
    evaluate: Callable[[nn.Module, Any], Scores]
    metrics: tuple[Metric, ...] = (Metric("accuracy", "1", lower_is_better=False, high=1.0),)
    forward: Callable[[nn.Module, Any], Any] = forward
    loss: Callable[[Any, Any], Tensor] | None = None
    distance: Callable[[Any, Any], Tensor] | None = None
    choose_batch: Callable[[int, Reporter], int] | None = field(default=None, repr=False)
    spec: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.model, nn.Module):
            raise TaskError(
                expected="a torch.nn.Module as the task's model",
                received=type(self.model).__name__,
                cure="pass the trained model",
            )
        try:
            Example.of(self.example_inputs)
        except UsageError as error:
            raise TaskError(expected=error.expected, received=error.received, cure=error.cure) from error
        if not callable(self.evaluate) or not self.metrics:
            raise TaskError(
                expected="a callable evaluate and at least one metric",
                received=repr(self.evaluate),
                cure="pass evaluate(model, split)",
            )
        for name in ("forward", "loss", "distance"):
            given = getattr(self, name)
            if not callable(given) and (given is not None or name == "forward"):
                raise TaskError(
                    expected=f"a callable {name}", received=repr(given), cure=f"pass a function, or leave {name} out"
                )
        if not all(isinstance(metric, Metric) for metric in self.metrics):
            raise TaskError(
                expected="metrics as autoprune.Metric",
                received=", ".join(type(metric).__name__ for metric in self.metrics),
                cure='write for example Metric("rmse", "1", lower_is_better=True)',
            )
        taken = sorted({metric.name for metric in self.metrics if cost(metric.name) is not None})
        if taken:
            raise TaskError(
                expected="metrics with names of their own",
                received=", ".join(taken),
                cure="rename them: costs are measured by autoprune",
            )
        for name in SPLITS:
            self.split(name)

    @property
    def quality(self) -> Metric:
        """The metric that is searched for."""
        return self.metrics[0]

    def split(self, name: str) -> Iterable[Any]:
        """The batches of a split; "train" falls back on "calibration".

        Raises:
            TaskError: it is missing, cannot be iterated twice, or has no batch.
        """
        data = self.splits.get(name, self.splits.get("calibration") if name == "train" else None)
        if data is None:
            raise TaskError(
                expected=f"the splits {', '.join(SPLITS)}",
                received=f"no '{name}' among {', '.join(self.splits) or 'none'}",
                cure=f"add splits['{name}']",
            )
        if not isinstance(data, Iterable) or iter(data) is data:
            raise TaskError(
                expected=f"splits['{name}'] to give its batches as often as it is asked",
                received=type(data).__name__,
                cure="pass a list or a DataLoader",
            )
        try:
            next(iter(data))
        except StopIteration:
            raise TaskError(
                expected=f"at least one batch in splits['{name}']", received="an empty split", cure="give it data"
            ) from None
        return data

    def check_training(self) -> None:
        """Whether the model can be trained on the first batch of "train" as it is.

        Raises:
            TaskError: the loss, or the distance to the dense model's outputs, is no finite scalar there.
        """
        if self.loss is None:
            return
        batch = next(iter(self.split("train")))
        with torch.enable_grad(), evaluating(self.model):  # a loss may differentiate, too
            try:
                outputs = self.forward(self.model, batch)
            except Exception as error:
                raise TaskError(
                    expected="Task.forward to run the model on a batch of splits['train']",
                    received=describe(error),
                    cure="pass forward=a function of the model and a batch",
                ) from error
            for name, function, other in (("loss", self.loss, batch), ("distance", self.distance, outputs)):
                received = "" if function is None else _no_scalar(function, outputs, other)
                if received:
                    raise TaskError(
                        expected=f"Task.{name} to return a finite scalar tensor for a batch of splits['train']",
                        received=received,
                        cure=f"mend it, leave {name} out, or do not fine-tune (--finetune-epochs 0, finetune_epochs=0)",
                    )

    def score(self, model: nn.Module, split: str) -> dict[str, Measurement]:
        """Evaluate in eval mode without gradients, and check what came back; an evaluation that raises is tried again.

        Raises:
            TaskError: the function raised twice, or returned other than finite numbers in range; it is named.
        """
        data = self.split(split)
        for attempt in range(ATTEMPTS):
            try:
                with torch.no_grad(), evaluating(model):
                    result = self.evaluate(model, data)
                break
            except AutopruneError:
                raise
            except Exception as error:
                if attempt == ATTEMPTS - 1:
                    raise TaskError(
                        expected=f"{self._evaluator} to return a score",
                        received=describe(error),
                        cure="run it on the model alone to find the cause",
                    ) from error
        named = result if isinstance(result, Mapping) else {self.quality.name: result}
        return {metric.name: self._checked(metric, named, split) for metric in self.metrics}

    @property
    def _evaluator(self) -> str:
        name = getattr(self.evaluate, "__qualname__", type(self.evaluate).__name__)
        file = inspect.getsourcefile(self.evaluate) if inspect.isroutine(self.evaluate) else None
        return f"{name} (in {file})" if file else name

    def _checked(self, metric: Metric, scores: Mapping[Any, Any], split: str) -> Measurement:
        score = scores.get(metric.name)
        value = _number(score.value if isinstance(score, Measurement) else score)
        if value is None:
            received = f"no '{metric.name}'" if metric.name not in scores else type(score).__name__
            raise TaskError(
                expected=f"{self._evaluator} to return a float, or a dict of floats with '{metric.name}'",
                received=received,
                cure="return float(score)",
            )
        ends = [float(score.low), float(score.high)] if isinstance(score, Measurement) else []
        if not all(map(math.isfinite, (value, *ends))) or not metric.low <= value <= metric.high:
            raise TaskError(
                expected=f"a {metric.name} between {metric.low:g} and {metric.high:g} from {self._evaluator}",
                received=" ".join(map(repr, (value, *ends))),
                cure="declare its range in Task.metrics, or check the metric"
                if math.isfinite(value)
                else "check the metric, on the model alone",
            )
        if isinstance(score, Measurement):
            return replace(score, value=value, low=ends[0], high=ends[1], n=int(score.n), split=split)
        return replace(Measurement.exact(metric.name, value, metric.unit), split=split)


def _number(score: object) -> float | None:
    """A float of what is one number: Python's, NumPy's, or a tensor of one element; None of anything else."""
    if isinstance(score, bool) or not hasattr(score, "__float__"):
        return None
    try:
        return float(score)
    except (TypeError, ValueError, RuntimeError):  # of an array, or of a tensor of several elements
        return None


def _no_scalar(function: Callable[[Any, Any], Any], outputs: Any, other: Any) -> str:
    """What a function returns or raises instead of a finite scalar tensor; empty where it returns one."""
    try:
        value = function(outputs, other)
    except Exception as error:
        return describe(error)
    if not isinstance(value, Tensor):
        return type(value).__name__
    if value.numel() != 1:
        return f"a tensor of shape {list(value.shape)}"
    number = value.detach().item()
    return "" if math.isfinite(number) else f"{number:g}"


def rebatch(inputs: Any, size: int) -> Example:
    """The inputs at another batch size: samples are repeated or dropped along the first dimension. 0 leaves them be."""
    example = Example.of(inputs)
    if size == 0:
        return example
    current = batch_size(example)

    def resized(value: Tensor) -> Tensor:
        if value.dim() == 0 or len(value) != current:
            return value
        return value[torch.arange(size) % current].clone()

    return example.map(resized)


def batch_size(inputs: Any) -> int:
    """The first dimension of the first tensor among the inputs; 1 where there is none."""
    return next((len(tensor) for tensor in Example.of(inputs).tensors if tensor.dim()), 1)
