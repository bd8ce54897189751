"""Pruned models of transformers are opened by transformers, whatever their sizes."""

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
    again = transformers.AutoModel.from_pretrained(tmp_path)
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


def test_a_data_type_is_obeyed(tmp_path):
    hf.save(uneven("bert"), tmp_path, dense=dense("bert")[0])
    again = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert next(again.parameters()).dtype is torch.bfloat16


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


def test_a_process_that_imports_it_opens_the_folder(tmp_path):
    hf.save(uneven("gpt2"), tmp_path, dense=dense("gpt2")[0])
    code = (
        "import autoprune.hf, transformers, sys\n"
        "print(type(transformers.AutoModelForCausalLM.from_pretrained(sys.argv[1])).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["GPT2LMHeadModel"], done.stderr
