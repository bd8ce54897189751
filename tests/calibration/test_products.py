"""Axes of queries and keys in the order of what they add to products, against all pairs of tokens."""

import pytest
import torch
import transformers
from torch import nn

import autoprune
from autoprune import registry
from autoprune.calibration.ranking import rank
from autoprune.tasks.task import Task
from autoprune.testing.criterion import task_of

HEADS, AXES = 2, 4


class Normalised(nn.Module):
    """Keys are divided by their length, so that their axes stay."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.axes = nn.Linear(6, HEADS * AXES), nn.Linear(6, HEADS * AXES), AXES

    def forward(self, x):
        q, k = (each(x).unflatten(-1, (-1, self.axes)).transpose(1, 2) for each in (self.q, self.k))
        scores = q @ nn.functional.normalize(k, dim=-1).mT
        return (scores.softmax(-1).mean(1) @ x).mean(1)


def test_a_score_is_the_error_of_products_over_all_pairs_of_tokens():
    torch.manual_seed(0)
    task = task_of(Normalised(), 5, 6)
    traced = autoprune.trace(task.model, task.example_inputs)
    found = rank(registry.load("criteria", "hessian"), task.model, traced, task)
    (name,) = [group.name for group in traced.open if group.kind == "head_dim"]
    x = torch.cat([batch[0] for batch in task.split("calibration")]).flatten(0, 1)
    with torch.no_grad():
        q, k = (layer(x).unflatten(1, (HEADS, AXES)) for layer in (task.model.q, task.model.k))
    pairs = torch.einsum("nhd,mhd->nmhd", q, k).square().mean((0, 1)).sum(0)
    torch.testing.assert_close(found.scores[name], pairs, rtol=1e-5, atol=0)
    assert name in found.instead
    assert f"{name}: ranked by what they add to products" in found.notes[-1]


def llama_task():
    sizes = {"hidden_size": 12, "num_hidden_layers": 1, "intermediate_size": 8, "vocab_size": 9, "head_dim": 8}
    config = transformers.LlamaConfig(**sizes, num_attention_heads=4, num_key_value_heads=2, use_cache=False)
    ids = torch.randint(0, 9, (40, 6), generator=torch.Generator().manual_seed(0))
    splits = {name: [{"input_ids": ids}] for name in ("train", "calibration", "search", "validation", "test")}
    return Task(
        name="llama",
        model=transformers.LlamaForCausalLM(config).eval(),
        example_inputs={"input_ids": ids[:2]},
        splits=splits,
        evaluate=lambda model, batches: 0.0,
        metrics=(autoprune.Metric("loss", "1", lower_is_better=True),),
    )


@pytest.mark.parametrize("plane", [0, 3])
def test_rotary_planes_that_carry_nothing_go_first(plane):
    """Their halves lie apart; large keys are worth nothing where queries are none."""
    torch.manual_seed(0)
    task = llama_task()
    attention = task.model.model.layers[0].self_attn
    with torch.no_grad():
        for rows, factor in ((attention.q_proj.weight, 1e-6), (attention.k_proj.weight, 10.0)):
            rows.view(-1, 2, 4, 12)[:, :, plane] *= factor
    traced = autoprune.trace(task.model, task.example_inputs, outputs="logits")
    scores = rank(registry.load("criteria", "hessian"), task.model, traced, task).scores
    assert int(scores["model.layers.0.self_attn.q_proj#3"].argmin()) == plane
