"""Torch-Pruning finds the same coupled layers and leaves the same shapes."""

import pytest
import torch

from autoprune.surgery import apply, trace
from autoprune.tasks.builtin.digits import ResNet
from tests.surgery.nets import made

tp = pytest.importorskip("torch_pruning")


def cases():
    torch.manual_seed(0)
    yield (
        ResNet((8, 16, 24), 2).eval(),
        (torch.randn(1, 1, 32, 32),),
        ["stem.0", "stages.0.0.conv1", "stages.1.0.conv2"],
    )
    yield *made("Depthwise"), ["point"]
    yield *made("SqueezeExcite"), ["stem", "down"]


@pytest.mark.parametrize("case", range(3))
def test_removing_two_channels_leaves_the_same_tensors(case):
    model, inputs, names = list(cases())[case]
    traced = trace(model, inputs)
    for name in names:
        group = next(group for group in traced if group.name == name)
        ours = apply(model, traced, {name: torch.arange(2, group.size)})
        theirs = apply(model, traced, {})
        layer = theirs.get_submodule(name)
        graph = tp.DependencyGraph().build_dependency(theirs, example_inputs=inputs[0])
        graph.get_pruning_group(layer, tp.prune_conv_out_channels, idxs=[0, 1]).prune()
        expected = {key: tensor for key, tensor in theirs.state_dict().items()}
        assert all(torch.equal(tensor, expected[key]) for key, tensor in ours.state_dict().items())
