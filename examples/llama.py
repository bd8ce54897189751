"""A Llama with grouped queries from `transformers`, as a language model of bytes of Python source.

    autoprune inspect examples/llama.py:task
    autoprune search examples/llama.py:task --budget latency=70%

Needs `pip install transformers`. The quality is a loss, so lower is better; the model is trained in some twenty
seconds when the task is made.
"""

import math

import torch
from source_code import windows
from torch.nn import functional
from training import train
from transformers import LlamaConfig, LlamaForCausalLM

import autoprune


def task() -> autoprune.Task:
    ids, _ = windows(length=64, stride=64)
    ids = ids[torch.randperm(len(ids), generator=torch.Generator().manual_seed(0))]
    sizes = {"calibration": 256, "search": 512, "validation": 512, "test": 512}
    parts = dict(zip(sizes, ids.split([*sizes.values(), len(ids) - sum(sizes.values())])[:-1], strict=True))
    parts["train"] = ids[sum(sizes.values()) :]
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=256, hidden_size=96, num_hidden_layers=2, num_attention_heads=8, num_key_value_heads=2,
        intermediate_size=192, max_position_embeddings=64, use_cache=False,
    )  # fmt: skip
    made = autoprune.Task(
        name="llama",
        model=LlamaForCausalLM(config),
        example_inputs={"input_ids": ids[:4]},
        splits={name: [{"input_ids": batch} for batch in part.split(32)] for name, part in parts.items()},
        evaluate=evaluate,
        metrics=(autoprune.Metric("loss", "1", lower_is_better=True, low=0.0),),
        loss=loss,
    )
    train(made, epochs=2, rate=3e-3)
    return made


def loss(outputs, batch) -> torch.Tensor:
    """Mean cross-entropy of the next byte."""
    return functional.cross_entropy(outputs.logits[:, :-1].flatten(0, 1), batch["input_ids"][:, 1:].flatten())


def evaluate(model, batches) -> float:
    losses = [(float(loss(model(**batch), batch)), len(batch["input_ids"])) for batch in batches]
    return math.fsum(value * count for value, count in losses) / sum(count for _, count in losses)
