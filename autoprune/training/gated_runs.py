"""Numbers that multiply slices while a model runs. Knows where slices are read; not where numbers come from.

They act where slices are read, or, where nothing reads them by itself (the products of queries and keys), where they
are written. The model stays what it is: weights are multiplied when it is called, and are its parameters again when it
has returned or failed, so that optimizers, checkpoints and names never see a difference. Copies of the model run as
they are, and so does one that is saved whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from autoprune.finetuning.coupled import CoupledWeights, Holding
from autoprune.surgery import CutModel, Traced
from autoprune.training.around import Around

#: What `torch.nn.utils.prune` adds to the name of what it masks.
_MASKED: Final = "_orig"

#: Of a group, by name: what slices are multiplied by, (size,). Given what enters them, where modules' inputs are
#: multiplied and not weights, as mean absolute values (samples, size), it is one row a sample.
Numbers = Callable[[str, Tensor | None], Tensor]


@dataclass(frozen=True, kw_only=True)
class _Reader:
    """What a module reads with one weight. dim: of its first input; slices: of each position there, -1 for none."""

    weight: str
    dim: int
    slices: Tensor = field(repr=False)


class GatedRuns:
    """A model of which every run can be multiplied by numbers.

    Attributes:
        sizes: By group that can be, how many slices it has in the dense model.
        device: Where its parameters are.
    """

    def __init__(
        self,
        cut: CutModel,
        traced: Traced,
        *,
        inputs: bool,
        live: tuple[nn.Module, Mapping[str, nn.Parameter]] | None = None,
    ) -> None:
        """Look for what reads slices.

        Args:
            cut: The model, whole or cut from the one that was traced.
            traced: Groups of the dense model.
            inputs: Whether inputs of modules are multiplied, each sample by its own numbers, and not weights. Groups
                that other operators read as well are left out then.
            live: What runs in the model's place, with the parameters that it has, by the model's names.
        """
        held = _reading(CoupledWeights(cut, traced, frozen=True))
        modules = {name: _readers(each, cut.model, traced) for name, each in held.items()} if inputs else {}
        self._readers = {name: found for name, found in modules.items() if found}
        self._held = {name: held[name] for name in self._readers} if inputs else held
        self.sizes = {name: found[0].size for name, found in self._held.items()}
        self.device = next((found[0].slices.device for found in self._held.values()), torch.device("cpu"))
        self._root, own = live or (cut.model, dict(cut.model.named_parameters()))
        self._paths = _paths(self._root, own, {each.tensor for found in self._held.values() for each in found})
        self._around: Around | None = None
        self._handles: list[RemovableHandle] = []
        self._running = False
        self._swapped: list[tuple[nn.Module, str, Tensor]] = []
        self._now: dict[str, Tensor] = {}
        self._numbers: Numbers | None = None

    @property
    def training(self) -> bool:
        """Whether the model is in train mode."""
        return self._root.training

    @property
    def acting(self) -> bool:
        """Whether runs are multiplied; not where somebody else's numbers came after these."""
        return self._around is not None and self._around.acting

    def attach(self, numbers: Numbers) -> None:
        """Multiply whenever the model is called from now on."""
        self.detach()
        self._numbers = numbers
        self._around = Around(self._root, self._run)
        for name, readers in self._readers.items():
            for reader in readers:
                hook = _Multiplying(partial(self._multiplied, name, reader))
                for path, _ in self._paths[reader.weight]:
                    self._handles.append(self._root.get_submodule(path).register_forward_pre_hook(hook))

    def detach(self) -> None:
        """Let the model run as it is."""
        if self._around is not None:
            self._around.remove()
        for handle in self._handles:
            handle.remove()
        self._around, self._handles = None, []
        self._restore()

    @contextmanager
    def detached(self) -> Iterator[None]:
        """The model without a trace of this, inside."""
        acting = self.acting
        self.detach()
        try:
            yield
        finally:
            if acting and self._numbers is not None:
                self.attach(self._numbers)

    def products(self, parameters: Mapping[str, Tensor], numbers: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights that read slices, multiplied.

        Args:
            parameters: By name.
            numbers: By group, (size,).
        """
        found: dict[str, Tensor] = {}
        for group, held in self._held.items():
            padded = torch.cat([numbers[group], numbers[group].new_ones(1)])  # the last: for positions of no slice
            for holding in held:
                if holding.tensor in parameters:
                    tensor = found.get(holding.tensor, parameters[holding.tensor])
                    shape = [1] * tensor.dim()
                    shape[holding.dim or 0] = -1
                    found[holding.tensor] = tensor * padded.to(tensor)[holding.slices.to(tensor.device)].view(shape)
        return found

    @contextmanager
    def _run(self) -> Iterator[None]:
        """One run of the model, inside; one within another is a part of it."""
        if self._running or self._numbers is None:
            yield
            return
        self._restore()  # where a restoration was interrupted itself
        try:
            self._running = True
            self._now.clear()
            if not self._readers:
                self._swap(self._numbers)
            yield
        finally:
            self._running = False
            self._restore()

    def _swap(self, numbers: Numbers) -> None:
        """Put products where parameters are."""
        owners = [*self._owners()]
        own = {name: each for name, owner, key in owners if (each := owner._parameters[key]) is not None}
        products = self.products(own, {name: numbers(name, None) for name in self._held})
        for name, owner, key in owners:
            self._swapped.append((owner, key, own[name]))
            _put(owner, key, products[name])

    def _restore(self) -> None:
        """Put parameters where they were."""
        while self._swapped:
            _put(*self._swapped[-1])
            self._swapped.pop()

    def _owners(self) -> Iterator[tuple[str, nn.Module, str]]:
        """Where each parameter is registered; one that torch's pruning masks has another key meanwhile."""
        for name, places in self._paths.items():
            for path, key in places:
                owner = self._root.get_submodule(path)
                yield name, owner, key if key in owner._parameters else key + _MASKED

    def _multiplied(self, name: str, reader: _Reader, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """A module's arguments, the first multiplied; the first reader in a run says what enters the slices."""
        whole = args[0] if args and self._running else None
        if not isinstance(whole, Tensor) or whole.dim() < 2 or whole.shape[reader.dim] != len(reader.slices):
            return None
        moved, slices = whole.movedim(reader.dim, -1), reader.slices.to(whole.device)
        if name not in self._now and self._numbers is not None:
            self._now[name] = self._numbers(name, _entering(moved.detach(), slices, self.sizes[name]))
        numbers = self._now[name]
        if len(numbers) != len(moved):  # samples are arranged otherwise here
            numbers = numbers.mean(0, keepdim=True)
        padded = torch.cat([numbers, numbers.new_ones(len(numbers), 1)], 1).to(moved)[:, slices]
        multiplied = moved * padded.view(len(padded), *[1] * (moved.dim() - 2), -1)
        return (multiplied.movedim(-1, reader.dim), *args[1:])


class _Multiplying:
    """A hook before a module that reads slices; copies and saved ones do nothing."""

    def __init__(self, multiplied: Callable[[tuple[Any, ...]], tuple[Any, ...] | None] | None = None) -> None:
        self._multiplied = multiplied

    def __call__(self, _: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        return None if self._multiplied is None else self._multiplied(args)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Multiplying, ()


def _put(owner: nn.Module, key: str, tensor: Tensor) -> None:
    """Put a tensor where a parameter is, in lists of the module, too, as recurrent layers have them."""
    before = owner._parameters[key]
    owner._parameters[key] = tensor  # type: ignore[assignment] # a product is no leaf
    for kept in vars(owner).values():
        if isinstance(kept, list) and any(each is before for each in kept):
            kept[:] = [tensor if each is before else each for each in kept]


def _entering(moved: Tensor, slices: Tensor, size: int) -> Tensor:
    """Mean absolute values of what enters slices, (samples, size) float32; moved: positions last."""
    inside = slices >= 0
    sizes = moved.float().abs().flatten(1, -2).mean(1) if moved.dim() > 2 else moved.float().abs()
    counts = sizes.new_zeros(size).index_add(0, slices[inside], sizes.new_ones(int(inside.sum())))
    sums = sizes.new_zeros(len(sizes), size).index_add(1, slices[inside], sizes[:, inside])
    return sums / counts.clamp(min=1)


def _reading(weights: CoupledWeights) -> dict[str, list[Holding]]:
    """By group what reads its slices, or all that they hold where nothing does by itself."""
    found = {}
    for name, holdings in weights.holdings.items():
        whole = [each for each in holdings if each.dim is not None]
        reading = [each for each in whole if each.role != "out" and weights.parameters[each.tensor].dim() > 1]
        if whole:
            found[name] = reading or whole
    return found


def _readers(held: Iterable[Holding], model: nn.Module, traced: Traced) -> list[_Reader]:
    """The modules that read a group; none where other operators do."""
    found = []
    for holding in held:
        path, _, _ = holding.tensor.rpartition(".")
        module, read = model.get_submodule(path), traced.reading.get(holding.tensor)
        own = {id(parameter) for parameter in module.parameters(recurse=False) if parameter.dim() > 1}
        if read is None or holding.role != "in" or len(own) != 1 or next(module.children(), None) is not None:
            return []
        found.append(_Reader(weight=holding.tensor, dim=1 if read.stride else -1, slices=holding.slices))
    return found


def _paths(
    root: nn.Module, parameters: Mapping[str, nn.Parameter], wanted: Iterable[str]
) -> dict[str, list[tuple[str, str]]]:
    """By name of each parameter that is wanted, every module and key that it is registered under."""
    names = {id(parameters[name]): name for name in wanted if name in parameters}
    found: dict[str, list[tuple[str, str]]] = {}
    for name, parameter in root.named_parameters(remove_duplicate=False):
        path, _, key = name.rpartition(".")
        if id(parameter) in names:
            found.setdefault(names[id(parameter)], []).append((path, key.removesuffix(_MASKED)))
    return found
