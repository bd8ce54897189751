"""Real kills of a search in one process, and what becomes of its run: nothing acknowledged is lost or done twice."""

import json
import random
import resource
import shutil
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest
import torch

import autoprune
from autoprune.testing.processes import alive, descendants, until
from tests.conftest import COMMAND


def start(folder, task, *options, run="r", **more):
    shutil.copy(Path(__file__).with_name("tasks.py"), folder)
    return subprocess.Popen(
        [*COMMAND, "search", f"tasks.py:{task}", "--run", run, "--quiet", *options],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more,
    )  # fmt: skip


def resume(folder, *options, run="r"):
    return subprocess.run([*COMMAND, "resume", run, *options], cwd=folder, capture_output=True, text=True, check=False)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines() if line] if path.exists() else []


def searched(run):
    return [entry for entry in lines(run / "measurements.jsonl") if entry["stage"] == "search"]


def killed(driver):
    children = descendants(driver.pid)
    driver.kill()
    driver.communicate()
    until(lambda: not alive(children), 15)


@pytest.mark.slow
def test_repeatable_search_survives_kills_unchanged(tmp_path):
    options = ("--budget", "params=60%", "--deterministic", "--trials", "40", "--finetune-epochs", "0", "--finalists", "1")  # fmt: skip
    whole = start(tmp_path, "of_many_plans", *options, run="whole")
    driver = start(tmp_path, "of_many_plans", *options)
    rng = random.Random(0)
    for _ in range(2):
        known = len(searched(tmp_path / "r"))
        until(lambda k=known: len(searched(tmp_path / "r")) >= k + rng.randrange(4, 9))
        killed(driver)
        driver = subprocess.Popen([*COMMAND, "resume", "r", "--quiet"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip
    _, stderr = driver.communicate(timeout=120)
    assert driver.returncode == 0, stderr
    assert whole.wait(timeout=120) == 0
    found, expected = searched(tmp_path / "r"), searched(tmp_path / "whole")
    assert [entry["trial"] for entry in found] == [entry["trial"] for entry in expected]
    assert [entry["plan"] for entry in found] == [entry["plan"] for entry in expected]
    assert len(found) == 40


@pytest.mark.slow
def test_fine_tuning_that_is_killed_goes_on_from_its_last_epoch(tmp_path, hurried):
    options = ("--budget", "params=90%", "--trials", "4", "--sampler", "random", "--finetune-epochs", "3", "--finalists", "1")  # fmt: skip
    driver = start(tmp_path, "trains_slowly", *options)
    log = tmp_path / "r" / "log.jsonl"

    def epochs():
        return [(e["trial"], e["epoch"]) for e in lines(log) if e["event"] == "epoch"]

    until(lambda: len(epochs()) >= 2, 150)
    killed(driver)
    before = epochs()
    front = autoprune.resume(tmp_path / "r").document
    assert epochs()[: len(before)] == before
    assert max(Counter(epochs()).values()) == 1
    assert max(epoch for _, epoch in epochs()) == 3
    assert not (tmp_path / "r" / "checkpoints").exists()
    assert not front["partial"]
    assert len(searched(tmp_path / "r")) == len({entry["trial"] for entry in searched(tmp_path / "r")}) == 4


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("schedule", "space", "killed_after"),
    [
        ("gradual", "default", 1),
        ("gradual", "unstructured", 2),
        ("iterative", "default", 2),
        ("sparse", "unstructured", 2),
    ],
)
def test_pruning_while_training_that_is_killed_ends_with_the_same_weights(tmp_path, schedule, space, killed_after):
    options = ("--schedule", schedule, "--space", space, "--budget", "size=60%", "--trials", "4", "--sampler", "random", "--deterministic", "--finetune-epochs", "4", "--finetune-lr", "1e-2", "--finalists", "1")  # fmt: skip
    whole = start(tmp_path, "trains_slowly", *options, run="whole")
    driver = start(tmp_path, "trains_slowly", *options)
    log = tmp_path / "r" / "log.jsonl"
    until(lambda: sum(entry["event"] == "epoch" for entry in lines(log)) >= killed_after, 300)
    killed(driver)
    epochs = [entry for entry in lines(log) if entry["event"] == "epoch"]
    assert not (tmp_path / "r" / "front.json").exists() or len(epochs) < 4
    done = resume(tmp_path, "--quiet")
    assert done.returncode == 0, done.stderr
    _, stderr = whole.communicate(timeout=300)
    assert whole.returncode == 0, stderr
    found, expected = (autoprune.resume(tmp_path / run).best for run in ("r", "whole"))
    assert found.plan == expected.plan
    assert found.measurements["accuracy"].value == expected.measurements["accuracy"].value
    weights = expected.load().state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in found.load().state_dict().items())


@pytest.mark.slow
def test_a_full_disk_stops_the_search_and_it_goes_on_once_there_is_room(tmp_path):
    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))

    driver = start(tmp_path, "of_many_plans", "--budget", "params=60%", "--trials", "60", "--finetune-epochs", "0", "--finalists", "1", preexec_fn=limit)  # fmt: skip
    _, stderr = driver.communicate(timeout=60)
    assert driver.returncode == 6, stderr
    assert "file too large" in stderr
    assert str(tmp_path / "r")[-5:] in stderr or "r/" in stderr
    known = [entry["trial"] for entry in searched(tmp_path / "r")]
    done = resume(tmp_path, "--trials", str(len(known) + 3), "--quiet")
    assert done.returncode == 0, done.stderr
    numbers = [entry["trial"] for entry in searched(tmp_path / "r")]
    assert numbers[: len(known)] == known
    assert len(numbers) == len(set(numbers)) >= len(known) + 3


@pytest.mark.slow
def test_ctrl_c_twice_ends_at_once_and_the_run_is_whole(tmp_path):
    driver = start(tmp_path, "slow", "--budget", "params=90%", "--trials", "500", "--objective", "accuracy", "--objective", "latency")  # fmt: skip
    until(lambda: len(searched(tmp_path / "r")) >= 2)
    driver.send_signal(signal.SIGINT)
    driver.send_signal(signal.SIGINT)
    _, stderr = driver.communicate(timeout=20)
    assert driver.returncode == 130, stderr
    assert "Traceback" not in stderr
    known = len(searched(tmp_path / "r"))
    done = resume(tmp_path, "--trials", str(known), "--finetune-epochs", "0", "--finalists", "1", "--quiet")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_runs_live_in_folders_with_spaces_and_letters_of_all_kinds(tmp_path):
    place = tmp_path / "mein Läufe – 実験" / ("long " * 30)
    place.mkdir(parents=True)
    driver = start(place, "good", "--budget", "params=90%", "--trials", "3", "--finetune-epochs", "0", "--finalists", "1", run="ein Lauf ✓")  # fmt: skip
    _, stderr = driver.communicate(timeout=60)
    assert driver.returncode == 0, stderr
    done = resume(place, "--trials", "4", "--quiet", run="ein Lauf ✓")
    assert done.returncode == 0, done.stderr
    assert len(searched(place / "ein Lauf ✓")) == 4


@pytest.fixture
def read_only(tmp_path):
    """A folder on a file system that nobody can write."""
    closed = tmp_path / "closed"
    closed.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "ro", "none", closed], capture_output=True, check=False
    ).returncode:
        pytest.skip("this machine lets nobody mount")
    yield closed
    subprocess.run(["umount", closed], check=True)


@pytest.mark.slow
def test_a_run_directory_that_cannot_be_written_fails_before_any_work(read_only, tmp_path):
    driver = start(tmp_path, "good", "--budget", "params=90%", run="closed/r")
    _, stderr = driver.communicate(timeout=60)
    assert driver.returncode == 6, stderr
    assert "read-only file system" in stderr.splitlines()[-1]
    assert "closed/r" in stderr.splitlines()[-1]
