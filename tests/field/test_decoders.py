"""Language models as users bring them: what a prompt, a token and the cache cost, and what of it may be limited."""

import pytest
import torch
from torch.nn import functional

import autoprune
from autoprune.core.budget import Budget
from autoprune.errors import UsageError

transformers = pytest.importorskip("transformers")


def loss(outputs, batch):
    return functional.cross_entropy(outputs.logits[:, :-1].flatten(0, 1), batch["input_ids"][:, 1:].flatten())


def language(length=24):
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=32, hidden_size=32, num_hidden_layers=2, num_attention_heads=8, num_key_value_heads=4,
        intermediate_size=64, max_position_embeddings=length, use_cache=False,
    )  # fmt: skip
    batches = [{"input_ids": torch.randint(0, 32, (4, length))} for _ in range(2)]
    return autoprune.Task(
        name="text",
        model=transformers.LlamaForCausalLM(config).eval(),
        example_inputs=batches[0],
        splits=dict.fromkeys(("train", "calibration", "search", "validation", "test"), batches),
        evaluate=lambda model, batches: sum(float(loss(model(**batch), batch)) for batch in batches) / len(batches),
        metrics=(autoprune.Metric("loss", "1", lower_is_better=True),),
        loss=loss,
    )


@pytest.mark.slow
def test_narrower_heads_keep_fewer_bytes():
    task = language()
    cut = autoprune.prune(task.model, task.example_inputs, keep=0.5)
    assert (
        cut.before["kv_cache"].value == 2 * 2 * 4 * 4 * 24 * 4 * 4
    )  # layers, both, samples, heads, tokens, axes, bytes
    assert cut.after["kv_cache"].value == cut.before["kv_cache"].value / 4  # half of the heads, and of their axes


def test_what_is_no_decoder_is_refused_before_anything_is_started(small_task, tmp_path):
    for budget in ("decode=20ms", "kv_cache=50%"):
        with pytest.raises(UsageError, match="a causal language model that keeps keys and values"):
            autoprune.search(small_task, budget, run=tmp_path / "run")
    with pytest.raises(UsageError, match="a causal language model that keeps keys and values"):
        autoprune.search(small_task, "params=50%", until="kv_cache<=1MiB", run=tmp_path / "run")
    with pytest.raises(UsageError, match="a profiler of torch modules for 'decode'"):
        autoprune.search(small_task, "decode=20ms", profiler="onnxruntime", run=tmp_path / "run")


def test_limits_of_decoders_are_written_as_those_of_latency():
    budget = Budget.parse("decode=20ms", "decode.p99<=30ms", "tokens>=50/s", "kv_cache=1MiB", "prefill@pi=60%")
    assert [limit.key for limit in budget.limits] == ["decode", "decode.p99", "tokens", "kv_cache", "prefill@pi"]
    assert budget.limits[0].relative_key == "decode.relative"
    assert budget.guaranteed("worst").limits[0].key == "decode.worst"
    assert budget.without("pi").limits[-1].key == "prefill"
    with pytest.raises(UsageError, match="same on all"):
        Budget.parse("kv_cache@pi=1MiB")


@pytest.mark.slow
def test_a_profile_tells_a_prompt_and_a_token_apart(hurried):
    task = language(512)
    found = autoprune.profile(task.model, task.example_inputs)
    assert found["decode"].value < found["prefill"].value < 2 * found["latency"].value
    assert found["tokens"].value == pytest.approx(4 / found["decode"].value)
    assert {"prefill.p99", "decode.worst", "kv_cache", "memory"} <= set(found)


@pytest.mark.slow
def test_a_search_keeps_to_what_a_token_and_the_cache_may_cost(tmp_path, hurried):
    budget = Budget.parse("kv_cache=60%", objectives=["loss", "decode"])
    found = autoprune.search(language(), budget, trials=6, finetune_epochs=0, repair="none", run=tmp_path / "run")
    best = found.best
    assert best.measurements["kv_cache"].value <= 0.6 * found.document["dense"]["metrics"]["kv_cache"]["value"]
    assert {"decode", "decode.relative", "tokens", "decode.worst"} <= set(best.measurements)
    assert "latency" not in best.measurements
