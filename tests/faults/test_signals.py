"""Real signals to a real search: what was found is kept, nothing is left running."""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage

from autoprune.store.journal import Journal
from autoprune.testing.processes import until
from tests.conftest import COMMAND


@pytest.fixture
def searching(tmp_path):
    """A search in its own process, well under way."""
    shutil.copy(Path(__file__).with_name("tasks.py"), tmp_path)
    process = subprocess.Popen(
        [*COMMAND, "search", "tasks.py:slow", "--budget", "params=90%", "--trials", "500", "--sampler", "random", "--run", "r", "--quiet"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    records = tmp_path / "r" / "measurements.jsonl"
    until(lambda: records.exists() and records.read_text().count("\n") >= 4, 150)
    yield process, tmp_path / "r"
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 7)])
def test_a_signal_ends_in_a_partial_front(searching, number, code):
    process, run = searching
    process.send_signal(number)
    if number == signal.SIGTERM:  # `timeout` sends it to the process and to its group
        until(lambda: "stopping" in process.stderr.readline(), 60)
        process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == code, stderr
    assert "Traceback" not in stderr
    assert "the front so far" in stderr.splitlines()[-1]
    front = json.loads((run / "front.json").read_text())
    assert front["partial"]
    assert front["trials"]["complete"] >= 3
    assert all((run / point["model"]).exists() for point in front["front"])


@pytest.mark.slow
def test_a_kill_loses_no_recorded_trial_and_frees_the_run(searching):
    process, run = searching
    recorded = (run / "measurements.jsonl").read_text().count("\n")
    process.kill()
    process.wait()
    study = optuna.load_study(study_name="r", storage=JournalStorage(Journal(run / "study.journal")))
    complete = [trial for trial in study.trials if trial.state == optuna.trial.TrialState.COMPLETE]
    assert len(complete) >= recorded
    assert all(json.loads(line) for line in (run / "measurements.jsonl").read_text().splitlines())
