"""What tracing and cutting cost.

    python benchmarks/surgery.py

Materialising a ResNet-50 candidate against a bare `index_select` of the same tensors and against Torch-Pruning, taken
in turns in one run; resident memory over a thousand candidates; tracing of ResNet-50, and of Llama 7B and 70B
configurations on meta tensors, each in its own process with its peak of memory. Needs transformers and torch-pruning.
"""

from __future__ import annotations

import gc
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch_pruning
import transformers
from torch import nn

import autoprune
from autoprune.surgery import Traced, apply
from autoprune.surgery.find import named_tensors
from autoprune.surgery.layout import positions

ROUNDS, CANDIDATES = 7, 1000


def resnet50() -> nn.Module:
    return transformers.ResNetForImageClassification(transformers.ResNetConfig()).eval()


def llama(width: int, layers: int, heads: int, shared: int, inner: int) -> nn.Module:
    config = transformers.LlamaConfig(
        hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=shared,
        intermediate_size=inner, vocab_size=32000, torch_dtype="bfloat16",
    )  # fmt: skip
    with torch.device("meta"):
        return transformers.LlamaForCausalLM(config).eval()


def bare(model: nn.Module, traced: Traced, slices: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """What any tool must do at least: take the slices of every tensor, and copy those that stay whole."""
    taken = []
    for name, tensor in named_tensors(model):
        data = tensor.detach()
        for dim, layout in enumerate(traced.layouts[name]):
            chosen = positions(layout, slices)
            data = data if chosen is None else data.index_select(dim, chosen)
        taken.append(data.clone() if data.data_ptr() == tensor.data_ptr() else data)
    return taken


def peer(model: nn.Module, x: torch.Tensor) -> nn.Module:
    """Torch-Pruning: its pruner works in place, so the model is copied first."""
    import copy

    copied = copy.deepcopy(model)
    torch_pruning.pruner.BasePruner(
        copied, x, importance=torch_pruning.importance.MagnitudeImportance(p=1), pruning_ratio=0.5,
        ignored_layers=[copied.classifier], output_transform=lambda out: out.logits,
    ).step()  # fmt: skip
    return copied


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def materialise() -> None:
    model, x = resnet50(), torch.randn(1, 3, 224, 224)
    traced = autoprune.trace(model, x)
    slices = {g.name: torch.randperm(g.size)[: g.size // 2].sort().values for g in traced.open if g.kind != "layer"}
    works = {
        "autoprune apply": lambda: apply(model, traced, slices),
        "bare index_select": lambda: bare(model, traced, slices),
        "Torch-Pruning": lambda: peer(model, x),
    }
    taken: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(ROUNDS):
        for name, work in works.items():
            if name != "Torch-Pruning" or turn < 2:
                taken[name].append(seconds(work))
    medians = {name: statistics.median(each) for name, each in taken.items()}
    for name, median in medians.items():
        print(f"{name:20s} {1e3 * median:8.1f} ms   {median / medians['autoprune apply']:6.2f} x of autoprune")
    ratios = [ours / theirs for ours, theirs in zip(taken["autoprune apply"], taken["bare index_select"], strict=True)]
    print(f"autoprune / bare     {statistics.median(ratios):8.2f} (paired, limit 1.5)")


def memory() -> None:
    model, x = resnet50(), torch.randn(1, 3, 64, 64)
    traced = autoprune.trace(model, x)
    slices = {g.name: torch.arange(max(g.size // 16, 1)) for g in traced.open if g.kind != "layer"}
    seen = []
    for number in range(CANDIDATES + 1):
        apply(model, traced, slices)
        if number % 250 == 0:
            gc.collect()
            seen.append(int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20)
    print(f"resident MiB every 250 candidates: {', '.join(f'{each:.0f}' for each in seen)}")


def traced_alone(title: str, make: Callable[[], tuple[nn.Module, object]]) -> None:
    """Trace in a process of its own, so that its peak of memory is its own."""

    def work() -> None:
        model, inputs = make()
        start = time.perf_counter()
        traced = autoprune.trace(model, inputs)
        took = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        count = sum(parameter.numel() for parameter in model.parameters()) / 1e9
        print(
            f"trace {title:12s} {took:6.2f} s, {len(traced.open)} groups, {count:.2f} G parameters, peak {peak:.2f} GiB"
        )

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join()


def main() -> None:
    ids = torch.zeros(1, 16, dtype=torch.int64)
    traced_alone("ResNet-50", lambda: (resnet50(), torch.randn(1, 3, 224, 224)))
    traced_alone("Llama 7B", lambda: (llama(4096, 32, 32, 32, 11008), {"input_ids": ids}))
    traced_alone("Llama 70B", lambda: (llama(8192, 80, 64, 8, 28672), {"input_ids": ids}))
    materialise()
    memory()


if __name__ == "__main__":
    main()
