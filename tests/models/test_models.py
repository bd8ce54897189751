import hashlib
import json

import pytest
import torch

import autoprune
from autoprune.core.plan import Plan
from autoprune.errors import StorageError
from autoprune.models.folder import PrunedModel, write
from autoprune.models.weights import file_size, load_into, tensors, to_bytes
from tests.surgery.nets import NETS, made


@pytest.fixture
def saved(small_task, tmp_path):
    model = autoprune.prune(small_task.model, small_task.example_inputs, {"conv1": 6}).model
    folder = tmp_path / "models" / "3"
    write(folder, PrunedModel(3, "", Plan.of({"conv1": 6}), {"conv1": tuple(range(6))}), to_bytes(model), "card")
    return folder, model


def test_a_reloaded_model_gives_the_same_outputs(saved, small_task):
    folder, model = saved
    again = autoprune.load(folder, small_task)
    x = small_task.example_inputs[0]
    with torch.no_grad():
        assert torch.equal(again(x), model(x))
    assert not again.training


@pytest.mark.parametrize("name", NETS)
def test_the_size_that_is_counted_is_the_size_on_disk(name):
    model, _ = made(name)
    assert file_size(model) == len(to_bytes(model))


def test_tied_tensors_are_stored_once():
    model, _ = made("Called")
    assert "tied.weight" not in tensors(model)
    load_into(model, to_bytes(model), "memory")


def test_a_truncated_file_is_refused(saved, small_task):
    folder, _ = saved
    content = (folder / "model.safetensors").read_bytes()[:-7]
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(StorageError, match="hash"):
        autoprune.load(folder, small_task)
    plan = json.loads((folder / "plan.json").read_text())
    plan["weights"] = f"sha256:{hashlib.sha256(content).hexdigest()}"
    (folder / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(StorageError, match="safetensors"):
        autoprune.load(folder, small_task)


@pytest.mark.parametrize(
    "damage",
    [
        lambda plan: plan.update(schema=2),
        lambda plan: plan.pop("slices"),
        lambda plan: plan.update(slices={"conv1": [0, 99]}),
        lambda plan: plan.update(slices={"conv1": [-1]}),
        lambda plan: plan.update(slices={"conv1": [3, 3]}),
        lambda plan: plan.update(slices={"nobody": [1]}),
        lambda plan: plan.update(slices={"conv1": [0, 1]}),
        lambda plan: plan.update(slices=[1]),
    ],
)
def test_a_damaged_plan_is_refused(saved, small_task, damage):
    folder, _ = saved
    plan = json.loads((folder / "plan.json").read_text())
    damage(plan)
    (folder / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(StorageError):
        autoprune.load(folder, small_task)


def test_pickle_in_place_of_weights_is_refused_unrun(saved, small_task, tmp_path):
    import pickle

    folder, _ = saved
    marker = tmp_path / "ran"

    class Payload:
        def __reduce__(self):
            return (open, (str(marker), "w"))

    content = pickle.dumps(Payload())
    (folder / "model.safetensors").write_bytes(content)
    plan = json.loads((folder / "plan.json").read_text())
    plan["weights"] = f"sha256:{hashlib.sha256(content).hexdigest()}"
    (folder / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(StorageError):
        autoprune.load(folder, small_task)
    assert not marker.exists()


def test_a_missing_folder_says_what_is_expected(small_task, tmp_path):
    with pytest.raises(StorageError, match=r"plan\.json"):
        autoprune.load(tmp_path / "nowhere", small_task)
