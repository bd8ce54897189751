"""A dozen small real models: cut, reordered, run in both modes, saved and loaded; and the control that can fail."""

import random

import pytest
import torch

import autoprune
from autoprune.surgery import apply, trace
from autoprune.surgery.coverage import coverage
from autoprune.surgery.example import Example
from autoprune.surgery.layout import size
from autoprune.surgery.tracer import tensors_of
from benchmarks import zoo
from tests.surgery.groups import drawn, open_groups

pytest.importorskip("transformers")
MODELS = (
    "transformers/bert", "transformers/gpt2", "transformers/llama-gqa", "transformers/t5", "transformers/vit",
    "transformers/swin", "transformers/resnet", "transformers/mobilenetv2", "transformers/convnext",
    "transformers/mamba", "transformers/mixtral", "transformers/whisper", "toys/lstm", "toys/nn.TransformerEncoder",
)  # fmt: skip


@pytest.fixture(scope="module", params=MODELS)
def case(request):
    model, inputs = zoo.make(request.param)
    return request.param, model, Example.of(inputs), trace(model, inputs)


def outputs(model, example):
    with torch.no_grad():
        return [leaf.double() for leaf in tensors_of(example.call(model)) if leaf.is_floating_point()]


def difference(left, right):
    pairs = zip(left, right, strict=True)
    return max(float((a - b).abs().max() / b.abs().max().clamp_min(1e-12)) for a, b in pairs)


def test_reordering_every_group_leaves_the_outputs(case):
    _, model, example, traced = case
    orders = {name: torch.randperm(group.size) for name, group in open_groups(traced).items()}
    assert difference(outputs(apply(model, traced, orders), example), outputs(model, example)) < 1e-4


def test_reordering_all_members_but_one_is_noticed(case):
    """The control of the test above."""
    _, model, example, traced = case
    parameters = dict(model.named_parameters())
    group = max(open_groups(traced).values(), key=lambda group: (len(group.members) > 1, group.share_params))
    member = max((m for m in group.members if m.tensor in parameters), key=lambda m: parameters[m.tensor].numel())
    broken = apply(model, traced, {group.name: torch.arange(group.size).roll(1)})
    with torch.no_grad():
        dict(broken.named_parameters())[member.tensor].copy_(parameters[member.tensor])
    assert difference(outputs(broken, example), outputs(model, example)) > 1e-4


@pytest.mark.parametrize("seed", range(2))
def test_any_plan_of_the_space_is_exactly_what_is_cut(case, seed):
    _, model, example, traced = case
    slices = drawn(traced, random.Random(seed))
    cut = apply(model, traced, slices)
    counts = {name: len(chosen) for name, chosen in slices.items()}
    shapes = {name: tensor.shape for name, tensor in cut.named_parameters()}
    for group in open_groups(traced).values():
        for member in group.members:
            if member.tensor in shapes:
                assert shapes[member.tensor][member.dim] == size(traced.layouts[member.tensor][member.dim], counts)
    assert [o.shape for o in outputs(cut, example)] == [o.shape for o in outputs(model, example)]
    outputs(cut.train(), example)


def test_another_process_would_find_the_same_groups(case):
    """Also where the model has run in between: plans and stored slices go by these names."""
    name, model, example, traced = case
    outputs(model, example)
    again = trace(zoo.make(name)[0], example)
    assert [group.name for group in again] == [group.name for group in traced]
    assert again.layouts == traced.layouts


def test_most_of_the_model_can_be_cut(case):
    name, model, _, traced = case
    expected = {"transformers/t5": 0.9}  # the encoder's last state is an output
    assert coverage(model, traced).params >= expected.get(name, 0.95)


@pytest.mark.slow
def test_a_saved_model_is_rebuilt_from_a_fresh_one(case, tmp_path):
    name, model, example, _ = case
    inputs = example.kwargs or example.args
    pruned = autoprune.prune(model, inputs, 0.5)
    pruned.save(tmp_path)
    again = autoprune.load(tmp_path, model=zoo.make(name)[0], example_inputs=inputs)
    assert difference(outputs(again, example), outputs(pruned.model, example)) == 0
    assert pruned.after["params"].value < 0.75 * pruned.before["params"].value


def test_the_cut_model_learns(case):
    _, model, example, traced = case
    cut = apply(model, traced, drawn(traced, random.Random(3))).train()
    sum(leaf.float().square().mean() for leaf in tensors_of(example.call(cut)) if leaf.is_floating_point()).backward()
    assert any(parameter.grad is not None and bool(parameter.grad.any()) for parameter in cut.parameters())
