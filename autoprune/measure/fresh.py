"""Measuring finished models in fresh processes. Knows how to start workers, how long to wait and what they answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from autoprune.core.measurement import Block, RunSpec
from autoprune.core.reporter import Advance
from autoprune.errors import DeviceError, describe, one_line
from autoprune.measure.estimator import Pair

PROCESSES: Final = 3
ROUNDS: Final = 12
_LONGEST_S: Final = 600.0


def pairs_of(
    folders: Sequence[Path], task: str, profiler: str, spec: RunSpec, seed: int, advance: Advance
) -> list[list[list[Pair]]]:
    """For each folder, one list of (model, dense) pairs a process.

    Raises:
        DeviceError: a worker died, hung, or answered with something else than blocks.
    """
    found: list[list[list[Pair]]] = [[] for _ in folders]
    for process in range(PROCESSES):
        rounds = _measured(folders, task, profiler, spec, seed + process)
        for place, pairs in enumerate(found):
            pairs.append([Pair(blocks[place + 1], blocks[0]) for blocks in rounds])
        advance("")
    return found


def _measured(folders: Sequence[Path], task: str, profiler: str, spec: RunSpec, seed: int) -> list[list[Block]]:
    request = {
        "folders": [str(folder.resolve()) for folder in folders],
        "task": task,
        "profiler": profiler,
        "spec": asdict(spec),
        "rounds": ROUNDS,
        "seed": seed,
    }
    # Threads that wait by spinning would disturb the very thing that is measured.
    environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "autoprune.measure.worker"],
            input=json.dumps(request) + "\n",
            capture_output=True,
            text=True,
            timeout=_LONGEST_S,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise DeviceError(
            expected=f"a measurement within {_LONGEST_S:.0f} s",
            received="none",
            cure="measure a smaller model or batch",
        ) from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise DeviceError(
            expected="a measurement from a fresh process",
            received=f"exit code {done.returncode}: {one_line(last, 300)}",
            cure="run `python -m autoprune.measure.worker` by hand to see why",
        )
    try:
        return [[_block(raw) for raw in json.loads(line)] for line in done.stdout.splitlines()]
    except (ValueError, KeyError, TypeError) as error:
        raise DeviceError(
            expected="blocks of timings from a fresh process",
            received=describe(error),
            cure="run `python -m autoprune.measure.worker` by hand to see what it says",
        ) from error


def _block(raw: dict[str, list[float]]) -> Block:
    block = Block(tuple(raw["wall_s"]), tuple(raw["cpu_s"]))
    if not block.wall_s or not all(0 < seconds < float("inf") for seconds in block.wall_s):
        raise ValueError("a timing that is not positive and finite")
    return block
