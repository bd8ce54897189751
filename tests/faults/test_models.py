"""Models that peers crash on: each is cut, or named with the reason, and always runs."""

import logging
import threading

import pytest
import torch
from torch import nn

import autoprune
from autoprune.errors import SurgeryError
from autoprune.surgery import apply
from autoprune.surgery.example import Example
from autoprune.surgery.find import find


def halved(model, inputs):
    """The model cut by half, after it was seen to run."""
    pruned = autoprune.prune(model, inputs, 0.5)
    args = inputs if isinstance(inputs, tuple) else (inputs,)
    pruned.model(*args)
    return pruned


def reasons(model, inputs):
    return {group.name: group.frozen_reason for group in autoprune.trace(model, inputs)}


class Deciding(nn.Module):
    """Control flow that depends on the data."""

    def __init__(self):
        super().__init__()
        self.stem, self.one, self.other, self.head = (
            nn.Linear(4, 16),
            nn.Linear(16, 16),
            nn.Linear(16, 16),
            nn.Linear(16, 3),
        )

    def forward(self, x):
        x = self.stem(x)
        x = self.one(x) if x.sum().item() > -1e9 else self.other(x)
        return self.head(torch.relu(x))


def test_data_dependent_control_flow_is_traced_as_it_ran():
    x = torch.randn(2, 4)
    found = reasons(Deciding(), x)
    assert found["one"] == ""
    assert found["stem"] == ""
    assert "not used in the traced run" in {why for name, why in found.items() if name.startswith("other")}
    halved(Deciding(), x)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.mix, self.out = nn.Embedding(20, 16), nn.Linear(16, 16), nn.Linear(16, 20, bias=False)
        self.out.weight = self.embed.weight

    def forward(self, ids):
        return self.out(torch.relu(self.mix(self.embed(ids))))


def test_tied_weights_are_cut_once_saved_once_and_stay_tied(tmp_path):
    ids = torch.randint(0, 20, (2, 5))
    pruned = halved(Tied(), ids)
    assert pruned.model.out.weight is pruned.model.embed.weight
    assert pruned.model.embed.embedding_dim == 8
    pruned.save(tmp_path)
    again = autoprune.load(tmp_path, model=Tied(), example_inputs=ids)
    assert again.out.weight is again.embed.weight
    assert torch.equal(again(ids), pruned.model(ids))


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.again, self.head = nn.Linear(4, 16), nn.Linear(16, 16), nn.Linear(16, 3)

    def forward(self, x):
        return self.head(self.again(torch.relu(self.again(torch.relu(self.stem(x))))))


def test_a_module_called_twice_is_one_group():
    traced = autoprune.trace(Twice(), torch.randn(2, 4))
    assert len(traced.open) == 1
    halved(Twice(), torch.randn(2, 4))


class Bare(nn.Module):
    """A parameter outside of any module, one that is never used, one that is not trained, and a plain tensor."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(16, 4))
        self.spare = nn.Parameter(torch.randn(7))
        self.fixed = nn.Parameter(torch.ones(16), requires_grad=False)
        self.table = torch.arange(16.0)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        return self.head(torch.relu(x @ self.weight.t() * self.fixed + self.table))


def test_bare_parameters_and_plain_tensors_are_cut_and_unused_ones_named():
    x = torch.randn(2, 4)
    pruned = halved(Bare(), x)
    assert pruned.model.weight.shape == (8, 4)
    assert pruned.model.table.shape == pruned.model.fixed.shape == (8,)
    assert not pruned.model.fixed.requires_grad
    assert reasons(Bare(), x)["spare[0]"] == "not used in the traced run"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64, torch.complex64])
def test_other_number_types_are_cut(dtype):
    model = nn.Sequential(nn.Linear(4, 16), nn.Linear(16, 3)).to(dtype)
    pruned = halved(model, torch.randn(2, 4).to(dtype))
    assert pruned.model[0].weight.dtype == dtype


def test_quantised_layers_stay_whole_and_the_rest_is_cut():
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 3)).eval()
    model[4] = torch.ao.nn.quantized.dynamic.Linear(12, 3)
    found = reasons(model, torch.randn(2, 4))
    assert found["0"] == ""
    assert found["2"]
    halved(model, torch.randn(2, 4))


def test_sparse_weights_are_left_as_they_are():
    class Sparse(nn.Module):
        def __init__(self):
            super().__init__()
            self.mix = torch.eye(16).to_sparse()
            self.stem, self.between, self.head = nn.Linear(4, 16), nn.Linear(16, 12), nn.Linear(12, 3)

        def forward(self, x):
            return self.head(torch.relu(self.between(torch.sparse.mm(self.mix, self.stem(x).t()).t())))

    pruned = halved(Sparse(), torch.randn(2, 4))
    assert pruned.model.between.out_features == 6


def test_scripted_parts_do_not_end_the_trace():
    compiled = torch.jit.script(nn.Sequential(nn.ReLU(), nn.Linear(16, 8)))
    model = nn.Sequential(nn.Linear(4, 16), compiled, nn.Linear(8, 12), nn.Linear(12, 3))
    cut = halved(model, torch.randn(2, 4))
    assert cut.plan.kept == {"2": 6}
    assert cut.model(torch.randn(5, 4)).shape == (5, 3)


def test_what_cannot_be_copied_is_shared():
    class Held(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.head = nn.Linear(4, 16), nn.Linear(16, 3)
            self.lock = threading.Lock()

        def forward(self, x):
            return self.head(torch.relu(self.stem(x)))

    model = Held()
    assert halved(model, torch.randn(2, 4)).model.lock is model.lock


@pytest.mark.parametrize("mode", [True, False])
def test_buffers_modes_and_random_numbers_are_given_back(mode):
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Dropout(), nn.Conv2d(8, 4, 1)).train(mode)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    autoprune.trace(model, torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(torch.rand(3), expected)
    assert all(module.training is mode for module in model.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


class Auxiliary(nn.Module):
    """A head that exists in train mode alone."""

    def __init__(self):
        super().__init__()
        self.stem, self.aux, self.head = (
            nn.Linear(4, 16),
            nn.Sequential(nn.Linear(16, 12), nn.Linear(12, 3)),
            nn.Linear(16, 3),
        )

    def forward(self, x):
        x = torch.relu(self.stem(x))
        return (self.head(x), self.aux(x)) if self.training else self.head(x)


def test_train_mode_branches_are_cut_too():
    pruned = halved(Auxiliary(), torch.randn(2, 4))
    main, aux = pruned.model.train()(torch.randn(2, 4))
    assert main.shape == aux.shape == (2, 3)
    assert pruned.model.aux[0].out_features == 6


def test_names_with_dots_and_numbers_do_not_collide():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.add_module("stem#1", nn.Linear(4, 12))
            self.stem = nn.Conv1d(12, 12, 1, groups=3)
            self.head = nn.Linear(12, 3)

        def forward(self, x):
            return self.head(self.stem(getattr(self, "stem#1")(x)[..., None])[..., 0])

    traced = autoprune.trace(Odd(), torch.randn(2, 4))
    assert len({group.name for group in traced}) == len(traced.groups)
    cut = apply(Odd(), traced, {group.name: torch.arange(1) for group in traced.open if group.kind != "layer"})
    cut(torch.randn(2, 4))


def test_a_model_without_tensors_to_cut_says_so():
    class Fixed(nn.Module):
        def forward(self, x):
            return x * 2

    with pytest.raises(SurgeryError, match="nothing to prune"):
        autoprune.prune(Fixed(), torch.randn(2, 4), 0.5)
    pruned = autoprune.prune(Fixed(), torch.randn(2, 4), {})
    assert pruned.plan.kept == {}
    assert "0 of 0 groups" in pruned.summary()


def test_operator_without_a_rule_freezes_only_what_it_touches():
    library = torch.library.Library("autoprune_test", "DEF")
    library.define("mystery(Tensor x) -> Tensor")
    library.impl("mystery", lambda x: x.cumsum(-1), "CPU")
    library.impl("mystery", torch.empty_like, "Meta")

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.before, self.inner, self.after, self.head = (
                nn.Linear(4, 16),
                nn.Linear(16, 12),
                nn.Linear(12, 8),
                nn.Linear(8, 3),
            )

        def forward(self, x):
            x = torch.ops.autoprune_test.mystery(self.inner(torch.relu(self.before(x))))
            return self.head(torch.relu(self.after(x)))

    found = reasons(Net(), torch.randn(2, 4))
    assert found["inner"].startswith("operator autoprune_test.mystery")
    assert found["before"] == found["after"] == ""


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm, self.mix = nn.LayerNorm(width), nn.Linear(width, width)

    def forward(self, x):
        return x + self.mix(self.norm(x))


def test_streams_of_any_depth_are_followed():
    model = nn.Sequential(nn.Linear(4, 8), *(Block(8) for _ in range(300)), nn.Linear(8, 3))
    assert next(group.size for group in find(model, Example.of(torch.randn(2, 4))).open) == 8


def test_objects_that_are_the_only_one_of_their_kind_are_left_alone():
    class Logged(nn.Module):
        def __init__(self):
            super().__init__()
            self.log = logging.getLogger("autoprune.tests.model")
            self.stem, self.head = nn.Linear(4, 16), nn.Linear(16, 3)

        def forward(self, x):
            return self.head(torch.relu(self.stem(x)))

    halved(Logged(), torch.randn(2, 4))
    assert type(logging.getLogger().level) is int


def test_inputs_that_the_model_changes_in_place_are_the_users_no_more():
    class Scaling(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.head = nn.Linear(4, 16), nn.Linear(16, 3)
            self.mean = nn.Parameter(torch.ones(4), requires_grad=False)

        def forward(self, x):
            self.mean.data.mul_(0.5)
            return self.head(torch.relu(self.stem(x.sub_(0.5).div_(0.25))))

    model, x = Scaling(), torch.ones(2, 4)
    assert halved(model, x.clone()).plan.kept["stem"] == 8
    autoprune.trace(model, x)
    assert torch.equal(x, torch.ones(2, 4))
    assert torch.equal(model.mean, torch.ones(4))


def test_a_layer_with_two_names_is_dropped_under_both():
    class Aliased(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = Block(8)
            self.blocks = nn.ModuleList([self.first, Block(8)])
            self.head = nn.Linear(8, 3)

        def forward(self, x):
            for block in self.blocks:
                x = block(x)
            return self.head(x)

    model, x = Aliased(), torch.randn(2, 8)
    cut = apply(model, autoprune.trace(model, x), {"first": torch.arange(0)})
    torch.testing.assert_close(cut(x), model.head(model.blocks[1](x)))


def test_layers_inside_layers_are_dropped_together():
    model = nn.Sequential(
        nn.Linear(4, 8), nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 2), nn.Linear(8, 3)
    )
    traced = autoprune.trace(model, torch.randn(3, 2, 4))
    gone = {group.name: torch.arange(0) for group in traced.open if group.kind == "layer"}
    assert apply(model, traced, gone)(torch.randn(3, 2, 4)).shape == (3, 2, 3)


def test_a_squeezed_dimension_keeps_two_slices():
    class Squeezing(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 2)

        def forward(self, x):
            return self.head(self.stem(x).mean((2, 3), keepdim=True).squeeze())

    x = torch.randn(2, 3, 8, 8)
    assert next(group for group in autoprune.trace(Squeezing(), x) if group.name == "stem").floor == 2
    with pytest.raises(autoprune.AutopruneError, match="between 2 and 8"):
        autoprune.prune(Squeezing(), x, {"stem": 1})


def test_a_branch_on_a_size_keeps_that_size():
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.free, self.head = nn.Linear(4, 16), nn.Linear(16, 12), nn.Linear(12, 3)

        def forward(self, x):
            x = self.stem(x)
            return self.head(torch.relu(self.free(x))) * (100 if x.shape[1] == 16 else 1)

    found = reasons(Branching(), torch.randn(2, 4))
    assert found["stem"]
    assert found["free"] == ""


def test_models_that_return_classes_are_traced():
    class Deciding(nn.Sequential):
        def forward(self, x):
            return super().forward(x).argmax(-1)

    assert halved(Deciding(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3)), torch.randn(5, 4)).plan.kept == {"0": 8}


def test_attributes_of_parameters_come_along():
    model = nn.Sequential(nn.Linear(4, 16), nn.Linear(16, 3))
    model[0].weight.decay = False
    assert halved(model, torch.randn(2, 4)).model[0].weight.decay is False
