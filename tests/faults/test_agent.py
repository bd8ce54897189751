"""What happens to measurements when an agent, a driver or the network between them does not live up to it."""

import json
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest

from autoprune.core.address import DeviceAddress
from autoprune.core.measurement import RunSpec
from autoprune.cost_model.units import graph
from autoprune.errors import TimedOutError, UnreachableError
from autoprune.remote.client import WorkerBench
from autoprune.remote.links.http import HttpLink
from tests.services import Agent, client

PRODUCT = graph._single("MatMul", (64, 64)).artifact()
TASKS = Path(__file__).parent / "tasks.py"
FOREVER = float("inf")


@pytest.fixture
def agent(tmp_path):
    made = Agent(tmp_path / "agent").start()
    yield made
    made.stop()


def bench_on(agent, grace_s=FOREVER, told=None):
    address = DeviceAddress.parse(agent.url)
    said = told if told is not None else []
    return WorkerBench("onnxruntime", RunSpec(), linked=lambda _: HttpLink(address, "", grace_s, said.append))


def rounds(bench, count=1, seconds=0.001):
    return bench.rounds(["one"], count, seconds, 2, 0)


@pytest.mark.slow
def test_eight_drivers_never_measure_at_once(agent):
    def drive(_):
        bench = bench_on(agent)
        bench.prepare("one", PRODUCT)
        found = [(block.begin, block.end) for _ in range(6) for (block,) in rounds(bench, 2, 0.01)]
        bench.close()
        return found

    with ThreadPoolExecutor(8) as drivers:
        intervals = sorted(pair for each in drivers.map(drive, range(8)) for pair in each)
    assert len(intervals) == 8 * 12
    assert all(later >= end for (_, end), (later, _) in pairwise(intervals))
    logged = sorted((entry["begin"], entry["end"]) for entry in agent.log())
    assert len(logged) == 8 * 8
    assert all(later >= end for (_, end), (later, _) in pairwise(logged))


def test_killed_agent_leaves_no_process_and_no_measurement(agent):
    told = []
    bench = bench_on(agent, told=told)
    bench.prepare("one", PRODUCT)
    workers = agent.workers()

    def kill():
        time.sleep(0.5)
        agent.signal(signal.SIGKILL)
        time.sleep(1)
        agent.start()

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(UnreachableError, match="over"):
        rounds(bench, 100, 0.05)
    killer.join()
    assert not set(workers) & set(agent.workers())
    assert bench.generation() == 0
    bench.prepare("one", PRODUCT)
    assert bench.link._fence == 2
    assert len(rounds(bench)) == 1
    bench.close()


@pytest.mark.slow
def test_an_agent_that_stays_away_is_given_up_after_a_while(agent):
    bench = bench_on(agent, grace_s=1.0)
    bench.prepare("one", PRODUCT)
    agent.signal(signal.SIGKILL)
    begin = time.monotonic()
    with pytest.raises(UnreachableError, match="devices test"):
        rounds(bench)
    assert time.monotonic() - begin < 10
    assert bench.generation() == 0


@pytest.mark.slow
def test_a_broken_connection_finds_its_job_again_which_ran_once(agent):
    bench = bench_on(agent)
    bench.prepare("one", PRODUCT)
    before = len(agent.log())

    def cut():
        for _ in range(4):
            time.sleep(0.3)
            for pool in bench.link._client._transport._pool.connections:
                stream = pool._connection._network_stream
                stream.get_extra_info("socket").shutdown(2)

    cutting = threading.Thread(target=cut)
    cutting.start()
    found = rounds(bench, 40, 0.04)
    cutting.join()
    assert len(found) == 40
    assert [entry["call"] for entry in agent.log()[before:]] == ["rounds"]
    bench.close()


@pytest.mark.slow
def test_stopped_driver_loses_its_lease_and_late_result(tmp_path):
    agent = Agent(tmp_path / "agent").start()
    script = (
        "import sys\nfrom tests.faults.test_agent import *\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass At:\n    url: str\n"
        "bench = bench_on(At(sys.argv[1]))\nbench.prepare('one', PRODUCT)\nprint(bench.link._lease, flush=True)\n"
        "sys.stdin.readline()\n"
        "try:\n    rounds(bench)\nexcept UnreachableError as error:\n    print('void', flush=True)\n"
        "bench.prepare('one', PRODUCT)\nprint(len(rounds(bench)), flush=True)\nbench.close()\n"
    )
    driver = subprocess.Popen(
        [sys.executable, "-c", script, agent.url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**__import__("os").environ, "PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    lease = driver.stdout.readline().strip()
    driver.send_signal(signal.SIGSTOP)
    other = bench_on(agent)
    other.prepare("one", PRODUCT)
    until = time.monotonic() + 40
    while not agent.log("lease ended") and time.monotonic() < until:
        rounds(other)
        time.sleep(0.2)
    ended = agent.log("lease ended")
    assert [entry["lease"] for entry in ended] == [lease]
    until = time.monotonic() + 10
    while len(agent.workers()) > 1 and time.monotonic() < until:
        time.sleep(0.05)
    assert len(agent.workers()) == 1
    driver.send_signal(signal.SIGCONT)
    driver.stdin.write("\n")
    driver.stdin.flush()
    assert driver.stdout.readline() == "void\n"
    assert driver.stdout.readline() == "1\n"
    assert driver.wait(timeout=20) == 0
    other.close()
    agent.stop()


def test_a_stopped_agent_goes_on_where_it_was(agent):
    bench = bench_on(agent)
    bench.prepare("one", PRODUCT)
    agent.signal(signal.SIGSTOP)
    timer = threading.Timer(3, lambda: agent.signal(signal.SIGCONT))
    timer.start()
    assert len(rounds(bench, 3)) == 3
    assert len([entry for entry in agent.log() if entry["call"] == "rounds"]) == 1
    bench.close()


def test_a_job_that_takes_too_long_is_ended_with_its_process_alone(agent):
    bench, other = bench_on(agent), bench_on(agent)
    bench.prepare("one", PRODUCT)
    other.prepare("one", PRODUCT)
    with pytest.raises(TimedOutError, match="to rounds within 1 s"):
        bench.link.ask({"call": "rounds", "names": ["one"], "count": 900, "min_s": 1.0, "min_runs": 1, "seed": 0}, 1.0)
    assert bench.generation() == 0
    assert len(rounds(other)) == 1
    assert len(agent.workers()) == 1
    other.close()


@pytest.mark.slow
def test_a_killed_driver_frees_the_device(agent):
    with client(agent) as http:
        lease = http.post("/leases", json={"profiler": "onnxruntime"}).json()
        until = time.monotonic() + 40
        while agent.workers() and time.monotonic() < until:
            time.sleep(0.2)
        assert not agent.workers()
        (ended,) = agent.log("lease ended")
        assert ended["lease"] == lease["lease"]
        assert "nobody asked" in ended["why"]


@pytest.mark.slow
def test_a_search_waits_for_an_agent_that_comes_back(agent, tmp_path):
    search = subprocess.Popen(
        [sys.executable, "-m", "autoprune", "search", f"{TASKS}:good", "--device", agent.url, "--profiler", "onnxruntime",
         "--objective", "accuracy", "--objective", "latency", "--trials", "8", "--finetune-epochs", "0", "--finalists", "1", "--sampler", "random",
         "--run", "r", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
    )  # fmt: skip
    for _ in range(2):
        seen, until = len(agent.log()), time.monotonic() + 60
        while len(agent.log()) < seen + 25 and time.monotonic() < until and search.poll() is None:
            time.sleep(0.1)
        if search.poll() is None:
            agent.signal(signal.SIGKILL)
            agent.start()
    said, errors = search.communicate(timeout=200)
    assert search.returncode == 0, errors
    found = json.loads(said)
    assert found["trials"]["failed"] == 0
    assert found["trials"]["complete"] >= 6, found["trials"]
    assert "measured again" in errors
