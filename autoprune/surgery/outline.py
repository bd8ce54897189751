"""The form of a cut model as plain data, from which it is built again without a run. Knows sizes, attributes and
dropped layers; not which slices were chosen, nor the weights.

Tracing finds which tensors and attributes follow from a group. Once a model is cut, what became of them says it all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.surgery.apply import finished, like
from autoprune.surgery.clone import clone
from autoprune.surgery.find import named_tensors
from autoprune.surgery.layers import Drop
from autoprune.surgery.layout import positions, size
from autoprune.surgery.traced import Traced
from autoprune.surgery.tracked_int import Attribute, Item, Step


@dataclass(frozen=True, kw_only=True)
class Outline:
    """What makes the form of a cut model out of its dense one.

    Attributes:
        sizes: By tensor that was cut, its shape.
        positions: By tensor that no file of weights keeps, and dimension that was cut, the positions that stay.
        numbers: Attributes of modules and what they hold.
        layers: How layers were dropped.
    """

    sizes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    positions: Mapping[str, Mapping[int, Sequence[int]]] = field(default_factory=dict)
    numbers: Mapping[Attribute, int] = field(default_factory=dict)
    layers: tuple[Drop, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As JSON; `from_json` is the inverse."""
        return {
            "sizes": {name: list(shape) for name, shape in self.sizes.items()},
            "positions": {
                name: {str(dim): list(kept) for dim, kept in dims.items()} for name, dims in self.positions.items()
            },
            "numbers": [[at.module, list(map(_written, at.path)), number] for at, number in self.numbers.items()],
            "layers": [asdict(drop) for drop in self.layers],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Outline:
        """Raises KeyError, TypeError or ValueError of anything else than `to_json` wrote."""
        return cls(
            sizes={str(name): tuple(map(int, shape)) for name, shape in data["sizes"].items()},
            positions={
                str(name): {int(dim): tuple(map(int, kept)) for dim, kept in dims.items()}
                for name, dims in data["positions"].items()
            },
            numbers={
                Attribute(str(module), tuple(map(_read, path)), int(number)): int(number)
                for module, path, number in data["numbers"]
            },
            layers=tuple(Drop(**drop) for drop in data["layers"]),
        )


def outlined(dense: nn.Module, traced: Traced, slices: Mapping[str, Tensor]) -> Outline:
    """What `apply` makes of the dense model. slices: group -> indices that are left; a layer without any is dropped."""
    counts = {name: len(chosen) for name, chosen in slices.items()}
    kept = {*dense.state_dict(), *dict(dense.named_parameters())}
    sizes: dict[str, tuple[int, ...]] = {}
    places: dict[str, dict[int, Sequence[int]]] = {}
    for name, tensor in named_tensors(dense):
        layouts = traced.layouts.get(name, ())
        shape = tuple(size(layout, counts) for layout in layouts)
        if not layouts or shape == tensor.shape:
            continue
        sizes[name] = shape
        if name not in kept:
            found = {dim: positions(layout, slices) for dim, layout in enumerate(layouts)}
            places[name] = {dim: chosen.tolist() for dim, chosen in found.items() if chosen is not None}
    numbers = {attribute: formula.value(counts) for attribute, formula in traced.formulas.items()}
    return Outline(
        sizes=sizes,
        positions=places,
        numbers={attribute: number for attribute, number in numbers.items() if number != attribute.size},
        layers=tuple(drop for name, drop in traced.layers.items() if counts.get(name) == 0),
    )


def built(dense: nn.Module, outline: Outline) -> nn.Module:
    """A model of that form; tensors that were cut are empty, unless no file keeps them.

    Raises:
        KeyError, AttributeError, IndexError, RuntimeError: the outline is of another model.
    """
    names = {id(tensor): name for name, tensor in named_tensors(dense)}
    missing = outline.sizes.keys() - names.values()
    if missing:
        raise KeyError(min(missing))
    smaller: set[int] = set()

    def cut(tensor: Tensor) -> Tensor:
        name = names.get(id(tensor), "")
        if name not in outline.sizes:
            return like(tensor, tensor.detach().clone())
        data = tensor.detach()
        for dim, kept in outline.positions.get(name, {}).items():
            data = data.index_select(dim, torch.tensor(kept, device=data.device))
        if name not in outline.positions:
            data = data.new_empty(outline.sizes[name])
        new = like(tensor, data)
        smaller.add(id(new))
        return new

    return finished(clone(dense, cut), outline.numbers, outline.layers, smaller)


def _written(step: Step) -> Any:
    return [step.key] if isinstance(step, Item) else step


def _read(step: Any) -> Step:
    return Item(step[0]) if isinstance(step, list) else str(step)
