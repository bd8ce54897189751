"""A search whose task is defined in a notebook shows how it is getting on in the cell's output."""

import json
import sys
from types import SimpleNamespace

import pytest

import autoprune

CELL = """
import torch
from torch import nn
import autoprune
from autoprune.measure import limits
from tests.hurried import LIMITS

limits.USUAL = LIMITS
x, y = torch.randn(90, 8), torch.arange(90) % 3
model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3)).eval()
task = autoprune.Classification(model, data=(x, y), example_inputs=(x[:4],), name="in-a-notebook")
options = {"trials": 4, "finetune_epochs": 0, "finalists": 1, "sampler": "random", "run": "r"}
result = autoprune.search(task, "params=90%", **options)
result
"""


class Handle:
    """Of a display, as IPython has them: what is shown now is the last of `shown`."""

    def __init__(self, shown):
        self.shown = [shown]

    def update(self, bundle, raw):
        assert raw
        self.shown.append(bundle)


@pytest.fixture
def displays(monkeypatch):
    """IPython as a kernel has it, with what was displayed."""
    made = []

    def display(bundle, raw, display_id):
        assert raw
        assert display_id
        made.append(Handle(bundle))
        return made[-1]

    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell, version_info=(9, 0)))
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=display))
    return made


@pytest.mark.slow
def test_long_work_has_bars_in_a_notebook(displays, small_task):
    autoprune.search(small_task, "params=90%", trials=3, finetune_epochs=0, finalists=1, sampler="random", run="r")
    last = [handle.shown[-1] for handle in displays]
    (searching,) = [bundle for bundle in last if bundle["text/plain"].startswith("searching")]
    assert searching["text/plain"].startswith("searching: 3/3, front")
    assert '<progress value="3" max="3"' in searching["text/html"]
    assert all(set(bundle) == {"text/plain", "text/html"} for bundle in last)


def test_what_a_task_is_called_is_no_markup(displays):
    from autoprune.api.notebook import usual_reporter

    with usual_reporter().track("<b>", 2) as advance:
        advance("<i>")
    assert displays[0].shown[-1]["text/html"].endswith(" &lt;b&gt;: 1/2, &lt;i&gt;</div>")


@pytest.mark.slow
def test_a_real_notebook(tmp_path):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    nbclient.NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = notebook.cells[0].outputs
    shown = [each["data"] for each in outputs if each.output_type == "display_data"]
    assert any(bundle["text/plain"].startswith("searching: 4/4, front") for bundle in shown)
    (result,) = [each["data"] for each in outputs if each.output_type == "execute_result"]
    assert "<table" in result["text/html"]
    assert json.loads((tmp_path / "r" / "front.json").read_text())["task"] == "in-a-notebook"
