"""A search in a process of its own, and what it has written so far."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from autoprune.testing.processes import until

TASK = Path(__file__).with_name("tasks.py")


def start(folder, *more, task="tasks.py:slow", trials="14"):
    shutil.copy(TASK, folder)
    return subprocess.Popen(
        [sys.executable, "-m", "autoprune", "search", task, "--run", "r", "--trials", trials, "--executor", "ray", "--workers", "2", "--quiet", "--finetune-epochs", "0", "--finalists", "1", *more],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def reached(driver, condition, seconds):
    """What a condition gives while a search runs; what the search said where it ended before that."""

    def found():
        given = condition()
        assert given or driver.poll() is None, driver.communicate()[1]
        return given

    return until(found, seconds)


def records(folder):
    path = folder / "r" / "measurements.jsonl"
    found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [entry for entry in found if entry["stage"] == "search"]
