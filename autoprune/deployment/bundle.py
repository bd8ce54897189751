"""Several models that answer as one, by a policy. Knows calls and samples; not how the policy decides, nor files."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from autoprune.core.clock import Clock
from autoprune.deployment.samples import joined, replaced, requests, rows, taken
from autoprune.errors import UsageError
from autoprune.policies import Policy, facts_of
from autoprune.registry import unknown
from autoprune.surgery.example import Example
from autoprune.tasks.batch import digest
from autoprune.tasks.task import batch_size

Confidence = Callable[[Any], Tensor]


class Bundle(nn.Module):
    """Called as each of its members is; which of them answers is the policy's decision.

    Attributes:
        members: The fastest first.
        policy: By its name.
        answered: How many samples each member has answered; a sample that was handed over counts for both.
        samples: How many the bundle has.

    Example:
        >>> bundle = autoprune.load_bundle("runs/digits-1/bundles/deadline")  # doctest: +SKIP
        >>> bundle.asked(deadline=0.004)(images)  # doctest: +SKIP
    """

    def __init__(
        self,
        members: Sequence[nn.Module],
        policy: str,
        made: Policy,
        *,
        confidence: Confidence | None,
        clock: Clock,
    ) -> None:
        """Put members together; see `load_bundle`.

        Args:
            members: In eval mode, the fastest first.
            policy: Its name.
            made: What decides.
            confidence: How sure outputs are, (samples,); None where nobody knows.
            clock: Tells seconds.
        """
        super().__init__()
        self.members, self.policy, self.answered = nn.ModuleList(members), policy, [0] * len(members)
        self.samples, self._facts = 0, facts_of(policy)
        self._made, self._confidence, self._clock = made, confidence, clock
        if hasattr(members[-1], "config"):  # evaluations of transformers' models look at it
            self.config = members[-1].config
        self.eval()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the members return, of a request of which nothing is said."""
        return self._answer(Example(args, kwargs), {})

    def asked(self, **facts: Any) -> Callable[..., Any]:
        """The bundle for one request of which something is said.

        Args:
            **facts: What the policy asks for: `deadline` (seconds left), `queue` (others that wait), or `key`.

        Raises:
            UsageError: the policy does not ask for that.
        """
        for name in facts:
            if name not in self._facts:
                raise unknown(f"fact for the policy '{self.policy}'", name, self._facts)
        return lambda *args, **kwargs: self._answer(Example(args, kwargs), facts)

    def drawn(self, chance: float) -> Mapping[str, Any]:
        """Facts of a request as its policy is measured with. chance: from 0 to 1."""
        return self._made.drawn(chance)

    @torch.no_grad()
    def _answer(self, example: Example, facts: Mapping[str, Any]) -> Any:
        start, first = self._clock.wall(), self._made.first(facts)
        count = batch_size(example)
        out = last = self._run(first, example)
        self.samples += count
        self.answered[first] += count
        left: Tensor | None = None  # places of samples that the last member answered; None for all
        for place in range(first, len(self.members) - 1):
            unsure = self._made.unsure(place, lambda out=last: self.sure(out))  # type: ignore[misc]
            if unsure is None or not bool(unsure.any()):
                break
            found = unsure.nonzero().flatten()
            left = found if left is None else left[found]
            self.answered[place + 1] += len(left)
            if len(left) == count:
                out = last = self._run(place + 1, example)
            else:
                last = self._some(place + 1, example, count, left)
                out = replaced(out, last, count, left)
        self._made.took(first, facts, self._clock.wall() - start)
        return out

    def _run(self, place: int, example: Example) -> Any:
        return example.call(self.members[place])

    def _some(self, place: int, example: Example, count: int, places: Tensor) -> Any:
        return rows(example, count, places).call(self.members[place])

    def sure(self, out: Any) -> Tensor:
        """How sure outputs are, (samples,).

        Raises:
            UsageError: nobody knows.
        """
        if self._confidence is None:
            raise UsageError(
                expected="how sure outputs are, to hand over what is not",
                received="a task without confidence=",
                cure="pass Task(confidence=...): outputs -> (samples,), more is surer",
            )
        return self._confidence(out)


class Replayed(Bundle):
    """A bundle whose members answer each call once and are then remembered, to try many thresholds on the same data."""

    def __init__(self, *args: Any, known: Sequence[dict[bytes | None, Any]], **kwargs: Any) -> None:
        """known: of each member, answers by the call's content; it is added to."""
        super().__init__(*args, **kwargs)
        self._known = known

    def _run(self, place: int, example: Example) -> Any:
        key, known = digest((example.args, example.kwargs)), self._known[place]
        if key is None or key not in known:
            known[key] = super()._run(place, example)
        return tree_map_only(Tensor, Tensor.clone, known[key])  # who scores may change what it is given

    def _some(self, place: int, example: Example, count: int, places: Tensor) -> Any:
        return taken(self._run(place, example), count, places)


class Served(nn.Module):
    """A bundle as it is measured: calls are cut into requests of one size, each with facts that its policy draws."""

    def __init__(
        self, bundle: Bundle, size: int, seen: Callable[[Sequence[int]], None] = lambda answered: None
    ) -> None:
        """size: samples of a request; seen: told after each of them how many samples each member answered for it."""
        super().__init__()
        self.bundle, self._size, self._seen = bundle, size, seen
        self._chances = random.Random(0)  # noqa: S311 - a workload, no secret
        if hasattr(bundle, "config"):
            self.config = bundle.config

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Results of all samples."""
        example = Example(args, kwargs)
        outs, sizes = [], []
        for request in requests(example, batch_size(example), self._size):
            before = list(self.bundle.answered)
            outs.append(request.call(self.bundle.asked(**self.bundle.drawn(self._chances.random()))))  # type: ignore[arg-type]
            sizes.append(batch_size(request))
            self._seen([now - then for now, then in zip(self.bundle.answered, before, strict=True)])
        return outs[0] if len(outs) == 1 else joined(outs, sizes)
