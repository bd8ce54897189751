"""Real kills of what runs on a cluster: every trial is accounted for, and nothing is left running."""

import json
import os
import signal
import subprocess
import sys

import optuna
import pytest
from optuna.storages import JournalStorage

from autoprune.store.journal import Journal
from autoprune.testing.processes import alive, called, descendants, until
from tests.faults.runs import reached, records, start


@pytest.mark.slow
def test_killed_ray_processes_lose_no_trial(tmp_path):
    driver = start(tmp_path, "--objective", "accuracy", "--objective", "latency")
    try:
        reached(driver, lambda: len(records(tmp_path)) >= 1, 120)
        device = until(lambda: called(driver.pid, "ray::DeviceActor"))[0]
        assert os.getpriority(os.PRIO_PROCESS, device) == os.getpriority(os.PRIO_PROCESS, driver.pid)
        os.kill(until(lambda: called(driver.pid, "ray::EvaluatorActor.run"))[0], signal.SIGKILL)
        seen = len(records(tmp_path))
        until(lambda: len(records(tmp_path)) > seen, 120)
        os.kill(until(lambda: called(driver.pid, "ray::DeviceActor"))[0], signal.SIGKILL)
        seen = len(records(tmp_path))
        until(lambda: len(records(tmp_path)) >= min(seen + 2, 6), 120)  # one of them was asked for after the kill
        children = list(descendants(driver.pid))
        assert len(children) > 5
        before = {entry["trial"] for entry in records(tmp_path)}
    finally:
        driver.kill()
    driver.communicate()
    until(lambda: not alive(children), 10)

    done = subprocess.run(
        [sys.executable, "-m", "autoprune", "resume", "r", "--json"], cwd=tmp_path, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["trials"]["failed"] == 0
    numbers = [entry["trial"] for entry in records(tmp_path)]
    assert len(numbers) == len(set(numbers)) == 6
    assert before <= set(numbers)
    study = optuna.load_study(study_name="r", storage=JournalStorage(Journal(tmp_path / "r" / "study.journal")))
    assert not [t for t in study.trials if t.state == optuna.trial.TrialState.RUNNING]
    assert not alive(children)


@pytest.mark.slow
def test_ctrl_c_ends_a_cluster_with_a_partial_front_and_no_process_left(tmp_path):
    driver = start(tmp_path, "--budget", "params=90%", "--sampler", "random", trials="500")
    reached(driver, lambda: len(records(tmp_path)) >= 2, 200)
    children = list(descendants(driver.pid))
    driver.send_signal(signal.SIGINT)
    _, stderr = driver.communicate(timeout=60)
    assert driver.returncode == 130, stderr
    assert "autoprune resume r" in stderr
    assert json.loads((tmp_path / "r" / "front.json").read_text())["partial"]
    until(lambda: not alive(children), 10)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("scheduler", ["halving", "asha"])
def test_ray_tune_trains_the_runs_survives_a_kill_and_leaves_no_pickle(tmp_path, scheduler):
    driver = start(tmp_path, "--trial-scheduler", scheduler, "--budget", "params=90%", "--executor", "ray-tune", "--finetune-epochs", "9", "--finetune-time", "1h", "--finalists", "1", task="tasks.py:trains_slowly", trials="6")  # fmt: skip
    log = tmp_path / "r" / "log.jsonl"

    def epochs():
        found = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        return [
            (entry["trial"], entry.get("recipe", ""), entry["epoch"]) for entry in found if entry["event"] == "epoch"
        ]

    try:
        reached(driver, lambda: len(epochs()) >= 3, 900)
        os.kill(until(lambda: called(driver.pid, "ray::Stretch"))[0], signal.SIGKILL)
        seen = len(epochs())
        reached(driver, lambda: len(epochs()) > seen + 1, 300)
    finally:
        driver.kill()
        driver.communicate()
    done = subprocess.run(
        [sys.executable, "-m", "autoprune", "resume", "r", "--json"], cwd=tmp_path, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(epochs()) == len(set(epochs()))
    assert max(epoch for *_, epoch in epochs()) == 9
    assert len({recipe for _, recipe, _ in epochs()}) > 1
    tuning = optuna.load_study(
        study_name="r-finetune", storage=JournalStorage(Journal(tmp_path / "r" / "study.journal"))
    )
    assert {trial.state.name for trial in tuning.trials} == {"COMPLETE", "PRUNED"}
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".pkl", ".pickle")]
