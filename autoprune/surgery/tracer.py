"""Run a model once and watch how its dimensions flow. Knows dispatch and bookkeeping; operators are in `rules`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry
from torch.utils.weak import WeakTensorKeyDictionary

from autoprune.surgery.labels import Atom, Label, freeze

INPUT, OUTPUT = "model input", "model output"
#: Operators whose shape is written by the code, and may therefore regroup a cut dimension in another way.
VIEWS = frozenset({"aten.view", "aten._unsafe_view", "aten.reshape", "aten._reshape_alias"})
UNUSED = "not used in the traced run"


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
class Tracer(TorchDispatchMode):
    """The labels of all tensors of one run.

    tensors: the model's parameters and buffers by name; rules: operator name -> rule; pointwise: the rule for
    operators that carry the pointwise tag.
    """

    tensors: dict[str, Tensor]
    rules: dict[str, Rule]
    pointwise: Rule
    flops: list[tuple[int, tuple[Label, ...]]] = field(default_factory=list)
    conv_groups: dict[str, Label] = field(default_factory=dict)
    viewed: list[tuple[Label, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.labels: Any = WeakTensorKeyDictionary()
        self.names: Any = WeakTensorKeyDictionary()
        self.used: set[str] = set()
        self.seeds: dict[str, tuple[Label, ...]] = {}
        for name, tensor in self.tensors.items():
            self.seeds[name] = tuple(Atom(size) for size in tensor.shape)
            self.labels[tensor] = self.seeds[name]
            self.names[tensor] = name

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Spare each process the seconds that wrapping this mode for torch.compile takes to import."""
        return False

    def of(self, tensor: Tensor) -> tuple[Label, ...]:
        """One label a dimension; a tensor that came from nowhere is frozen."""
        if tensor not in self.labels:
            self.labels[tensor] = self.fixed(
                tensor.shape, "a tensor that is neither parameter, buffer nor traced result"
            )
        if tensor in self.names:
            self.used.add(self.names[tensor])
        found: tuple[Label, ...] = self.labels[tensor]
        return found

    def set(self, tensor: Tensor, labels: Sequence[Label]) -> None:
        """Give a result its labels. Sizes are checked when the rule has ended."""
        self.labels[tensor] = tuple(labels)

    def fixed(self, sizes: Iterable[int], reason: str) -> tuple[Label, ...]:
        """Fresh frozen labels."""
        return tuple(Atom(size, reason) for size in sizes)

    def freeze(self, tensors: Iterable[Tensor], reason: str) -> None:
        """Keep every dimension of the tensors whole."""
        for tensor in tensors:
            for label in self.of(tensor):
                freeze(label, reason)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        name = str(func.overloadpacket)
        call = Call(self, name, args, kwargs or {}, out)
        rule = self.rules.get(name) or (self.pointwise if torch.Tag.pointwise in func.tags else None)
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        outputs = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        if rule is None:
            self._give_up(inputs, outputs, f"operator {name} has no rule")
        else:
            rule(call)
            if not all(self._fits(tensor) for tensor in outputs):
                self._give_up(inputs, outputs, f"operator {name} was not understood for these shapes")
        if name in VIEWS:
            self.viewed.append(self.of(out))
        if func.overloadpacket in flop_registry:
            spent = flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=out)
            self.flops.append((spent, tuple(label for tensor in (*inputs, *outputs) for label in self.of(tensor))))
        return out

    def _fits(self, tensor: Tensor) -> bool:
        return tensor in self.labels and [label.size for label in self.labels[tensor]] == list(tensor.shape)

    def _give_up(self, inputs: list[Tensor], outputs: list[Tensor], reason: str) -> None:
        self.freeze(inputs, reason)
        for tensor in outputs:
            if not any(tensor is other for other in inputs):
                self.set(tensor, self.fixed(tensor.shape, reason))


class ViewRecorder(TorchDispatchMode):
    """The shapes of all views of one run, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if str(func.overloadpacket) in VIEWS:
            self.shapes.append(tuple(out.shape))
        return out


def tensors_of(out: Any) -> list[Tensor]:
    """Every tensor in what a model returned: in containers, dataclasses and other plain objects."""
    found: list[Tensor] = []
    for leaf in tree_leaves(out):
        if isinstance(leaf, Tensor):
            found.append(leaf)
        elif hasattr(leaf, "__dict__") and not callable(leaf):
            found.extend(tensors_of(dict(vars(leaf))))
    return found


def run(model: nn.Module, inputs: tuple[Any, ...], tracer: Tracer) -> None:
    """Run `model(*inputs)` under the tracer; inputs and outputs are frozen.

    Whatever the model raises is passed on.
    """
    for leaf in tree_leaves(inputs):
        if isinstance(leaf, Tensor):
            tracer.set(leaf, tracer.fixed(leaf.shape, INPUT))
    with torch.no_grad(), tracer:
        out = model(*inputs)
    tracer.freeze(tensors_of(out), OUTPUT)
    for name, labels in tracer.seeds.items():
        if name not in tracer.used:
            for label in labels:
                freeze(label, UNUSED)
