"""Which weights multiply what: every sum of products of a run that has a parameter as its matrix.

Knows matrix products and convolutions as torch runs them; nothing of groups. Modules need not be of known classes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from autoprune.surgery.operator_watch import OperatorWatch

_ADDS: Final = ("aten.add", "aten.add_")
_SHAPES: Final = ("aten.view", "aten._unsafe_view", "aten.transpose", "aten.permute")


@dataclass(frozen=True)
class Contraction:
    """A weight that is summed over one of its dimensions (and over kernel taps, where it is a convolution's).

    dim: the dimension that meets the inputs; bias: the parameter that is added, empty for none; absorbed: whether
    batch normalisation follows, so that a constant in the result does not matter; stride, padding, dilation: of a
    convolution, empty for a matrix; groups: in so many parts inputs and results of a convolution do not meet.
    """

    weight: str
    dim: int
    bias: str = ""
    absorbed: bool = False
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    groups: int = 1

    @property
    def transposed(self) -> bool:
        """Whether it is a transposed convolution."""
        return bool(self.stride) and self.dim == 0

    def matrix(self, weight: Tensor, taps: int) -> Tensor:
        """The weight as (rows, entries). taps: entries that each input has; with one, each tap of a kernel is a row."""
        if taps > 1:
            return weight.flatten(1)
        return weight.movedim(self.dim, -1).reshape(-1, weight.shape[self.dim])

    def restored(self, matrix: Tensor, shape: torch.Size, taps: int) -> Tensor:
        """The weight of that shape from its `matrix`."""
        if taps > 1:
            return matrix.reshape(shape)
        return matrix.reshape(*shape[: self.dim], *shape[self.dim + 1 :], shape[self.dim]).movedim(-1, self.dim)


See = Callable[[Contraction, Tensor], None]


@contextmanager
def unfused() -> Iterator[None]:
    """Attention runs as the products that it consists of inside, not as one fused operator that shows none."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


class ContractionWatch(OperatorWatch):
    """Sees the contractions of what runs inside; `see(contraction, inputs)` is called before each one.

    inputs: (rows, size) of a matrix, (samples, channels, ...) of a convolution. `found` has each weight's contraction
    by name, without the weights that are used in any other way as well. tensors: the model's, by name; renewed: names
    of running means that are taken anew when a model was cut, so that what they normalise may shift.
    """

    def __init__(self, tensors: Mapping[str, Tensor], see: See | None = None, renewed: Collection[str] = ()) -> None:
        super().__init__()
        self._renewed = set(renewed)
        self._see = see
        self._names: Any = WeakTensorKeyDictionary()
        self._flipped: Any = WeakTensorKeyDictionary()
        self._results: Any = WeakTensorKeyDictionary()
        self._observed: dict[str, Contraction] = {}
        self._normed: set[str] = set()
        self._exposed: set[str] = set()
        self._otherwise: set[str] = set()
        for name, tensor in tensors.items():
            self._names[tensor] = name

    @property
    def found(self) -> dict[str, Contraction]:
        return {
            name: replace(each, absorbed=name in self._normed - self._exposed)
            for name, each in self._observed.items()
            if name not in self._otherwise
        }

    def seen(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        name = str(func.overloadpacket)
        matched = self._matched(name, args)
        if matched is not None and self._see is not None:
            self._see(*matched)
        out = func(*args, **kwargs)
        if matched is not None:
            contraction = matched[0]
            if (
                self._observed.setdefault(contraction.weight, contraction) != contraction
            ):  # along another dimension, say
                self._otherwise.add(contraction.weight)
            if matched[1] in self._results:
                self._exposed.add(self._results[matched[1]])
            self._results[out] = contraction.weight
        elif not self._alias(name, args, out):
            self._used(name, args)
        return out

    def _matched(self, name: str, args: tuple[Any, ...]) -> tuple[Contraction, Tensor] | None:
        if name == "aten.convolution" and self._weight(args[1]) and (args[8] == 1 or not args[6]):
            bias = "" if args[2] is None else self._names.get(args[2], "")
            stride, padding, dilation = (tuple(args[place]) for place in (3, 4, 5))
            weight, dim, groups = self._names[args[1]], 0 if args[6] else 1, args[8]
            return Contraction(
                weight=weight,
                dim=dim,
                bias=bias,
                absorbed=False,
                stride=stride,
                padding=padding,
                dilation=dilation,
                groups=groups,
            ), args[0]
        if name in ("aten.mm", "aten.addmm"):
            inputs, weight = args[-2:]
            if self._weight(weight) and weight.dim() == 2:
                bias = self._names.get(args[0], "") if name == "aten.addmm" else ""
                return Contraction(self._names[weight], int(self._flipped.get(weight, False)), bias), inputs
        return None

    def _weight(self, tensor: Tensor) -> bool:
        return tensor in self._names and tensor.is_floating_point()

    def _alias(self, name: str, args: tuple[Any, ...], out: Any) -> bool:
        """Whether the operator only turned a known matrix round, or made it of another type."""
        first = args[0] if args else None
        if not isinstance(first, Tensor):
            return False
        if first not in self._names:
            return self._reshaped(name, first, out)
        turned = {"aten.t": True, "aten.detach": False, "aten.alias": False, "aten._to_copy": False}
        if first.dim() == 2 and name == "aten.transpose":
            turned[name] = (args[1] - args[2]) % 2 == 1
        elif first.dim() == 2 and name == "aten.permute":
            turned[name] = args[1][0] % 2 == 1
        if name not in turned:
            return False
        self._names[out] = self._names[first]
        self._flipped[out] = self._flipped.get(first, False) != turned[name]
        return True

    def _reshaped(self, name: str, first: Tensor, out: Any) -> bool:
        """Whether the result of a contraction was only given another shape; its bias may be added afterwards."""
        if name not in _SHAPES or first not in self._results:
            return False
        self._results[out] = self._results[first]
        return True

    def _used(self, name: str, args: tuple[Any, ...]) -> None:
        tensors = [each for each in tree_leaves(args) if isinstance(each, Tensor)]
        if name in _ADDS and len(tensors) == 2 and tensors[0] in self._results and tensors[1] in self._names:
            weight = self._results[tensors[0]]
            if tensors[1].dim() == 1 and not self._observed[weight].stride:
                self._observed[weight] = replace(self._observed[weight], bias=self._names[tensors[1]])
        renews = "batch_norm" in name and any(self._names.get(each, "") in self._renewed for each in tensors)
        for tensor in tensors:
            if tensor in self._names:
                self._otherwise.add(self._names[tensor])
            if tensor in self._results:
                (self._normed if renews else self._exposed).add(self._results[tensor])
