"""Trust in groups. Knows three proofs, run once for each model: reorder everything, halve it, and cut it unevenly.

Reordering the slices of a group alike in all its members must not change the output; the model must still run with
half of each group, and with another share of each, and every view in it must come out as the groups say. A group that
fails alone is frozen with that reason; nothing fails the trace.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from autoprune.errors import SurgeryError, describe
from autoprune.surgery.apply import apply, named_tensors
from autoprune.surgery.groups import collect
from autoprune.surgery.layout import size
from autoprune.surgery.modes import evaluating
from autoprune.surgery.rules import POINTWISE, table
from autoprune.surgery.traced import Traced
from autoprune.surgery.tracer import Tracer, ViewRecorder, run, tensors_of

#: Largest relative change that reordering sums in float32 is allowed to cause.
TOLERANCE = 1e-3


def trace(model: nn.Module, example_inputs: tuple[Any, ...]) -> Traced:
    """Find the groups of a model by running `model(*example_inputs)` once in eval mode; every group is verified.

    Raises:
        SurgeryError: the model does not run on the example inputs.
    """
    return verified(model, example_inputs, find(model, example_inputs))


def find(model: nn.Module, example_inputs: tuple[Any, ...]) -> Traced:
    """`trace` without the proofs, for a plan whose groups were verified before."""
    tracer = Tracer(dict(named_tensors(model)), table(), POINTWISE)
    with evaluating(model):
        try:
            run(model, example_inputs, tracer)
        except Exception as error:
            raise _does_not_run(model, example_inputs, error) from error
    return collect(tracer)


def verified(model: nn.Module, example_inputs: tuple[Any, ...], traced: Traced) -> Traced:
    """The same groups, those that fail a proof frozen with the reason."""
    with evaluating(model), torch.no_grad():
        expected = [leaf.double() for leaf in _tensors(model(*example_inputs))]
        if not expected:
            raise SurgeryError(
                expected=f"{type(model).__name__} to return floating-point tensors",
                received="none that could be found",
                cure="return tensors, or containers or dataclasses of tensors",
            )

        def permuted(names: Iterable[str]) -> str:
            return _differs(apply(model, traced, _permutations(traced, names)), example_inputs, expected)

        def halved(names: Iterable[str]) -> str:
            return _breaks(model, example_inputs, traced, _halves(traced, names))

        def uneven(names: Iterable[str]) -> str:
            return _breaks(model, example_inputs, traced, _parts(traced, names))

        for proof in (permuted, halved, uneven):
            traced = traced.frozen(_culprits(traced, proof))
    return traced


def _culprits(traced: Traced, proof: Callable[[Iterable[str]], str]) -> Mapping[str, str]:
    """Groups that fail a proof alone; if each passes alone but not all together, those that break the rest."""
    names = [group.name for group in traced.groups if not group.frozen_reason]
    if not proof(names):
        return {}
    failed = {name: reason for name in names if (reason := proof([name]))}
    passing: list[str] = []
    for name in names:
        if name not in failed:
            reason = proof([*passing, name])
            if reason:
                failed[name] = reason
            else:
                passing.append(name)
    return failed


def _permutations(traced: Traced, names: Iterable[str]) -> dict[str, Tensor]:
    chosen = set(names)
    generator = torch.Generator().manual_seed(0)
    return {g.name: torch.randperm(g.size, generator=generator) for g in traced.groups if g.name in chosen}


def _halves(traced: Traced, names: Iterable[str]) -> dict[str, Tensor]:
    chosen = set(names)
    return {g.name: torch.arange((g.size + 1) // 2) for g in traced.groups if g.name in chosen}


def _parts(traced: Traced, names: Iterable[str]) -> dict[str, Tensor]:
    chosen = set(names)
    generator = torch.Generator().manual_seed(1)
    counts = {g.name: int(torch.randint(1, g.size + 1, (), generator=generator)) for g in traced.groups}
    return {name: torch.arange(count) for name, count in counts.items() if name in chosen}


def _differs(model: nn.Module, inputs: tuple[Any, ...], expected: list[Tensor]) -> str:
    try:
        got = [leaf.double() for leaf in _tensors(model(*inputs))]
    except Exception as error:
        return f"the model does not run with its slices reordered ({describe(error)})"
    for left, right in zip(got, expected, strict=True):
        scale = right.abs().max().clamp_min(1e-12) if right.numel() else 1.0
        if left.shape != right.shape or (right.numel() and not bool((left - right).abs().max() <= TOLERANCE * scale)):
            return "reordering its slices changes the output"
    return ""


def _breaks(model: nn.Module, inputs: tuple[Any, ...], traced: Traced, slices: Mapping[str, Tensor]) -> str:
    """Why the model cut to these slices does not do the same with less; empty if it does.

    It must run, and each view must deal its elements out to the sizes that the groups say: a number of heads or groups
    that is written into the code would otherwise mix slices without an error.
    """
    cut = apply(model, traced, slices)
    with ViewRecorder() as seen:
        try:
            cut(*inputs)
        except Exception as error:
            return f"the model does not run with a part of its slices ({describe(error)})"
    counts = {name: len(chosen) for name, chosen in slices.items()}
    wanted = [tuple(size(dim, counts) for dim in dims) for dims in traced.views]
    return "" if seen.shapes == wanted else "its slices are regrouped by a size that is written into the code"


def _tensors(out: Any) -> list[Tensor]:
    return [leaf for leaf in tensors_of(out) if leaf.is_floating_point()]


def _does_not_run(model: nn.Module, inputs: tuple[Any, ...], error: Exception) -> SurgeryError:
    shapes = (
        ", ".join(str(list(leaf.shape)) for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor)) or "no tensors"
    )
    return SurgeryError(
        expected=f"{type(model).__name__} to run on its example inputs",
        received=f"{describe(error)} for inputs of shape {shapes}",
        cure="pass example inputs of the shape that the model takes",
    )
