"""The main job through the real command line, on the worked example."""

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec

import pytest
import yaml

from tests.conftest import COMMAND, ROOT


def autoprune(*arguments, cwd, timeout=280):
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True, text=True, timeout=timeout, cwd=cwd, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("a user's földer")
    shutil.copy(ROOT / "examples" / "my_task.py", folder)
    done = autoprune(
        "search", "my_task.py:task", "--budget", "latency=90%", "--trials", 5, "--finetune-epochs", 1, "--finalists", 2,
        "--run", "runs/demo", "--json", cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder, done


def test_stdout_is_front_json_and_nothing_else(searched):
    folder, done = searched
    assert json.loads(done.stdout) == json.loads((folder / "runs/demo/front.json").read_text())


def test_front_json_keeps_its_contract(searched):
    folder, _ = searched
    front = json.loads((folder / "runs/demo/front.json").read_text())
    assert front["schema"] == 1
    assert front["budget"] == ["latency<=90%"]
    assert front["task"] == "my-task"
    assert not front["partial"]
    assert set(front["profiler"]) == {"name", "device", "threads", "batch", "precision"}
    assert front["profiler"]["batch"] == 8
    assert front["trials"]["complete"] + front["trials"]["failed"] == 5
    best = next(point for point in front["front"] if point["trial"] == front["best"])
    assert best["feasible"]
    assert best["metrics"]["latency.relative"]["high"] <= 0.9
    for point in front["front"]:
        metrics = point["metrics"]
        assert {"accuracy", "loss", "latency", "params", "flops", "size"} <= set(metrics)
        assert metrics["accuracy"]["split"] == "validation"
        assert 0 < metrics["latency"]["low"] <= metrics["latency"]["value"] <= metrics["latency"]["high"] < 1
        assert (folder / "runs/demo" / point["model"]).stat().st_size == metrics["size"]["value"]
    assert front["test"]["best"]["accuracy"]["split"] == "test"


def test_no_point_of_the_front_beats_another(searched):
    folder, _ = searched
    points = [
        (-point["metrics"]["accuracy"]["value"], point["metrics"]["latency"]["value"])
        for point in json.loads((folder / "runs/demo/front.json").read_text())["front"]
    ]
    assert not any(a != b and a[0] <= b[0] and a[1] <= b[1] for a in points for b in points)


def test_saved_model_gives_its_score_in_a_fresh_process(searched):
    folder, _ = searched
    front = json.loads((folder / "runs/demo/front.json").read_text())
    code = """
import json, sys, autoprune
from autoprune.core.reporter import Silent
from autoprune.tasks.locate import locate
task = locate("my_task.py:task", Silent())
model = autoprune.load(sys.argv[1])
print(json.dumps([task.score(model, "validation")["accuracy"].value, sum(p.numel() for p in model.parameters()),
                  sum(p.numel() for p in task.model.parameters())]))
"""
    folder_of_best = f"runs/demo/models/{front['best']}"
    done = subprocess.run(
        [sys.executable, "-c", code, folder_of_best], cwd=folder, capture_output=True, text=True, check=True
    )
    accuracy, pruned, dense = json.loads(done.stdout)
    metrics = next(point["metrics"] for point in front["front"] if point["trial"] == front["best"])
    assert accuracy == pytest.approx(metrics["accuracy"]["value"])
    assert pruned == metrics["params"]["value"] < dense


def test_the_run_directory_holds_what_is_promised(searched):
    folder, _ = searched
    run = folder / "runs/demo"
    recipe = yaml.safe_load((run / "run.yaml").read_text())
    assert recipe["seed"] == 0
    assert recipe["versions"]["torch"]
    assert recipe["search_space"]["plans"] > 1
    trials = [json.loads(line) for line in (run / "measurements.jsonl").read_text().splitlines()]
    assert [trial["stage"] for trial in trials].count("search") == 5
    assert {trial["stage"] for trial in trials} >= {"search", "final"}
    assert (run / "front.png").read_bytes().startswith(b"\x89PNG")
    assert (run / "decisions.md").read_text().startswith("# What was decided in demo\n")
    for point in json.loads((run / "front.json").read_text())["front"]:
        card = (run / "models" / str(point["trial"]) / "README.md").read_text()
        assert yaml.safe_load(card.split("---")[1])["model-index"][0]["results"][0]["dataset"]["split"] == "validation"
        assert f'autoprune.load("runs/demo/models/{point["trial"]}")' in card
        assert card.count("## Limits") == 1
    assert (run / "report.html").exists() == (find_spec("plotly") is not None)
    assert json.loads((run / "log.jsonl").read_text().splitlines()[-1])["event"] == "finished"
    assert {"study.journal", "ranking.safetensors", "LOCK"} <= {path.name for path in run.iterdir()}
    assert not list(run.rglob("*.partial"))
    plan = json.loads(
        (run / "models" / str(json.loads((run / "front.json").read_text())["best"]) / "plan.json").read_text()
    )
    assert all(len(plan["slices"][name]) == plan["plan"][name] for name in plan["slices"])


def test_front_prints_the_table_again(searched, told, monkeypatch):
    folder, _ = searched
    monkeypatch.chdir(folder)
    code, out, _ = told("front", "runs/demo")
    assert code == 0
    assert "dense" in out
    assert "*" in out


def test_profile_measures_the_best_model_of_a_run(searched, told, monkeypatch):
    folder, _ = searched
    monkeypatch.chdir(folder)
    code, out, err = told("profile", "runs/demo", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["latency"]["unit"] == "s"
    assert found["params"]["value"] > 0


@pytest.mark.slow
def test_profile_shows_where_the_time_of_a_task_goes(searched, told, monkeypatch):
    folder, _ = searched
    monkeypatch.chdir(folder)
    code, out, err = told("profile", "my_task.py:task", "--by-layer", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert sum(layer["share"] for layer in found["layers"]) == pytest.approx(1.0)
    assert max(found["layers"], key=lambda layer: layer["flops"])["name"].startswith("features")
    assert found["roof"]["flops"] > 1e9


def test_a_run_is_never_overwritten(searched, told, monkeypatch):
    folder, _ = searched
    monkeypatch.chdir(folder)
    code, _, err = told("search", "my_task.py:task", "--run", "runs/demo")
    assert code == 6
    assert "data.json" in err
    assert "choose another --run" in err


def test_inspect_lists_groups_with_reasons(searched, told, monkeypatch):
    folder, _ = searched
    monkeypatch.chdir(folder)
    code, out, _ = told("inspect", "my_task.py:task")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].split()[:4] == ["group", "kind", "size", "step"]
    assert next(line for line in lines if line.startswith("features.3 ")).split()[1:4] == ["channel", "64", "8"]
    assert "model output" in next(line for line in lines if line.startswith("classifier.2"))
    assert lines[-1] == "search space 'cnn': can be cut: 100.0% of the parameters, 100.0% of the operations"
    groups = json.loads(told("inspect", "my_task.py:task", "--json")[1])
    assert groups["coverage"]["params"] > 0.9
    assert {"name", "kind", "size", "step", "floor", "members", "tie", "frozen_reason"} <= groups["groups"][0].keys()


def test_repeated_options_in_a_file_are_lists_names_or_one(searched, told, monkeypatch):
    folder, _ = searched
    monkeypatch.chdir(folder)
    config = folder / "c.yaml"
    for budget in ("params=20k", "{params: 20k}", "[params=20k]"):
        config.write_text(f"budget: {budget}\nsampler: nsga2\nsampler-option: {{warm: true}}\n")
        code, out, err = told("search", "my_task.py:task", "--config", config, "--dry-run", "--json")
        assert code == 0, err
        assert json.loads(out)["budget"] == ["params<=20k"]
        assert json.loads(out)["sampler_options"] == {"warm": "true"}
    config.write_text("finetune-epochs: 3\nfinetune_epochs: 5\n")
    assert told("search", "my_task.py:task", "--config", config, "--dry-run")[0] == 2
    for wrong in ("trials: 1.5", "trials: true"):
        config.write_text(wrong)
        assert told("search", "my_task.py:task", "--config", config, "--dry-run")[0] == 2
    config.unlink()


def test_what_a_task_prints_does_not_stand_in_the_data(searched, told, monkeypatch):
    folder, _ = searched
    monkeypatch.chdir(folder)
    (folder / "loud.py").write_text("print('hello')\nfrom my_task import task")
    for command in ("inspect", "search"):
        code, out, err = told(command, "loud.py:task", "--json", *(["--dry-run"] if command == "search" else []))
        assert code == 0, err
        json.loads(out)
        assert "hello" in err
    (folder / "loud.py").unlink()


def test_a_command_that_is_interrupted_says_so(told, monkeypatch):
    def interrupted(*arguments, **names):
        raise KeyboardInterrupt

    monkeypatch.setattr("autoprune.api.search.preview", interrupted)
    code, _, err = told("search", "--dry-run")
    assert code == 130
    assert "interrupted" in err


def test_a_dry_run_says_what_it_would_do_and_writes_nothing(searched, told, monkeypatch):
    folder, _ = searched
    monkeypatch.chdir(folder)
    before = sorted(folder.rglob("*"))
    config = folder / "c.yaml"
    config.write_text("trials: 5\nbudget: [params=20k]\nsampler: random\njson: true\n")
    code, out, err = told("search", "my_task.py:task", "--config", config, "--sampler", "uniform", "--dry-run")
    config.unlink()
    assert code == 0, err
    found = json.loads(out)
    assert found["budget"] == ["params<=20k"]
    assert found["effort"]["trials"] == 5
    assert found["sampler"] == "uniform"
    assert found["meaning"] == ["params at most 20k"]
    assert sorted(path for path in folder.rglob("*") if "__pycache__" not in str(path)) == [
        p for p in before if "__pycache__" not in str(p)
    ]


def test_the_best_is_chosen_again_without_a_search(searched):
    folder, _ = searched
    front = json.loads((folder / "runs/demo/front.json").read_text())
    cheapest = front["front"][0]
    limit = f"latency={cheapest['metrics']['latency']['high'] * 1001:.6f}ms"
    done = autoprune("front", "runs/demo", "--within", limit, "--prefer", "accuracy:1,latency:1000", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f'load it: autoprune.load("runs/demo/models/{cheapest["trial"]}")'
    found = json.loads(autoprune("front", "runs/demo", "--within", limit, "--json", cwd=folder).stdout)
    assert (found["best"], len(found["budget"])) == (cheapest["trial"], 1)
    assert found["budget"] != front["budget"]
    none = autoprune("front", "runs/demo", "--within", "latency=1ns", cwd=folder)
    assert none.returncode == 3
    assert len(none.stderr.splitlines()) == 1
    assert "best possible latency" in none.stderr


@pytest.mark.slow
def test_weights_of_something_else_than_the_objectives_are_refused_before_a_search(searched):
    folder, _ = searched
    done = autoprune("search", "my_task.py:task", "--prefer", "params:2", "--run", "runs/none", cwd=folder)
    assert done.returncode == 2
    assert "a weight for each of accuracy, latency" in done.stderr
    assert not (folder / "runs/none").exists()
