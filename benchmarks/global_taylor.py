"""Torch-Pruning's global group Taylor, by the library itself: gradients anew before each of many small steps."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from itertools import islice

import torch
import torch_pruning as tp
from search_game import Game
from torch import nn

from autoprune.surgery import Traced
from autoprune.surgery.tracer import OUTPUT, tensors_of

STEPS, BATCHES = 40, 8


def steps(game: Game) -> Iterator[tuple[nn.Module, Callable[[], nn.Module]]]:
    """After each step the model, its batch statistics renewed, and how a copy of it is made."""
    task, model = game.task, copy.deepcopy(game.task.model).eval()
    ignored = outputs(model, game.prepared.traced)
    attention = [m for m in model.modules() if type(m).__name__ == "ViTSelfAttention" or hasattr(m, "q_proj")]
    heads = {}
    for each in attention:
        for layer in projections(each):
            heads[layer] = task.model.config.num_attention_heads
    pruner = tp.pruner.BasePruner(
        model, task.example_inputs, importance=tp.importance.GroupTaylorImportance(), global_pruning=True,
        pruning_ratio=0.97, max_pruning_ratio=0.9, iterative_steps=STEPS, ignored_layers=ignored, num_heads=heads,
        prune_head_dims=True, output_transform=lambda out: sum(each.sum() for each in tensors_of(out)),
    )  # fmt: skip
    for _ in range(STEPS):
        model.zero_grad()
        for batch in islice(task.split("train"), BATCHES):
            task.loss(task.forward(model, batch), batch).backward()
        pruner.step()
        model.zero_grad()
        for each in attention:
            resized(each)
        renewed(model, task)
        yield model, lambda: copy.deepcopy(model)


def outputs(model: nn.Module, traced: Traced) -> list[nn.Module]:
    """The modules whose results are the model's."""
    shown = [group for group in traced.groups if group.frozen_reason == OUTPUT]
    names = {member.tensor.rpartition(".")[0] for group in shown for member in group.members if member.dim == 0}
    return [module for name, module in model.named_modules() if name in names]


def projections(attention: nn.Module) -> list[nn.Module]:
    names = ("query", "key", "value") if hasattr(attention, "query") else ("q_proj", "k_proj", "v_proj")
    return [getattr(attention, name) for name in names]


def resized(attention: nn.Module) -> None:
    """What a transformer of `transformers` keeps of its widths beside its weights."""
    width, count = projections(attention)[0].out_features, attention.num_attention_heads
    for name, value in (
        ("attention_head_size", width // count),
        ("head_dim", width // count),
        ("all_head_size", width),
    ):
        if hasattr(attention, name):
            setattr(attention, name, value)


def renewed(model: nn.Module, task) -> None:
    """Batch normalisation's statistics, from the calibration split."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    kept = [(norm, norm.momentum) for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    with torch.no_grad():
        for batch in task.split("calibration"):
            task.forward(model, batch)
    for norm, momentum in kept:
        norm.momentum = momentum
        norm.eval()
