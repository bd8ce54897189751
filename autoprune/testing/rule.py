"""What every family of rules must do. Inherit `RuleConformance` in a test class, set `name` and override `calls`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

from autoprune import registry
from autoprune.surgery.groups import layout_of
from autoprune.surgery.labels import Atom, Label, atoms
from autoprune.surgery.layout import positions
from autoprune.surgery.rules import POINTWISE, Call, Rule, table
from autoprune.surgery.tracer import Tracer


class RuleConformance:
    """What the rules say of each call must be what the numbers do: dimensions that are the same, and are not kept
    whole, may change their order together, and the results change theirs alike."""

    name: str

    def calls(self) -> Sequence[tuple[Any, ...]]:
        """Calls of the operators, each a function and its arguments: at least one for every rule of the family."""
        raise NotImplementedError

    def test_every_rule_is_called(self) -> None:
        rules = registry.load("rules", self.name).RULES
        seen = {name for function, *args in self.calls() for name in _Seen(function, args).names}
        called = {rules[name] for name in seen & set(rules)}
        assert not [name for name, rule in rules.items() if rule not in called and not _taken_apart(name)]

    def test_results_are_reordered_as_the_rules_say(self) -> None:
        for function, *args in self.calls():
            seen = _Seen(function, args)
            orders = seen.orders()
            got = _results(function, seen.arguments(args, orders))
            for (result, labels), other in zip(seen.made, got, strict=True):
                torch.testing.assert_close(other, seen.reordered(result, labels, orders), equal_nan=True)


class _Seen:
    """One call, and the labels of its arguments and results."""

    def __init__(self, function: Callable[..., Any], args: Sequence[Any]) -> None:
        self.names: list[str] = []
        tensors = [leaf for leaf in tree_leaves(args) if isinstance(leaf, Tensor)]
        copies = {id(tensor): tensor.clone() for tensor in tensors}
        tracer = Tracer(
            {str(number): copies[id(tensor)] for number, tensor in enumerate(tensors)}, self._noted(table()), POINTWISE
        )
        with torch.no_grad(), tracer:
            out = function(*tree_map_only(Tensor, lambda tensor: copies[id(tensor)], args))
        leaves = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        self.made = [(_dense(leaf), tracer.of(leaf)) for leaf in leaves]
        self.given = [(tensor, tracer.of(copies[id(tensor)])) for tensor in tensors]

    def _noted(self, rules: Mapping[str, Rule]) -> dict[str, Rule]:
        def noting(rule: Rule) -> Rule:
            def noted(call: Call) -> None:
                self.names.append(call.name)
                rule(call)

            return noted

        return {name: noting(rule) for name, rule in rules.items()}

    def orders(self) -> dict[Atom, Tensor]:
        """Another order for every atom that nothing keeps whole."""
        chance = torch.Generator().manual_seed(0)
        every = (atom for _, labels in (*self.given, *self.made) for label in labels for atom in atoms(label))
        return {atom: torch.randperm(atom.size, generator=chance) for atom in dict.fromkeys(every) if not atom.reason}

    def arguments(self, args: Sequence[Any], orders: Mapping[Atom, Tensor]) -> Any:
        given = iter([self.reordered(tensor, labels, orders) for tensor, labels in self.given])
        return tree_map_only(Tensor, lambda _: next(given), args)

    @staticmethod
    def reordered(tensor: Tensor, labels: Iterable[Label], orders: Mapping[Atom, Tensor]) -> Tensor:
        names = {atom: str(number) for number, atom in enumerate(orders)}
        slices = {names[atom]: order for atom, order in orders.items()}
        for dim, label in enumerate(labels):
            if (order := positions(layout_of(label, names), slices)) is not None:
                tensor = tensor.index_select(dim, order)
        return tensor


def _taken_apart(name: str) -> bool:
    """Whether torch takes the operator apart before anybody sees it, on most ways that lead to it."""
    library, _, operator = name.partition(".")
    packet = getattr(getattr(torch.ops, library), operator, None)
    usual = [] if packet is None else [each for each in packet.overloads() if not each.endswith("out")]
    return all(getattr(packet, each)._can_decompose() for each in usual)


def _results(function: Callable[..., Any], args: Sequence[Any]) -> list[Tensor]:
    with torch.no_grad():
        out = function(*tree_map_only(Tensor, Tensor.clone, args))
    return [_dense(leaf) for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]


def _dense(tensor: Tensor) -> Tensor:
    return tensor if tensor.layout is torch.strided else tensor.to_dense()
