"""The Python API, in this process."""

import dataclasses
from pathlib import Path

import optuna
import pytest
import torch

import autoprune
from autoprune import registry
from autoprune.cli.print_result import print_result
from autoprune.engine import stages
from autoprune.errors import BudgetInfeasibleError, InterruptedSearchError, SurgeryError, TaskError, UsageError
from autoprune.finetuning.finetune import finetune
from autoprune.options.training_options import TrainingOptions
from autoprune.recovery.calibrate import calibrate
from autoprune.surgery.cut_model import CutModel
from autoprune.testing.fakes import RecordingReporter

QUICK = {"trials": 8, "finetune_epochs": 1, "finalists": 3}


def test_a_search_returns_loadable_models_within_the_budget(small_task):
    result = autoprune.search(small_task, budget=["params=50%", "flops=80%"], run="r", **QUICK)
    dense = sum(parameter.numel() for parameter in small_task.model.parameters())
    assert result.best is not None
    model = result.best.load()
    assert sum(parameter.numel() for parameter in model.parameters()) <= dense / 2
    assert model(small_task.example_inputs[0]).shape == (4, 3)
    assert result.best in result.front
    assert result.document["objectives"] == ["accuracy", "params", "flops"]
    assert 0 <= result.overhead < 1


def test_the_best_is_the_preferred_one_and_another_is_chosen_without_a_search(small_task):
    cheap = {"objectives": ("accuracy", "params")}
    result = autoprune.search(
        small_task, autoprune.Budget.parse("params=80%", **cheap), run="r", prefer="accuracy:1,params:1000", **QUICK
    )
    assert result.best is result.front[0]
    assert result.document["prefer"] == "accuracy:1,params:1000"
    dearest = result.choose(prefer="accuracy:1000,params:1")
    assert dearest.measurements["accuracy"].value == max(p.measurements["accuracy"].value for p in result.front)
    limit = result.front[0].measurements["params"].value
    assert result.choose(params=f"{limit:.0f}", prefer="accuracy:1000,params:1") is result.front[0]
    with pytest.raises(BudgetInfeasibleError, match="best possible params"):
        result.choose(params="1")
    with pytest.raises(UsageError):
        result.choose(speed="fast")


def test_the_users_model_is_left_as_it_was(small_task):
    before = {name: tensor.clone() for name, tensor in small_task.model.state_dict().items()}
    small_task.model.train()
    autoprune.search(small_task, budget="params=60%", run="r", **QUICK)
    after = small_task.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert small_task.model.training


@pytest.mark.parametrize("sampler", ["random", "nsga2"])
def test_every_sampler_searches_and_one_seed_gives_one_set_of_plans(small_task, sampler):
    runs = [
        autoprune.search(
            small_task,
            budget="params=70%",
            sampler=sampler,
            run=f"r{k}",
            trials=7,
            finetune_epochs=0,
            finalists=2,
            seed=5,
        )
        for k in range(2)
    ]
    assert [point.plan for point in runs[0].front] == [point.plan for point in runs[1].front]


def test_an_optuna_sampler_can_be_passed(small_task):
    import optuna

    result = autoprune.search(
        small_task, budget="params=70%", sampler=optuna.samplers.TPESampler(seed=0), run="r", **QUICK
    )
    assert result.best is not None


def test_a_sampler_that_cannot_propose_is_named_with_what_it_says(small_task):
    from optuna.samplers import RandomSampler

    class Single(RandomSampler):
        def infer_relative_search_space(self, study, trial):
            raise ValueError("one objective only")

    class Forgetful(RandomSampler):
        def after_trial(self, study, trial, state, values):
            raise KeyError("grid_id")

    for number, (sampler, said) in enumerate(((Single(), "one objective only"), (Forgetful(), "grid_id"))):
        with pytest.raises(UsageError, match=f"{type(sampler).__name__}, which says .*{said}"):
            autoprune.search(small_task, budget="params=70%", sampler=sampler, run=f"r{number}", **QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["", "sqlite:///studies.db"])
def test_mistake_seen_on_the_dense_model_leaves_no_directory(small_task, storage):
    def mistaken(model, split):
        raise AttributeError("no such field")

    asked = {**QUICK, "budget": "params=70%", "run": "new/r", "storage": storage}
    with pytest.raises(TaskError, match="no such field"):
        autoprune.search(dataclasses.replace(small_task, evaluate=mistaken), **asked)
    assert not Path("new").exists()
    assert autoprune.search(small_task, **asked).best is not None


def test_a_sampler_may_learn_from_gradients_of_a_copy_of_the_model(small_task, monkeypatch):
    seen, before = [], {name: value.clone() for name, value in small_task.model.state_dict().items()}

    class Steepest(optuna.samplers.RandomSampler):
        """Stands for one that descends along gradients."""

    def create(context):
        model, batch = context.access.model(), next(iter(context.access.batches("calibration")))
        context.access.loss(model, batch).backward()
        seen.append(sum(float(each.grad.abs().sum()) for each in model.parameters()))
        seen.append({group.name for group in context.access.traced.open})
        with pytest.raises(UsageError, match="train or calibration"):
            context.access.batches("test")
        return Steepest(context.seed)

    monkeypatch.setattr(registry.load("samplers", "random"), "create", create)
    autoprune.search(small_task, budget="params=70%", sampler="random", run="r", **QUICK)
    assert seen[0] > 0
    assert seen[1]
    assert all(torch.equal(value, before[name]) for name, value in small_task.model.state_dict().items())
    assert all(each.grad is None for each in small_task.model.parameters())


def test_weights_that_are_no_numbers_make_no_candidate(small_task, monkeypatch):
    def spoiled(*arguments):
        def repair(cut):
            torch.nn.init.constant_(cut.model.conv2.weight, float("nan"))

        return dataclasses.replace(calibrate(*arguments), repair=repair)

    monkeypatch.setattr(stages, "calibrate", spoiled)
    with pytest.raises(TaskError, match="finite weights.*conv2"):
        autoprune.search(small_task, budget="params=70%", sampler="random", run="r", **QUICK)


def test_netadapt_walks_through_what_is_beyond_the_budget(small_task):
    found = autoprune.search(
        small_task, budget="params=30%", sampler="netadapt", run="r", trials=16, finetune_epochs=0, finalists=2
    )
    assert found.document["trials"]["screened"] == 0


@pytest.mark.slow
def test_gates_lead_to_a_front_and_leave_the_dense_model_alone(small_task):
    before = {name: value.clone() for name, value in small_task.model.state_dict().items()}
    asked = {"budget": "params=60%", "sampler": "differentiable", "deterministic": True, "finetune_epochs": 0}
    plans = []
    for run in ("first", "again"):
        found = autoprune.search(small_task, run=run, trials=8, finalists=2, **asked)
        assert found.best is not None
        plans.append([each.plan for each in found.front])
    assert plans[0] == plans[1]
    assert all(torch.equal(value, before[name]) for name, value in small_task.model.state_dict().items())


def test_task_without_a_loss_is_finished_as_repaired_where_nothing_is_distilled(small_task):
    reporter = RecordingReporter()
    task = dataclasses.replace(small_task, loss=None, distance=None)
    found = autoprune.search(
        task, budget="params=70%", sampler="random", run="r", reporter=reporter, trials=5, finetune_epochs=1
    )
    assert found.best is not None
    assert any("nothing is distilled: models stay as repaired" in note for note in reporter.notes)


def test_impossible_budget_names_the_best_possible_at_once(small_task):
    reporter = RecordingReporter()
    with pytest.raises(BudgetInfeasibleError, match=r"best possible [0-9.]+ us|best possible [0-9.]+ ms"):
        autoprune.search(small_task, budget="latency=0.01us", run="r", reporter=reporter, **QUICK)
    assert not any("forecast" in note for note in reporter.notes)


def test_a_budget_that_dense_meets_is_said(small_task):
    reporter = RecordingReporter()
    autoprune.search(small_task, budget="params=1G", run="r", reporter=reporter, **QUICK)
    assert any("already meets the budget" in note for note in reporter.notes)


def test_scores_that_are_no_numbers_fail_their_trial_alone(small_task, tmp_path):
    def sometimes(model, split):
        return float("nan") if model.conv2.out_channels == 16 else 0.5

    task = dataclasses.replace(small_task, evaluate=sometimes, metrics=small_task.metrics[:1])
    reporter = RecordingReporter()
    result = autoprune.search(
        task, budget="params=90%", sampler="random", run="r", reporter=reporter, trials=8, finetune_epochs=0
    )
    assert result.document["trials"]["failed"] == 2
    assert result.document["trials"]["complete"] == 6
    assert len(reporter.warnings) == 2
    assert all(point["metrics"]["accuracy"]["value"] == 0.5 for point in result.document["front"])


def test_an_evaluator_that_fails_once_is_tried_again(small_task):
    calls = []

    def flaky(model, split):
        calls.append(1)
        if len(calls) in (2, 5):
            raise RuntimeError("the data server was away")
        return 0.5

    task = dataclasses.replace(small_task, evaluate=flaky, metrics=small_task.metrics[:1])
    result = autoprune.search(task, budget="params=90%", run="r", **QUICK)
    assert result.document["trials"]["failed"] == 0


def test_nothing_but_failures_ends_early_with_the_commonest_cause(small_task):
    dense = sum(parameter.numel() for parameter in small_task.model.parameters())

    def fails(model, split):
        if sum(parameter.numel() for parameter in model.parameters()) != dense:
            raise ZeroDivisionError("no pruned model pleases me")
        return 0.9

    task = dataclasses.replace(small_task, evaluate=fails, metrics=small_task.metrics[:1])
    with pytest.raises(TaskError, match="no pruned model pleases me"):
        autoprune.search(task, budget="params=90%", run="r", trials=60)


@pytest.mark.slow
def test_where_nothing_is_finished_no_budget_is_blamed(small_task):
    def fails(model, split):
        if split is small_task.splits["validation"] and model is not small_task.model:
            raise ZeroDivisionError("not on these")
        return 0.9

    task = dataclasses.replace(small_task, evaluate=fails, metrics=small_task.metrics[:1])
    result = autoprune.search(task, run="r", **QUICK)
    with pytest.raises(TaskError, match="a model that was finished"):
        print_result(result, as_json=False)


def test_an_interrupt_leaves_a_partial_front_with_models(small_task, tmp_path):
    count, dense = [], sum(parameter.numel() for parameter in small_task.model.parameters())

    def interrupting(model, split):
        count.append(1)
        if len(count) == 9:
            raise KeyboardInterrupt
        return sum(parameter.numel() for parameter in model.parameters()) / dense  # the larger the better

    task = dataclasses.replace(small_task, evaluate=interrupting, metrics=small_task.metrics[:1])
    with pytest.raises(InterruptedSearchError, match="the front so far"):
        autoprune.search(task, budget="params=90%", run="r", trials=20)
    from autoprune.store.reading import read_front

    front = read_front(tmp_path / "r")
    assert front["partial"]
    assert all((tmp_path / "r" / point["model"]).exists() for point in front["front"])
    assert autoprune.load(tmp_path / "r" / "models" / str(front["best"]), task)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"budget": "latency=5mss"}, UsageError), ({"budget": "acuracy>=0.9"}, UsageError), ({"budget": "energy=3mJ"}, UsageError),
        ({"budget": "loss>=0.1"}, UsageError), ({"sampler": "nsga"}, UsageError), ({"criterion": "l3"}, UsageError),
        ({"profiler": "onxrt"}, UsageError), ({"space": "nothing"}, UsageError), ({"trials": 0}, UsageError), ({"trials": 2.5}, UsageError),
        ({"timeout": -1}, UsageError), ({"threads": 0}, UsageError), ({"seed": -1}, UsageError), ({"executor": "slurm"}, UsageError),
        ({"sampler": "evolution", "sampler_options": {"population": "many"}}, UsageError),
    ],
)  # fmt: skip
def test_bad_options_are_refused_before_any_work_and_leave_no_directory(small_task, tmp_path, options, error):
    with pytest.raises(error):
        autoprune.search(small_task, **{"budget": "params=50%", **options})
    assert not list(tmp_path.glob("runs/*"))


def test_nothing_to_prune_is_said(small_task, tmp_path):
    space = tmp_path / "closed.yaml"
    space.write_text("match: []\nkinds: [channel]\nfrozen: ['.*']\nstep: 8\nfloor: 8\nkeep_ratios: [0.5]\n")
    with pytest.raises(SurgeryError, match="nothing to prune"):
        autoprune.search(small_task, budget="params=50%", space=str(space), run="r")


def test_a_time_limit_ends_the_search_for_candidates(small_task):
    result = autoprune.search(
        small_task, budget="params=90%", run="r", trials=10_000, timeout=3, finetune_epochs=0, finalists=2
    )
    assert 2 <= result.document["trials"]["complete"] < 200


def test_prune_takes_a_ratio_counts_or_a_plan(small_task):
    for plan in (0.5, {"conv1": 8}, autoprune.Plan.of({"conv1": 8})):
        cut = autoprune.prune(small_task.model, small_task.example_inputs, plan).model
        assert cut.conv1.out_channels == 8
    with pytest.raises(UsageError):
        autoprune.prune(small_task.model, small_task.example_inputs, {"conv1": 0})
    with pytest.raises(UsageError):
        autoprune.prune(small_task.model, small_task.example_inputs, 0.0)


def test_profile_gives_latency_with_its_interval_and_exact_counts(small_task):
    found = autoprune.profile(small_task.model, small_task.example_inputs, batch=2)
    assert 0 < found["latency"].low <= found["latency"].value <= found["latency"].high
    assert found["params"].value == sum(parameter.numel() for parameter in small_task.model.parameters())
    assert found["flops"].value == 2 * 2 * (64 * 9 * 16 + 64 * 9 * 16 * 32 + 64 * 32 * 16 + 16 * 3)


def test_training_that_does_harm_leaves_the_repaired_model(small_task):
    finetune(CutModel(small_task.model), small_task, None, TrainingOptions(epochs=20), 0, lambda text: None)
    harmful = dataclasses.replace(
        small_task,
        loss=lambda out, batch: -small_task.loss(out, batch),
        distance=None,
        metrics=small_task.metrics[1:],  # the loss is the quality: any loss increase shows
    )
    kept = autoprune.search(harmful, budget="params=60%", run="r", trials=6, finetune_epochs=8, finalists=1)
    repaired = autoprune.search(harmful, budget="params=60%", run="s", trials=6, finetune_epochs=0, finalists=1)
    scores = [result.best.measurements["loss"].value for result in (kept, repaired)]
    assert kept.best.plan == repaired.best.plan
    assert scores[0] == pytest.approx(scores[1])


def test_where_nothing_is_to_be_cut_the_model_is_the_users_own(small_task):
    found = autoprune.search(small_task, budget="params=100%", sampler="random", run="r", trials=1, finetune_epochs=0)
    model, mine = found.best.load().eval(), small_task.model.eval()
    assert found.best.trial == 0
    assert torch.equal(model(small_task.example_inputs[0]), mine(small_task.example_inputs[0]))


@pytest.mark.parametrize("seed", [-1, 2**32, True, 1.5])
def test_seeds_that_some_generator_does_not_take_are_refused_at_once(small_task, seed):
    with pytest.raises(UsageError, match="a seed from 0 to 4294967295"):
        autoprune.search(small_task, seed=seed)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"budget": None}, "a Budget"),
        ({"budget": 5}, "a Budget"),
        ({"budget": {"params": "50%"}}, "a Budget"),
        ({"budget": [["params=50%"]]}, "METRIC=VALUE"),
        ({"timeout": "ten"}, "10m"),
        ({"space": {"kinds": ["channel"]}}, "kinds, keep_ratios"),
        ({"space": 5}, "a search space by name"),
        ({"criterion": None}, "known criterion"),
        ({"sampler": None}, "known sampler"),
    ],
)
def test_what_is_of_the_wrong_kind_is_told_in_one_line(small_task, given, words):
    with pytest.raises(UsageError, match=words):
        autoprune.search(small_task, run="r", **given)
    assert not Path("r").exists()


def test_a_budget_that_nothing_meets_leaves_the_directory_for_another_try(small_task):
    with pytest.raises(BudgetInfeasibleError):
        autoprune.search(small_task, "params=1", run="r", **QUICK)
    assert autoprune.search(small_task, "params=70%", run="r", **QUICK).best is not None


def test_unusable_loss_is_told_before_the_search(small_task):
    task = dataclasses.replace(small_task, loss=lambda output, batch: output)
    with pytest.raises(TaskError, match=r"finite scalar tensor.*shape \[\d+, 3\].*finetune_epochs=0"):
        autoprune.search(task, "params=70%", run="r", **QUICK)
    assert not Path("r").exists()
    assert autoprune.search(task, "params=70%", run="r", **{**QUICK, "finetune_epochs": 0}).best is not None


def test_progress_goes_to_the_logger_and_a_time_limit_may_have_a_unit(small_task, caplog):
    with caplog.at_level("INFO", logger="autoprune"):
        result = autoprune.search(small_task, "params=70%", run="r", sampler="random", timeout="2h", **QUICK)
    assert any(record.message.startswith("searching: 1/8") for record in caplog.records)
    assert {record.levelname for record in caplog.records} <= {"INFO", "WARNING"}
    assert result.document["trials"]["complete"] == QUICK["trials"]
