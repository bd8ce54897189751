"""What a notebook shows of a result fits on a few lines."""

import json
from pathlib import Path

import torch
from torch import nn

import autoprune
from autoprune.core.measurement import Measurement
from autoprune.core.plan import Plan
from autoprune.engine.result import Point, Result
from tests.report.runs import make_run

SHORT = 300


def test_a_pruned_model_and_its_groups():
    pruned = autoprune.prune(nn.Sequential(*[nn.Linear(8, 8) for _ in range(30)]), torch.ones(1, 8))
    assert len(repr(pruned)) < SHORT
    assert "parameters: 2160 -> " in repr(pruned)
    assert repr(pruned.traced) == "Traced(29 of 31 groups can be cut: 29 neuron)"


def test_the_result_of_a_search():
    plan = Plan.of({f"layers.{number}": 8 for number in range(100)})
    measured = {key: Measurement.exact(key, 1.0, "1") for key in ("params", "flops", "size", "accuracy")}
    points = [Point(number, True, plan, measured, Path(f"runs/demo/models/{number}"), None) for number in range(9)]
    result = Result(Path("runs/demo"), tuple(points), points[3], {}, 0.1)
    assert len(repr(result)) < SHORT
    assert "models/3" in repr(result)
    assert len(repr(points[0])) < SHORT


def test_tables_of_a_result_and_of_groups(tmp_path):
    front = json.loads((make_run(tmp_path / "demo", trials=20, names=["<b>"]) / "front.json").read_text())
    result = Result(tmp_path / "demo", (), None, front, 0.1)
    html = result._repr_html_()
    assert html.count("<tr>") == len(front["front"]) + 2
    assert f"<td>{front['best']}</td>" in html
    assert "report.html" not in html
    (tmp_path / "demo" / "report.html").touch()
    assert "report.html" in result._repr_html_()
    traced = autoprune.trace(nn.Sequential(*[nn.Linear(8, 8) for _ in range(130)]), torch.ones(1, 8))
    html = traced._repr_html_()
    assert "<caption>129 of 131 groups can be cut: 129 neuron; 31 more</caption>" in html
    assert html.count("<tr>") == 101
