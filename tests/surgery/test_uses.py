"""What a pruned model is used for afterwards works wherever it worked for the dense one."""

import copy
import io

import pytest
import torch

import autoprune
from benchmarks import zoo

pytest.importorskip("transformers")


def pruned(name, keep=0.5):
    model, inputs = zoo.make(name)
    return autoprune.prune(model, inputs, keep).model.eval(), inputs


@pytest.mark.parametrize("name", ["transformers/gpt2", "transformers/llama-gqa"])
def test_pruned_language_models_generate(name):
    model, inputs = pruned(name)
    model.generation_config.pad_token_id = 0
    ids = inputs["input_ids"]
    cached = model.generate(ids, max_new_tokens=6, do_sample=False, use_cache=True, eos_token_id=None)
    plain = model.generate(ids, max_new_tokens=6, do_sample=False, use_cache=False, eos_token_id=None)
    assert cached.shape == (2, 18)
    assert torch.equal(cached, plain)


def test_a_language_model_without_its_first_layer_generates():
    model, inputs = zoo.make("transformers/llama-gqa")
    traced = autoprune.trace(model, inputs)
    first = next(group.name for group in traced.open if group.kind == "layer")
    cut = autoprune.prune(model, inputs, {first: 0}).model.eval()
    ids = inputs["input_ids"]
    cached = cut.generate(ids, max_new_tokens=6, do_sample=False, use_cache=True, eos_token_id=None, pad_token_id=0)
    plain = cut.generate(ids, max_new_tokens=6, do_sample=False, use_cache=False, eos_token_id=None, pad_token_id=0)
    assert torch.equal(cached, plain)


@pytest.mark.parametrize("name", ["transformers/vit", "transformers/resnet"])
@pytest.mark.slow
def test_pruned_models_export_compile_and_copy(name):
    model, inputs = pruned(name)
    with torch.no_grad():
        expected = model(**inputs).logits
        exported = torch.export.export(model, (), inputs).module()(**inputs).logits
        compiled = torch.compile(model, backend="aot_eager")(**inputs).logits
        copied = copy.deepcopy(model)(**inputs).logits
    for other in (exported, compiled, copied):
        torch.testing.assert_close(other, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_a_pruned_model_exports_to_onnx():
    pytest.importorskip("onnxscript")
    model, inputs = pruned("transformers/resnet")
    written = io.BytesIO()
    torch.onnx.export(model, (inputs["pixel_values"],), written, dynamo=True)
    assert written.getbuffer().nbytes > 1000
