"""Small models of the kinds that tracing finds hard, built without downloads: experts, noise, sparse graphs, detectors.

Knows modules and inputs; nothing of autoprune.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

Made = tuple[nn.Module, Any]


class Experts(nn.Module):
    """Sixteen experts in a list, the two best of each token; few of them are reached by one example."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.router = nn.Linear(12, 32), nn.Linear(32, 16)
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32)) for _ in range(16))
        self.head = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.read(x)
        weights, chosen = self.router(x).softmax(-1).topk(2, -1)
        out = torch.zeros_like(x)
        for place, expert in enumerate(self.experts):
            tokens, rank = (chosen == place).nonzero(as_tuple=True)
            if len(tokens):
                out = out.index_add(0, tokens, weights[tokens, rank, None] * expert(x[tokens]))
        return self.head(out)


class Bayesian(nn.Module):
    """Weights that are drawn anew each time, in eval mode too."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.mean = nn.Linear(12, 64), nn.Parameter(torch.randn(48, 64) / 8)
        self.spread, self.head = nn.Parameter(torch.full((48, 64), -5.0)), nn.Linear(48, 5)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.mean + self.spread.exp() * torch.randn_like(self.mean)
        return self.head(functional.linear(self.read(x).relu(), weight).relu())


class Dropping(nn.Module):
    """Dropout that is left on."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.body, self.head = nn.Linear(12, 64), nn.Linear(64, 48), nn.Linear(48, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.dropout(self.read(x).relu(), 0.1, training=True)
        return self.head(functional.dropout(self.body(x).relu(), 0.1, training=True))


class Counted(nn.Module):
    """Attention whose sizes are NumPy's numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.width, self.heads = np.int64(48), np.int64(4)
        self.embed, self.joint = nn.Linear(12, int(self.width)), nn.Linear(int(self.width), 3 * int(self.width))
        self.out, self.head = nn.Linear(int(self.width), int(self.width)), nn.Linear(int(self.width), 5)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        parts = self.joint(self.embed(x)).view(batch, length, 3, self.heads, self.width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, length, -1)
        return self.head(self.out(mixed).mean(1))


class Graph(nn.Module):
    """Two convolutions on a sparse graph (Kipf and Welling 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(12, 64), nn.Linear(64, 48), nn.Linear(48, 5)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        adjacency = torch.sparse_coo_tensor(edges, torch.ones(edges.shape[1]), (len(x), len(x)))
        x = torch.sparse.mm(adjacency, self.first(x)).relu()
        return self.head(torch.sparse.mm(adjacency, self.second(x)).relu())


class Thresholded(nn.Module):
    """A detector that returns as many boxes as are sure enough."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 32, 3, 1, 1), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU()
        )
        self.scores, self.boxes = nn.Conv2d(64, 3, 1), nn.Conv2d(64, 4, 1)

    def forward(self, x: Tensor) -> list[dict[str, Tensor]]:
        features = self.body(x)
        scores, boxes = self.scores(features).sigmoid().flatten(2), self.boxes(features).flatten(2)
        found = []
        for score, box in zip(scores, boxes, strict=True):
            labels, places = (score > 0.5).nonzero(as_tuple=True)
            found.append({"labels": labels, "scores": score[labels, places], "boxes": box[:, places].T})
        return found


class Seeing(nn.Module):
    """Pictures' features are put where their tokens are, as vision-language models do."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.patches = nn.Embedding(50, 48), nn.Linear(27, 64)
        self.project, self.body, self.head = nn.Linear(64, 48), nn.Linear(48, 96), nn.Linear(96, 50)

    def forward(self, ids: Tensor, patches: Tensor) -> Tensor:
        words, seen = self.words(ids), self.project(self.patches(patches).relu())
        mixed = words.masked_scatter((ids == 0)[..., None].expand_as(words), seen)
        return self.head(self.body(mixed).relu())


def _seeing() -> Made:
    ids = torch.randint(1, 50, (2, 9))
    ids[:, 2:6] = 0
    return Seeing(), (ids, torch.randn(8, 27))


FIELD: dict[str, Callable[[], Made]] = {
    "experts": lambda: (Experts(), (torch.randn(3, 12),)),
    "bayesian": lambda: (Bayesian(), (torch.randn(4, 12),)),
    "dropout-on": lambda: (Dropping(), (torch.randn(4, 12),)),
    "numpy-sizes": lambda: (Counted(), (torch.randn(2, 7, 12),)),
    "sparse-graph": lambda: (Graph(), (torch.randn(10, 12), torch.randint(0, 10, (2, 30)))),
    "thresholded": lambda: (Thresholded(), (torch.randn(2, 1, 16, 16),)),
    "masked-scatter": _seeing,
}
