"""What is left of a network of which most single weights are zero: by schedule, and tickets against other beginnings.

    python benchmarks/sparse.py [--seeds 3] [--epochs 30] [--quick]

Digits; the vision transformer of `examples/vit.py` and the convolutional network of `examples/own_loop.py`, in a plain
loop with `Pruner`. First table: a tenth of all weights is left; "trained" begins with a dense network that had as many
epochs, "scratch" with weights drawn by chance. Second table: a fifth is left, in the places that a lottery ticket
finds, trained from the weights that they had at first, and from others drawn by chance. Accuracies are of the test
split, mean and standard deviation over seeds, which decide first weights and the order of batches.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

import autoprune

BATCH, RATE = 64, 2e-3
TENTH, FIFTH = 0.1, 0.2
#: Beginning, schedule, and how one share becomes counts.
WAYS = (
    *(("trained", schedule, "layer") for schedule in ("one-shot", "iterative", "gradual", "sparse")),
    *(("trained", schedule, "erdos-renyi") for schedule in ("gradual", "sparse")),
    *(("scratch", schedule, "layer") for schedule in ("one-shot", "gradual", "sparse")),
    *(("scratch", schedule, "erdos-renyi") for schedule in ("gradual", "sparse")),
)


class Logits(nn.Module):
    """A model of transformers: images (N, 1, 8, 8) to logits (N, 10)."""

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.inside(images).logits
        return logits


class Bench:
    """One kind of network, from one seed."""

    def __init__(self, make: Callable[[], nn.Module], data: Any, seed: int, epochs: int) -> None:
        self._make, self._seed, self._epochs = make, seed, epochs
        (self._images, self._labels), self._test = data
        self.steps = epochs * (len(self._images) // BATCH)
        self._dense = self._fresh(seed)
        self._train(self._dense)

    def dense(self) -> float:
        """The accuracy of the dense network."""
        return self._accuracy(self._dense)

    def pruned(self, beginning: str, schedule: str, scope: Any) -> float:
        """The accuracy of one that is pruned while it is trained."""
        model = self._fresh(self._seed)
        if beginning == "trained":
            model.load_state_dict(self._dense.state_dict())
        pruner = self._pruner(model, TENTH, steps=self.steps, schedule=schedule, scope=scope)
        self._train(model, pruner)
        return self._accuracy(pruner.finish().model)

    def ticket(self) -> tuple[float, float]:
        """The accuracy of a lottery ticket, and of the same places with other first weights."""
        model, options = self._fresh(self._seed), {"look": "0.5"}
        pruner = self._pruner(model, FIFTH, steps=2 * self.steps, schedule="lottery-ticket", schedule_options=options)
        self._train(model, pruner)
        other = autoprune.to_torch_prune(self._fresh(self._seed + 1000), autoprune.masks(model))
        self._train(model, pruner)
        self._train(other)
        return self._accuracy(pruner.finish().model), self._accuracy(other)

    def _pruner(self, model: nn.Module, keep: float, **options: Any) -> autoprune.Pruner:
        return autoprune.Pruner(model, self._images[:2], keep=keep, pattern="unstructured", **options)

    def _fresh(self, seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return self._make()

    def _batches(self) -> Iterator[Tensor]:
        for _ in range(self._epochs):
            order = torch.randperm(len(self._images))
            yield from (order[place : place + BATCH] for place in range(0, self.steps // self._epochs * BATCH, BATCH))

    def _train(self, model: nn.Module, pruner: autoprune.Pruner | None = None) -> None:
        torch.manual_seed(self._seed)
        optimizer = torch.optim.AdamW(model.parameters(), RATE)
        rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, self.steps, pct_start=0.1)
        model.train()
        for part in self._batches():
            optimizer.zero_grad()
            functional.cross_entropy(model(self._images[part]), self._labels[part]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            rates.step()
            if pruner is not None:
                pruner.step()

    def _accuracy(self, model: nn.Module) -> float:
        with torch.no_grad():
            return float((model.eval()(self._test[0]).argmax(1) == self._test[1]).float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--quick", action="store_true", help="one seed, ten epochs")
    chosen = parser.parse_args()
    seeds, epochs = (1, 10) if chosen.quick else (chosen.seeds, chosen.epochs)
    torch.set_num_threads(1)
    sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
    own_loop, vit = map(import_module, ("own_loop", "vit"))
    for name, make in (("vit", lambda: Logits(vit.network())), ("convolutional", own_loop.network)):
        benches = [Bench(make, own_loop.data(), seed, epochs) for seed in range(seeds)]
        print(f"\n{name}: dense {_told([bench.dense() for bench in benches])}\n", flush=True)
        print("| begins | schedule | scope | accuracy with .1 of all weights |\n|---|---|---|---|", flush=True)
        for way in WAYS:
            print(f"| {' | '.join(way)} | {_told([bench.pruned(*way) for bench in benches])} |", flush=True)
        tickets, others = zip(*(bench.ticket() for bench in benches), strict=True)
        print("\n| .2 of all weights | accuracy |\n|---|---|")
        print(f"| ticket | {_told(tickets)} |\n| same places, other first weights | {_told(others)} |", flush=True)


def _told(values: Sequence[float]) -> str:
    return f"{statistics.mean(values):.4f}" + (f" +- {statistics.stdev(values):.4f}" if len(values) > 1 else "")


if __name__ == "__main__":
    main()
