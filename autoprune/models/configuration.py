"""The configuration of a pretrained model, set to what is left after a cut, so that it can be saved and loaded by its
own library. Knows models that are made of a configuration which can be written down, as those of transformers are;
imports no such library.

A configuration is taken over only if the class builds from it a model of exactly the tensors that are left, and that
one computes the same on the example inputs: the frequencies of rotary embeddings and the scale of attention follow from
the size of a head, and where heads were made thinner the surgery kept the dense ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

import torch
from torch import Tensor, nn

from autoprune.errors import describe
from autoprune.models.adapters import holds_adapters, set_ranks
from autoprune.models.config_sizes import ConfigSizes, Path, Place, changes_of, shapes_of
from autoprune.surgery.clone import clone
from autoprune.surgery.example import Example
from autoprune.surgery.gaps import Gaps, close, gaps_of, reopened
from autoprune.surgery.noise import seeded
from autoprune.surgery.traced import Traced
from autoprune.surgery.tracer import tensors_of

#: Configurations that build the right shapes and are run, at most.
_RUN: Final = 12
#: How far two runs of the same numbers may differ, in units of the coarsest type's rounding, and at least.
_ROUNDINGS, _TOLERANCE = 16, 1e-5
_CURE: Final = "`autoprune.load` rebuilds it all the same; the search space 'hf' keeps to what configurations can say"


_ADAPTED: Final = (
    "the configuration of a model that holds adapters stays that of the dense model: merge them before it is pruned to "
    "save it with its own library; `autoprune.load` rebuilds it all the same"
)


@dataclass(frozen=True)
class Configured:
    """gaps: by name of a list of layers, the places that were dropped from it; notes: what could not be said."""

    gaps: Gaps = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def pretrained(model: nn.Module) -> dict[str, nn.Module]:
    """The outermost modules that are made of a configuration and can be saved by their own library, by name."""
    found: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        config = vars(module).get("config")
        written = hasattr(config, "to_dict") and hasattr(type(config), "from_dict")
        if written and hasattr(module, "save_pretrained") and not any(_inside(name, other) for other in found):
            found[name] = module
    return found


def configure(
    dense: nn.Module, cut: nn.Module, traced: Traced, slices: Mapping[str, Tensor], example: Example
) -> Configured:
    """Set the configurations of a cut model, in place, and close the gaps of dropped layers where they can say so.

    slices: group -> indices that are left. A model without data is left as it is, as it cannot be run.
    """
    if not slices or any(tensor.is_meta for tensor in dense.parameters()):
        return Configured()
    if holds_adapters(cut):
        set_ranks(cut)
        return Configured(notes=(_ADAPTED,) if _base_changed(dense, cut) else ())
    closed: dict[str, tuple[int, ...]] = {}
    notes: list[str] = []
    for name, module in pretrained(dense).items():
        gaps = _gaps(dense, traced, slices, name)
        trial = _Trial(name, clone(cut, lambda tensor: tensor).eval(), gaps, example)
        reason = trial.settle(_sizes(dense, name, trial.module, traced, slices))
        if reason:
            kind = type(module).__name__
            notes.append(f"the configuration of {kind} stays that of the dense model: {reason}; {_CURE}")
        elif trial.built is not None:
            close(cut, gaps)
            take_over(cut.get_submodule(name), trial.built)
            closed |= gaps
    return Configured(closed, tuple(notes))


def unsaid(
    dense: nn.Module, cut: nn.Module, traced: Traced, slices: Mapping[str, Tensor]
) -> tuple[frozenset[Place], frozenset[Place]]:
    """Where tensors of a cut model, by the dense one's names, are of a size that a configuration does not say: the
    nearest one, and one in which all that may be meant has changed. The cut model is used up."""
    nearest: set[Place] = set()
    changed: set[Place] = set()
    for name in pretrained(dense):
        gaps = _gaps(dense, traced, slices, name)
        close(cut, gaps)
        sizes = _sizes(dense, name, cut.get_submodule(name), traced, slices)
        prefix = f"{name}." if name else ""
        for values, found in ((sizes.closest(), nearest), (sizes.changed, changed)):
            left = sizes.differing(values)
            left = sizes.differing({}) if left is None else left
            found.update((reopened(prefix + tensor, gaps), dim) for tensor, dim in left or ())
    return frozenset(nearest), frozenset(changed)


def _gaps(dense: nn.Module, traced: Traced, slices: Mapping[str, Tensor], name: str) -> dict[str, tuple[int, ...]]:
    """The gaps of dropped layers inside of one module."""
    dropped = (drop for layer, drop in traced.layers.items() if layer in slices and not len(slices[layer]))
    return {each: places for each, places in gaps_of(dense, dropped).items() if _inside(each, name)}


def _sizes(dense: nn.Module, name: str, module: nn.Module, traced: Traced, slices: Mapping[str, Tensor]) -> ConfigSizes:
    """The configurations of one module of the dense model, for what is left of it."""
    gaps = _gaps(dense, traced, slices, name)
    dropped = [(len(dense.get_submodule(each)._modules), places) for each, places in gaps.items()]
    changes = changes_of(traced, {group: len(chosen) for group, chosen in slices.items()}, dropped)
    return ConfigSizes(dense.get_submodule(name), shapes_of(module), changes, dropped)


def _base_changed(dense: nn.Module, cut: nn.Module) -> bool:
    """Whether anything but the ranks of adapters has another size."""
    before, after = shapes_of(dense), shapes_of(cut)
    own = [name for name in before if ".lora_" not in name]
    return any(after.get(name) != before[name] for name in own)


class _Trial:
    """One pretrained module of a cut model, in a copy on the same tensors: which configuration it may take."""

    def __init__(self, name: str, model: nn.Module, gaps: Gaps, example: Example) -> None:
        self._name, self._example = name, example
        self._expected = self._run(clone(model, lambda tensor: tensor))
        self._model = model
        close(model, gaps)
        self.module = model.get_submodule(name)
        self.built: nn.Module | None = None

    def settle(self, sizes: ConfigSizes) -> str:
        """Find a configuration, with its model in `built`; why there is none; None of both where none is needed."""
        if not sizes.differing({}):
            return ""
        values = sizes.closest()
        reason = sizes.unsaid(values)
        if reason:
            return reason
        reasons = []
        for other in islice(sizes.alike(values), _RUN):
            reason = self._unlike(sizes, other)
            if not reason:
                self.built = self._filled(sizes, self._least(sizes, other))
                return ""
            reasons.append(reason)
        return reasons[0]

    def _least(self, sizes: ConfigSizes, values: dict[Path, Any]) -> dict[Path, Any]:
        """The values without those that change nothing: a token's number may equal a size by chance."""
        for path in list(values):
            fewer = {each: value for each, value in values.items() if each != path}
            if not sizes.differing(fewer) and not self._unlike(sizes, fewer):
                values = fewer
        return values

    def _filled(self, sizes: ConfigSizes, values: Mapping[Path, Any]) -> nn.Module:
        """The model that the class makes of the values, on the tensors of the cut one."""
        built = sizes.build(values)
        built.load_state_dict(self.module.state_dict(), assign=True)
        device = next((tensor.device for tensor in self.module.parameters()), torch.device("cpu"))
        return built.to(device)

    def _unlike(self, sizes: ConfigSizes, values: Mapping[Path, Any]) -> str:
        """In what the model that the values make is another than the cut one; empty where they compute the same."""
        try:
            built = self._filled(sizes, values)
            got = self._run(_replaced(clone(self._model, lambda tensor: tensor), self._name, built))
        except Exception as error:  # the class's own code, on sizes that nobody foresaw
            return f"a model made of it does not run ({describe(error)})"
        derived = _derived(self.module, built)
        if derived:
            return f"it makes another '{derived}' of the size of a head"
        return "" if _alike(got, self._expected) else "a model made of it computes something else"

    def _run(self, model: nn.Module) -> list[Tensor]:
        with torch.no_grad(), seeded():
            return tensors_of(self._example.fresh().call(model))


def _inside(name: str, home: str) -> bool:
    return not home or name == home or name.startswith(f"{home}.")


def _replaced(model: nn.Module, name: str, module: nn.Module) -> nn.Module:
    home, _, key = name.rpartition(".")
    if not name:
        return module
    model.get_submodule(home)._modules[key] = module
    return model


def take_over(module: nn.Module, built: nn.Module) -> None:
    """Give each module the configuration that its twin was made of."""
    twins = dict(built.named_modules())
    for name, each in module.named_modules():
        if name in twins and "config" in vars(each) and "config" in vars(twins[name]):
            vars(each)["config"] = vars(twins[name])["config"]


def _numbers(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """What a constructor derives from sizes and no file keeps: factors, and buffers that are not saved."""
    saved = module.state_dict().keys()
    for prefix, each in module.named_modules():
        for key, value in vars(each).items():
            if type(value) is float:
                yield f"{prefix}.{key}", value
    for name, buffer in module.named_buffers():
        if name not in saved and buffer.is_floating_point():
            yield name, buffer


def _derived(module: nn.Module, built: nn.Module) -> str:
    """The first number that the constructor derived otherwise; empty where there is none."""
    found = dict(_numbers(built))
    for name, value in _numbers(module):
        other = found.get(name, value)
        if isinstance(value, Tensor):
            same = isinstance(other, Tensor) and _alike([other], [value])
        else:
            same = math.isclose(value, other, rel_tol=_TOLERANCE) or math.isnan(value)
        if not same:
            return name
    return ""


def _alike(found: list[Tensor], expected: list[Tensor]) -> bool:
    if [leaf.shape for leaf in found] != [leaf.shape for leaf in expected]:
        return False
    for one, other in zip(found, expected, strict=True):
        coarsest = max((torch.finfo(each.dtype).eps for each in (one, other) if each.is_floating_point()), default=0.0)
        scale = float(other.abs().nan_to_num(0, 0, 0).max()) if other.numel() and other.is_floating_point() else 1.0
        near = max(_TOLERANCE, _ROUNDINGS * coarsest) * scale
        if not torch.allclose(one.double(), other.double(), rtol=0, atol=near, equal_nan=True):
            return False
    return True
