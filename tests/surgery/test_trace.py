import dataclasses
import random

import pytest
import torch
from torch import nn

from autoprune.errors import SurgeryError
from autoprune.surgery import apply, trace
from autoprune.surgery.equations import LITERAL
from autoprune.surgery.groups import MADE
from autoprune.surgery.layout import slice_of_position
from tests.surgery.groups import drawn, open_groups, units
from tests.surgery.nets import NETS, made


@pytest.mark.parametrize("name", NETS)
def test_reordering_every_group_leaves_the_output_as_it_is(name):
    model, inputs = made(name)
    traced = trace(model, inputs)
    orders = {g.name: torch.randperm(g.size) for g in open_groups(traced).values()}
    with torch.no_grad():
        torch.testing.assert_close(apply(model, traced, orders)(*inputs), model(*inputs), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NETS)
def test_reordering_all_members_but_one_is_noticed(name):
    """The control of the test above: it can fail."""
    model, inputs = made(name)
    traced = trace(model, inputs)
    group = max(open_groups(traced).values(), key=lambda group: len(group.members))
    order = torch.arange(group.size).roll(1)
    broken = apply(model, traced, {group.name: order})
    producer = next(member for member in group.members if member.tensor.endswith("weight"))
    with torch.no_grad():
        weight = dict(broken.named_parameters())[producer.tensor]
        weight.copy_(dict(model.named_parameters())[producer.tensor])
        assert not torch.allclose(broken(*inputs), model(*inputs), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("seed", range(3))
def test_cut_models_run_for_random_counts(name, seed):
    model, inputs = made(name)
    traced = trace(model, inputs)
    keep = drawn(traced, random.Random(seed))
    assert apply(model, traced, keep)(*inputs).shape == model(*inputs).shape


@pytest.mark.parametrize("name", sorted(NETS.keys() - {"Called", "Sorted"}))
def test_zeroed_slices_give_what_cut_slices_give(name):
    """Where a slice is dead in all that produces and scales it, cutting it must change nothing.

    Left out: a norm over channels and a sort, which notice a zero that is not there.
    """
    model, inputs = made(name)
    traced = trace(model, inputs)
    groups = open_groups(traced)
    for unit in [[g for g in groups.values() if (g.tie or g.name) == key] for key in units(traced)]:
        dead, _ = made(name)
        tensors = {**dict(dead.named_parameters()), **dict(dead.named_buffers())}
        with torch.no_grad():
            for group in unit:
                for member in group.members:
                    for index in slice_of_position(traced.layouts[member.tensor][member.dim], group.name):
                        tensors[member.tensor].index_fill_(
                            member.dim, torch.where(index >= group.size - group.step)[0], 0.0
                        )
            keep = {group.name: torch.arange(group.size - group.step) for group in unit}
            torch.testing.assert_close(apply(dead, traced, keep)(*inputs), dead(*inputs), rtol=1e-4, atol=1e-5)


def test_every_channel_of_plain_networks_is_offered():
    for name in ("Depthwise", "Grouped", "Dense", "PaddedShortcut", "SqueezeExcite"):
        model, inputs = made(name)
        frozen = {g.frozen_reason for g in trace(model, inputs) if g.frozen_reason}
        assert {reason.partition(" (")[0] for reason in frozen} <= {"model input", "model output", LITERAL}, (
            name,
            frozen,
        )


def test_an_operator_that_orders_freezes_what_it_touches_and_nothing_else():
    model, inputs = made("Sorted")
    reasons = {group.name: group.frozen_reason for group in trace(model, inputs)}
    assert reasons["inner"] == "aten.sort orders it"
    assert reasons["before"] == ""
    assert reasons["after"] == ""


def test_a_size_written_into_forward_freezes_its_group_alone():
    model, inputs = made("Constant")
    reasons = {group.name: group.frozen_reason for group in trace(model, inputs)}
    assert reasons["stem"].startswith(LITERAL)
    assert reasons["free"] == ""


def test_parameters_that_the_run_did_not_use_are_named():
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    model.register_parameter("spare", nn.Parameter(torch.zeros(6)))
    reasons = {group.name: group.frozen_reason for group in trace(model, (torch.zeros(1, 4),))}
    assert reasons["spare[0]"] == "not used in the traced run"


def test_tied_and_twice_called_modules_are_one_group():
    model, inputs = made("Called")
    groups = open_groups(trace(model, inputs))
    assert len(groups) == 1
    cut = apply(model, trace(model, inputs), {next(iter(groups)): torch.arange(2)})
    assert cut.tied.weight is cut.again.weight


def test_modes_hooks_and_the_users_model_are_left_alone():
    model, inputs = made("Depthwise")
    model.train()
    model.norm.eval()
    model.point.weight.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    traced = trace(model, inputs)
    cut = apply(model, traced, {g.name: torch.arange(2) for g in open_groups(traced).values()})
    assert model.training
    assert not model.norm.training
    assert cut.training
    assert not cut.norm.training
    assert not cut.point.weight.requires_grad
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert type(cut) is type(model)


def test_wrong_input_shape_says_expected_and_received():
    with pytest.raises(SurgeryError, match=r"inputs of shape \[1, 5\]"):
        trace(nn.Linear(4, 2), (torch.zeros(1, 5),))


def test_group_names_are_unique_for_dotted_and_colliding_modules():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 6))
            self.a_0 = nn.Linear(6, 5)
            self.weight = nn.Parameter(torch.ones(5, 7))

        def forward(self, x):
            return self.a_0(self.a(x)) @ self.weight

    names = [group.name for group in trace(Net(), (torch.zeros(1, 4),))]
    assert len(names) == len(set(names))


def test_bfloat16_and_frozen_parameters_are_cut_too():
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).to(torch.bfloat16).requires_grad_(False)
    inputs = (torch.randn(3, 4, dtype=torch.bfloat16),)
    traced = trace(model, inputs)
    cut = apply(model, traced, {"0": torch.tensor([0, 5])})
    assert cut[0].weight.dtype == torch.bfloat16
    assert (cut[0].out_features, cut[2].in_features) == (2, 2)
    assert cut(*inputs).shape == (3, 2)


def test_a_number_of_groups_that_is_written_into_the_code_stays():
    model, inputs = made("Regrouped")
    reasons = {group.size: group.frozen_reason for group in trace(model, inputs) if group.name.startswith("stem")}
    assert reasons[8].startswith(LITERAL)


@dataclasses.dataclass
class Output:
    logits: torch.Tensor


def test_outputs_in_a_dataclass_are_outputs():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 6)

        def forward(self, x):
            return Output(self.b(torch.relu(self.a(x))))

    reasons = {group.name: group.frozen_reason for group in trace(Net(), (torch.zeros(1, 4),))}
    assert reasons["b"] == "model output"
    assert reasons["a"] == ""


def test_buffers_alone_are_no_group_to_cut():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("window", torch.randn(4, 8))
            self.register_buffer("filters", torch.randn(8, 6))
            self.head = nn.Linear(6, 2)

        def forward(self, x):
            return self.head(x @ self.window @ self.filters)

    reasons = {group.size: group.frozen_reason for group in trace(Net(), (torch.zeros(1, 4),))}
    assert 8 not in reasons
    assert reasons[6] == MADE
