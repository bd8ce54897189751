"""What takes long is done once and kept in the user's cache: conversion, drawing, training of dense models.

A search makes its task in several processes, which are all to find the same.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import platformdirs
import torch
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).parents[1]))  # the training that all examples share lies there

from training import train


def place(name: str) -> Path:
    """Where something is kept by that name."""
    found = Path(platformdirs.user_cache_dir("autoprune")) / "examples" / name
    found.parent.mkdir(parents=True, exist_ok=True)
    return found


def once(name: str, make: Callable[[], dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Tensors by name, made the first time."""
    file = place(f"{name}.safetensors")
    if not file.exists():
        unready = file.with_suffix(f".{os.getpid()}")
        save_file({key: each.contiguous() for key, each in make().items()}, unready)
        unready.replace(file)
    return load_file(file)


def trained(task, epochs: int, rate: float) -> None:
    """The task's model as it is after so many epochs, trained the first time."""
    train(task, epochs, rate, place(f"{task.name}-{epochs}.safetensors"))
