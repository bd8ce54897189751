"""Weights of several models that were cut from one, in one file: what is a slice of another's is stored once.

Knows names, layouts and equality to the bit; not why two models would share weights. Models that were trained or
repaired apart differ in nearly all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from autoprune.errors import StorageError, describe
from autoprune.models.packing import pack
from autoprune.models.weights import loaded
from autoprune.surgery.layout import groups_in
from autoprune.surgery.recut import among
from autoprune.surgery.traced import Traced


@dataclass(frozen=True)
class Weights:
    """tensors: of a model, by their names in the dense one; slices: what it kept of each group, (kept,) int64."""

    tensors: Mapping[str, Tensor] = field(repr=False)
    slices: Mapping[str, Tensor] = field(repr=False)


@dataclass(frozen=True)
class Nested:
    """Weights of several models.

    Attributes:
        content: Of a safetensors file.
        shared: By model, and tensor that is stored with another one: that model, and by dimension which of its
            positions it has, as a place in `positions`.
        positions: Lists of positions, each once.
        apart: Bytes of all tensors, were each model stored alone.
        stored: Bytes of those that are.
    """

    content: bytes = field(repr=False)
    shared: Sequence[Mapping[str, Any]] = field(repr=False)
    positions: Sequence[Sequence[int]] = field(repr=False)
    apart: int
    stored: int

    def to_json(self) -> dict[str, Any]:
        """All but the content; `unnested` reads it."""
        return {"shared": [dict(each) for each in self.shared], "positions": [list(each) for each in self.positions]}


def nested(models: Sequence[Weights], traced: Traced) -> Nested:
    """Weights in one file. models: the largest last; traced: of the dense model that all were cut from."""
    table: dict[tuple[int, ...], int] = {}
    shared: list[dict[str, Any]] = [{} for _ in models]
    parts: dict[str, Tensor] = {}
    apart = 0
    for place in reversed(range(len(models))):
        for name, tensor in models[place].tensors.items():
            own = pack(f"{place}/{name}", tensor.detach().cpu().contiguous())
            apart += _bytes(own)
            found = _found(name, place, models, shared, traced)
            if found is None:
                parts |= own
            else:
                other, dims = found
                at = {str(dim): table.setdefault(tuple(kept.tolist()), len(table)) for dim, kept in dims.items()}
                shared[place][name] = [other, at]
    content = safetensors.torch.save({name: part.clone() for name, part in parts.items()})
    return Nested(content=content, shared=shared, positions=list(table), apart=apart, stored=_bytes(parts))


def unnested(
    content: bytes, data: Mapping[str, Any], shapes: Sequence[Mapping[str, torch.Size]], source: str
) -> list[dict[str, Tensor]]:
    """The tensors of each model.

    Args:
        content: Of the file.
        data: What `Nested.to_json` gave.
        shapes: Of the tensors of each model.
        source: How errors name the file.

    Raises:
        StorageError: they do not fit together.
    """
    flat = {f"{place}/{name}": shape for place, each in enumerate(shapes) for name, shape in each.items()}
    found: list[dict[str, Tensor]] = [{} for _ in shapes]
    try:
        for key, tensor in loaded(content, flat, source).items():
            owner, _, name = key.partition("/")
            found[int(owner)][name] = tensor
        positions = [torch.tensor(each, dtype=torch.int64) for each in data["positions"]]
        for place in reversed(range(len(shapes))):
            for name, (other, dims) in data["shared"][place].items():
                tensor = found[other][name]
                for dim, kept in dims.items():
                    tensor = tensor.index_select(int(dim), positions[kept])
                found[place][name] = tensor
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise StorageError(
            expected=f"weights of {len(shapes)} models in {source}", received=describe(error), cure="restore the file"
        ) from error
    return found


def _found(
    name: str, place: int, models: Sequence[Weights], shared: Sequence[Mapping[str, Any]], traced: Traced
) -> tuple[int, dict[int, Tensor]] | None:
    """The larger model that stores a tensor, and where in its own one it is; None where none does."""
    for other in range(place + 1, len(models)):
        if name not in shared[other]:
            dims = _dims(name, models[place], models[other], traced)
            if dims is not None:
                return other, dims
    return None


def _dims(name: str, small: Weights, large: Weights, traced: Traced) -> dict[int, Tensor] | None:
    """Where the smaller model's tensor is in the larger one's, by dimension; None where it is not to the bit."""
    tensor, whole = small.tensors[name], large.tensors.get(name)
    if whole is None or whole.dtype != tensor.dtype or whole.dim() != tensor.dim():
        return None
    dims: dict[int, Tensor] = {}
    for dim, layout in enumerate(traced.layouts.get(name, ())):
        if not all(_within(group, small.slices, large.slices) for group in groups_in(layout)):
            return None
        kept = among(layout, large.slices, small.slices)
        if kept is None or torch.equal(kept, torch.arange(whole.shape[dim])):
            continue
        if len(kept) and int(kept.max()) >= whole.shape[dim]:
            return None  # the tensor is not of that layout any more
        dims[dim], whole = kept, whole.index_select(dim, kept)
    return dims if torch.equal(whole, tensor) else None


def _within(group: str, small: Mapping[str, Tensor], large: Mapping[str, Tensor]) -> bool:
    """Whether the larger model has every slice of a group that the smaller one has."""
    if group not in large:
        return True
    return group in small and {*small[group].tolist()} <= {*large[group].tolist()}


def _bytes(parts: Mapping[str, Tensor]) -> int:
    return sum(part.numel() * part.element_size() for part in parts.values())
