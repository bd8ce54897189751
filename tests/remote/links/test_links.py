"""Whatever the link, the same process answers the same way."""

import dataclasses
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from autoprune.bench.artifact import Artifact
from autoprune.core.address import DeviceAddress
from autoprune.core.measurement import RunSpec
from autoprune.cost_model.units import graph
from autoprune.errors import CrashedError, DeviceError, ExhaustedError, RefusedError, UnreachableError
from autoprune.remote.client import WorkerBench
from autoprune.remote.links.connect import reached
from tests.services import children

PRODUCT = graph._single("MatMul", (64, 64)).artifact()


def silent(_):
    pass


@pytest.fixture(params=["process", "http", "ssh"])
def linked(request):
    if request.param == "process":
        return reached(None, silent)
    if request.param == "http":
        return reached(DeviceAddress.parse(request.getfixturevalue("agent").url), silent)
    return reached(request.getfixturevalue("ssh_address"), silent)


@pytest.fixture
def bench(linked):
    made = WorkerBench("onnxruntime", RunSpec(), linked=linked)
    yield made
    made.close()


def test_it_measures(bench):
    assert "onnxruntime" in bench.fingerprint()
    assert bench.capabilities().format == "onnx"
    bench.prepare("one", PRODUCT)
    bench.prepare("two", PRODUCT)
    rounds = bench.rounds(["one", "two"], 3, 0.005, 2, 0)
    assert [len(blocks) for blocks in rounds] == [2, 2, 2]
    assert all(0 < second < 1 for blocks in rounds for block in blocks for second in block.wall_s)
    assert 0 < bench.speed() < 1
    assert bench.settle(0.1) >= 0
    bench.release("one")
    assert bench.generation() == 1


def test_outputs_are_compared_there(bench):
    wrong = dataclasses.replace(PRODUCT, expected=(np.full((64, 64), 7, np.float32),))
    with pytest.raises(DeviceError, match="from them"):
        bench.prepare("wrong", wrong)
    bench.prepare("right", PRODUCT)


def test_what_is_no_graph_is_refused_and_the_process_lives(bench):
    with pytest.raises(RefusedError, match="an ONNX model"):
        bench.prepare("broken", Artifact("onnx", b"not a graph"))
    assert bench.generation() == 1


def test_peak_memory_is_told(bench):
    assert bench.memory_of(PRODUCT) > 0


def test_an_unknown_profiler_is_an_error_with_a_name(linked):
    bench = WorkerBench("nothing", RunSpec(), linked=linked)
    with pytest.raises(Exception, match="profiler"):
        bench.fingerprint()
    bench.close()


def test_over_ssh_a_process_that_dies_is_replaced_and_leaves_nothing(sshd, ssh_address):
    bench = WorkerBench("onnxruntime", RunSpec(), linked=reached(ssh_address, silent))
    bench.prepare("one", PRODUCT)
    folder = Path(bench.link._folder)
    assert folder.is_dir()
    os.kill(int(folder.name.split("-")[1]), signal.SIGSEGV)
    with pytest.raises(CrashedError, match="SIGSEGV"):
        bench.rounds(["one"], 1, 0.001, 2, 0)
    bench.prepare("one", PRODUCT)
    assert bench.generation() == 2
    worker = int(Path(bench.link._folder).name.split("-")[1])
    os.kill(worker, signal.SIGKILL)
    with pytest.raises(ExhaustedError, match="SIGKILL"):
        bench.rounds(["one"], 1, 0.001, 2, 0)
    bench.close()
    assert not folder.exists() or bench.generation() == 0


def test_lost_ssh_connection_is_told_and_made_again(sshd, ssh_address):
    bench = WorkerBench("onnxruntime", RunSpec(), linked=reached(ssh_address, silent))
    bench.prepare("one", PRODUCT)
    worker, folder = int(Path(bench.link._folder).name.split("-")[1]), Path(bench.link._folder)
    for pid in children(sshd.process.pid):
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(UnreachableError):
        bench.rounds(["one"], 1, 0.001, 2, 0)
    bench.prepare("one", PRODUCT)
    assert len(bench.rounds(["one"], 1, 0.001, 2, 0)) == 1
    bench.close()
    until = time.monotonic() + 10
    while (Path(f"/proc/{worker}").exists() or folder.exists()) and time.monotonic() < until:
        time.sleep(0.05)
    assert not Path(f"/proc/{worker}").exists()
    assert not folder.exists()


def test_over_ssh_an_unknown_host_key_is_refused(sshd, ssh_address):
    (sshd.home / ".ssh" / "known_hosts").write_text("")
    bench = WorkerBench("onnxruntime", RunSpec(), linked=reached(ssh_address, silent))
    with pytest.raises(DeviceError, match="host key"):
        bench.fingerprint()


def test_over_ssh_a_machine_without_autoprune_says_so(ssh_address):
    bare = dataclasses.replace(ssh_address, python="/no/such/python")
    with pytest.raises(DeviceError, match=r"autoprune\[agent\]"):
        WorkerBench("onnxruntime", RunSpec(), linked=reached(bare, silent)).fingerprint()
