"""What rebuilds a pruned model from its dense one without a run: its outline, its configurations, and of which dense
model it is. Knows the record and how it is used; weights are those of a file.

The dense model is told by hashes over names, shapes and a few numbers of each tensor: of what a file of weights keeps,
which any model of the class has, and of what its constructor makes and no file keeps, which counts as it is given.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor, nn

from autoprune.core.reporter import Reporter
from autoprune.errors import StorageError, describe
from autoprune.models.adapters import holds_adapters, set_ranks
from autoprune.models.config_sizes import made_of
from autoprune.models.configuration import configure, pretrained, take_over
from autoprune.models.weights import stored
from autoprune.surgery.clone import clone
from autoprune.surgery.cut_model import CutModel
from autoprune.surgery.example import Example
from autoprune.surgery.find import named_tensors
from autoprune.surgery.gaps import Gaps, close
from autoprune.surgery.outline import Outline, built, outlined
from autoprune.surgery.traced import Traced

#: Numbers of a tensor that are hashed, at most.
_SAMPLED: Final = 64


@dataclass(frozen=True, kw_only=True)
class Form:
    """The form of one pruned model.

    Attributes:
        groups: Slices of each group of the dense model, those of weights left out.
        outline: Its sizes, attributes and dropped layers.
        gaps: Of lists of layers that got shorter, once its weights are in.
        configs: By name of a module that its own library saves, what its configuration says otherwise now.
        weights: A hash of the dense model's weights.
        constants: A hash of what the dense model has besides; empty where that is nothing.
    """

    groups: Mapping[str, int]
    outline: Outline
    gaps: Gaps = field(default_factory=dict)
    configs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    weights: str = ""
    constants: str = ""

    @classmethod
    def of(cls, dense: nn.Module, cut: CutModel, traced: Traced, example: Example) -> Form:
        """The form of a model that was cut; it is looked at in a copy on the same tensors."""
        model = clone(cut.model, lambda tensor: tensor)
        return cls.settled(dense, model, traced, cut.slices, configure(dense, model, traced, cut.slices, example).gaps)

    @classmethod
    def settled(
        cls, dense: nn.Module, model: nn.Module, traced: Traced, slices: Mapping[str, Tensor], gaps: Gaps
    ) -> Form:
        """The form of a model that was cut and configured already. slices: group -> indices that are left."""
        before = _configs(dense)
        changes = {name: _otherwise(before.get(name, {}), config) for name, config in _configs(model).items()}
        return cls(
            groups={group.name: group.size for group in traced.groups if group.kind != "weight"},
            outline=outlined(dense, traced, slices),
            gaps=gaps,
            configs={name: each for name, each in changes.items() if each},
            weights=_hash(stored(dense).items()),
            constants=_hash(_constants(dense)),
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON; `from_json` is the inverse."""
        return {
            "groups": dict(self.groups),
            "outline": self.outline.to_json(),
            "gaps": {name: list(places) for name, places in self.gaps.items()},
            "configs": {name: dict(config) for name, config in self.configs.items()},
            "dense": {"weights": self.weights, "constants": self.constants},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Form:
        """Raises KeyError, TypeError, ValueError or AttributeError of anything else than `to_json` wrote."""
        return cls(
            groups={str(name): int(size) for name, size in data["groups"].items()},
            outline=Outline.from_json(data["outline"]),
            gaps={str(name): tuple(map(int, places)) for name, places in data["gaps"].items()},
            configs={str(name): dict(config) for name, config in data["configs"].items()},
            weights=str(data["dense"]["weights"]),
            constants=str(data["dense"]["constants"]),
        )

    def built(self, dense: nn.Module, source: str) -> nn.Module:
        """The model without its weights; lists of layers have their gaps still.

        Raises:
            StorageError: the form is of another model.
        """
        with _belonging(dense, source):
            return built(dense, self.outline)

    def settle(self, model: nn.Module, source: str) -> None:
        """Close the gaps of a model that has its weights, and give it its configurations, in place.

        Raises:
            StorageError: the form is of another model.
        """
        with _belonging(model, source):
            close(model, self.gaps)
            if holds_adapters(model):
                set_ranks(model)
            for name, changes in self.configs.items():
                module: Any = model.get_submodule(name)
                take_over(module, made_of(module, {**module.config.to_dict(), **changes}))

    def tell(self, dense: nn.Module, reporter: Reporter) -> None:
        """Say in what a dense model is another than the one that was cut."""
        if self.weights != _hash(stored(dense).items()):
            reporter.note("the dense model has other weights than the one that was cut; the file's own count")
        if self.constants != _hash(_constants(dense)):
            reporter.warn(
                "the dense model has other buffers that no file keeps than the one that was cut, and those count: "
                "what is loaded may compute something else"
            )


@contextmanager
def _belonging(model: nn.Module, source: str) -> Iterator[None]:
    """What a model does not have, as an error about where the form came from."""
    try:
        yield
    except (KeyError, AttributeError, IndexError, RuntimeError) as error:
        raise StorageError(
            expected=f"the model that {source} was cut from",
            received=f"a {type(model).__name__} without {describe(error)}",
            cure="load it with the model that it was made from",
        ) from error


def _otherwise(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """What a configuration says that another one does not."""
    return {key: value for key, value in after.items() if key not in before or before[key] != value}


def _configs(model: nn.Module) -> dict[str, dict[str, Any]]:
    """Of modules that their own library saves, by name."""
    return {name: vars(module)["config"].to_dict() for name, module in pretrained(model).items()}


def _constants(model: nn.Module) -> Iterable[tuple[str, Tensor]]:
    """Buffers that no file keeps. What lies in plain attributes, a model may make as it runs."""
    kept = stored(model)
    buffers = {name for name, _ in model.named_buffers()}
    return [(name, tensor) for name, tensor in named_tensors(model) if name in buffers - kept.keys()]


def _hash(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """Over names, shapes and some numbers; empty of no tensors, and of such as have no data."""
    found = hashlib.sha256()
    named = sorted(tensors, key=lambda each: each[0])
    if not named or any(tensor.is_meta for _, tensor in named):
        return ""
    for name, tensor in named:
        flat = tensor.detach().reshape(-1)
        some = flat[:: max(len(flat) // _SAMPLED, 1)][:_SAMPLED]
        some = (torch.view_as_real(some) if some.is_complex() else some).reshape(-1).to("cpu", torch.float64)
        # Rounded, as processors and versions differ in the last bits of what a constructor computes.
        found.update(f"{name} {list(tensor.shape)} {[f'{number:.4g}' for number in some.tolist()]}".encode())
    return f"sha256:{found.hexdigest()}"
