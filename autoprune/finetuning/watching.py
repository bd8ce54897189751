"""What enters and leaves modules while a model runs. Knows hooks, which are gone when it has run; not their purpose."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.surgery.contractions import unfused


@dataclass(frozen=True)
class Place:
    """Where a model is watched.

    Attributes:
        module: Its name in the model.
        entering: Whether what enters it is meant, and not what leaves it.
    """

    module: str
    entering: bool = False


@contextmanager
def watching(model: nn.Module, places: Iterable[Place]) -> Iterator[dict[Place, Tensor]]:
    """Copies of the first tensor at each place in the latest run inside, with its gradients. Modules that the model has
    not, or that did not run, are left out; the model is as it was afterwards."""
    found: dict[Place, Tensor] = {}

    def seen(place: Place, value: Any) -> None:
        tensor = _first(value)
        if tensor is not None:
            found[place] = tensor.clone()  # what follows may work in place

    with _hooked(model, places, seen):
        yield found


def shapes(model: nn.Module, names: Iterable[str], run: Callable[[], Any]) -> dict[str, torch.Size]:
    """What shape leaves each of the modules, in the order in which they run; those that run once and give a tensor."""
    found: dict[str, list[torch.Size | None]] = {}

    def seen(place: Place, value: Any) -> None:
        found.setdefault(place.module, []).append(value.shape if isinstance(value, Tensor) else None)

    with _hooked(model, map(Place, names), seen):
        run()
    return {name: shape for name, (shape, *more) in found.items() if shape is not None and not more}


@contextmanager
def _hooked(model: nn.Module, places: Iterable[Place], seen: Callable[[Place, Any], None]) -> Iterator[None]:
    """`seen` is told what passes each place."""
    places = tuple(places)
    if not places:
        yield
        return
    modules = dict(model.named_modules())

    def entering(place: Place) -> Callable[..., None]:
        return lambda module, args, kwargs: seen(place, (*args, *kwargs.values()))

    def leaving(place: Place) -> Callable[..., None]:
        return lambda module, args, output: seen(place, output)

    with ExitStack() as closing:
        closing.enter_context(unfused())  # fused kernels call no modules
        for place in places:
            module = modules.get(place.module)
            if module is None:
                continue
            handle = (
                module.register_forward_pre_hook(entering(place), with_kwargs=True)
                if place.entering
                else module.register_forward_hook(leaving(place))
            )
            closing.callback(handle.remove)
        yield


def _first(value: Any) -> Tensor | None:
    """The value, or the first tensor of several."""
    if isinstance(value, tuple | list):
        return next((each for each in value if isinstance(each, Tensor)), None)
    return value if isinstance(value, Tensor) else None
