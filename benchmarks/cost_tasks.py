"""Models of real size with random weights, for what a search costs: seconds do not depend on what a model knows.

Quality is how near a pruned model's outputs stay to the dense one's, on random inputs.
"""

from __future__ import annotations

import torch
from torch.nn import functional
from transformers import BertConfig, BertModel, ResNetConfig, ResNetForImageClassification

import autoprune

WORDS, BATCH = 32, 8
IMAGES, SIDE = 300, 224


def minilm() -> autoprune.Task:
    """The shapes of all-MiniLM-L6-v2: 22M parameters, 8 texts of 32 tokens."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=30522, hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
    )
    model = BertModel(config).eval()

    def texts(count: int) -> list[torch.Tensor]:
        return list(torch.randint(0, config.vocab_size, (count, WORDS)).split(32))

    splits = {"calibration": texts(128), "search": texts(256), "validation": texts(256), "test": texts(256)}
    return _task("minilm", model, splits["calibration"][0][:BATCH], splits, lambda out: out.last_hidden_state.mean(1))


def resnet50() -> autoprune.Task:
    """ResNet-50 on 300 images of 224 x 224."""
    torch.manual_seed(0)
    model = ResNetForImageClassification(ResNetConfig(num_labels=1000)).eval()
    images = torch.randn(IMAGES, 3, SIDE, SIDE).split(20)
    splits = {
        "calibration": list(images[:4]), "search": list(images[4:10]), "validation": list(images[10:13]),
        "test": list(images[13:]),
    }  # fmt: skip
    return _task("resnet50", model, images[0][:1], splits, lambda out: out.logits)


def _task(name, model, example, splits, read) -> autoprune.Task:  # type: ignore[no-untyped-def]
    known: dict[int, torch.Tensor] = {}

    def dense(batch: torch.Tensor) -> torch.Tensor:
        if id(batch) not in known:
            known[id(batch)] = read(model(batch))
        return known[id(batch)]

    def evaluate(candidate: torch.nn.Module, batches: list[torch.Tensor]) -> float:
        found = [functional.cosine_similarity(read(candidate(each)), dense(each), dim=-1) for each in batches]
        return float(torch.cat(found).mean().clamp(0, 1))

    return autoprune.Task(
        name,
        model,
        example_inputs=example,
        splits=splits,
        evaluate=evaluate,
        metrics=(autoprune.Metric("similarity", "1", lower_is_better=False, high=1.0),),
        distance=lambda out, taught: functional.mse_loss(read(out), read(taught)),
    )
