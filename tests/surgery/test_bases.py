"""Which dimensions may be given another basis: those that sums alone read, and no others."""

import pytest
import torch
import transformers
from torch import nn

import autoprune
from autoprune.surgery.find import twin
from autoprune.surgery.turning import turned

WIDTH, HEADS, AXES = 12, 3, 4
IDS = torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]])
SIZES = {"hidden_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": HEADS, "intermediate_size": 8}


def kinds(traced):
    """By kind of basis, whether each is free, its sides, and its axes."""
    found = {}
    for basis in traced.bases.values():
        block = basis.blocks[0]
        sides = len(block.writes), len(block.against), len(block.reads)
        found["product" if block.against else "read"] = (basis.free, sides, len(block.slices))
    return found


def text(model):
    return model.eval(), {"input_ids": IDS}


def bert():
    return text(transformers.BertModel(transformers.BertConfig(**SIZES, vocab_size=9)))


def gpt2():
    config = transformers.GPT2Config(
        n_embd=WIDTH, n_layer=1, n_head=HEADS, vocab_size=9, eos_token_id=0, bos_token_id=0
    )
    return text(transformers.GPT2Model(config))


def vit():
    config = transformers.ViTConfig(**SIZES, image_size=8, patch_size=4)
    return transformers.ViTModel(config).eval(), {"pixel_values": torch.randn(2, 3, 8, 8)}


def own():
    inner = nn.TransformerEncoderLayer(WIDTH, HEADS, 8, batch_first=True)
    return nn.Sequential(nn.Linear(5, WIDTH), inner, nn.Linear(WIDTH, 2)).eval(), torch.randn(2, 4, 5)


def llama(kind=transformers.LlamaConfig, model=transformers.LlamaModel):
    config = kind(**{**SIZES, "num_attention_heads": 6, "num_key_value_heads": 3}, vocab_size=9, head_dim=AXES)
    return text(model(config))


class Pooled(nn.Module):
    """Convolutions of one pixel for queries, keys and values, and a product in another order."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = (nn.Conv2d(6, HEADS * AXES, 1) for _ in range(3))
        self.o, self.axes = nn.Conv2d(HEADS * AXES, 6, 1), AXES

    def forward(self, x):
        q, k, v = (each(x).flatten(2).unflatten(1, (-1, self.axes)) for each in (self.q, self.k, self.v))
        mixed = v @ (k.mT @ q * self.axes**-0.5).softmax(2)
        return self.o(mixed.flatten(1, 2).unflatten(2, x.shape[2:])).mean((2, 3))


@pytest.mark.parametrize("made", [bert, gpt2, vit, lambda: (Pooled().eval(), torch.randn(2, 6, 3, 3))])
def test_heads_have_a_basis_for_products_and_one_for_values(made):
    found = kinds(autoprune.trace(*made()))
    assert found == {"product": (True, (1, 1, 0), AXES), "read": (True, (1, 0, 1), AXES)}


def test_kernels_of_several_pixels_write_into_no_basis():
    model = Pooled()
    model.q = nn.Conv2d(6, HEADS * AXES, 3, padding=1)
    found = kinds(autoprune.trace(model.eval(), torch.randn(2, 6, 3, 3)))
    assert found == {"read": (True, (1, 0, 1), AXES)}


def test_a_projection_of_one_group_has_both_in_it():
    (basis,) = autoprune.trace(*own()).bases.values()
    assert basis.free
    assert [(len(each.writes), len(each.against), len(each.reads)) for each in basis.blocks] == (
        [(1, 1, 0)] * HEADS + [(1, 0, 1)] * HEADS
    )


@pytest.mark.parametrize(
    "made", [llama, lambda: llama(transformers.Qwen3Config, transformers.Qwen3Model)], ids=["rotary", "normalised"]
)
def test_axes_that_something_is_done_to_stay_and_grouped_queries_share_their_key(made):
    found = kinds(autoprune.trace(*made()))
    assert found == {"product": (False, (2, 1, 0), AXES), "read": (True, (1, 0, 2), AXES)}


class Odd(nn.Module):
    """A product of two projections with something done to one of them."""

    def __init__(self, done):
        super().__init__()
        self.q, self.k, self.done = nn.Linear(6, AXES), nn.Linear(6, AXES), done

    def forward(self, x):
        return (self.done(self.q(x), x) @ self.k(x).mT).softmax(-1) @ x


def scaled_in_place(q, x):
    q[..., :2] *= 2
    return q


def written_in_place(q, x):
    q[..., :2] = q[..., :2].relu()
    return q


@pytest.mark.parametrize(
    ("done", "free"),
    [
        (lambda q, x: q * 0.5, True),
        (lambda q, x: q / x.shape[1] ** 0.5, True),
        (lambda q, x: q.contiguous()[:, :-1], True),
        (lambda q, x: q + 1, False),
        (lambda q, x: q.relu(), False),
        (lambda q, x: q.softmax(-1), False),
        (lambda q, x: q / q.norm(dim=-1, keepdim=True), False),
        (lambda q, x: torch.cat([q[..., :2], -q[..., 2:]], -1), False),
        (scaled_in_place, False),
        (written_in_place, False),
    ],
)  # fmt: skip
def test_what_treats_axes_unlike_leaves_no_basis_free(done, free):
    traced = autoprune.trace(Odd(done).eval(), torch.randn(2, 4, 6))
    assert any(basis.free for basis in traced.bases.values()) is free


def test_factors_of_a_matrix_have_a_basis_between_them():
    model = nn.Sequential(nn.Linear(9, 4), nn.Linear(4, 9)).eval()
    assert kinds(autoprune.trace(model, torch.randn(2, 9))) == {"read": (True, (1, 0, 1), 4)}
    active = nn.Sequential(nn.Linear(9, 4), nn.ReLU(), nn.Linear(4, 9)).eval()
    assert not autoprune.trace(active, torch.randn(2, 9)).bases


def test_a_model_without_numbers_has_none_that_is_proved():
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(9, 4), nn.Linear(4, 9)).eval()
    assert not any(each.free for each in autoprune.trace(model, torch.randn(2, 9, device="meta")).bases.values())


def test_another_basis_changes_weights_and_no_results():
    model, example = own()
    traced = autoprune.trace(model, example)
    (basis,) = traced.bases.values()
    other, tensors = twin(model.double(), meta=False)
    change = torch.tensor([[1.0, 0, 0, 0], [2, 1, 0, 0], [0, 3, 1, 0], [0, 0, 0, 0.5]]).double()
    changed = turned(tensors, [(block, change, torch.linalg.inv(change).T) for block in basis.blocks])
    assert set(changed) == {"1.self_attn.in_proj_weight", "1.self_attn.in_proj_bias", "1.self_attn.out_proj.weight"}
    with torch.no_grad():
        for name, each in changed.items():
            tensors[name].copy_(each)
    torch.testing.assert_close(other.eval()(example.double()), model(example.double()), atol=1e-9, rtol=0)
