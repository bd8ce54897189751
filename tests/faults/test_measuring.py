"""What a model or a neighbour can do to the process that measures, done for real."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from autoprune.bench.artifact import Artifact
from autoprune.core.measurement import Block, RunSpec
from autoprune.cost_model.units import aten, graph
from autoprune.errors import CrashedError, DeviceError, ExhaustedError, TimedOutError
from autoprune.remote.client import WorkerBench


@pytest.fixture
def tasks(tmp_path):
    shutil.copy(Path(__file__).with_name("tasks.py"), tmp_path)
    return tmp_path / "tasks.py"


def gone(pid, limit_s=10.0):
    """Whether a process ends within a while; a zombie has ended."""
    for _ in range(int(limit_s / 0.05)):
        try:
            if "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text():
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.slow
def test_candidate_that_kills_its_process_fails_alone(tasks, command):
    options = ["--budget", "latency=99%", "--trials", "4", "--finetune-epochs", "0", "--run", "r"]
    code, _, stderr = command("search", "tasks.py:segfaults", *options)
    assert code in (0, 3), stderr
    assert "Traceback" not in stderr
    trials = [json.loads(line) for line in (tasks.parent / "r/measurements.jsonl").read_text().splitlines()]
    failed = [trial for trial in trials if trial["state"] == "failed"]
    complete = [trial for trial in trials if trial["state"] == "complete" and trial["stage"] == "search"]
    assert failed
    assert complete
    assert all("SIGSEGV" in trial["error"] for trial in failed)
    assert json.loads((tasks.parent / "r/front.json").read_text())["trials"]["failed"] == len(failed)


@pytest.fixture
def trapped(tasks):
    """A bench on a task whose narrow models are faulty, opened and with its dense model at work."""
    made = []

    def start(fault, **options):
        bench = WorkerBench("torch", RunSpec(), f"{tasks}:{fault}", **options)
        made.append(bench)
        bench.prepare("dense", Artifact("module"))
        return bench

    yield start
    for bench in made:
        bench.close()


NARROW = Artifact("module", slices={"net.2": tuple(range(8))})


def test_hang_is_ended_with_all_its_processes(trapped):
    bench = trapped("hangs", patience=1.0)
    pid = bench.link.process.pid
    with pytest.raises(TimedOutError, match="no answer"):
        bench.prepare("narrow", NARROW)
    assert gone(pid)
    assert not bench.generation()
    bench.prepare("dense", Artifact("module"))
    assert len(bench.rounds(["dense"], 2, 0.001, 2, 0)) == 2


@pytest.mark.slow
def test_killed_worker_is_a_named_error_and_replaced(trapped):
    bench = trapped("good")
    os.kill(bench.link.process.pid, signal.SIGKILL)
    with pytest.raises(ExhaustedError, match="SIGKILL"):
        bench.rounds(["dense"], 1, 0.001, 2, 0)
    bench.prepare("dense", Artifact("module"))
    os.kill(bench.link.process.pid, signal.SIGSEGV)
    with pytest.raises(CrashedError, match="SIGSEGV"):
        bench.rounds(["dense"], 1, 0.001, 2, 0)


def test_memory_is_limited_and_what_needs_more_is_refused(trapped):
    bench = trapped("good", memory=512 * 2**20)
    with torch.no_grad(), aten._Recorder() as recorder:
        torch.zeros(2**28, device="meta").add(1)
    hungry = next(unit for unit in recorder.found if unit.operator == "add")
    with pytest.raises(ExhaustedError, match="memory"):
        bench.prepare("hungry", hungry.artifact())
    with pytest.raises(ExhaustedError, match="memory"):
        trapped("hungers").prepare("narrow", NARROW)
    assert len(bench.rounds(["dense"], 1, 0.001, 2, 0)) == 1


def test_an_artifact_that_no_runtime_can_read_leaves_the_process_alive():
    bench = WorkerBench("onnxruntime", RunSpec())
    try:
        with pytest.raises(DeviceError, match="ONNX model"):
            bench.prepare("broken", Artifact("onnx", b"not a graph"))
        assert bench.generation() == 1
    finally:
        bench.close()


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
def test_timings_that_cannot_be_are_rejected(bad):
    with pytest.raises(DeviceError, match="positive and finite"):
        Block.from_json({"wall_s": [0.1, bad], "cpu_s": [0.1, 0.1]})


def test_nothing_is_left_behind_when_the_driver_is_killed(tmp_path):
    script = (
        "import time\nfrom autoprune.core.measurement import RunSpec\nfrom autoprune.remote.client import WorkerBench\n"
        "bench = WorkerBench('onnxruntime', RunSpec())\nbench.fingerprint()\n"
        "print(bench.link.process.pid, flush=True)\ntime.sleep(60)\n"
    )
    driver = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    worker = int(driver.stdout.readline())
    assert not gone(worker, 0.2)
    driver.kill()
    driver.wait()
    assert gone(worker)


@pytest.mark.slow
def test_eight_processes_never_measure_at_once(tmp_path):
    script = (
        "import json, sys\nfrom dataclasses import asdict\nfrom autoprune.core.measurement import RunSpec\n"
        "from autoprune.remote.client import WorkerBench\nfrom autoprune.bench.artifact import Artifact\n"
        "from pathlib import Path\nimport numpy as np\n"
        "inputs = {name: np.ones((64, 64), np.float32) for name in 'ab'}\n"
        "artifact = Artifact('onnx', Path('unit.onnx').read_bytes(), inputs=inputs)\n"
        "bench = WorkerBench('onnxruntime', RunSpec())\nbench.prepare('unit', artifact)\n"
        "blocks = [b for k in range(6) for (b,) in bench.rounds(['unit'], 2, 0.02, 2, k)]\n"
        "print(json.dumps([(b.begin, b.end) for b in blocks]))\nbench.close()\n"
    )
    (tmp_path / "unit.onnx").write_bytes(graph._single("MatMul", (64, 64)).artifact().content)
    (tmp_path / "script.py").write_text(script)
    processes = [
        subprocess.Popen([sys.executable, "script.py"], stdout=subprocess.PIPE, text=True, cwd=tmp_path)
        for _ in range(8)
    ]
    intervals = sorted(tuple(pair) for each in processes for pair in json.loads(each.communicate(timeout=120)[0]))
    assert len(intervals) == 8 * 12
    assert all(later >= end for (_, end), (later, _) in pairwise(intervals))
