"""A vision transformer from `transformers`, on scikit-learn's digits.

    autoprune search examples/vit.py:task --budget latency=60%

Needs `pip install transformers`. The model is trained in some ten seconds the first time that the task is made.
"""

import torch
from sklearn.datasets import load_digits
from training import train
from transformers import ViTConfig, ViTForImageClassification

import autoprune


def network() -> ViTForImageClassification:
    config = ViTConfig(
        image_size=8, patch_size=2, num_channels=1, num_labels=10,
        hidden_size=96, num_hidden_layers=4, num_attention_heads=6, intermediate_size=192,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    return ViTForImageClassification(config)


def task() -> autoprune.Task:
    digits = load_digits()
    images, labels = torch.tensor(digits.images).float()[:, None] / 16, torch.tensor(digits.target)
    torch.manual_seed(0)
    made = autoprune.Classification(network(), data=(images, labels), example_inputs=images[:16], name="vit")
    train(made, epochs=30, rate=2e-3)
    return made
