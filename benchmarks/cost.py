"""What a search costs: seconds by stage, of the built-in job and of models of real size.

    python benchmarks/cost.py [--quick] [--only job minilm ranking resnet50 surgery]
    python benchmarks/cost.py --steal 20         # only a load that takes 20 % of the machine, until Ctrl-C
    python benchmarks/cost.py --again RUN ...    # finished models of runs, measured again: how many break their budget

With `--steal` and something else, that runs beside the load. Searches are run by the real command line, in a folder
that is removed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from load import AT_MOST_S, stolen

ROOT = Path(__file__).parents[1]
TASKS = ROOT / "benchmarks" / "cost_tasks.py"
PARTS = ("job", "minilm", "ranking", "resnet50", "surgery")
QUICK = ("job", "ranking", "surgery")
FIRST = "searching"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the built-in job with 24 candidates, and no large search")
    parser.add_argument("--steal", type=float, default=0.0, metavar="PERCENT")
    parser.add_argument("--again", nargs="*", default=(), metavar="RUN")
    parser.add_argument("--only", nargs="*", choices=PARTS, default=None)
    chosen = parser.parse_args()
    with stolen(chosen.steal):
        if chosen.steal and not (chosen.quick or chosen.only or chosen.again):
            with contextlib.suppress(KeyboardInterrupt):
                time.sleep(AT_MOST_S)
            return
        for run in chosen.again:
            again(Path(run))
        if chosen.again:
            return
        for part in chosen.only or (QUICK if chosen.quick else PARTS):
            print(f"== {part}" + (f", {chosen.steal:g} % stolen" if chosen.steal else ""), flush=True)
            PART[part](quick=chosen.quick)


def job(*, quick: bool) -> None:
    """The built-in job, as `make search` runs it."""
    told(searched("digits", "--budget", "latency=5ms", *(("--trials", "24") if quick else ())))


def minilm(*, quick: bool) -> None:
    """The shapes of MiniLM-L6 on one core, 48 candidates."""
    one = str(min(os.sched_getaffinity(0)))
    told(searched(f"{TASKS}:minilm", "--budget", "latency=60%", "--trials", "48", before=("taskset", "-c", one)))


def resnet50(*, quick: bool) -> None:
    """From the start to the first proposal: ResNet-50 at 224 x 224, 300 images."""
    found = searched(f"{TASKS}:resnet50", "--budget", "latency=60%", "--trials", "4")
    first = next(each["seconds"] for each in found["log"] if each["event"] == FIRST)
    print(f"first proposal after {first:.0f} s; groups: {found['groups']}")
    told(found)


def ranking(*, quick: bool) -> None:
    """`hessian` on MiniLM's shapes, and on one decoder layer."""
    print(child("import cost_parts; cost_parts.hessian('minilm')"))
    if not quick:
        print(child("import cost_parts; cost_parts.wide(8192, 2048)"))


def surgery(*, quick: bool) -> None:
    """Tracing ResNet-50 in a fresh process, and a candidate against bare `index_select`."""
    for _ in range(3):
        print(child("import cost_parts; cost_parts.traced()"))


PART = {"job": job, "minilm": minilm, "ranking": ranking, "resnet50": resnet50, "surgery": surgery}


def child(code: str) -> str:
    """What a fresh process prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "benchmarks", capture_output=True, text=True, check=False
    )
    return (done.stdout or done.stderr[-800:]).strip()


def searched(task: str, *options: str, before: Sequence[str] = ()) -> dict[str, Any]:
    """A search's front, log and trials, and what it took."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        start = time.monotonic()
        done = subprocess.run(
            [*before, sys.executable, "-m", "autoprune", "search", task, *options, "--run", str(run)],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        seconds = time.monotonic() - start
        if not (run / "front.json").exists():
            sys.exit(f"exit code {done.returncode}: {done.stderr[-800:]}")
        read = [[json.loads(line) for line in (run / name).read_text().splitlines()] for name in FILES]
        front = json.loads((run / "front.json").read_text())
        groups = (run / "run.yaml").read_text().count("\n    - ")
    took = {"code": done.returncode, "seconds": seconds, "groups": groups}
    return {**took, "front": front, "log": read[0], "trials": read[1]}


FILES = ("log.jsonl", "measurements.jsonl")


def told(found: dict[str, Any]) -> None:
    """Seconds in all and by stage, of a candidate, and where the best lies."""
    front, stages = found["front"], found["front"].get("stages", {})
    searched_ = [each for each in found["trials"] if each["stage"] == "search" and each["seconds"]["measure"]]
    timing = [each["seconds"]["measure"] for each in searched_]
    scoring = [each["seconds"]["cut"] + each["seconds"]["evaluate"] for each in searched_]
    print(f"exit code {found['code']}, {found['seconds']:.0f} s in all: " + _listed(stages))
    if timing:
        busy = sum(timing) + sum(scoring)
        each = f"timing {statistics.median(timing):.2f} s, scoring {statistics.median(scoring):.2f} s"
        share = sum(timing) / busy
        print(f"a candidate (medians): {each}; timing is {share:.0%} of the search")
        if "forecast" in stages:
            print(f"forecast: as long as {stages['forecast'] / max(scoring):.1f} evaluations of the largest candidate")
    best = next((point for point in front["front"] if point["trial"] == front["best"]), None)
    if best is not None and front["budget"]:
        quiet, slow = (best["metrics"][key]["value"] * 1e3 for key in ("latency", "latency.worst"))
        print(f"best: {quiet:.2f} ms, up to {slow:.2f} ms")


def _listed(stages: dict[str, float]) -> str:
    return ", ".join(f"{name} {seconds:.0f}" for name, seconds in sorted(stages.items(), key=lambda each: -each[1]))


def again(run: Path) -> None:
    """Measure the finished models of a run again, in fresh processes, and hold them against the budget."""
    print(child(f"import cost_parts; cost_parts.again({str(run.resolve())!r})"))


if __name__ == "__main__":
    main()
