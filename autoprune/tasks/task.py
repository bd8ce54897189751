"""The contract of a task: model, data, metric. Knows what a user must provide and checks what comes back."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn

from autoprune.core.measurement import Measurement
from autoprune.core.metric import Metric, cost
from autoprune.core.reporter import Reporter
from autoprune.errors import AutopruneError, TaskError, UsageError, describe
from autoprune.surgery.clone import unwrapped
from autoprune.surgery.example import Example, Outputs
from autoprune.surgery.modes import evaluating
from autoprune.tasks.batch import device_of, forward, moved
from autoprune.tasks.split import Source, Split

#: Disjoint parts of the data: statistics for repair; scores of candidates; the choice between finalists; the last word.
SPLITS: Final = ("calibration", "search", "validation", "test")

#: How often an evaluation that raises is tried in all.
ATTEMPTS: Final = 2

Scores = float | Mapping[str, float | Measurement]


@dataclass(frozen=True)
class Task:
    """What autoprune needs to know of a model.

    Attributes:
        name: Of runs and messages.
        model: Trained, on any device. Wrappers (`DistributedDataParallel`, `torch.compile`) are taken off.
        example_inputs: What one forward pass takes at the batch size whose latency counts: a tensor, a tuple of
            arguments, or a dict of keyword arguments.
        splits: By name, an iterable of batches for each of `SPLITS`, and "train" to fine-tune on. Each of them, or the
            whole mapping, may be a function without arguments that loads it: processes that only need the model do not
            call it.
        evaluate: (model, batches of a split) -> the score, or scores by name.
        metrics: What scores mean; the first one is the quality that is searched for.
        forward: (model, batch) -> outputs, for repair and distillation.
        loss: (outputs, batch) -> a scalar to fine-tune on, of outputs in train mode; None where there are no labels:
            models learn from the dense one alone, by `distance`.
        distance: (outputs in train mode, what `teach` returned) -> a scalar to distil with; None to go without.
        teach: (dense model in eval mode, batch) -> what is distilled from; None: what `forward` returns of it.
        train: (model in train mode, epoch from 0 on, report) -> None: an epoch of the user's own training, in place of
            ours; it tells its loss by `report(loss)`. None: ours, where there is a loss.
        optimizer: (model) -> a torch optimizer of its parameters, whose rates are the highest that are used; None:
            AdamW at a rate that is tried out.
        scheduler: (optimizer, steps) -> a torch scheduler of its rates over so many steps, which is stepped after each
            of them; None: a short rise, then a cosine to zero.
        augment: (batch of "train", on the model's device) -> a batch to train on, of the same form; called for each
            batch afresh. None: batches as they are.
        outputs: What of the model's outputs matters: a field or key, a place, or a function of them; None for all. The
            rest (features beside logits) need not keep its width.
        choose_batch: (threads, reporter) -> the batch whose latency counts on this machine where the user names none;
            None: that of the example inputs.
        confidence: (outputs) -> how sure the model is of each sample, (samples,), more is surer; a bundle that hands
            over unsure samples needs it.
        spec: How another process finds this task (`file.py:callable`), filled in by `locate`.

    Raises:
        TaskError: something is missing or empty.
    """

    name: str
    model: nn.Module = field(repr=False)
    example_inputs: Any = field(repr=False)
    splits: Mapping[str, Source] | Callable[[], Mapping[str, Source]] = field(repr=False)
    evaluate: Callable[[nn.Module, Any], Scores]
    metrics: tuple[Metric, ...] = (Metric("accuracy", "1", lower_is_better=False, high=1.0),)
    forward: Callable[[nn.Module, Any], Any] = forward
    loss: Callable[[Any, Any], Tensor] | None = None
    distance: Callable[[Any, Any], Tensor] | None = None
    teach: Callable[[nn.Module, Any], Any] | None = None
    optimizer: Callable[[nn.Module], torch.optim.Optimizer] | None = None
    scheduler: Callable[[torch.optim.Optimizer, int], torch.optim.lr_scheduler.LRScheduler] | None = None
    augment: Callable[[Any], Any] | None = None
    train: Callable[[nn.Module, int, Callable[[float | Tensor], None]], None] | None = None
    outputs: Outputs = None
    choose_batch: Callable[[int, Reporter], int] | None = field(default=None, repr=False)
    confidence: Callable[[Any], Tensor] | None = None
    spec: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.model, nn.Module):
            raise TaskError(
                expected="a torch.nn.Module as the task's model",
                received=type(self.model).__name__,
                cure="pass the trained model",
            )
        object.__setattr__(self, "model", unwrapped(self.model))
        try:
            Example.of(self.example_inputs, self.outputs)
        except UsageError as error:
            raise TaskError(expected=error.expected, received=error.received, cure=error.cure) from error
        if not callable(self.evaluate) or not self.metrics:
            raise TaskError(
                expected="a callable evaluate and at least one metric",
                received=repr(self.evaluate),
                cure="pass evaluate(model, split)",
            )
        for name in (
            "forward",
            "loss",
            "distance",
            "teach",
            "optimizer",
            "scheduler",
            "augment",
            "train",
            "confidence",
        ):
            given = getattr(self, name)
            if not callable(given) and (given is not None or name == "forward"):
                raise TaskError(
                    expected=f"a callable {name}", received=repr(given), cure=f"pass a function, or leave {name} out"
                )
        given = self.metrics if isinstance(self.metrics, tuple | list) else (self.metrics,)
        if given is not self.metrics or not all(isinstance(metric, Metric) for metric in given):
            raise TaskError(
                expected="metrics as a list of autoprune.Metric",
                received=", ".join(type(metric).__name__ for metric in given),
                cure='write for example Metric("rmse", "1", lower_is_better=True)',
            )
        names = [metric.name for metric in self.metrics]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise TaskError(
                expected="metrics with names of their own", received=f"two called '{twice[0]}'", cure="rename one"
            )
        taken = sorted({metric.name for metric in self.metrics if cost(metric.name) is not None})
        if taken:
            raise TaskError(
                expected="metrics with names of their own",
                received=", ".join(taken),
                cure="rename them: costs are measured by autoprune",
            )
        object.__setattr__(self, "splits", _named_splits(self.splits))

    @property
    def _splits(self) -> Mapping[str, Any]:
        """Checked, as `__post_init__` leaves them."""
        return self.splits if isinstance(self.splits, Mapping) else {}

    @property
    def quality(self) -> Metric:
        """The metric that is searched for."""
        return self.metrics[0]

    @property
    def example(self) -> Example:
        """One forward pass, with what of its outputs matters."""
        return Example.of(self.example_inputs, self.outputs)

    def split(self, name: str) -> Split:
        """A split by its name; "train" falls back on "calibration".

        Raises:
            TaskError: it is missing.
        """
        found: Split = _taken(self._splits, name)
        return found

    def with_split(self, name: str, source: Source) -> Task:
        """The same task with other batches in a split."""
        return replace(self, splits={**self._splits, name: source})

    def batches(self, name: str) -> Iterable[Any]:
        """The batches of a split on the device of the model; those of "train" as they are trained on."""
        found = _Moved(self.split(name), device_of(self.model))
        return found if self.augment is None or name != "train" else _Augmented(found, self.augment)

    def score(self, model: nn.Module, split: str) -> dict[str, Measurement]:
        """Evaluate in eval mode without gradients, and check what came back; an evaluation that raises is tried again.

        Raises:
            TaskError: the function raised twice, or returned other than finite numbers in range; it is named.
        """
        data = self.split(split).given
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
                expected=f"{metric.name} between {metric.low:g} and {metric.high:g} from {self._evaluator}",
                received=" ".join(map(repr, (value, *ends))),
                cure=_range_for(metric, value)
                if all(map(math.isfinite, (value, *ends)))
                else "check the metric, on the model alone",
            )
        if isinstance(score, Measurement):
            return replace(score, value=value, low=ends[0], high=ends[1], n=int(score.n), split=split)
        return replace(Measurement.exact(metric.name, value, metric.unit), split=split)


def _range_for(metric: Metric, value: float) -> str:
    """How a score beyond a metric's range is allowed, or made one within it."""
    low = metric.low if value >= metric.low else -math.inf
    high = metric.high if value <= metric.high else 100.0 if value <= 100 else math.inf
    ends = [f"low={low:g}" if math.isfinite(low) else "low=-math.inf"] + ([f"high={high:g}"] if high < math.inf else [])
    declared = f"Metric('{metric.name}', '1', lower_is_better={metric.lower_is_better}, {', '.join(ends)})"
    share = f"; or return a share, {value / 100:g}" if metric.high == 1.0 and 1 < value <= 100 else ""
    return f"declare its range among the task's metrics: {declared}{share}"


@dataclass(frozen=True)
class _Moved:
    """Batches of a split on a device."""

    split: Split
    device: torch.device

    def __len__(self) -> int:
        return len(self.split)

    def __iter__(self) -> Iterator[Any]:
        return (moved(batch, self.device) for batch in self.split)


@dataclass(frozen=True)
class _Augmented:
    """Batches as the user's function makes them, anew in each pass."""

    batches: _Moved
    augment: Callable[[Any], Any]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        for batch in self.batches:
            try:
                found = self.augment(batch)
            except Exception as error:
                raise self._wrong(describe(error)) from error
            if found is None:
                raise self._wrong("None")
            yield found

    @staticmethod
    def _wrong(received: str) -> TaskError:
        return TaskError(
            expected="Task.augment to return a batch of splits['train'] to train on",
            received=received,
            cure="return the batch with its inputs changed, or leave augment out",
        )


def _named_splits(given: Mapping[str, Source] | Callable[[], Mapping[str, Source]]) -> dict[str, Split]:
    """Each split, checked as far as that needs no pass over it."""
    if isinstance(given, Mapping):
        found = {name: each if isinstance(each, Split) else Split(name, each) for name, each in given.items()}
        for name in SPLITS:
            _taken(found, name)
        return found
    if not callable(given):
        raise TaskError(
            expected="splits by name, or a function that loads them",
            received=type(given).__name__,
            cure="pass a dict of iterables of batches",
        )
    loaded = _Once(given)

    def part(name: str) -> Iterable[Any]:
        source = _taken(loaded(), name)
        found: Iterable[Any] = source if isinstance(source, Iterable) or not callable(source) else source()
        return found

    return {name: Split(name, partial(part, name)) for name in ("train", *SPLITS)}


class _Once:
    """Splits that are loaded when they are first asked for, and kept."""

    def __init__(self, load: Callable[[], Mapping[str, Source]]) -> None:
        self._load = load
        self._found: Mapping[str, Source] | None = None

    def __call__(self) -> Mapping[str, Source]:
        if self._found is None:
            self._found = self._load()
            if not isinstance(self._found, Mapping):
                raise TaskError(
                    expected="the function of splits to return them by name",
                    received=type(self._found).__name__,
                    cure="return a dict of iterables of batches",
                )
        return self._found


def _taken(splits: Mapping[str, Any], name: str) -> Any:
    """A split by its name; "train" falls back on "calibration", unless another name may have meant it."""
    legal = ("train", *SPLITS)
    strange = next((each for each in splits if each not in legal), None)
    if strange is not None:
        near = get_close_matches(str(strange), [each for each in legal if each not in splits], n=1)
        raise TaskError(
            expected=f"splits out of {', '.join(legal)}",
            received=repr(strange),
            cure=f"call it '{near[0]}', or leave it out" if near else "leave it out",
        )
    found = splits.get(name, splits.get("calibration") if name == "train" else None)
    if found is None:
        raise TaskError(
            expected=f"the splits {', '.join(SPLITS)}",
            received=f"no '{name}' among {', '.join(splits) or 'none'}",
            cure=f"add splits['{name}']",
        )
    return found


def _number(score: object) -> float | None:
    """A float of what is one number: Python's, NumPy's, or a tensor of one element; None of anything else."""
    if isinstance(score, bool) or not hasattr(score, "__float__"):
        return None
    try:
        return float(score)
    except (TypeError, ValueError, RuntimeError):  # of an array, or of a tensor of several elements
        return None


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
