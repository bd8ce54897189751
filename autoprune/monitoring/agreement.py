"""How often the dense model names the same class, on a sample of calls. Knows two models; runs the dense one beside the
service, one call at a time."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from autoprune.calibration.telling import verdicts
from autoprune.monitoring.allowance import Allowance


class Agreement:
    """With one dense model.

    samples: that both saw; alike: the sum of their shares of answers that are the same.
    """

    def __init__(self, dense: nn.Module, leaf: int, share: float) -> None:
        """
        Args:
            dense: In eval mode.
            leaf: Which of the tensors of an answer has a number for each class.
            share: Of the model's time that the dense one may take.
        """
        self._dense, self._leaf, self.allowance = dense, leaf, Allowance(share)
        self._beside = ThreadPoolExecutor(1, "autoprune-monitor")
        self._running: Future[None] | None = None
        self._open, self.samples, self.alike = True, 0, 0.0

    @property
    def ready(self) -> bool:
        """Whether a call may be compared: nothing is owed, and the last one is through."""
        return self._open and self.allowance.allows and (self._running is None or self._running.done())

    @staticmethod
    def kept(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, Any]:
        """A call's arguments, whatever becomes of their tensors."""
        return tree_map_only(Tensor, lambda each: each.detach().clone(), (args, dict(kwargs)))  # type: ignore[no-any-return]

    def compare(self, call: tuple[Any, Any], out: Any) -> None:
        """Have the dense model answer the same call. What the last one raised is raised here."""
        before, self._running = self._running, None
        if before is not None:
            before.result()
        self._running = self._beside.submit(self._compare, call, tree_leaves(out)[self._leaf].detach().clone())

    def _compare(self, call: tuple[Any, Any], answers: Tensor) -> None:
        start = perf_counter()
        try:
            with torch.no_grad():
                args, kwargs = call
                dense = verdicts(tree_leaves(self._dense(*args, **kwargs))[self._leaf])
        finally:
            self.allowance.spend(perf_counter() - start)
        own = verdicts(answers)
        self.alike += float((own == dense).mean(1).sum())
        self.samples += len(own)

    def close(self) -> None:
        """Wait for the last one, and compare no more."""
        self._open = False
        self._beside.shutdown()
