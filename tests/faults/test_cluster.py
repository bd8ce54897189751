"""Two and more Ray nodes on one machine: the device on one of them, workers on all, one killed in the middle."""

import json
import os
import secrets
import subprocess
import sys

import pytest

from autoprune.testing.processes import until
from tests.faults.runs import records, start

NODES = """
import logging, os, sys, tempfile
import ray._private.ray_constants as constants
from ray.cluster_utils import Cluster
constants.ENABLE_RAY_CLUSTER = False
os.makedirs(os.environ["RAY_TMPDIR"] + "/ray", exist_ok=True)
about = dict(num_cpus=2, object_store_memory=80 * 2**20, node_ip_address="127.0.0.1")
cluster = Cluster(initialize_head=True, head_node_args=dict(about, num_cpus=0, include_dashboard=False))
device = cluster.add_node(resources={"device:board": 1}, **about)
other = cluster.add_node(resources={"other": 1}, **about)
print(cluster.address, flush=True)
for line in sys.stdin:
    if line.strip() == "kill":
        cluster.remove_node(other, allow_graceful=False)
        print("killed", flush=True)
cluster.shutdown()
"""


@pytest.fixture
def nodes(tmp_path_factory, request):
    """A running cluster: its process, its address and the environment with its token."""
    import tempfile

    with tempfile.TemporaryDirectory(dir="/tmp", prefix="nodes-") as place:
        quick = {f"RAY_health_check_{name}": "1000" for name in ("period_ms", "timeout_ms", "initial_delay_ms")}
        environment = {**os.environ, **quick, "RAY_health_check_failure_threshold": "3", "RAY_TMPDIR": place, "RAY_USAGE_STATS_ENABLED": "0"}  # fmt: skip
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)} if request.param else {"RAY_AUTH_MODE": "disabled"}  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, "-c", NODES], env={**environment, **token}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )  # fmt: skip
        address = process.stdout.readline().strip()
        assert address, "the cluster did not start"
        yield process, address, {**os.environ, **token}
        process.stdin.close()
        process.wait(timeout=30)


@pytest.mark.slow
@pytest.mark.parametrize("nodes", [True], indirect=True)
def test_a_node_is_killed_and_every_trial_is_accounted_for(nodes, tmp_path, monkeypatch):
    process, address, environment = nodes
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.setenv(name, environment[name])
    driver = start(tmp_path, "--budget", "latency=1s", "--address", address, "--device", "board", "--workers", "3")
    until(lambda: len(records(tmp_path)) >= 2, 90)
    process.stdin.write("kill\n")
    process.stdin.flush()
    assert process.stdout.readline().strip() == "killed"
    stdout, stderr = driver.communicate(timeout=150)
    assert driver.returncode == 0, stderr
    assert "asks for no token" not in stderr
    numbers = [entry["trial"] for entry in records(tmp_path)]
    assert len(numbers) == len(set(numbers)) == 6
    assert all(entry["state"] == "complete" for entry in records(tmp_path))
    front = json.loads((tmp_path / "r" / "front.json").read_text())
    assert front["dense"]["metrics"]["latency"]["value"] > 0
    del stdout


@pytest.mark.slow
@pytest.mark.parametrize("nodes", [True], indirect=True)
def test_devices_and_tokens_that_are_not_there_are_refused_by_name(nodes, tmp_path, monkeypatch):
    _, address, environment = nodes
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    stranger = start(tmp_path, "--budget", "params=90%", "--address", address)
    _, stderr = stranger.communicate(timeout=60)
    assert stranger.returncode == 5
    assert "the token of the Ray cluster" in stderr
    assert environment["RAY_AUTH_TOKEN"] not in stderr
    monkeypatch.setenv("RAY_AUTH_TOKEN", environment["RAY_AUTH_TOKEN"])
    lost = start(tmp_path, "--budget", "params=90%", "--address", address, "--device", "toaster")
    _, stderr = lost.communicate(timeout=60)
    assert lost.returncode == 5, stderr
    assert "devices of this cluster: board" in stderr
    nobody = start(tmp_path, "--budget", "params=90%", "--address", "127.0.0.1:1")
    _, stderr = nobody.communicate(timeout=60)
    assert nobody.returncode == 5
    assert "a Ray cluster at 127.0.0.1:1" in stderr
    assert not (tmp_path / "r").exists()


@pytest.mark.slow
@pytest.mark.parametrize("nodes", [False], indirect=True)
def test_a_cluster_that_asks_for_no_token_is_warned_of(nodes, tmp_path, monkeypatch):
    _, address, _ = nodes
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    driver = start(tmp_path, "--budget", "params=90%", "--address", address, trials="3")
    _, stderr = driver.communicate(timeout=120)
    assert driver.returncode == 0, stderr
    assert "asks for no token" in stderr
    checked = subprocess.run(
        [sys.executable, "-m", "autoprune", "doctor", "--address", address], capture_output=True, text=True, check=False
    )
    assert "asks for no token" in checked.stdout + checked.stderr
