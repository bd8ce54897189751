"""A process of its own that measures finished models. Knows JSON lines in and out; statistics are the caller's.

    python -m autoprune.measure.worker < request.json

The request names the task, the folders of the models, the profiler and how to run it; the answer is one line a round,
the raw blocks of the dense model and of every other model, taken in random order. A process that only measures is what
the model will meet where it is deployed.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np

from autoprune import registry
from autoprune.core.clock import SystemClock
from autoprune.core.measurement import RunSpec
from autoprune.core.reporter import Silent
from autoprune.errors import AutopruneError
from autoprune.measure.lock import device_lock
from autoprune.models.rebuild import rebuild_all
from autoprune.tasks.locate import locate
from autoprune.tasks.task import rebatch

BLOCK_S = 0.03
BLOCK_RUNS = 3


def main() -> int:
    # What the task prints must not mix with the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    request = json.loads(sys.stdin.readline())
    spec = RunSpec(**request["spec"])
    try:
        task = locate(request["task"], Silent())
        models = [task.model, *rebuild_all([Path(folder) for folder in request["folders"]], task)]
        profiler = registry.load("profilers", request["profiler"]).create(spec, SystemClock())
        inputs = rebatch(task.example_inputs, spec.batch)
        with device_lock(profiler.fingerprint(), profiler.capabilities().exclusive):
            handles = [profiler.prepare(model, inputs) for model in models]
            order = np.random.default_rng(request["seed"])
            for _ in range(request["rounds"]):
                blocks = {
                    place: profiler.run_block(handles[place], BLOCK_S, BLOCK_RUNS)
                    for place in order.permutation(len(handles)).tolist()
                }
                print(json.dumps([asdict(blocks[place]) for place in range(len(handles))]), file=answers, flush=True)
    except AutopruneError as error:
        print(str(error), file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
