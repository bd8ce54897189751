"""Where the rows of weights go: which row's result stands at each place of a tensor, up to whatever reads it.

Knows operators that move or scale results, products of two of them (queries and keys) and mixtures of samples or tokens
(attention over values). Not what follows for groups.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from autoprune.surgery.contractions import Contraction, ContractionWatch
from autoprune.surgery.flow import PASSING

_SAME: Final = frozenset(f"aten.{name}" for name in ("clone", "contiguous", "detach", "alias", "_to_copy"))
_SHAPED: Final = frozenset(f"aten.{name}" for name in ("view", "_unsafe_view", "reshape", "_reshape_alias"))
_MOVED: Final = frozenset(
    f"aten.{name}"
    for name in (
        "permute", "transpose", "t", "select", "slice", "unsqueeze", "squeeze", "expand", "unbind", "split",
        "split_with_sizes", "cat",
    )
)  # fmt: skip
_SCALED: Final = frozenset(f"aten.{name}" for name in ("mul", "mul_", "div", "div_"))
_ADDED: Final = frozenset(("aten.add", "aten.add_"))
_PRODUCTS: Final = {"aten.mm": 0, "aten.bmm": 0, "aten.addmm": 1, "aten.baddbmm": 1}
_ATTENTION: Final = "aten._scaled_dot_product"


@dataclass(frozen=True)
class _Origin:
    """ids: the row that stands at each place of a tensor, of its shape; plain: whether nothing but scaling, which all
    rows had in common, was done to it; scale: by what."""

    ids: Tensor
    plain: bool = True
    scale: float = 1.0


@dataclass
class Product:
    """left, right: (pairs, summed) numbers of rows that are multiplied with each other and summed; plain: of both;
    scale: by what the result is multiplied, before and afterwards."""

    left: Tensor
    right: Tensor
    plain: bool
    scale: float


class ProvenanceWatch(ContractionWatch):
    """Follows the results of contractions.

    Attributes:
        rows: By number of a row, its weight and its place among the weight's results.
        products: Of results with results.
        mixed: Rows that one mixture of tokens has in common, (mixtures, rows) each.
        read: By weight, for each time that it ran, the row that its inputs are, (inputs,).
        exposed: Rows of which something else was made than what is above.
    """

    def __init__(self, tensors: Mapping[str, Tensor], renewed: Collection[str] = ()) -> None:
        super().__init__(tensors, renewed=renewed)
        self._tensors = tensors
        self._origins: Any = WeakTensorKeyDictionary()
        self._scores: Any = WeakTensorKeyDictionary()
        self._first: dict[tuple[str, int], int] = {}
        self.rows: list[tuple[str, int]] = []
        self.products: list[Product] = []
        self.mixed: list[Tensor] = []
        self.read: dict[str, list[Tensor]] = {}
        self.exposed: set[int] = set()

    @property
    def scales(self) -> dict[tuple[str, str], float]:
        """By what products are multiplied, by the weights that write the two factors."""
        return {
            (self.rows[int(each.left[0, 0])][0], self.rows[int(each.right[0, 0])][0]): each.scale
            for each in self.products
        }

    def seen(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        name = str(func.overloadpacket)
        matched = self._matched(name, args)
        out = super().seen(func, args, kwargs)
        if matched is not None:
            contraction, inputs = matched
            if (origin := self._origins.get(inputs)) is not None:
                self._reads(contraction, origin)
            self._origins[out] = self._fresh(contraction, out)
            return out
        leaves = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        known = [self._origins[leaf] for leaf in leaves if leaf in self._origins]
        if leaves and leaves[0] in self._scores:
            self._score(name, args, leaves, out)
        if known and not self._follow(func, name, args=args, kwargs=kwargs, leaves=leaves, out=out):
            for origin in known:
                if origin.plain:  # those of others are exposed already
                    self._expose(origin)
            passing = torch.Tag.pointwise in func.tags or name in PASSING
            self._forget(out, replace(known[0], plain=False) if passing else None)
        return out

    def _fresh(self, contraction: Contraction, out: Tensor) -> _Origin:
        """Results of a weight, one row after the other."""
        key = name, dim = contraction.weight, 1 - contraction.dim
        size = self._tensors[name].shape[dim]
        if key not in self._first:  # a weight may be read along one dimension and then along the other
            self._first[key] = len(self.rows)
            self.rows += [(name, row) for row in range(size)]
        ids = torch.arange(size) + self._first[key]
        shape = [1] * out.dim()
        shape[1 if contraction.stride else -1] = -1
        return _Origin(ids.view(shape).expand(out.shape))

    def _reads(self, contraction: Contraction, origin: _Origin) -> None:
        ids = origin.ids.movedim(1 if contraction.stride else -1, -1)
        taps = self._tensors[contraction.weight].shape[2:].numel()
        same = _alike(ids, *range(ids.dim() - 1)) if taps == contraction.groups == 1 else None
        if same is None:
            self._expose(origin)
        else:
            self.read.setdefault(contraction.weight, []).append(same.flatten())

    def _follow(
        self, func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], leaves: list[Tensor], out: Any
    ) -> bool:
        """Whether the operator did nothing to rows but what is recorded."""
        if name in _PRODUCTS:
            start = _PRODUCTS[name]
            left, right = (self._origins.get(each) for each in args[start : start + 2])
            scale = float(kwargs.get("alpha", 1))
            return not (start and args[0] in self._origins) and self._multiplied(left, right, out, scale)
        if name.startswith(_ATTENTION):
            scale = kwargs.get("scale") or args[0].shape[-1] ** -0.5
            known = all(each not in self._origins for each in leaves[3:])
            return known and self._attended(args[:3], next(iter(out)), scale)
        return self._moved(func, args, leaves, out) if name in _MOVED else self._passed(name, args, leaves, out)

    def _score(self, name: str, args: tuple[Any, ...], leaves: list[Tensor], out: Any) -> None:
        """Something was done to a product: it is scaled, or moved, or no product any more."""
        product = self._scores[leaves[0]]
        if name in _SCALED and all(each.numel() == 1 for each in leaves[1:]):
            product.scale *= _factor(name, args)
        elif name not in _SAME | _SHAPED | _MOVED:
            return
        for each in tree_leaves(out):
            self._scores[each] = product

    def _attended(self, args: tuple[Tensor, ...], out: Tensor, scale: float) -> bool:
        """Queries, keys and values, (samples, heads, tokens, axes); consecutive heads of queries may share a key."""
        query, key, value = (self._origins.get(each) for each in args)
        shared = args[0].shape[-3] // args[1].shape[-3]
        key, value = (each and replace(each, ids=each.ids.repeat_interleave(shared, -3)) for each in (key, value))
        mixed = self._multiplied(None, value, out)
        return self._multiplied(query, key and replace(key, ids=key.ids.mT), None, scale) and mixed

    def _passed(self, name: str, args: tuple[Any, ...], leaves: list[Tensor], out: Any) -> bool:
        """Rows stay where they are, or in their order."""
        first = self._origins.get(leaves[0])
        if first is None:
            return False
        if name in _SHAPED and first.ids.numel() == out.numel():
            return self._keep(out, replace(first, ids=first.ids.reshape(out.shape)))
        if name in _SCALED and all(each.numel() == 1 for each in leaves[1:]):
            return self._keep(out, replace(first, scale=first.scale * _factor(name, args)))
        shifted = name in _ADDED and self._is_bias(first, leaves[1:])
        return (shifted or name in _SAME) and self._keep(out, first)

    def _is_bias(self, origin: _Origin, added: list[Tensor]) -> bool:
        """Whether what is added is the bias of the weight whose results these are."""
        names = {self._names.get(each, "") for each in added}
        return names == {self._observed[self.rows[int(origin.ids.flatten()[0])][0]].bias} - {""}

    def _moved(self, func: Any, args: tuple[Any, ...], leaves: list[Tensor], out: Any) -> bool:
        """The operator is done to the numbers of rows, too; what is empty, as a cache at its first token, has none."""
        leaves = [leaf for leaf in leaves if leaf.numel()]
        if not all(leaf in self._origins for leaf in leaves):
            return False
        origins = [self._origins[leaf] for leaf in leaves]
        ids = [origin.ids for origin in origins]
        moved = func(ids, *args[1:]) if isinstance(args[0], list | tuple) else func(ids[0], *args[1:])
        if len({origin.scale for origin in origins}) > 1:
            return False
        plain = all(origin.plain for origin in origins)
        pairs = zip(tree_leaves(out), tree_leaves(moved), strict=True)
        return all(self._keep(result, replace(origins[0], ids=each, plain=plain)) for result, each in pairs)

    def _multiplied(self, left: _Origin | None, right: _Origin | None, out: Tensor | None, scale: float = 1.0) -> bool:
        """(..., n, d) @ (..., d, m): a product of rows, or rows mixed over what is summed."""
        if left is not None and right is not None:
            rows, columns = _alike(left.ids, -2), _alike(right.ids, -1)
            if rows is None or columns is None:
                return False
            pairs = torch.stack([rows.squeeze(-2), columns.squeeze(-1)], -2).flatten(0, -3).unique(dim=0)
            scale *= left.scale * right.scale
            product = Product(pairs[:, 0], pairs[:, 1], left.plain and right.plain, scale)
            self.products.append(product)
            if out is not None:
                self._scores[out] = product
            return True
        if right is not None:
            same, apart = _alike(right.ids, -2), -2
        elif left is not None:
            same, apart = _alike(left.ids, -1), -1
        else:
            return True
        if same is None or out is None:
            return False
        self.mixed.append(same.squeeze(apart).flatten(0, -2).unique(dim=0))
        origin = right or left
        return origin is not None and self._keep(out, replace(origin, ids=same.expand(out.shape)))

    def _keep(self, out: Tensor, origin: _Origin) -> bool:
        if origin.ids.shape != out.shape:
            return False
        self._origins[out] = origin
        return True

    def _forget(self, out: Any, instead: _Origin | None) -> None:
        """Results are not followed any more, or as rows that something was done to."""
        for each in tree_leaves(out):
            if isinstance(each, Tensor):
                self._origins.pop(each, None)
                if instead is not None and _broadcasts(instead.ids.shape, each.shape):
                    self._origins[each] = replace(instead, ids=instead.ids.expand(each.shape))

    def _expose(self, origin: _Origin) -> None:
        ids = origin.ids
        for dim, stride in zip(count(), ids.stride(), strict=False):
            ids = ids.narrow(dim, 0, min(1, ids.shape[dim])) if stride == 0 else ids
        self.exposed.update(ids.unique().tolist())


def _factor(name: str, args: tuple[Any, ...]) -> float:
    """By what the first argument of a product or a quotient is scaled; nan where that has no value."""
    number = args[1]
    if isinstance(number, Tensor):
        number = math.nan if number.is_meta else number.item()
    return 1 / number if "div" in name else float(number)


def _alike(ids: Tensor, *dims: int) -> Tensor | None:
    """The first along each of the dimensions, where all others are the same; None where they are not."""
    if not ids.numel():
        return None
    first = ids
    for dim in dims:
        first = first.narrow(dim, 0, 1)
    still = all(ids.stride(dim) == 0 or ids.shape[dim] == 1 for dim in dims)
    return first if still or bool((ids == first).all()) else None


def _broadcasts(shape: torch.Size, to: torch.Size) -> bool:
    return len(shape) <= len(to) and all(
        own in (1, other) for own, other in zip(reversed(shape), reversed(to), strict=False)
    )
