"""What users get wrong, through the command line: one line on stderr that cures, and the documented exit code."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def tasks(tmp_path):
    shutil.copy(Path(__file__).with_name("tasks.py"), tmp_path)


def check_refused(result, code, *words):
    status, stdout, stderr = result
    last = stderr.strip().splitlines()[-1]
    assert status == code, stderr
    assert stdout == ""
    assert last.startswith("autoprune: ")
    assert "Traceback" not in stderr
    for word in words:
        assert word in last


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (["latency=5mss"], ["did you mean 'ms'"]),
        (["latency=5m"], ["ns, us"]),
        (["latency=5ms;"], ["latency=5ms;"]),
        (["latency=nan ms"], ["nan"]),
        (["latency=1e400ms"], ["finite"]),
        (["latency=0ms"], ["positive"]),
        (["latency=-5ms"], ["positive"]),
        (["latency=0%"], ["positive"]),
        (["latency=120%"], ["100%"]),
        (["latency=5ms", "latency=6ms"], ["one limit on latency"]),
        (["latency=5ms", "latency=50%"], ["one limit on latency"]),
        (["latency>=5ms"], ["turn the relation round"]),
        (["latencyy=5ms"], ["did you mean 'latency'", "throughput"]),
    ],
)
def test_malformed_impossible_and_contradictory_budgets(told, limits, words):
    arguments = [part for limit in limits for part in ("--budget", limit)]
    check_refused(told("search", *arguments), 2, *words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--schedule", "iterative", "--finetune-epochs", "1"], ["at least 2 epochs", "--finetune-epochs 2"]),
        (["--schedule", "sparse", "--finetune-epochs", "2"], ["single weights", "--space unstructured"]),
        (["--schedule", "gradual", "--schedule-option", "rump=0.5"], ["known: ramp"]),
        (["--regularizer", "l1"], ["a schedule that trains a model before it is cut"]),
        (["--schedule", "regularized", "--regularizer", "scale"], ["normalisation with factors", "group-lasso"]),
        (["--schedule", "regularized", "--regularizer", "lasso"], ["known: group-lasso"]),
        (["--distill", "logitz"], ["did you mean 'logits'"]),
        (["--distill", "logits:-1"], ["positive number"]),
    ],
)
def test_training_that_does_not_fit_is_refused_before_time_is_spent(told, tasks, arguments, words):
    check_refused(told("search", "tasks.py:good", "--budget", "params=50%", "--run", "r", *arguments), 2, *words)
    assert not (Path("r") / "measurements.jsonl").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--sampler", "nsga3000"], 2, ["known: annealing, auto,", "random, tpe, uniform"]),
        (["--profiler", "onxrt"], 2, ["did you mean 'onnxruntime'?"]),
        (["--device", "pi"], 5, ["'pi'", "--executor ray"]),
        (["--executor", "slurm"], 2, ["known: inline"]),
        (["--trials", "0"], 2, ["trials"]),
        (["--timeout", "ten"], 2, ["10m"]),
        (["--tirals", "3"], 2, ["--trials"]),
        (["--budget", "energy=3mJ"], 2, ["'torch' measures", "latency, throughput"]),
        (["--budget", "acuracy>=0.9"], 2, ["did you mean 'accuracy'"]),
        (["--objective", "nothing"], 2, ["known: params"]),
        (["--space", "encodr"], 2, ["did you mean 'encoder'"]),
        (["--run", "/proc/autoprune"], 6, ["/proc/autoprune", "writable"]),
        (["--config", "missing.yaml"], 2, ["missing.yaml"]),
    ],
)
def test_unknown_names_and_unusable_places(told, tasks, arguments, code, words):
    check_refused(told("search", "tasks.py:good", *arguments, "--quiet"), code, *words)


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("returns_none", ["<lambda>", "tasks.py", "NoneType"]),
        pytest.param("returns_text", ["str"], marks=pytest.mark.slow),
        pytest.param("returns_nan", ["between 0 and 1", "nan"], marks=pytest.mark.slow),
        ("returns_above_range", ["97.0"]),
        ("fails_when_pruned", ["pruned models break my metric", "failures"]),
        ("empty", ["positive length"]),
        pytest.param("one_sample", ["1"], marks=pytest.mark.slow),
        ("wrong_shape", ["[1, 3, 6, 6]", "3 channels"]),
        ("nothing_to_prune", ["nothing to prune", "model input"]),
    ],
)
def test_unusable_tasks(told, tasks, task, words):
    check_refused(told("search", f"tasks.py:{task}", "--budget", "params=90%", "--quiet"), 4, *words)


@pytest.mark.slow
def test_an_impossible_budget_names_the_best_possible(command, tasks):
    check_refused(
        command("search", "tasks.py:good", "--budget", "params=3", "--quiet"), 3, "best possible", "params at most 3"
    )


@pytest.mark.slow
def test_a_quality_that_no_finished_model_reaches_names_the_best_possible(command, tasks):
    arguments = ["--budget", "accuracy>=1.0", "--objective", "accuracy", "--objective", "params", "--trials", 4]
    status, _, stderr = command(
        "search", "tasks.py:good", *arguments, "--finetune-epochs", 0, "--finalists", 1, "--quiet"
    )
    assert status == 3
    assert "best possible accuracy" in stderr.splitlines()[-1]


def test_hostile_yaml_is_not_executed(told, tasks, tmp_path):
    (tmp_path / "c.yaml").write_text("!!python/object/apply:os.system ['touch ran']\n")
    check_refused(told("search", "tasks.py:good", "--config", "c.yaml"), 2, "c.yaml")
    (tmp_path / "b.yaml").write_text("a: &a [x, x]\nb: [*a, *a]\n")
    check_refused(told("search", "tasks.py:good", "--config", "b.yaml"), 2, "aliases")
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
def test_unicode_spaces_and_long_paths_work(command, tasks, tmp_path):
    run = tmp_path / "läufe mit leerzeichen" / ("n" * 200) / "日本"
    arguments = [
        "--budget",
        "params=90%",
        "--trials",
        3,
        "--finetune-epochs",
        0,
        "--finalists",
        1,
        "--quiet",
        "--run",
        run,
    ]
    status, _, stderr = command("search", "tasks.py:good", *arguments)
    assert status == 0, stderr
    assert (run / "front.json").exists()
