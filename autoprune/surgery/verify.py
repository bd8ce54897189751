"""Trust in groups. Knows three proofs, run once for each model: reorder everything, cut and reorder, drop layers.

Reordering the slices of a group alike in all its members must not change the output; nor may it change the output of a
model of which parts were cut, so that what runs with less also does the same with less: a number that is written into
the code, and would deal slices out differently, shows. Both modes of the model must run when cut, where the whole one
does. What differs in float32 is tried again in float64: many layers may blow rounding up beyond any tolerance. So is
all that passes in coarser types, of which the tolerance hides a lot. A group that fails is frozen with that reason;
nothing fails the trace.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.core.clock import Clock, SystemClock
from autoprune.core.group import Group
from autoprune.core.reporter import Logged, Reporter
from autoprune.errors import AutopruneError, SurgeryError, describe
from autoprune.surgery.apply import apply
from autoprune.surgery.clone import clone, unwrapped
from autoprune.surgery.example import Example, Outputs
from autoprune.surgery.find import does_not_run, find, small, twin, with_readings
from autoprune.surgery.left_behind import nothing_left
from autoprune.surgery.noise import AlikeNoise, Drawn, seeded
from autoprune.surgery.operator_watch import eager
from autoprune.surgery.patience import Patience
from autoprune.surgery.results import Results, Sizes
from autoprune.surgery.traced import Traced
from autoprune.surgery.tracer import tensors_of
from autoprune.surgery.turning import proven
from autoprune.surgery.wrappers import wrappers

#: Largest relative change that reordering sums in float32 is allowed to cause.
TOLERANCE = 1e-3
#: The same for coarser types, in units of their rounding.
_ROUNDINGS = 16
#: Parameters of a model that is copied in float64 at most: two such copies stay within 2 GB.
_COPIED = 10**8
_REORDERED = "reordering its slices changes the output"
_REGROUPED = "its slices are regrouped by a size that is written into the code"
_GUESSED = "that these are experts is proved on numbers, and a model on meta tensors has none"
Slices = Mapping[str, Tensor]
Unit = tuple[Group, ...]


def trace(
    model: nn.Module,
    example_inputs: Any,
    *,
    outputs: Outputs = None,
    reporter: Reporter | None = None,
    clock: Clock | None = None,
) -> Traced:
    """Find the groups of a model by running a twin of it once in each mode; every group is verified.

    Args:
        model: Neither run nor changed; it may lie on meta tensors. Wrappers (`DistributedDataParallel`,
            `DataParallel`, what `torch.compile` returns) are taken off, and groups are called as without them.
        example_inputs: A tensor, a tuple of arguments, or a dict of keyword arguments.
        outputs: What of the outputs matters, as a field or key ("logits"), a place, or a function of what the model
            returns. The rest (the last hidden state) need not keep its width.
        reporter: Who is told what is done when that takes longer than 5 s; default: the logger "autoprune".
        clock: Tells seconds; default: the system's.

    Returns:
        Its groups, those that stay whole with the reason.

    Raises:
        SurgeryError: the model does not run on the example inputs.
        UsageError: what it returns has no such outputs.

    Example:
        >>> [group.name for group in trace(model, images).open]  # doctest: +SKIP
    """
    example, around = Example.of(example_inputs, outputs), wrappers(model)
    model = unwrapped(model)
    patience = Patience(reporter or Logged(), clock or SystemClock())
    traced = find(model, example)
    traced = verified(model, example, traced, patience)
    patience.begin("what weights read")
    traced = with_readings(model, example, traced)
    known = proven(model, traced.bases, lambda turned: example.taken(_call(example, turned)))
    seen = f"seen through {', '.join(around)}: a smaller model comes without, and can be wrapped again"
    return replace(traced, bases=known, notes=(*traced.notes, seen) if around else traced.notes)


def verified(model: nn.Module, example: Example, traced: Traced, patience: Patience) -> Traced:
    """The same groups, those that fail a proof frozen with the reason."""
    if not traced.open:
        return traced
    patience.begin("what the dense model returns")
    hollow = any(tensor.is_meta for tensor in model.parameters())
    if hollow:
        traced = traced.frozen({group.name: _GUESSED for group in traced.open if group.kind == "expert"})
    proofs = _Shapes(model, example) if hollow else _Outputs(model, example, traced.noise)
    units = _units(traced)
    for place, proof in enumerate(proofs.all):
        patience.begin(f"proof {place + 1} of {len(proofs.all)} that {len(traced.open)} groups can be cut")
        failed: dict[str, str] = {}
        passing: list[Unit] = []
        _sieve(units, passing, partial(proof, traced), failed)
        differing = [unit for unit in units if failed.get(unit[0].name) in (_REORDERED, _REGROUPED)]
        doubted = [*differing, *passing] if proofs.coarse else differing
        if doubted and (exact := proofs.exact):
            for group in _groups(differing):
                del failed[group.name]
            passing = [unit for unit in passing if unit not in doubted]
            _sieve(doubted, passing, partial(exact.all[place], traced), failed)
        units = passing
        traced = traced.frozen(failed)
    return replace(traced, notes=(*traced.notes, *proofs.notes))


def _units(traced: Traced) -> list[Unit]:
    """Groups that are cut together: each alone, or all of a tie."""
    units: dict[str, list[Group]] = {}
    for group in traced.open:
        units.setdefault((group.tie and f"tie {group.tie}") or group.name, []).append(group)
    return list(map(tuple, units.values()))


def _sieve(
    units: Sequence[Unit], passing: list[Unit], proof: Callable[[Sequence[Unit]], str], failed: dict[str, str]
) -> None:
    """Add to `passing` the units that pass the proof together; halve where they do not, down to each culprit."""
    if not units:
        return
    reason = proof([*passing, *units])
    if not reason:
        passing.extend(units)
    elif len(units) == 1:
        failed.update((group.name, reason) for group in units[0])
    else:
        middle = len(units) // 2
        _sieve(units[:middle], passing, proof, failed)
        _sieve(units[middle:], passing, proof, failed)


class _Outputs:
    """Proofs by comparing outputs."""

    def __init__(self, model: nn.Module, example: Example, noise: tuple[Drawn, ...]) -> None:
        self._model, self._example, self._noise = model, example, noise
        try:
            expected = Results.of(self._call, twin(model, meta=False)[0].eval())
        except AutopruneError:
            raise
        except Exception as error:
            raise does_not_run(model, example, error) from error
        if expected is None:
            raise SurgeryError(
                expected=f"{type(model).__name__} to return tensors",
                received="none that could be found",
                cure="return tensors, or containers or dataclasses of tensors",
            )
        coarsest = max((torch.finfo(p.dtype).eps for p in model.parameters() if p.is_floating_point()), default=0.0)
        self._tolerance = max(TOLERANCE, _ROUNDINGS * coarsest)
        self.coarse = self._tolerance > TOLERANCE
        self._expected, self._sizes = (
            expected,
            Sizes(model, lambda changed: tensors_of(self._call(changed)), expected.returned),
        )
        # Whether it runs in train mode is a question of shapes, which meta tensors answer for little where they can.
        self._empty = example.map(lambda tensor: tensor.to("meta"))
        self._meta = not small(model, example) and _runs(self._empty, twin(model, meta=True)[0].eval())
        self._meta_train = self._meta and _runs(self._empty, twin(model, meta=True)[0].train())
        self._trains = self._meta_train or _runs(example, twin(model, meta=False)[0].train())
        self.all = (self._reordered, self._cut, self._dropped)

    @cached_property
    def exact(self) -> _Outputs | None:
        """The same proofs in float64; None where the model is too large, or does not run in it."""
        parameters = list(self._model.parameters())
        rounds = any(p.is_floating_point() and p.dtype is not torch.float64 for p in parameters)
        if not rounds or sum(p.numel() for p in parameters) > _COPIED:
            return None
        double = self._example.map(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)
        try:
            return _Outputs(twin(self._model, meta=False)[0].double(), double, self._noise)
        except Exception:
            return None

    @property
    def notes(self) -> tuple[str, ...]:
        """What was not compared."""
        said = []
        if self._expected.is_empty:
            shapes = ", ".join(str(list(each.shape)) for each in self._expected.returned) or "none"
            said.append(
                f"the example inputs lead to no results (tensors of shape {shapes}), so that only what modules return "
                "inside was compared; pass inputs that lead to some"
            )
        elif self._expected.is_blank:
            said.append(
                "the example inputs lead to nan or infinity alone, so that only what modules return inside was "
                "compared; pass inputs, and weights, that lead to numbers"
            )
        if self._sizes.vary:
            said.append("how many results there are depends on values: such sizes were not compared")
        return tuple(said)

    def _call(self, model: nn.Module) -> Any:
        with AlikeNoise(self._noise) if self._noise else nullcontext():
            return self._example.taken(_call(self._example, model))

    def _run(self, model: nn.Module) -> Results:
        return Results.of(self._call, model) or Results([], [])

    def _reordered(self, traced: Traced, units: Sequence[Unit]) -> str:
        orders = {
            group.name: _order(group.size, place) for place, group in enumerate(_groups(units)) if group.kind != "layer"
        }
        try:
            got = self._run(_cut_to(self._model, traced, orders).eval())
        except Exception as error:
            return _failure(error, "with its slices reordered")
        return _REORDERED if got.differ(self._expected, self._tolerance) else ""

    def _cut(self, traced: Traced, units: Sequence[Unit]) -> str:
        slices = _parts(units)
        orders = {name: chosen[_order(len(chosen), place)] for place, (name, chosen) in enumerate(slices.items())}
        try:
            cut = _cut_to(self._model, traced, slices).eval()
            plain = self._run(cut)
            other = self._run(_cut_to(self._model, traced, orders).eval())
            if self._trains:
                # Other shares: two units may have drawn the same by chance, which hides that one needs the other's.
                again = _cut_to(self._model, traced, _parts(units, " again"), meta=self._meta_train)
                _call(self._empty if self._meta_train else self._example, again.train())
        except Exception as error:
            return _failure(error, "with a part of its slices")
        if not self._sizes.fit(plain.returned, cut):
            return "with a part of its slices the model's output has another shape"
        return _REGROUPED if plain.differ(other, self._tolerance) else ""

    def _dropped(self, traced: Traced, units: Sequence[Unit]) -> str:
        """All layers gone and the rest whole: what a part of them left open. Layers in layers apart: without the outer
        ones the inner ones are not seen."""
        modules = {g.name: traced.layers[g.name].module for g in _groups(units) if g.kind == "layer"}
        depths: dict[int, dict[str, Tensor]] = {}
        for name, module in modules.items():
            depth = sum(module.startswith(f"{other}.") for other in modules.values())
            depths.setdefault(depth, {})[name] = torch.arange(0)
        for layers in depths.values():
            try:
                cut = _cut_to(self._model, traced, layers, meta=self._meta).eval()
                left = tensors_of(self._example.taken(_call(self._empty if self._meta else self._example, cut)))
            except Exception as error:
                return _failure(error, "without it")
            if not self._sizes.fit(left, cut):
                return "without it the model's output has another shape"
        return ""


class _Shapes:
    """Proof for a model without data: it must run when cut."""

    def __init__(self, model: nn.Module, example: Example) -> None:
        self._model = model
        self._example = example.map(lambda tensor: tensor.to("meta"))
        self.all, self.exact, self.coarse, self.notes = (self._cut,), None, False, ()

    def _cut(self, traced: Traced, units: Sequence[Unit]) -> str:
        try:
            _call(self._example, _cut_to(self._model, traced, _parts(units), meta=True).eval())
        except Exception as error:
            return _failure(error, "with a part of its slices")
        return ""


class _NotCutError(Exception):
    """Cutting failed, before the model could run."""


def _cut_to(model: nn.Module, traced: Traced, slices: Slices, *, meta: bool = False) -> nn.Module:
    """The cut model, copied: who repairs or trains it copies it too, and a class may copy itself as it once was."""
    try:
        return clone(apply(model, traced, slices, meta=meta), lambda tensor: tensor)
    except Exception as error:
        raise _NotCutError(describe(error)) from error


def _failure(error: Exception, how: str) -> str:
    """The reason for which a proof failed: the model's, or that it could not be cut at all."""
    if isinstance(error, _NotCutError):
        return f"it cannot be cut ({error})"
    return f"the model does not run {how} ({describe(error)})"


def _call(example: Example, model: nn.Module) -> Any:
    """One forward pass with the same random numbers each time; the caller's are given back."""
    with torch.no_grad(), eager(), seeded(), nothing_left(model):
        return example.fresh().call(model)


def _runs(example: Example, model: nn.Module) -> bool:
    try:
        _call(example, model)
    except Exception:
        return False
    return True


def _groups(units: Iterable[Unit]) -> list[Group]:
    return [group for unit in units for group in unit]


def _order(size: int, seed: int) -> Tensor:
    """Another order of so many slices: with two, every second draw would leave them as they are."""
    order = torch.randperm(size, generator=torch.Generator().manual_seed(seed))
    return order.roll(1) if bool((order == torch.arange(size)).all()) else order


def _parts(units: Iterable[Unit], turn: str = "") -> dict[str, Tensor]:
    """Another share of each unit, drawn from its first group's name and the turn; every second layer dropped."""
    slices: dict[str, Tensor] = {}
    for unit in units:
        draw = random.Random(unit[0].name + turn)  # noqa: S311 - which slices prove it is no secret
        steps = unit[0].size // unit[0].step
        if unit[0].kind == "layer":
            slices[unit[0].name] = torch.arange(draw.randint(0, 1))
            continue
        share = draw.randint(max(steps // 4, 1), max(steps - 1, 1))
        for group in unit:
            order = torch.randperm(group.size, generator=torch.Generator().manual_seed(share))
            slices[group.name] = order[: share * group.step].sort().values
    return slices
