"""Cutting without a search."""

import subprocess
import sys

import pytest
import torch
from torch import nn

import autoprune
from autoprune.errors import StorageError, SurgeryError, UsageError


class Keyed(nn.Module):
    """Takes its inputs by name and returns a dict."""

    def __init__(self):
        super().__init__()
        self.left, self.right, self.head = nn.Linear(4, 16), nn.Linear(6, 16), nn.Linear(16, 3)

    def forward(self, *, a, b=None):
        return {"logits": self.head(torch.relu(self.left(a) + self.right(b)))}


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 3)), torch.randn(5, 4)


def test_inputs_are_a_tensor_a_tuple_or_keywords(net):
    model, x = net
    for inputs in (x, (x,), [x]):
        assert autoprune.prune(model, inputs, 0.5).plan.kept == {"0": 8, "2": 6}
    inputs = {"a": torch.randn(2, 4), "b": torch.randn(2, 6)}
    pruned = autoprune.prune(Keyed(), inputs, 0.25)
    assert pruned.plan.kept == {"left": 4}
    assert pruned.model(**inputs)["logits"].shape == (2, 3)


@pytest.mark.parametrize("inputs", [(), {}, None, 3, "x", {1: torch.zeros(1)}])
def test_other_inputs_are_refused(net, inputs):
    with pytest.raises(UsageError, match="a tensor, a tuple of arguments, or a dict"):
        autoprune.prune(net[0], inputs, 0.5)


def test_keep_is_a_ratio_counts_ratios_by_group_or_a_plan(net):
    model, x = net
    assert autoprune.prune(model, x, {"0": 3, "2": 0.5}).plan.kept == {"0": 3, "2": 6}
    assert autoprune.prune(model, x, {"2": 1.0}).plan.kept == {"2": 12}
    plan = autoprune.Plan.of({"0": 5})
    assert autoprune.prune(model, x, plan).plan is plan


@pytest.mark.parametrize(
    "keep", [0, 1.5, float("nan"), True, {"0": 0}, {"0": 17}, {"0": 1.5}, {"stem": 4}, {"0": True}]
)
def test_what_cannot_be_kept_is_refused(net, keep):
    with pytest.raises(UsageError):
        autoprune.prune(*net, keep)


def test_groups_that_are_tied_follow_the_one_that_is_named():
    model = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, dropout=0.0)
    net = nn.Sequential(nn.Linear(8, 32), model, nn.Linear(32, 3))
    x = torch.randn(2, 5, 8)
    traced = autoprune.trace(net, x)
    tied = [group for group in traced.open if group.tie]
    assert len({group.tie for group in tied}) == 1
    width = max(tied, key=lambda group: group.size)
    cut = autoprune.prune(net, x, {width.name: 16}).model
    assert cut[0].out_features == cut[1].self_attn.embed_dim == 16
    assert cut[1].self_attn.head_dim == 4
    with pytest.raises(UsageError, match="in proportion"):
        autoprune.prune(net, x, autoprune.Plan.of({width.name: 16}))


def test_the_summary_says_what_it_costs_and_what_stays(net):
    text = autoprune.prune(*net, 0.5).summary()
    assert "parameters: 323 -> 115 (36%)" in text
    assert "2 of 4 groups can be cut: 2 neuron" in text
    assert "1 kept whole: model output" in text


def test_the_users_model_is_as_it_was_and_keeps_its_mode(net):
    model, x = net
    model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    cut = autoprune.prune(model, x, 0.5).model
    assert model.training
    assert cut.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not {id(p) for p in model.parameters()} & {id(p) for p in cut.parameters()}


def test_a_saved_model_is_rebuilt_in_another_process(tmp_path):
    """The constructor, the plan and the weights are all that it takes."""
    (tmp_path / "net.py").write_text(
        "import torch\nfrom torch import nn\n\n\ndef make():\n"
        "    return nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(576, 5))\n"
    )
    sys.path.insert(0, str(tmp_path))
    try:
        import net as module
    finally:
        sys.path.remove(str(tmp_path))
    x = torch.randn(2, 3, 8, 8)
    pruned = autoprune.prune(module.make().eval(), x, 0.5)
    pruned.save(tmp_path / "saved")
    torch.save(x, tmp_path / "x.pt")
    code = (
        "import torch, autoprune, net\nx = torch.load('x.pt', weights_only=True)\n"
        "model = autoprune.load('saved', model=net.make(), example_inputs=x)\n"
        "print(repr(model(x).double().sum().item()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True
    )
    assert float(done.stdout) == pruned.model(x).double().sum().item()


def test_a_folder_of_another_model_is_refused(net, tmp_path):
    autoprune.prune(*net, 0.5).save(tmp_path)
    with pytest.raises(StorageError, match="load it with the model"):
        autoprune.load(tmp_path, model=Keyed(), example_inputs={"a": torch.randn(2, 4), "b": torch.randn(2, 6)})
    with pytest.raises(UsageError, match="either a task, or model"):
        autoprune.load(tmp_path, example_inputs=net[1])


def test_a_model_that_does_not_run_says_expected_and_received(net):
    with pytest.raises(SurgeryError, match=r"inputs of shape \[5, 7\]"):
        autoprune.trace(net[0], torch.randn(5, 7))
