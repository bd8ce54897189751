"""A BERT classifier from `transformers`: which module of the standard library do these 48 bytes come from?

    autoprune search examples/bert.py:task --budget latency=60%

Needs `pip install transformers`. The model is trained in some twenty seconds the first time that the task is made.
"""

import torch
from source_code import MODULES, windows
from training import train
from transformers import BertConfig, BertForSequenceClassification

import autoprune


def task() -> autoprune.Task:
    ids, labels = windows(length=48, stride=48)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=256, max_position_embeddings=48, num_labels=len(MODULES),
        hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128,
        hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    model = BertForSequenceClassification(config)
    made = autoprune.Classification(model, data=(ids, labels), example_inputs={"input_ids": ids[:16]}, name="bert")
    train(made, epochs=8, rate=1e-3)
    return made
