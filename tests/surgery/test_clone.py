"""A clone is of the same class and holds the same state, apart from its tensors."""

import copy
import types
import weakref

import torch
from torch import nn

from autoprune.surgery.attributes import set_all, tag_all, tensors_in
from autoprune.surgery.clone import clone


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.register_buffer("count", torch.zeros(3), persistent=False)
        self.table = [torch.ones(2), {"inner": torch.zeros(1)}]
        self.config = types.SimpleNamespace(width=4, sizes=[2, 3], name="net")
        self.first.config = self.config
        self.run = self.step

    def step(self, x):
        return self.second(self.first(x))

    def forward(self, x):
        return self.run(x)


def doubled(tensor):
    data = tensor.detach() * 2
    return nn.Parameter(data, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else data


def test_tensors_are_replaced_once_and_ties_stay_ties():
    model = Net()
    model.first.bias.requires_grad_(False)
    new = clone(model, doubled)
    assert type(new) is Net
    assert new.first.weight is new.second.weight
    assert torch.equal(new.first.weight, model.first.weight * 2)
    assert not new.first.bias.requires_grad
    assert torch.equal(new.table[0], torch.full((2,), 2.0))
    assert "count" not in new.state_dict()


def test_nothing_mutable_is_shared_and_bound_methods_follow():
    model = Net()
    new = clone(model, doubled)
    new.config.sizes.append(9)
    new.first.extra = 1
    assert model.config.sizes == [2, 3]
    assert not hasattr(model.first, "extra")
    assert new.config is new.first.config
    assert new.run.__self__ is new


def test_hooks_and_modes_come_along():
    model = Net()
    seen = []
    model.first.register_forward_hook(lambda *_: seen.append("ran"))
    model.second.eval()
    new = clone(model, doubled)
    new(torch.ones(1, 4))
    assert seen == ["ran"]
    assert new.training
    assert not new.second.training


def test_recurrent_layers_use_their_new_weights():
    model = nn.LSTM(3, 5, batch_first=True)
    new = clone(model, doubled)
    x = torch.randn(2, 4, 3)
    expected = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in expected.parameters():
            parameter.mul_(2)
    torch.testing.assert_close(new(x)[0], expected(x)[0])
    assert all(ref() is weight for ref, weight in zip(new._flat_weight_refs, new._flat_weights, strict=True))


def test_modules_that_copy_themselves_are_asked():
    class Own(nn.Linear):
        def __deepcopy__(self, memo):
            made = Own(2, 2)
            made.copied = True
            return made

    assert clone(nn.Sequential(Own(2, 2)), doubled)[0].copied


def test_the_old_model_is_freed():
    model = Net()
    gone = weakref.ref(model)
    clone(model, doubled)
    del model
    import gc

    gc.collect()
    assert gone() is None


def test_whole_numbers_are_set_for_one_module_alone():
    model = clone(Net(), doubled)
    found = []
    tag_all(model, lambda attribute: found.append(attribute) or attribute.size)
    places = {str(attribute): attribute for attribute in found}
    assert places["config.width"].size == 4
    assert places["first.config.sizes.1"].size == 3
    set_all(model, {places["first.config.sizes.1"]: 7, places["first.in_features"]: 2})
    assert model.first.config.sizes == [2, 7]
    assert model.config.sizes == [2, 3]
    assert model.first.in_features == 2


def test_tensors_in_plain_attributes_are_named():
    found = {name: tuple(tensor.shape) for name, tensor in tensors_in(Net().named_modules(), set())}
    assert found == {"table.0": (2,), "table.1.inner": (1,)}
