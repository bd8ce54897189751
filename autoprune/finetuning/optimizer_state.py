"""The state of a torch optimizer as tensors by name, as safetensors keeps them. Knows torch's form of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor

_NUMBER: Final = "number."


def optimizer_state(optimizer: torch.optim.Optimizer, prefix: str) -> dict[str, Tensor]:
    """All that the next step needs beside rates, under names that begin with a prefix."""
    found = {}
    for place, kept in optimizer.state_dict()["state"].items():
        for name, value in kept.items():
            if isinstance(value, Tensor):
                found[f"{prefix}{place}.{name}"] = value
            elif isinstance(value, int | float):
                found[f"{prefix}{place}.{_NUMBER}{name}"] = torch.tensor(value, dtype=torch.float64)
    return found


def load_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Tensor], prefix: str) -> None:
    """Go on from a state; one without such names leaves the optimizer as it is."""
    kept: dict[int, dict[str, Any]] = {}
    for name, value in state.items():
        if name.startswith(prefix):
            place, _, part = name.removeprefix(prefix).partition(".")
            number = part.startswith(_NUMBER)
            kept.setdefault(int(place), {})[part.removeprefix(_NUMBER)] = value.item() if number else value
    if kept:
        optimizer.load_state_dict({**optimizer.state_dict(), "state": kept})
