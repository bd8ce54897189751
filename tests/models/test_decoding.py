"""Decoders of several kinds at work, against what they answer in one pass."""

import pytest
import torch
from torch import nn

from autoprune.errors import UsageError
from autoprune.models.decoding import at_work, cache_sizes, check_decoder
from autoprune.surgery.example import Example

transformers = pytest.importorskip("transformers")

SMALL = {"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
WIDE = {**SMALL, "num_key_value_heads": 2, "intermediate_size": 48, "max_position_embeddings": 24}


def decoder(family):
    torch.manual_seed(0)
    if family == "gpt2":
        config = transformers.GPT2Config(vocab_size=40, n_embd=32, n_layer=2, n_head=4, n_positions=24)
        return transformers.GPT2LMHeadModel(config).eval()
    if family == "mistral":
        return transformers.MistralForCausalLM(transformers.MistralConfig(**WIDE, sliding_window=8)).eval()
    made = {"llama": transformers.LlamaForCausalLM, "qwen2": transformers.Qwen2ForCausalLM}[family]
    return made(made.config_class(**WIDE, use_cache=False)).eval()


def text(length=24, **more):
    ids = torch.randint(0, 40, (2, length), generator=torch.Generator().manual_seed(1))
    return Example.of({"input_ids": ids, **more})


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen2", "mistral"])
def test_a_step_answers_as_the_last_token_of_a_whole_pass_each_time(family):
    model, example = decoder(family), text()
    check_decoder(model, example, "decode")
    last = example.call(model).logits[:, -1:]
    for work in ("prefill", "decode"):
        part, inputs = at_work(model, example, work)
        for _ in range(3):
            torch.testing.assert_close(inputs.call(part), last, rtol=1e-3, atol=1e-4)


def test_a_step_reads_one_token_and_a_mask_of_all():
    model = decoder("llama")
    mask = torch.ones(2, 24, dtype=torch.int64)
    mask[0, :5] = 0
    example = text(attention_mask=mask, labels=torch.zeros(2, 24, dtype=torch.int64))
    part, inputs = at_work(model, example, "decode")
    inputs.call(part)
    read = []
    model.model.embed_tokens.register_forward_hook(lambda _, args, out: read.append(args[0].shape))
    found = inputs.call(part)
    assert read == [(2, 1)]
    torch.testing.assert_close(found, example.call(model).logits[:, -1:], rtol=1e-3, atol=1e-4)


def test_keys_and_values_are_counted_by_layer():
    found = cache_sizes(decoder("llama"), text())
    each = 2 * 2 * 2 * 24 * 8 * 4  # keys and values, samples, heads, tokens, dimensions, bytes
    assert found == {f"model.layers.{place}.self_attn": each for place in range(2)}
    assert cache_sizes(nn.Linear(4, 4), Example.of(torch.zeros(1, 4))) == {}


def test_what_does_not_decode_is_refused():
    bert = transformers.BertModel(transformers.BertConfig(**SMALL, intermediate_size=48)).eval()
    for model, example, reason in [
        (nn.Linear(4, 4), Example.of(torch.zeros(1, 4)), "no past_key_values"),
        (bert, text(), "none in its"),
        (decoder("llama"), text(1), "1 tokens"),
    ]:
        with pytest.raises(UsageError, match=reason):
            check_decoder(model, example, "decode")


def test_a_model_that_needs_more_than_text_is_counted_without_a_cache():
    class Seeing(nn.Module):
        """As models for pictures and text are called."""

        def forward(self, input_ids, pictures, past_key_values=None, use_cache=False):
            return pictures.sum() + input_ids.float()

    assert cache_sizes(Seeing(), text(pictures=torch.ones(2, 3))) == {}
