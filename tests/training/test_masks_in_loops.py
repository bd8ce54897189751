"""Masks of `torch.nn.utils.prune` and zeros of a schedule in one loop, under wrappers and in checkpoints."""

import pytest
import torch
from torch import distributed
from torch.multiprocessing.spawn import start_processes
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import prune

import autoprune
from autoprune import registry
from tests.training.own_loop import Net, X, adam, batches, outputs, trained

SCHEDULES = registry.names("schedules")
STEPS = 24


def pruner_of(model, schedule="sparse"):
    return autoprune.Pruner(model, X, keep=0.2, pattern="unstructured", schedule=schedule, steps=STEPS)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("when", [4, 20])
def test_zeros_are_handed_to_torch_and_taken_back_on_the_way(schedule, when):
    model = Net()
    pruner = pruner_of(model, schedule)
    optimizer = trained(model, pruner, when)
    handed = autoprune.masks(autoprune.to_torch_prune(model))
    trained(model, pruner, 2, optimizer, start=when)
    for name, mask in handed.items():
        assert not model.get_parameter(f"{name}_orig")[~mask].any() or not model.get_buffer(f"{name}_mask")[~mask].any()
    taken = autoprune.from_torch_prune(model)
    assert taken.keys() == handed.keys()
    trained(model, pruner, STEPS - when - 2, optimizer, start=when + 2)
    pruned = pruner.finish()
    assert float((pruned.model.conv2.weight != 0).float().mean()) == pytest.approx(0.2, abs=0.01)
    assert torch.allclose(outputs(pruned.model), outputs(model), atol=1e-5)


def test_weights_that_torch_masks_make_room_for_others():
    model = Net()
    pruner = pruner_of(model)
    optimizer = trained(model, pruner, 1)
    with torch.no_grad():  # the largest ones, if it were not for the mask
        model.conv2.weight[:, 0].masked_fill_(model.conv2.weight[:, 0] != 0, 9.0)
    prune.custom_from_mask(model.conv2, "weight", torch.ones(12, 8, 3, 3).index_fill(1, torch.tensor([0]), 0))
    trained(model, pruner, STEPS - 1, optimizer, start=1)
    weight = pruner.finish().model.conv2.weight
    assert not weight[:, 0].any()
    assert float((weight != 0).float().mean()) == pytest.approx(0.2, abs=0.01)


def test_masks_and_zeros_survive_a_state_dict():
    model = Net()
    prune.random_unstructured(model.conv2, "weight", 0.3)
    pruner = pruner_of(model)
    trained(model, pruner, 13)
    again = Net(seed=4)
    prune.identity(again.conv2, "weight")
    other = pruner_of(again)
    again.load_state_dict(model.state_dict())
    other.load_state_dict(pruner.state_dict())
    for name, mask in autoprune.masks(model).items():
        assert torch.equal(autoprune.masks(again)[name], mask)
    first, second = pruner.finish().model.state_dict(), other.finish().model.state_dict()
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_masks_come_and_go_in_a_compiled_model():
    plain, inside = Net(), Net()
    for given, model in ((plain, plain), (torch.compile(inside, backend="eager"), inside)):
        pruner = pruner_of(given)
        optimizer = trained(given, pruner, 6)
        prune.l1_unstructured(model.conv1, "weight", 0.9)
        trained(given, pruner, 6, optimizer, start=6)
        prune.remove(model.conv1, "weight")
        trained(given, pruner, STEPS - 12, optimizer, start=12)
    assert torch.allclose(outputs(inside), outputs(plain), atol=1e-5)


def of_one_rank(rank, folder):
    distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    inside = Net()
    model = DistributedDataParallel(inside)
    pruner, optimizer = pruner_of(model), adam(model)
    for place, (x, labels) in enumerate(batches(STEPS, seed=rank)):
        functional.cross_entropy(model(x), labels).backward()
        optimizer.step()
        optimizer.zero_grad()
        pruner.step()
        if place == 5:
            prune.custom_from_mask(inside.conv1, "weight", torch.arange(72).view(8, 1, 3, 3) % 3 > 0)
    torch.save(pruner.finish().model.state_dict(), f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_processes_with_data_of_their_own_choose_the_same_weights(tmp_path):
    start_processes(of_one_rank, (str(tmp_path),), nprocs=2, start_method="spawn")
    one, other = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    weights = [name for name, _ in Net().named_parameters()]
    assert all(torch.equal(one[name], other[name]) for name in weights)
    assert float((one["conv2.weight"] != 0).float().mean()) == pytest.approx(0.2, abs=0.01)
