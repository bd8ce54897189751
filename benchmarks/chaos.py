"""Kills drivers, workers and profilers at random moments, resumes, and counts what was lost.

    python benchmarks/chaos.py [--kills 100] [--executor ray|inline] [--seed 0]

A search on a small network, measured for its latency, is killed with SIGKILL again and again until it has survived so
many kills. Each evaluation writes a line of its own, so that what is counted does not rest on what the search says.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from torch import nn

import autoprune
from autoprune.testing.processes import alive, called, descendants, until

LOG = "CHAOS_LOG"


def task() -> autoprune.Task:
    """Four layers, evaluations of a tenth of a second that are written down."""
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Sequential(nn.Conv2d(1 if k == 0 else 32, 32, 3, padding=1), nn.ReLU()) for k in range(5)),
        nn.Flatten(),
        nn.Linear(32 * 64, 4),
    ).eval()
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(160, 1, 8, 8)).astype("float32"), np.arange(160) % 4
    made = autoprune.Classification(model, data=(x, y), example_inputs=(torch.from_numpy(x[:4]),), name="chaos")

    def evaluate(pruned: nn.Module, split: object) -> float:
        del split
        time.sleep(0.1)
        shapes = str([tuple(parameter.shape) for parameter in pruned.parameters()])
        line = json.dumps({"plan": hashlib.sha256(shapes.encode()).hexdigest()[:16], "process": os.getpid()})
        with open(os.environ[LOG], "a", encoding="utf-8") as file:  # noqa: PTH123 - one short write, appended whole
            file.write(line + "\n")
        return min(0.3 + sum(parameter.numel() for parameter in pruned.parameters()) / 50_000, 1.0)

    return autoprune.Task("chaos", made.model, made.example_inputs, made.splits, evaluate)


def entries(path: Path) -> list[dict]:
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


class Chaos:
    def __init__(self, root: Path, executor: str, seed: int) -> None:
        self.root, self.executor, self.rng = root, executor, random.Random(seed)
        self.run = root / "run"
        self.kills: Counter[str] = Counter()
        self.recovery: dict[str, list[float]] = {"driver": [], "worker": [], "profiler": []}
        self.left = 0
        self.environment = {**os.environ, LOG: str(root / "evaluations.jsonl")}

    def trials(self) -> dict[int, dict]:
        return {e["trial"]: e for e in entries(self.run / "measurements.jsonl") if e["stage"] == "search"}

    def start(self) -> subprocess.Popen:
        command = [sys.executable, "-m", "autoprune"]
        if (self.run / "run.yaml").exists():
            command += ["resume", str(self.run), "--quiet"]
        else:
            workers = ["--workers", "2"] if self.executor == "ray" else []
            command += ["search", f"{__file__}:task", "--budget", "latency=70%", "--run", str(self.run), "--trials"]
            command += ["100000", "--executor", self.executor, *workers, "--finetune-epochs", "0", "--finalists", "1"]
            command += ["--sampler", "random", "--quiet"]
        with (self.root / "stderr.txt").open("a") as said:
            return subprocess.Popen(command, env=self.environment, stdout=subprocess.DEVNULL, stderr=said)

    def next_trial(self, driver: subprocess.Popen, known: int) -> None:
        def more() -> bool:
            if driver.poll() is not None:
                raise SystemExit(f"the search ended by itself ({driver.returncode}): see {self.root}/stderr.txt")
            return len(self.trials()) > known

        until(more, 180)

    def victim(self, driver: subprocess.Popen) -> tuple[str, int]:
        kind = self.rng.choice(["driver", "driver", "worker", "profiler"])
        device = "ray::DeviceActor" if self.executor == "ray" else "remote.worker"
        words = {"worker": "ray::EvaluatorActor", "profiler": device}
        found = called(driver.pid, words[kind]) if kind != "driver" else [driver.pid]
        return (kind, self.rng.choice(found)) if found else ("driver", driver.pid)

    def survive(self, kills: int) -> None:
        driver, began, hurt = self.start(), time.monotonic(), "driver"
        while True:
            self.next_trial(driver, len(self.trials()))
            if sum(self.kills.values()):
                self.recovery[hurt].append(time.monotonic() - began)
            if sum(self.kills.values()) >= kills:
                break
            time.sleep(self.rng.uniform(0, 2.5))
            hurt, process = self.victim(driver)
            children = descendants(driver.pid)
            began = time.monotonic()
            os.kill(process, signal.SIGKILL)
            self.kills[hurt] += 1
            if hurt == "driver":
                driver.wait()
                driver = self.start()
                time.sleep(5)
                self.left += len(alive(children))
            print(f"\r{sum(self.kills.values())} kills, {len(self.trials())} trials", end="", flush=True)
        driver.send_signal(signal.SIGTERM)
        children = descendants(driver.pid)
        driver.wait()
        time.sleep(3)
        self.left += len(alive(children))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--executor", default="ray")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        chaos = Chaos(Path(place), given.executor, given.seed)
        chaos.survive(given.kills)
        seen = chaos.trials()
        from optuna import load_study
        from optuna.storages import JournalStorage

        from autoprune.store.journal import Journal

        study = load_study(study_name="run", storage=JournalStorage(Journal(chaos.run / "study.journal")))
        told = {t.number: json.loads(t.user_attrs["record"]) for t in study.trials if "record" in t.user_attrs}
        running = [t.number for t in study.trials if t.state.name == "RUNNING"]
        lost = [number for number, entry in seen.items() if told.get(number) != entry]
        lines = [entry["trial"] for entry in entries(chaos.run / "measurements.jsonl") if entry["stage"] == "search"]
        dense = Counter(entry["plan"] for entry in entries(chaos.root / "evaluations.jsonl")).most_common(1)[0][0]
        counted = Counter(entry["plan"] for entry in entries(chaos.root / "evaluations.jsonl"))
        del counted[dense]  # the reference, scored at each start
        repeated = sum(counted.values()) - len(counted)
        total = sum(chaos.kills.values())
        print(f"\n{total} kills ({dict(chaos.kills)}), {len(told)} trials told, executor {given.executor}")
        print(f"acknowledged trials lost or changed: {len(lost)}")
        print(f"trials recorded twice: {len(lines) - len(set(lines))}")
        print(f"evaluations repeated: {repeated} ({repeated / total:.2f} a kill)")
        print(f"running at the end, to be taken up by the next resume: {len(running)}")
        print(f"processes left behind: {chaos.left}")
        for kind, seconds in chaos.recovery.items():
            if seconds:
                middle, worst = statistics.median(seconds), max(seconds)
                print(f"from the kill of a {kind} to the next trial: {middle:.1f} s, {worst:.1f} at most")
        failed = [entry for entry in told.values() if entry["state"] != "complete"]
        print(f"failed trials: {len(failed)}" + (f", such as: {failed[0]['error']}" if failed else ""))


if __name__ == "__main__":
    main()
