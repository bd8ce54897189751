"""How many pruned models are exported, run in their runtime, and compute there what they compute in torch.

    python benchmarks/deploy.py --quick              twelve models, and those of transformers; some minutes
    python benchmarks/deploy.py                      all of the zoo; writes benchmarks/deploy.md
    python benchmarks/deploy.py --only toys/lstm     by name; --formats onnx,safetensors

Each model of the coverage zoo is cut by half and exported in each format that its dense model is exported in; a cell is
the largest difference from torch, in units of the largest output (1e-4 is let pass). Models of transformers are cut as
their configurations can say it, saved, and opened by transformers alone; then unevenly, and opened with `autoprune.hf`.
Each model has its own process and time limit. Needs timm, transformers and torchvision.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import zoo
from coverage import isolated
from torch import nn

import autoprune
from autoprune.deployment.export import Acceptance, export
from autoprune.errors import AutopruneError, describe
from autoprune.exporters import Subject
from autoprune.measure.pruned import Pruned
from autoprune.surgery.example import Example
from autoprune.surgery.tracer import tensors_of

LIMIT_S = 900
FORMATS = ("onnx", "openvino", "torch-export", "executorch", "safetensors")
LIBRARY = ("bert", "vit", "gpt2", "llama-gqa", "qwen2", "whisper", "t5")
NEAR = 1e-6


@dataclass
class Row:
    """model; cells: by format the difference of the pruned model, or why there is none; varies: what may be of another
    size; dense: formats in which the dense model is exported."""

    model: str
    cells: dict[str, str] = field(default_factory=dict)
    varies: dict[str, str] = field(default_factory=dict)
    dense: list[str] = field(default_factory=list)
    error: str = ""


def written(subject: Subject, name: str) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        return export(subject, name, Path(folder) / name, Acceptance(timed=False))


def examine(name: str, formats: tuple[str, ...]) -> Row:
    row = Row(name)
    try:
        model, inputs = zoo.make(name)
        pruned = autoprune.prune(model, inputs, 0.5)
    except Exception as error:
        row.error = describe(error)
        return row
    example = Example.of(inputs)
    small = Subject(model=pruned.model, example=example, name=name, dense=model, form=pruned.form)
    for each in formats:
        if each != "safetensors":  # which says how a pruned model is made of its dense one
            try:
                whole = written(Subject(model=model, example=example, name=name), each)
            except AutopruneError as error:
                row.cells[each] = f"dense: {error.received[:60]}"
                continue
        row.dense.append(each)
        try:
            card = written(small, each)
        except AutopruneError as error:
            row.cells[each] = f"fails: {error.received[:60]}"
            continue
        row.cells[each] = f"{card.difference:.0e}"
        lost = "" if each == "safetensors" or whole.varies == card.varies else f", dense {whole.varies}"
        row.varies[each] = "+".join(card.varies) + lost
    return row


@dataclass
class Opened:
    """model; said: what transformers alone opens, its largest difference; uneven: the same with `autoprune.hf`; tokens:
    whether it generates what the pruned model does."""

    model: str
    said: float = float("nan")
    uneven: float = float("nan")
    tokens: str = "-"
    error: str = ""


@torch.no_grad()
def apart(one: nn.Module, other: nn.Module, example: Example) -> float:
    pairs = zip(tensors_of(example.call(one)), tensors_of(example.call(other)), strict=True)
    return max(float((a - b).abs().max()) for a, b in pairs if a.is_floating_point())


def generated(model: Any, example: Example) -> torch.Tensor:
    given = {name: value for name, value in example.kwargs.items() if name != "decoder_input_ids"}
    found: torch.Tensor = model.generate(**given, max_new_tokens=5, do_sample=False, pad_token_id=0)
    return found


def reopened(name: str) -> Opened:
    row = Opened(name)
    from autoprune import hf

    try:
        model, inputs = zoo.make(f"transformers/{name}")
        example = Example.of(inputs)
        pruned = autoprune.prune(model, inputs, 0.5, space="hf")
        with tempfile.TemporaryDirectory() as folder:
            hf.save(pruned, folder)
            again = type(model).from_pretrained(folder).eval()
        row.said = apart(pruned.model, again, example)
        if model.can_generate():
            same = torch.equal(generated(again, example), generated(pruned.model, example))
            row.tokens = "equal" if same else "differ"
        row.uneven = apart(*unevenly(hf, model, inputs), example)
    except Exception as error:
        row.error = describe(error)
    return row


def unevenly(hf: Any, model: nn.Module, inputs: Any) -> tuple[nn.Module, nn.Module]:
    """A model whose layers differ in width, and the same as `autoprune.hf` opens it."""
    neurons = [group for group in autoprune.trace(model, inputs).open if group.kind == "neuron"]
    keep = {group.name: group.size // (2 + place % 2) for place, group in enumerate(neurons)}
    pruned: Pruned = autoprune.prune(model, inputs, keep)
    with tempfile.TemporaryDirectory() as folder:
        hf.save(pruned, folder, dense=model)
        return pruned.model, hf.load(folder)


def table(rows: list[Row], formats: tuple[str, ...]) -> str:
    head = f"| model | {' | '.join(formats)} | may vary in onnx |\n|---|" + "---|" * (len(formats) + 1)
    lines = [
        f"| {row.model} | {' | '.join(row.cells.get(each, row.error or '-') for each in formats)} "
        f"| {row.varies.get('onnx', '-')} |"
        for row in rows
    ]
    return "\n".join([head, *lines])


def opened_table(rows: list[Opened]) -> str:
    lines = [
        f"| {row.model} | {row.said:.0e} | {row.tokens} | {row.uneven:.0e} | {row.error} |"
        for row in rows
    ]  # fmt: skip
    head = "| transformers | by `from_pretrained` alone | generates | uneven, with `autoprune.hf` | |"
    return "\n".join([head, "|---|---|---|---|---|", *lines])


def summary(rows: list[Row], opened: list[Opened], formats: tuple[str, ...]) -> str:
    counted = []
    for each in formats:
        of = [row for row in rows if each in row.dense]
        good = sum(row.cells[each][:1].isdigit() for row in of)
        counted.append(f"{each} {good} of {len(of)}")
    near = sum(row.said <= NEAR and row.uneven <= NEAR and row.tokens != "differ" for row in opened)
    return (
        f"Pruned models that are exported and compute the same, of those whose dense model is exported: "
        f"{', '.join(counted)}. Of transformers, equal to {NEAR:g} after saving and opening, even and uneven, and "
        f"generating the same: {near} of {len(opened)}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="twelve models")
    parser.add_argument("--only", nargs="*", help="names such as timm/resnet18 or transformers/bert")
    parser.add_argument("--formats", default=",".join(FORMATS), help="with commas")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    zoo.prepare()
    formats = tuple(options.formats.split(","))
    rows, opened = [], []
    for name in options.only or (zoo.QUICK if options.quick else zoo.names()):
        rows.append(
            isolated(lambda each: examine(each, formats), name, LIMIT_S, lambda reason, n=name: Row(n, error=reason))
        )
        print(table(rows[-1:], formats).splitlines()[-1], flush=True)
    for name in () if options.only else LIBRARY:
        opened.append(isolated(reopened, name, LIMIT_S, lambda reason, n=name: Opened(n, error=reason)))
        print(opened_table(opened[-1:]).splitlines()[-1], flush=True)
    print(f"\n{summary(rows, opened, formats)}")
    if not options.quick and not options.only:
        text = f"# Deployment\n\n{summary(rows, opened, formats)}\n\nWritten by `python benchmarks/deploy.py`, torch "
        text += f"{torch.__version__}.\n\n{opened_table(opened)}\n\n{table(rows, formats)}\n"
        Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
