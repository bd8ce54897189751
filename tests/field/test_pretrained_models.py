"""A pruned model of transformers is saved and loaded by transformers."""

import functools

import pytest
import torch
from torch import nn

import autoprune
from autoprune.surgery.tracer import tensors_of

transformers = pytest.importorskip("transformers")

IDS = torch.arange(14).view(2, 7) % 61
SIZES = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}


@functools.cache
def dense(name):
    """A small model of random weights and its inputs; tests leave it as it is."""
    torch.manual_seed(0)
    t, inputs = transformers, {"input_ids": IDS}
    if name == "bert":
        # The number of its padding token equals a size by chance.
        model = t.BertForSequenceClassification(t.BertConfig(**SIZES, max_position_embeddings=16, pad_token_id=48))
    elif name == "llama":
        model = t.LlamaForCausalLM(t.LlamaConfig(**SIZES, num_key_value_heads=2, head_dim=8))
    elif name == "vit":
        config = t.ViTConfig(**{k: v for k, v in SIZES.items() if k != "vocab_size"}, image_size=16, patch_size=4)
        model, inputs = t.ViTForImageClassification(config), {"pixel_values": torch.randn(2, 3, 16, 16)}
    elif name == "t5":
        config = t.T5Config(vocab_size=64, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4)
        model, inputs = t.T5ForConditionalGeneration(config), {**inputs, "decoder_input_ids": IDS[:, :5]}
    else:
        config = t.GPT2Config(
            vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=16, bos_token_id=1, eos_token_id=2
        )
        model = t.GPT2LMHeadModel(config)
    return model.eval(), inputs


@functools.cache
def halves(name, *kinds):
    """Half of every group of these kinds."""
    return {g.name: g.size // 2 for g in autoprune.trace(*dense(name)).open if g.kind in kinds}


def saved_and_loaded(model, folder):
    model.save_pretrained(folder)
    return type(model).from_pretrained(folder).eval()


@torch.no_grad()
def same(model, other, inputs):
    pairs = zip(tensors_of(model.eval()(**inputs)), tensors_of(other(**inputs)), strict=True)
    return all(torch.allclose(one, another, atol=1e-6) for one, another in pairs)


@pytest.mark.parametrize(
    ("name", "kinds", "said"),
    [
        ("bert", ("embedding", "head", "neuron"), {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24, "pad_token_id": 48}),
        ("llama", ("embedding", "head", "neuron"), {"hidden_size": 16, "num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 8}),
        ("vit", ("embedding", "head", "neuron"), {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24}),
        ("t5", ("embedding", "head", "head_dim", "neuron"), {"d_model": 32, "num_heads": 2, "d_kv": 4, "d_ff": 24}),
        ("gpt2", ("embedding", "head"), {"n_embd": 16, "n_head": 2, "n_inner": 128}),
        ("gpt2", ("embedding", "head", "neuron"), {"n_embd": 16, "n_head": 2, "n_inner": None}),
    ],
)  # fmt: skip
def test_a_plan_that_is_alike_in_all_layers_is_saved_and_loaded(name, kinds, said, tmp_path):
    model, inputs = dense(name)
    pruned = autoprune.prune(model, inputs, halves(name, *kinds))
    assert not pruned.notes
    assert {key: getattr(pruned.model.config, key) for key in said} == said
    assert same(pruned.model, saved_and_loaded(pruned.model, tmp_path), inputs)


def test_the_dense_model_keeps_its_configuration():
    model, inputs = dense("bert")
    before = model.config.to_dict()
    autoprune.prune(model, inputs, halves("bert", "neuron"))
    assert model.config.to_dict() == before


@pytest.mark.parametrize(
    ("name", "layers", "key"),
    [("bert", "bert.encoder.layer", "num_hidden_layers"), ("gpt2", "transformer.h", "n_layer")],
)
def test_dropped_layers_are_counted_out(name, layers, key, tmp_path):
    model, inputs = dense(name)
    pruned = autoprune.prune(model, inputs, {f"{layers}.0": 0})
    assert not pruned.notes
    assert getattr(pruned.model.config, key) == 1
    assert same(pruned.model, saved_and_loaded(pruned.model, tmp_path / "hf"), inputs)
    pruned.save(tmp_path / "own")
    again = autoprune.load(tmp_path / "own", model=model, example_inputs=inputs)
    assert same(pruned.model, again, inputs)
    assert getattr(again.config, key) == 1


def test_stages_are_said_by_lists(tmp_path):
    config = transformers.ConvNextConfig(hidden_sizes=[16, 32], depths=[2, 2], num_stages=2, image_size=16)
    model, inputs = (
        transformers.ConvNextForImageClassification(config).eval(),
        {"pixel_values": torch.randn(1, 3, 16, 16)},
    )
    stem, stage = "convnext.embeddings.patch_embeddings", "convnext.encoder.stages.1.layers"
    wide = {g.name: 32 for g in autoprune.trace(model, inputs).open if "stages.0" in g.name and g.size == 64}
    pruned = autoprune.prune(model, inputs, {stem: 8, f"{stage}.0": 0, **wide})
    assert (pruned.model.config.hidden_sizes, pruned.model.config.depths) == ([8, 32], [2, 1])
    assert same(pruned.model, saved_and_loaded(pruned.model, tmp_path), inputs)


def test_layers_of_different_widths_are_named_in_a_note():
    model, inputs = dense("bert")
    pruned = autoprune.prune(model, inputs, {"bert.encoder.layer.1.intermediate.dense": 20})
    (note,) = pruned.notes
    assert "layer.0.intermediate.dense.weight' of [48, 32] from" in note
    assert "[20, 32]" in note
    assert pruned.model.config.intermediate_size == 48
    assert "note: the configuration" in pruned.summary()


def test_thinner_heads_are_not_said_where_frequencies_and_scale_follow_from_them():
    model, inputs = dense("llama")
    (note,) = autoprune.prune(model, inputs, halves("llama", "head_dim")).notes
    assert "size of a head" in note


def test_a_pretrained_model_inside_of_another_module_is_found(tmp_path):
    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = dense("bert")[0].bert
            self.score = nn.Linear(32, 1)

        def forward(self, ids):
            return self.score(self.backbone(ids).pooler_output)

    reader = Reader().eval()
    keep = {g.name: g.size // 2 for g in autoprune.trace(reader, IDS).open if g.kind in ("embedding", "head", "neuron")}
    pruned = autoprune.prune(reader, IDS, keep)
    assert not pruned.notes
    again = saved_and_loaded(pruned.model.backbone, tmp_path)
    assert same(pruned.model.backbone, again, {"input_ids": IDS})


@pytest.mark.parametrize("name", ["bert", "llama", "t5"])
@pytest.mark.slow
def test_every_plan_of_the_space_hf_is_saved_and_loaded(name, tmp_path):
    model, inputs = dense(name)
    pruned = autoprune.prune(model, inputs, 0.5, space="hf")
    assert not pruned.notes
    assert pruned.after["params"].value < pruned.before["params"].value
    assert same(pruned.model, saved_and_loaded(pruned.model, tmp_path), inputs)


def test_the_space_hf_is_for_models_that_are_made_of_a_configuration():
    with pytest.raises(autoprune.errors.SurgeryError, match="choose another search space"):
        autoprune.prune(nn.Linear(8, 8), torch.ones(1, 8), space="hf")
