"""Pruned models of transformers are opened by transformers, whatever their sizes."""

import copy
import functools
import json
import subprocess
import sys

import pytest
import torch
from torch import nn

import autoprune
from autoprune.errors import StorageError, UsageError
from tests.field.test_pretrained_models import IDS, dense, halves, same

transformers = pytest.importorskip("transformers")

from autoprune import hf  # noqa: E402 - needs transformers


@functools.cache
def uneven(name):
    """Half of the neurons of the first layer that has any."""
    model, inputs = dense(name)
    first = next(group for group in autoprune.trace(model, inputs).open if group.kind == "neuron")
    return autoprune.prune(model, inputs, {first.name: 20})


@pytest.mark.parametrize("name", ["bert", "vit"])
def test_sizes_that_a_configuration_can_say_need_nothing_but_transformers(name, tmp_path):
    model, inputs = dense(name)
    pruned = autoprune.prune(model, inputs, halves(name, "embedding", "head", "neuron"))
    assert hf.save(pruned, tmp_path)
    assert same(pruned.model, type(model).from_pretrained(tmp_path).eval(), inputs)
    assert same(pruned.model, hf.load(tmp_path), inputs)


@pytest.mark.parametrize("name", ["bert", "t5", "gpt2"])
def test_other_sizes_are_opened_by_the_auto_classes(name, tmp_path):
    model, inputs = dense(name)
    pruned = uneven(name)
    assert not hf.save(pruned, tmp_path, dense=model)
    auto = {"bert": "AutoModelForSequenceClassification", "t5": "AutoModelForSeq2SeqLM", "gpt2": "AutoModelForCausalLM"}
    again = getattr(transformers, auto[name]).from_pretrained(tmp_path)
    assert type(again) is type(model)
    assert same(pruned.model, again, inputs)


def test_dropped_layers_of_different_widths_are_opened(tmp_path):
    model, inputs = dense("bert")
    pruned = autoprune.prune(model, inputs, {"bert.encoder.layer.0": 0, "bert.encoder.layer.1.intermediate.dense": 20})
    hf.save(pruned, tmp_path, dense=model)
    assert same(pruned.model, hf.load(tmp_path), inputs)


def test_a_pruned_language_model_generates(tmp_path):
    model, inputs = dense("llama")
    pruned = autoprune.prune(model, inputs, halves("llama", "head_dim"))
    hf.save(pruned, tmp_path, dense=model)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    expected = pruned.model.generate(IDS, max_new_tokens=4, do_sample=False, pad_token_id=0)
    assert torch.equal(again.generate(IDS, max_new_tokens=4, do_sample=False, pad_token_id=0), expected)


@pytest.fixture
def halved(tmp_path):
    """A folder of a pruned model of bfloat16 whose layers differ in width, and what opens it."""
    model = copy.deepcopy(dense("llama")[0]).to(torch.bfloat16)
    pruned = autoprune.prune(model, {"input_ids": IDS}, {"model.layers.0.mlp.gate_proj": 20})
    assert not hf.save(pruned, tmp_path / "small", dense=model)
    return tmp_path / "small", transformers.AutoModelForCausalLM.from_pretrained


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, torch.bfloat16),
        ({"dtype": "auto"}, torch.bfloat16),
        ({"dtype": "float16"}, torch.float16),
        ({"dtype": torch.float32}, torch.float32),
        ({"torch_dtype": torch.float16}, torch.float16),
    ],
)
def test_a_data_type_is_kept_or_obeyed(halved, options, expected):
    folder, opens = halved
    again = opens(folder, **options)
    assert {each.dtype for each in again.parameters()} == {expected}
    assert again.config.dtype == expected
    assert hf.load(folder).dtype is torch.bfloat16


def test_an_option_is_obeyed_or_refused_by_its_name(halved):
    folder, opens = halved
    assert opens(folder, attn_implementation="eager").config._attn_implementation == "eager"
    for options in ({"output_loading_info": True}, {"device_map": "cpu"}, {"output_attentions": True}):
        with pytest.raises(UsageError, match=f"received {min(options)};"):
            opens(folder, **options)
    with pytest.raises(UsageError, match="a data type of torch, its name, or 'auto'; received 7"):
        opens(folder, dtype=7)
    with pytest.raises(UsageError, match=r"that has LlamaForCausalLM; received AutoModel; use AutoModelForCausalLM or"):
        transformers.AutoModel.from_pretrained(folder)


def test_an_opened_model_is_saved_again(halved, tmp_path):
    folder, opens = halved
    first = copy.deepcopy(opens(folder))
    with torch.no_grad():
        first.lm_head.weight += 1
    first.save_pretrained(tmp_path / "again")
    assert same(first, opens(tmp_path / "again"), {"input_ids": IDS})
    with pytest.raises(UsageError, match="received push_to_hub"):
        first.save_pretrained(tmp_path / "again", push_to_hub=True)


def test_what_is_missing_is_said(tmp_path):
    pruned = uneven("bert")
    with pytest.raises(UsageError, match="space='hf'"):
        hf.save(pruned, tmp_path / "a")
    with pytest.raises(UsageError, match="a model of transformers"):
        hf.save(nn.Linear(2, 2), tmp_path / "b")
    with pytest.raises(StorageError, match=r"config\.json"):
        hf.load(tmp_path)
    hf.save(pruned, tmp_path / "c", dense=dense("bert")[0])
    (tmp_path / "c" / "config.json").write_text(json.dumps({"model_type": "autoprune", "architectures": ["BertModel"]}))
    with pytest.raises(StorageError, match="the form"):
        hf.load(tmp_path / "c")
    (tmp_path / "c" / "config.json").write_text(json.dumps({"architectures": ["pipeline"]}))
    with pytest.raises(StorageError, match="'pipeline' is no model"):
        hf.load(tmp_path / "c")


@pytest.mark.slow
def test_a_process_that_imports_it_opens_the_folder(tmp_path):
    hf.save(uneven("gpt2"), tmp_path, dense=dense("gpt2")[0])
    code = (
        "import autoprune.hf, transformers, sys\n"
        "print(type(transformers.AutoModelForCausalLM.from_pretrained(sys.argv[1])).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["GPT2LMHeadModel"], done.stderr
