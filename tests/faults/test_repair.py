"""What calibration data and models may throw at criteria and repairs."""

import dataclasses
import json
import typing

import pytest
import torch
from torch import nn

import autoprune
from autoprune import registry
from autoprune.core.clock import SystemClock
from autoprune.core.group import Group
from autoprune.core.scope import scoped
from autoprune.errors import SurgeryError, TaskError, UsageError
from autoprune.recovery.calibrate import calibrate
from autoprune.surgery import apply, kept_slices, trace
from autoprune.surgery.cut_model import CutModel
from autoprune.surgery.sparsity import with_weights
from autoprune.testing.criterion import residual_task, task_of
from autoprune.testing.repair import difference, repaired

QUICK = {"trials": 5, "finetune_epochs": 0, "finalists": 1}


def finite(model):
    return all(bool(torch.isfinite(tensor).all()) for tensor in model.state_dict().values())


@pytest.mark.parametrize("criterion", registry.names("criteria"))
def test_a_singular_hessian_and_a_group_of_one_channel_are_survived(criterion):
    class Narrow(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two, self.head = nn.Conv2d(1, 1, 3), nn.Conv2d(1, 6, 1), nn.Linear(6, 5)

        def forward(self, x):
            return self.head(torch.relu(self.two(torch.relu(self.one(x)))).mean((2, 3)))

    torch.manual_seed(0)
    task = task_of(Narrow(), 1, 5, 5)
    constant = [(torch.ones_like(inputs), labels) for inputs, labels in task.split("calibration")]
    task = task.with_split("calibration", constant)
    traced = trace(task.model, task.example_inputs)
    for repair in registry.names("repairs"):
        calibrated = calibrate(task.model, traced, criterion, repair, SystemClock(), task)
        slices = kept_slices(traced, calibrated.ranking, autoprune.Plan.of({"two": 3}))
        cut = apply(task.model, traced, slices)
        calibrated.repair(CutModel(cut, slices=slices))
        assert finite(cut)


def test_inputs_that_are_nan_are_named_and_nothing_becomes_nan():
    task = residual_task()
    broken = [(inputs * float("nan"), labels) for inputs, labels in task.split("calibration")]
    task = task.with_split("calibration", broken)
    traced = trace(task.model, task.example_inputs)
    calibrated = calibrate(task.model, traced, "hessian", "sequential", SystemClock(), task)
    assert any("not finite" in note and "inner.weight" in note for note in calibrated.notes)
    assert any("ranked by l2" in note for note in calibrated.notes)
    slices = kept_slices(traced, calibrated.ranking, autoprune.Plan.of({"inner": 6}))
    cut = apply(task.model, traced, slices)
    calibrated.repair(CutModel(cut, slices=slices))
    assert all(bool(torch.isfinite(weight).all()) for weight in cut.parameters())


def test_zeroed_weights_are_no_way_to_a_latency_budget(small_task):
    with pytest.raises(UsageError, match=r"'torch' does not run unstructured zeros faster.*size=30%"):
        autoprune.search(small_task, "latency=50%", space="unstructured", run="r", **QUICK)


def test_a_search_over_zeros_meets_a_budget_of_size_with_the_file_itself(small_task, tmp_path):
    result = autoprune.search(
        small_task, "size=40%", space="unstructured", run="r", trials=8, finetune_epochs=1, finalists=1
    )
    assert result.best is not None
    dense = result.document["dense"]["metrics"]["size"]["value"]
    file = tmp_path / "r" / "models" / str(result.best.trial) / "model.safetensors"
    assert file.stat().st_size <= 0.4 * dense
    assert file.stat().st_size == result.best.measurements["size"].value
    model = result.best.load()
    assert autoprune.masks(model)
    assert model(small_task.example_inputs[0]).shape == (4, 3)
    assert "stored as" in (file.parent / "README.md").read_text()
    assert json.loads((file.parent / "plan.json").read_text())["plan"]


def test_prune_zeroes_repairs_and_scopes_without_a_search(small_task):
    x = small_task.example_inputs
    zeroed = autoprune.prune(small_task.model, x, 0.5, pattern="2:4", task=small_task, criterion="wanda")
    weight = zeroed.model.conv2.weight.movedim(1, -1).unflatten(-1, (-1, 4))
    assert ((weight != 0).sum(-1) == 2).all()
    assert zeroed.after["size"].value < 0.7 * zeroed.before["size"].value
    cut = autoprune.prune(small_task.model, x, 0.5, scope="global", criterion="taylor", task=small_task)
    kept = sum(cut.plan.kept.values()) / sum(group.size for group in cut.traced.open if group.kind != "layer")
    assert kept == pytest.approx(0.5, abs=0.1)
    with pytest.raises(UsageError, match="pass task="):
        autoprune.prune(small_task.model, x, 0.5, repair="sequential")
    with pytest.raises(UsageError, match="pattern='unstructured'"):
        autoprune.prune(small_task.model, x, 0.5, scope="global", pattern="2:4")


class UNet(nn.Module):
    """A strided transposed convolution, whose results meet unequally many taps."""

    def __init__(self, kernel):
        super().__init__()
        self.down, self.up, self.head = nn.Conv2d(2, 12, 3), nn.ConvTranspose2d(12, 6, kernel, 2), nn.Linear(6, 5)

    def forward(self, x):
        return self.head(torch.relu(self.up(torch.relu(self.down(x)))).mean((2, 3)))


class Scalar(nn.Module):
    """A layer with one input, as for a point in time."""

    def __init__(self):
        super().__init__()
        self.time, self.mix, self.head = nn.Linear(1, 16), nn.Linear(16, 16), nn.Linear(16, 5)

    def forward(self, x):
        return self.head(torch.relu(self.mix(torch.relu(self.time(x[:, :1])))))


class Experts(nn.Module):
    """Each sample goes to one of two experts, the third is never asked."""

    def __init__(self):
        super().__init__()
        self.stem, self.gate = nn.Linear(6, 16), nn.Linear(16, 2)
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16)) for _ in range(3))
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        chosen = self.gate(x).argmax(1)
        out = torch.zeros_like(x)
        for place, expert in enumerate(self.experts):
            out[chosen == place] = expert(x[chosen == place])
        return self.head(out)


class Mixer(nn.Module):
    """A linear layer on what is not contiguous, whose bias is added in a step of its own."""

    def __init__(self):
        super().__init__()
        self.token, self.back, self.head = nn.Linear(6, 16), nn.Linear(16, 6), nn.Linear(8, 5)

    def forward(self, x):
        return self.head((x + self.back(torch.relu(self.token(x.transpose(1, 2)))).transpose(1, 2)).mean(1))


class Spoken(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.out, self.head = nn.LSTM(8, 16, batch_first=True), nn.Linear(16, 12), nn.Linear(12, 5)

    def forward(self, x):
        return self.head(torch.relu(self.out(self.lstm(x)[0].mean(1))))


CASES = {
    "transposed 2": (lambda: UNet(2), (2, 6, 6)),
    "transposed 4": (lambda: UNet(4), (2, 6, 6)),
    "one input": (Scalar, (4,)),
    "experts": (Experts, (6,)),
    "mixer": (Mixer, (6, 8)),
    "recurrent": (Spoken, (6, 8)),
}


@pytest.mark.parametrize("case", CASES)
def test_unusual_layers_are_ranked_and_repaired_and_never_made_worse(case):
    make, shape = CASES[case]
    torch.manual_seed(0)
    task = task_of(make(), *shape)
    plain = difference(task, repaired(task, "none")[0])
    for repair in ("bias", "reconstruct", "sequential"):
        model, _ = repaired(task, repair)
        assert finite(model)
        assert difference(task, model) < plain * (1.05 if repair == "bias" else 1)
    for criterion in ("hessian", "taylor", "wanda"):
        assert finite(repaired(task, "sequential", criterion=criterion)[0])


def test_the_bias_of_what_is_not_contiguous_is_found():
    reading = trace(Mixer(), torch.randn(2, 6, 8)).reading
    assert reading["token.weight"].bias == "token.bias"


def test_weights_are_read_under_autocast_too():
    class Casting(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(4, 8), nn.Linear(8, 3)

        def forward(self, x):
            with torch.autocast("cpu", torch.bfloat16):
                return self.two(torch.relu(self.one(x)))

    assert set(trace(Casting(), torch.randn(2, 4)).reading) == {"one.weight", "two.weight"}


def test_frozen_statistics_absorb_no_constant():
    class Frozen(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(2, 4, 3, bias=False), nn.Linear(4, 5)
            self.register_buffer("running_mean", torch.zeros(4))
            self.register_buffer("running_var", torch.ones(4))

        def forward(self, x):
            x = nn.functional.batch_norm(self.conv(x), self.running_mean, self.running_var)
            return self.head(torch.relu(x).mean((2, 3)))

    assert not trace(Frozen(), torch.randn(2, 2, 6, 6)).reading["conv.weight"].absorbed


def test_statistics_of_batch_norm_stay_where_nothing_or_nan_arrives():
    task = residual_task()
    task.model.unused = nn.BatchNorm2d(8).double()
    task.model.unused.running_mean.fill_(5.0)
    for value, repair in ((1.0, "batchnorm"), (float("nan"), "batchnorm"), (float("nan"), "sequential")):
        broken = [(inputs * value, labels) for inputs, labels in task.split("calibration")]
        model, _ = repaired(task.with_split("calibration", broken), repair)
        assert finite(model)
        assert float(model.unused.running_mean[0]) == 5.0


class Pair(typing.NamedTuple):
    inputs: torch.Tensor
    labels: torch.Tensor


class Graph:
    """A batch that nobody can cut."""

    def __init__(self, inputs, labels):
        self.inputs, self.labels = inputs, labels


@pytest.mark.parametrize("kind", [Pair, Graph, lambda x, y: {"x": x, "labels": y}])
def test_batches_of_any_kind_are_looked_at(kind):
    base = residual_task()
    batches = [kind(*batch) for batch in base.split("calibration")]

    def part(batch, place):
        if isinstance(batch, dict):
            return list(batch.values())[place]
        return (batch.inputs, batch.labels)[place] if isinstance(batch, Pair | Graph) else batch[place]

    task = dataclasses.replace(
        base.with_split("calibration", batches),
        forward=lambda model, batch: model(part(batch, 0)),
        loss=lambda outputs, batch: nn.functional.cross_entropy(outputs, part(batch, 1)),
    )
    for criterion in ("taylor", "hessian"):
        model, _ = repaired(task, "sequential", criterion=criterion)
        assert difference(base, model) < difference(base, repaired(base, "none")[0])


@pytest.mark.parametrize(
    "loss",
    [
        lambda out, batch: out.square().mean(1),
        lambda out, batch: out.detach().sum(),
        lambda out, batch: out.nothing,
        lambda out, batch: 1.0,
    ],
)
def test_a_loss_that_gradients_cannot_be_taken_of_is_an_error_with_a_cure(loss):
    task = dataclasses.replace(residual_task(), loss=loss)
    with pytest.raises(TaskError, match="loss"):
        calibrate(task.model, trace(task.model, task.example_inputs), "taylor", "none", SystemClock(), task)


def test_a_group_that_one_weight_reads_twice_is_seen_as_a_whole():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = nn.Linear(6, 8), nn.Linear(16, 5)

        def forward(self, x):
            x = torch.relu(self.body(x))
            return self.head(torch.cat([x, x], 1))

    torch.manual_seed(0)
    task = task_of(Twice(), 6)
    with torch.no_grad():  # the first three slices cancel in what is read
        task.model.head.weight[:, 8:11] = -task.model.head.weight[:, :3]
    scores = calibrate(
        task.model, trace(task.model, task.example_inputs), "hessian", "none", SystemClock(), task
    ).ranking
    assert set(scores["body"].argsort()[:3].tolist()) == {0, 1, 2}


def test_weights_that_cannot_be_zeroed_are_named_with_their_reason():
    model = nn.Sequential(nn.Conv2d(4, 8, 3, groups=2), nn.Flatten(), nn.Linear(32, 5))
    traced = with_weights(model, trace(model, torch.randn(2, 4, 4, 4)), "unstructured")
    reasons = {group.name: group.frozen_reason for group in traced.groups if group.kind == "weight"}
    assert "grouped" in reasons["0.weight"]
    assert not reasons["2.weight"]
    with pytest.raises(SurgeryError, match=r"nothing to prune.*grouped"):
        autoprune.prune(model[0], torch.randn(2, 4, 4, 4), 0.5, pattern="unstructured")


def test_groups_that_something_else_ranked_keep_the_common_share():
    groups = [Group("a", "channel", 4, ()), Group("b", "head", 4, ())]
    scores = {"a": [1.0, 2.0, 3.0, 4.0], "b": [100.0, 200.0, 300.0, 400.0]}
    assert scoped(groups, scores, "global", 0.5).kept == {"a": 1, "b": 4}
    assert scoped(groups, scores, "global", 0.5, apart={"b"}).kept == {"a": 2, "b": 2}


def test_complex_weights_keep_their_imaginary_part():
    class Phase(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Linear(6, 8, dtype=torch.complex128)
            self.head = nn.Linear(8, 5, dtype=torch.complex128)

        def forward(self, x):
            return self.head(self.body(x.to(torch.complex128))).abs()

    torch.manual_seed(0)
    task = task_of(nn.Identity(), 6)
    task = dataclasses.replace(task, model=Phase().eval())
    model, _ = repaired(task, "sequential")
    assert model.head.weight.imag.any()
