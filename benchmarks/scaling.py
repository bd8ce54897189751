"""Parallel efficiency as `autoprune profile TASK --threads` tells it, and as a loop made by hand does.

    python benchmarks/scaling.py digits --threads 1,2 --batch 32     # a minute; the machine should do nothing else

The loop is one plain process for each count of threads, pinned by `taskset`, with torch alone: the counts take turns,
and the best of the medians counts. Both must agree within 5 %.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

import autoprune
from autoprune.bench.affinity import processors
from autoprune.core.reporter import Silent
from autoprune.remote.links import PASSIVE

LOOP = """
import statistics, sys, time, torch
from autoprune.core.reporter import Silent
from autoprune.tasks.locate import locate
from autoprune.tasks.task import rebatch
name, threads, batch, runs = sys.argv[1], *map(int, sys.argv[2:])
task = locate(name, Silent())
model, inputs = task.model.eval(), rebatch(task.example_inputs, batch)
torch.set_num_threads(threads)
with torch.no_grad():
    for _ in range(10):
        inputs.call(model)
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        inputs.call(model)
        times.append(time.perf_counter() - start)
print(statistics.median(times))
"""


def by_hand(task: str, threads: int, batch: int, runs: int) -> float:
    """Median seconds of a run in a process of its own."""
    chosen = ",".join(map(str, processors(os.sched_getaffinity(0))[:threads]))
    call = ["taskset", "-c", chosen, sys.executable, "-c", LOOP, task, *map(str, (threads, batch, runs))]
    done = subprocess.run(call, check=True, capture_output=True, text=True, env={**PASSIVE, **os.environ})
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", nargs="?", default="digits")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--runs", type=int, default=100)
    given = parser.parse_args()
    counts = sorted(map(int, given.threads.split(",")))
    turns = [{n: by_hand(given.task, n, given.batch, given.runs) for n in counts} for _ in range(given.turns)]
    best = {n: min(turn[n] for turn in turns) for n in counts}
    print(
        "| threads | by hand | efficiency | autoprune | efficiency | apart (at most 5 %) |\n|---|---|---|---|---|---|"
    )
    for each in autoprune.scaling(given.task, counts, batch=given.batch, reporter=Silent()):
        own = best[counts[0]] / best[each.threads] * counts[0] / each.threads
        found, apart = each.efficiency, each.efficiency.value / own - 1
        note = "" if each.calm else ", other work had the processors"
        print(
            f"| {each.threads} | {1e3 * best[each.threads]:.1f} ms | {own:.0%} | {1e3 * each.latency.value:.1f} ms "
            f"| {found.value:.0%} [{found.low:.0%}, {found.high:.0%}] | {apart:+.1%}{note} |"
        )


if __name__ == "__main__":
    main()
