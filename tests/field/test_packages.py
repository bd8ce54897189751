"""Task files inside of packages, and models that are loaded where their task is not."""

import json
import shutil
import sys

import pytest
import torch
from torch import nn

import autoprune
from autoprune.core.reporter import Silent
from autoprune.errors import StorageError, TaskError, UsageError
from autoprune.tasks.locate import locate

NET = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 16), nn.Linear(16, 3)

    def forward(self, x):
        return self.b(self.a(x).relu())
"""
DATA = """
import torch

def data():
    return torch.randn(60, 4), torch.arange(60) % 3
"""
TASK = """
import autoprune, torch
from ..nets import Net
from .data import data

def task():
    torch.manual_seed(0)
    return autoprune.Classification(Net().eval(), data=data(), example_inputs=(torch.randn(2, 4),))
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of a user with a name of its own: `NAME/nets.py`, `NAME/tasks/{data,small}.py`."""
    name = f"users_{tmp_path.name}".replace("-", "_")
    folder = tmp_path / "src" / name
    (folder / "tasks").mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "tasks" / "__init__.py").touch()
    (folder / "nets.py").write_text(NET)
    (folder / "tasks" / "data.py").write_text(DATA)
    (folder / "tasks" / "small.py").write_text(TASK)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield folder
    for each in [each for each in sys.modules if name in each]:
        del sys.modules[each]


def test_a_file_is_a_module_of_its_package(package):
    made = locate(str(package / "tasks" / "small.py") + ":task", Silent())
    assert type(made.model).__module__ == f"{package.name}.nets"
    assert made.spec == f"{package / 'tasks' / 'small.py'}:task"
    assert type(locate(made.spec, Silent()).model) is type(made.model)


def test_the_initial_file_of_a_package_may_be_named(package):
    (package / "__init__.py").write_text("def task():\n    from .tasks.small import task\n    return task()\n")
    assert locate(str(package / "__init__.py") + ":task", Silent()).model.a.out_features == 16


def test_the_command_line_looks_into_a_package(package, told, tmp_path):
    code, out, err = told("inspect", str(package / "tasks" / "small.py") + ":task")
    assert (code, "neuron" in out) == (0, True), err


def test_the_cure_of_a_relative_import_outside_of_a_package_is_one(package):
    (package / "tasks" / "__init__.py").unlink()
    (package / "tasks" / "small.py").write_text(TASK.replace("from ..nets", "from nets"))
    (package / "tasks" / "nets.py").write_text(NET)
    spec = str(package / "tasks" / "small.py") + ":task"
    with pytest.raises(TaskError, match="put an empty __init__.py into .*tasks"):
        locate(spec, Silent())
    (package / "tasks" / "__init__.py").touch()
    assert locate(spec, Silent()).model.a.out_features == 16


def test_another_package_of_that_name_is_told(tmp_path, package):
    locate(str(package / "tasks" / "small.py") + ":task", Silent())
    shutil.copytree(package, tmp_path / "elsewhere" / package.name)
    with pytest.raises(UsageError, match=rf"as the module {package.name}.tasks.small; received another {package.name}"):
        locate(str(tmp_path / "elsewhere" / package.name / "tasks" / "small.py") + ":task", Silent())


def test_what_fails_inside_of_a_package_is_told_with_a_way_to_see_it(package):
    (package / "tasks" / "data.py").write_text("import nothing_like_this")
    with pytest.raises(TaskError, match=rf"nothing_like_this.*python -c 'import {package.name}.tasks.small'"):
        locate(str(package / "tasks" / "small.py") + ":task", Silent())


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3)).eval()


@pytest.fixture
def searched(tmp_path, hurried):
    """A run, and the folder of one of its models; the task is in `task.py`."""
    (tmp_path / "task.py").write_text(
        "import autoprune, torch\nfrom torch import nn\n\n\ndef task():\n    torch.manual_seed(0)\n"
        "    net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3)).eval()\n"
        "    data = (torch.randn(60, 4), torch.arange(60) % 3)\n"
        "    return autoprune.Classification(net, data=data, example_inputs=(torch.randn(2, 4),))\n"
    )
    quick = {"trials": 2, "finetune_epochs": 0, "finalists": 1, "repair": "none", "criterion": "l1"}
    found = autoprune.search("task.py:task", "params=80%", run="r", sampler="random", seed=1, **quick)
    return found, tmp_path / "r" / "models" / str(found.best.trial)


def test_a_model_without_its_task_is_loaded_from_the_dense_one(searched, told, tmp_path):
    (found, folder), x = searched, torch.randn(3, 4)
    expected = autoprune.load(folder)(x)
    assert torch.equal(autoprune.load(folder, "task.py:task")(x), expected)
    kept = found.best.plan.kept["0"]
    for subject in ("r", folder):  # a run's best model, and one by its folder: as many groups, as they are now
        code, out, _ = told("inspect", subject, "--json")
        sizes = {group["name"]: group["size"] for group in json.loads(out)["groups"]}
        assert (code, sizes["0"]) == (0, kept)
    code, _, err = told("inspect", "r", "--sensitivity")
    assert (code, "--sensitivity of a task" in err) == (2, True)

    (tmp_path / "task.py").unlink()  # as on another machine
    with pytest.raises(StorageError, match="does not exist; pass the dense model.*model=dense") as error:
        autoprune.load(folder)
    assert "colon" not in str(error.value)
    assert torch.equal(autoprune.load(folder, model=net())(x), expected)


def test_a_model_that_was_pruned_without_a_task_is_loaded_by_the_same_words(tmp_path):
    pruned = autoprune.prune(net(), torch.randn(2, 4), 0.5)
    pruned.save(tmp_path / "m")
    with pytest.raises(StorageError, match="model=dense"):
        autoprune.load(tmp_path / "m")
    x = torch.randn(3, 4)
    assert torch.equal(autoprune.load(tmp_path / "m", model=net())(x), pruned.model(x))
