"""Run a model once and watch how its dimensions flow. Knows dispatch and bookkeeping; operators are in `rules`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, is_dataclass
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from autoprune.core.group import Kind
from autoprune.surgery.flow import PASSING, Flow
from autoprune.surgery.labels import Atom, Label, atoms, freeze, unify
from autoprune.surgery.noise import draws
from autoprune.surgery.operations import formula
from autoprune.surgery.operator_watch import OperatorWatch, jagged, parts
from autoprune.surgery.quantised import NAMESPACE, QUANTISED
from autoprune.surgery.trial import NoValuesError, Passing, changed, tried

INPUT, OUTPUT = "model input", "model output"
UNUSED = "not used in the traced run"
NESTED = "in a nested tensor that has no shape, as those of `layout=torch.jagged` have outside of attention"
_PLAIN: Final = (Tensor, nn.Parameter)
STRAY = "a tensor that is neither parameter, buffer nor traced result"


class Call(NamedTuple):
    """One operator call as a rule sees it."""

    trace: Tracer
    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    out: Any

    def arg(self, place: int, name: str, default: Any = None) -> Any:
        """An argument by place or, failing that, by name."""
        return self.args[place] if place < len(self.args) else self.kwargs.get(name, default)


Rule = Callable[[Call], None]


@dataclass(eq=False)
class Tracer(OperatorWatch):
    """The labels of all tensors of one run.

    tensors: the model's parameters, buffers and other tensors by name; rules: operator name -> rule; pointwise: the
    rule for operators that carry the pointwise tag; equal: pairs of labels whose sizes must stay equal; multiples:
    labels whose size an operator needs as a multiple of a number; floors: labels whose size must not become 1; roles:
    labels of a dimension that an operator gave a meaning; choices: labels of dimensions whose best places are taken,
    and how many; noise: labels of what is drawn at random; spoken: whether the operator runs on behalf of a call whose
    sizes are watched; spare: whether the model can be run on real tensors, should this run need values; last_groups:
    the label of the number of groups of the operator that ran last.
    """

    tensors: dict[str, Tensor]
    rules: dict[str, Rule]
    pointwise: Rule
    flops: list[tuple[int, tuple[Label, ...]]] = field(default_factory=list)
    equal: list[tuple[Label, Label]] = field(default_factory=list)
    multiples: list[tuple[Label, int]] = field(default_factory=list)
    floors: list[Label] = field(default_factory=list)
    roles: list[tuple[Label, Kind]] = field(default_factory=list)
    choices: list[tuple[Label, int]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    noise: list[tuple[Label, ...]] = field(default_factory=list)
    spoken: bool = False
    spare: bool = False
    last_groups: Label | None = None

    def __post_init__(self) -> None:
        super().__init__()
        self.flow = Flow()
        self.labels: Any = WeakTensorKeyDictionary()
        self.names: Any = WeakTensorKeyDictionary()
        self.debts: Any = WeakTensorKeyDictionary()
        self.used: set[str] = set()
        self.made: dict[str, tuple[Label, ...]] = {}
        self.ingredients: dict[str, frozenset[str]] = {}
        self._trials: dict[Any, list[Passing]] = {}
        self.seeds: dict[str, tuple[Label, ...]] = {
            name: tuple(Atom(size) for size in tensor.shape) for name, tensor in self.tensors.items()
        }
        self.bind(self.tensors)

    def bind(self, tensors: Mapping[str, Tensor]) -> None:
        """Let these tensors stand for the named ones, also: of a second model of the same shapes."""
        for name, tensor in tensors.items():
            self.labels[tensor] = self.seeds[name]
            self.names[tensor] = name

    def of(self, tensor: Tensor) -> tuple[Label, ...]:
        """One label a dimension; a tensor that came from nowhere is frozen."""
        if tensor in self.names:
            self.used.add(self.names[tensor])
        if tensor in self.debts:
            freeze(*self.debts.pop(tensor))
        return self.look(tensor)

    def look(self, tensor: Tensor) -> tuple[Label, ...]:
        """`of` without using the tensor; rows of unlike lengths have those of their values."""
        if tensor.is_nested:
            return (*self.fixed((len(tensor),), NESTED), *self.look(*parts(tensor))) if jagged(tensor) else ()
        if tensor not in self.labels:
            self.labels[tensor] = self.fixed(tensor.shape, STRAY)
        found: tuple[Label, ...] = self.labels[tensor]
        return found

    def set(self, tensor: Tensor, labels: Sequence[Label]) -> None:
        """Give a result its labels. Sizes are checked when the rule has ended."""
        self.labels[tensor] = tuple(labels)

    def owe(self, tensor: Tensor, label: Label, reason: str) -> None:
        """Freeze the label as soon as the values of the tensor are used; its shape alone may be asked for."""
        self.debts[tensor] = (label, reason)

    def fixed(self, sizes: Iterable[int], reason: str) -> tuple[Label, ...]:
        """Fresh frozen labels."""
        return tuple(Atom(size, reason) for size in sizes)

    def freeze(self, tensors: Iterable[Tensor], reason: str) -> None:
        """Keep every dimension of the tensors whole."""
        for tensor in tensors:
            for label in self.of(tensor):
                freeze(label, reason)

    def seen(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        # Scripted functions and autograd come here while Python calls are watched; what rules ask is not the model's.
        with torch._C.DisableTorchFunction():
            return self._dispatched(func, args, kwargs)

    def _dispatched(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        name = str(func.overloadpacket)
        rule = self.rules.get(name) or (self.pointwise if torch.Tag.pointwise in func.tags else None)
        if rule is None and (simpler := _decomposition(func)):
            with self, suppress(NotImplementedError, RuntimeError):
                out = simpler(*args, **kwargs)
                if out is not NotImplemented:
                    return out
        self.last_groups = None
        out = func(*args, **kwargs)
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        outputs = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        if any(tensor.is_nested for tensor in (*inputs, *outputs)):
            self._unshaped(inputs, outputs)
            return out
        if outputs or changed(func, args, kwargs):
            self._label(func, rule, Call(self, name, args, kwargs, out), inputs, outputs)
        if draws(func, args, kwargs):
            self.noise.extend(self.look(tensor) for tensor in outputs)
        self.flow.record(name, rule is self.pointwise or name in PASSING, inputs, outputs)
        if operations := formula(func):
            spent = operations(*args, **kwargs, out_val=out)
            self.flops.append((spent, tuple(label for tensor in (*inputs, *outputs) for label in self.of(tensor))))
        return out

    def _unshaped(self, inputs: list[Tensor], outputs: list[Tensor]) -> None:
        """Rows of unlike lengths that are one opaque tensor: what goes in and what comes out stay whole."""
        self.freeze((tensor for tensor in inputs if not tensor.is_nested), NESTED)
        for tensor in outputs:
            if not tensor.is_nested:
                self.set(tensor, self.fixed(tensor.shape, NESTED))

    def _label(self, func: Any, rule: Rule | None, call: Call, inputs: list[Tensor], outputs: list[Tensor]) -> None:
        if rule is None:
            reason = QUANTISED if call.name.startswith(NAMESPACE) else f"operator {call.name} has no rule"
            self._without_rule(func, call, inputs, outputs, reason)
            return
        try:
            rule(call)
        except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError, RecursionError):
            # A shape or an argument that the rule did not foresee.
            reason = f"operator {call.name} was called in a way that has no rule"
            self._without_rule(func, call, inputs, outputs, reason)
            return
        for tensor in inputs:
            if tensor in self.debts:
                freeze(*self.debts.pop(tensor))
        if not all(self._fits(tensor) for tensor in outputs):
            reason = f"operator {call.name} was not understood for these shapes"
            self._without_rule(func, call, inputs, outputs, reason)

    def _without_rule(self, func: Any, call: Call, inputs: list[Tensor], outputs: list[Tensor], reason: str) -> None:
        """The operator is tried alone: dimensions that pass go on, the others stay whole for the reason."""
        found = self._tried(func, call, inputs)
        given = [*outputs, *(inputs[number] for number in changed(func, call.args, call.kwargs))]
        results = [[*self.fixed(tensor.shape, reason)] for tensor in given]
        taken = {place for passing in found for place in passing.taken}
        for passing in found:
            first, *others = (self.of(inputs[number])[dim] for number, dim in passing.taken)
            for other in others:
                unify(first, other)
            for number, dim in passing.given:
                results[number][dim] = first
        for number, tensor in enumerate(inputs):
            for dim, label in enumerate(self.of(tensor)):
                if (number, dim) not in taken:
                    freeze(label, reason)
        for tensor, labels in zip(given, results, strict=True):
            if any(tensor is other for other in inputs):
                for old, new in zip(self.of(tensor), labels, strict=True):
                    unify(old, new)
            else:
                self.set(tensor, labels)

    def _tried(self, func: Any, call: Call, inputs: list[Tensor]) -> list[Passing]:
        live = tuple(
            (number, dim)
            for number, tensor in enumerate(inputs)
            for dim, label in enumerate(self.of(tensor))
            if label.size > 1 and not all(atom.reason for atom in atoms(label))
        )
        if not live or not all(type(tensor) in _PLAIN and tensor.layout is torch.strided for tensor in inputs):
            return []
        shapes = tuple((tensor.dtype, tuple(map(int, tensor.shape))) for tensor in inputs)
        told = repr([leaf for leaf in tree_leaves((call.args, call.kwargs)) if not isinstance(leaf, Tensor)])
        key = (str(func), shapes, told, live)
        if key not in self._trials:
            try:
                self._trials[key] = tried(func, call.args, call.kwargs, live)
            except NoValuesError:
                if self.spare:
                    raise
                return []
        return self._trials[key]

    def _fits(self, tensor: Tensor) -> bool:
        return tensor in self.labels and [label.size for label in self.labels[tensor]] == list(tensor.shape)


def _decomposition(func: Any) -> Callable[..., Any] | None:
    """The operator in terms of simpler ones, where torch has it."""
    if func._can_decompose():
        return func.decompose  # type: ignore[no-any-return]
    from torch._decomp import decomposition_table  # heavy, and rarely needed

    return decomposition_table.get(func)


def tensors_of(out: Any) -> list[Tensor]:
    """Every tensor in what a model returned: in containers, dataclasses and other plain objects.

    An object with an `update` method, such as a cache of keys and values, is the model's own state and no result.
    """
    if isinstance(out, Tensor):
        return parts(out)
    if isinstance(out, Mapping):
        out = list(out.values())
    elif hasattr(out, "__dict__") and not isinstance(out, list | tuple):
        state = not is_dataclass(out) and (callable(out) or hasattr(out, "update"))
        out = [] if state else list(vars(out).values())
    if not isinstance(out, list | tuple | set):
        return []
    return [tensor for each in out for tensor in tensors_of(each)]
