"""Gates in loops of one's own: runs that are interrupted, models that are copied, and several processes."""

import copy
import gc
import io
import pickle

import pytest
import torch
from torch import distributed, nn
from torch.multiprocessing.spawn import start_processes
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

import autoprune
from autoprune import registry
from autoprune.errors import UsageError
from tests.training.own_loop import Net, X, adam, batches, outputs, trained

GATES = registry.names("gates")


def pruner_of(model, gate="hard-concrete"):
    return autoprune.Pruner(model, X, keep=0.5, schedule="learned", schedule_options={"gate": gate}, steps=24)


@pytest.mark.parametrize("gate", GATES)
def test_a_run_that_is_interrupted_from_the_keyboard_leaves_no_gates(gate):
    left, finished = Net(), []
    for model in (Net(), left):
        pruner = pruner_of(model, gate)
        trained(model, pruner, 8)
        if model is left:
            held, weights = [*map(id, model.parameters())], copy.deepcopy(model.state_dict())
            interrupt(model.head, model)
            assert [*map(id, model.parameters())] == held
            assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
        finished.append(pruner.finish().model.conv2.weight)
    assert torch.equal(*finished)


def interrupt(inside, model):
    """Ctrl-C while the model runs a module inside of it."""

    def press(*_):
        raise KeyboardInterrupt

    handle = inside.register_forward_pre_hook(press)
    with pytest.raises(KeyboardInterrupt):
        model.eval()(X)
    handle.remove()


@pytest.mark.parametrize("gate", GATES)
def test_a_model_that_is_saved_whole_or_copied_has_no_gates(gate):
    model, plain, file = Net(), Net(), io.BytesIO()
    pruner = pruner_of(model, gate)
    trained(model, pruner, 8)
    torch.save(model, file)
    file.seek(0)
    plain.load_state_dict(model.state_dict())
    assert not torch.equal(outputs(model), outputs(plain))
    for copied in (torch.load(file, weights_only=False), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(outputs(copied), outputs(plain))
        with torch.no_grad():
            copied.head.weight.zero_()
        assert torch.equal(outputs(copied), plain.head.bias.expand(len(X), 3))


@pytest.mark.parametrize("how", ["finished", "forgotten", "made anew"])
def test_gates_leave_the_model_with_their_pruner(how):
    model, plain = Net(), Net()
    pruner = pruner_of(model, "attention")
    trained(model, pruner, 8)
    if how == "finished":
        pruner.finish()
    elif how == "forgotten":
        del pruner
        gc.collect()
    else:
        pruner = autoprune.Pruner(model, X, keep=0.5, steps=24)
    plain.load_state_dict(model.state_dict())
    assert torch.equal(outputs(model), outputs(plain))
    assert not any(module._forward_pre_hooks or "forward" in vars(module) for module in model.modules())


def test_of_two_pruners_of_a_model_the_gates_of_the_latest_act():
    model = Net()
    first, second = (pruner_of(model) for _ in range(2))
    trained(model, second, 4)
    with pytest.raises(UsageError, match="load_state_dict"):
        first.step()


def test_a_loop_that_goes_on_after_finish_is_told_how():
    model = Net()
    pruner = pruner_of(model)
    optimizer = trained(model, pruner, 8)
    halfway = pruner.finish()
    with pytest.raises(UsageError, match="load_state_dict"):
        trained(model, pruner, 1, optimizer, start=8)
    pruner.load_state_dict(pruner.state_dict())
    trained(model, pruner, 16, optimizer, start=8)
    assert pruner.finish().plan == halfway.plan


@pytest.mark.parametrize("gate", GATES)
def test_gates_learn_the_same_whatever_the_loss_is_scaled_by(gate):
    found = []
    for growth in (1.0, 2.0):
        pruner = pruner_of(model := Net(), gate)
        optimizer = adam(model.train())
        for place, (x, labels) in enumerate(batches(10)):
            scale = growth**place  # as a GradScaler has it, which unscales what its optimizer holds
            (scale * functional.cross_entropy(model(x), labels)).backward()
            for each in model.parameters():
                each.grad /= scale
            optimizer.step()
            optimizer.zero_grad()
            pruner.step()
        found.append({name: each for name, each in pruner.state_dict().items() if name.startswith("gate.")})
    assert all(torch.equal(each, found[1][name]) for name, each in found[0].items())


class Branches(nn.Module):
    """Any of two branches, as told."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = (nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3)) for _ in range(2))
        self.ways = ["first", "second"]

    def forward(self, x):
        return sum(getattr(self, way)(x) for way in self.ways)


def of_one_rank(rank, folder):
    distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    found = {}
    for gate in GATES:
        inside = Branches()
        model, x = DistributedDataParallel(inside, find_unused_parameters=True), torch.randn(4, 8)
        options = {"schedule": "learned", "schedule_options": {"gate": gate}}
        pruner = autoprune.Pruner(model, x, keep=0.5, steps=6, **options)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        inside.ways = inside.ways[rank : rank + 1]
        for _ in range(2):
            model(torch.randn(4, 8, generator=torch.Generator().manual_seed(rank))).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
            pruner.step()
        found |= {f"{gate} {name}": each for name, each in pruner.state_dict().items() if name.startswith("gate.")}
    torch.save(found, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_processes_that_run_other_parts_of_a_model_have_the_same_gates(tmp_path):
    start_processes(of_one_rank, (str(tmp_path),), nprocs=2, start_method="spawn")
    one, other = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert len({name.partition(":")[0] for name in one}) == 2 * len(GATES)
    assert all(each.any() and torch.equal(each, other[name]) for name, each in one.items())
