"""Modules that the example inputs do not reach, beside reached ones in a list: experts without a token, skipped layers.

An unreached module is run on what a reached sibling of its class was given, so that it is labelled as if it had been
reached. Where that fails, whatever it may read stays whole: what the others of the list read and write, and what has a
size that it has.
Knows lists of modules and their calls; not operators, nor how a model is run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from autoprune.surgery.labels import Label, freeze, unify
from autoprune.surgery.tracer import Tracer, tensors_of

READ = "it may be read by modules that the example inputs do not reach"


class Family(NamedTuple):
    """Modules of one list and class, by name: those that were reached, and those that were not, in all parts.

    alike: whether they have the same shapes.
    """

    reached: tuple[str, ...]
    unreached: tuple[str, ...]
    alike: bool


class Siblings:
    """What of a model's lists no run has reached so far.

    families: the unreached modules that have reached siblings; lost: those that have none, though others of their lists
    were reached; strangers: these others; labelled: the unreached modules that were run in the end.
    """

    def __init__(self, model: nn.Module, tracer: Tracer) -> None:
        self._model, self._tracer = model, tracer
        self.families: list[Family] = []
        self.labelled: list[str] = []
        self.lost: set[str] = set()
        self.strangers: set[str] = set()
        for name, module in model.named_modules():
            if isinstance(module, nn.ModuleList | nn.ModuleDict):
                self._sort(module, f"{name}." if name else "")
        # What lies in another unreached module comes first: then more of that may have been reached.
        unreached = [each for family in self.families for each in family.unreached]
        self.families = [
            family
            for family in self.families
            if not any(each.startswith(f"{outer}.") for outer in family.unreached for each in unreached)
        ]

    def _sort(self, modules: nn.ModuleList | nn.ModuleDict, prefix: str) -> None:
        """Find out who was not reached among the modules of one list, and beside whom."""
        own: dict[str, dict[str, tuple[int, ...]]] = {child: {} for child in modules._modules}
        missing: dict[str, set[str]] = {child: set() for child in own}
        for name, tensor in self._tracer.tensors.items():
            child, _, rest = name.removeprefix(prefix).partition(".")
            if name.startswith(prefix) and child in own:
                own[child][rest] = tuple(map(int, tensor.shape))
                if name not in self._tracer.used:
                    missing[child].add(rest)
        alike: defaultdict[Any, list[str]] = defaultdict(list)
        for child, shapes in own.items():
            alike[(type(modules._modules[child]), frozenset(shapes.items()))].append(child)
        found = {child for child in own if own[child].keys() - missing[child]}
        lost = {child for child in own if own[child] and child not in found}
        for members in alike.values():
            seen = [child for child in members if child in found]
            never = set.intersection(*(missing[child] for child in seen)) if seen else set()
            whole = [child for child in seen if missing[child] == never]
            lacking = [child for child in members if missing[child] - never]
            if whole and lacking:
                self.families.append(Family(_named(prefix, whole), _named(prefix, lacking), True))
                lost.difference_update(lacking)
        for kind in {type(modules._modules[child]) for child in lost}:
            seen, unlike = (
                [child for child in own if child in among and type(modules._modules[child]) is kind]
                for among in (found, lost)
            )
            if seen:
                self.families.append(Family(_named(prefix, seen), _named(prefix, unlike), False))
                lost.difference_update(unlike)
        if lost and found:
            self.lost.update(_named(prefix, lost))
            self.strangers.update(_named(prefix, found))

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Inside, the model is run once more: unreached modules run after the first of their reached siblings."""
        leads = [_Lead(self._model, self._tracer, family) for family in self.families]
        handles = [
            *(self._hooked(name, lead.called) for lead in leads for name in lead.family.reached),
            *(self._hooked(name, self._keep) for name in self.strangers),
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
        for lead in leads:
            self.labelled += lead.settle()
        for name in self.lost:
            _keep_alike(self._tracer, name)

    def _hooked(self, name: str, seen: Seen) -> Any:
        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
            seen(_Passed(_floating(tree_leaves((args, kwargs))), _floating(tensors_of(out))), args, kwargs)

        return self._model.get_submodule(name).register_forward_hook(hook, with_kwargs=True)

    def _keep(self, passed: _Passed, *_: Any) -> None:
        self._tracer.freeze((*passed.given, *passed.returned), READ)


class _Passed(NamedTuple):
    """What carries features into a module and out of it; indices and masks say which."""

    given: list[Tensor]
    returned: list[Tensor]


Seen = Callable[[_Passed, Any, Any], None]


class _Lead:
    """The first reached module of a family that is called: the unreached ones are run on what it was given."""

    def __init__(self, model: nn.Module, tracer: Tracer, family: Family) -> None:
        self.family = family
        self._model, self._tracer = model, tracer
        self._first: _Passed | None = None
        self._calls = 0
        self._ran: list[str] = []
        self._seen: list[Label] = []

    def called(self, passed: _Passed, args: Any, kwargs: Any) -> None:
        self._calls += 1
        self._seen += [label for tensor in (*passed.given, *passed.returned) for label in self._tracer.look(tensor)]
        if self._first is not None:
            # One after the other, or one instead of the other: whatever the unreached ones read, it is cut alike.
            self._same(passed.given, self._first.given)
            self._same(passed.returned, self._first.returned)
            return
        self._first = passed
        spent = len(self._tracer.flops)
        for name in self.family.unreached:
            try:
                out = self._model.get_submodule(name)(*args, **kwargs)
            except Exception:  # user code on what was another's: what it would have read stays as it is
                _keep_alike(self._tracer, name)
            else:
                self._ran.append(name)
                self._returned(_floating(tensors_of(out)), passed.returned)
        del self._tracer.flops[spent:]  # the example inputs do not cost this

    def _returned(self, out: list[Tensor], usual: list[Tensor]) -> None:
        """What an unreached module returned is read as its sibling's is, where it looks like that."""
        if [each.shape for each in out] == [each.shape for each in usual]:
            self._same(out, usual)
        else:
            self._tracer.freeze(out, READ)

    def settle(self) -> list[str]:
        """The run is over; which of the unreached ones were run in it."""
        if len(self._ran) < len(self.family.unreached):
            for label in self._seen:
                freeze(label, READ)
        elif not self.family.alike:  # whichever of these it is that they read
            first = {label.size: label for label in reversed(self._seen)}
            for label in self._seen:
                unify(first[label.size], label)
        if self._first is None:  # their weights are read by others, and the modules never called
            for name in (*self.family.reached, *self.family.unreached):
                _keep_alike(self._tracer, name)
        elif self._calls == 1:  # the next one may as well read what this one returned
            self._same(self._first.given[:1], self._first.returned[:1])
        return self._ran

    def _same(self, left: Sequence[Tensor], right: Sequence[Tensor]) -> None:
        for one, other in zip(left, right, strict=False):
            for label, twin in zip(self._tracer.look(one), self._tracer.look(other), strict=False):
                if label.size == twin.size:
                    unify(label, twin)


def _keep_alike(tracer: Tracer, module: str) -> None:
    """Keep whole what the module has, and all that is as large."""
    own = [label for name, labels in tracer.seeds.items() if name.startswith(f"{module}.") for label in labels]
    sizes = {label.size for label in own}
    for labels in tracer.seeds.values():
        for label in labels:
            if label.size in sizes:
                freeze(label, READ)


def _named(prefix: str, children: Sequence[str] | set[str]) -> tuple[str, ...]:
    return tuple(f"{prefix}{child}" for child in children)


def _floating(values: Sequence[Any]) -> list[Tensor]:
    """What carries features; indices and masks say which."""
    return [value for value in values if isinstance(value, Tensor) and value.is_floating_point()]
