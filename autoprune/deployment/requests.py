"""What a split asks of a model: its calls, cut into requests of one size. Knows tasks and calls; times nothing."""

from __future__ import annotations

from typing import Any, Final

from torch import nn

from autoprune.deployment.samples import requests
from autoprune.surgery.example import Example
from autoprune.surgery.modes import evaluating
from autoprune.tasks.task import Task, batch_size

#: Requests at most.
MOST: Final = 200


def requests_of(task: Task, model: nn.Module, split: str, size: int) -> list[Example]:
    """Calls of the model as requests of so many samples, from the first batches of a split; fewer are left out."""
    recorder, found = _Recorder(model), []
    with evaluating(model):
        for batch in task.batches(split):
            task.forward(recorder, batch)
            for call in recorder.taken():
                found += [each for each in requests(call, batch_size(call), size) if batch_size(each) == size]
            if len(found) >= MOST:
                break
    return found[:MOST]


class _Recorder(nn.Module):
    """A model whose calls are kept."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self._calls: list[Example] = []
        if hasattr(model, "config"):
            self.config = model.config

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        self._calls.append(Example(args, kwargs))
        return self.model(*args, **kwargs)

    def taken(self) -> list[Example]:
        """Calls since the last time."""
        found, self._calls = self._calls, []
        return found
