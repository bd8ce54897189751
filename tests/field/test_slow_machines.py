"""Machines with other work: Ray that starts slowly, and many searches that begin at one moment."""

import subprocess
import sys
import time

import pytest

from autoprune.core.cluster import Cluster
from autoprune.core.reporter import Silent
from autoprune.errors import DeviceError
from autoprune.executors import _cluster, _patience

ray = pytest.importorskip("ray")


@pytest.mark.parametrize(
    ("error", "free", "cure"),
    [
        (Exception("The current node timed out during startup. This could happen because"), 8 << 30, "less to do"),
        (TimeoutError("Timed out after 60 seconds while waiting for node"), 8 << 30, "less to do"),
        (RuntimeError("Failed to connect to GCS. Last connection error"), 8 << 30, "less to do"),
        (Exception("The current node timed out during startup."), 64 << 20, "free memory"),
        (OSError("no such library"), 8 << 30, "to find the cause"),
    ],
)
def test_a_start_that_failed_is_answered_with_what_cures_it(monkeypatch, error, free, cure):
    def init(**_):
        raise error

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(_cluster, "available", lambda: free)
    with pytest.raises(DeviceError, match="to start Ray on this machine") as failed:
        _cluster.connect(Cluster(), 1, Silent())
    assert cure in failed.value.cure
    assert ("free memory" in failed.value.cure) == (cure == "free memory")


def test_a_node_that_comes_late_is_waited_for(monkeypatch):
    from ray._private import services

    monkeypatch.setattr(_patience, "_POLL_S", 0.0)
    asked = []

    def get_node(address, node):
        asked.append((address, node))
        if len(asked) < 100:
            raise RuntimeError("no such node yet")
        return {"labels": {}}

    monkeypatch.setattr(services, "get_node", get_node)
    with _patience.patient():
        assert services.get_node("address", "node") == {"labels": {}}
    assert (len(asked), services.get_node) == (100, get_node)
    never = _patience.waiting(lambda: (_ for _ in ()).throw(RuntimeError("gone")), 0.0)
    with pytest.raises(RuntimeError, match="gone"):
        never()


BEGIN = """
import sys, time
from pathlib import Path
from autoprune.core.clock import SystemClock
from autoprune.store.run import RunDirectory

time.sleep(max(0.0, float(sys.argv[1]) - time.time()))
for _ in range(30):
    run = RunDirectory.create_next(Path("runs"), "digits", SystemClock())
    print(run.path)
    if len(sys.argv) > 2:
        run.discard()
    else:
        run.write("mine", run.path.name.encode())
        run.close()
"""


@pytest.mark.parametrize("discarded", [False, True])
def test_searches_that_begin_at_one_moment_have_a_run_each(tmp_path, discarded):
    at = str(time.time() + 2.0)
    begun = [
        subprocess.Popen(
            [sys.executable, "-c", BEGIN, at, *["discard"] * discarded],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        )
        for _ in range(3)
    ]  # fmt: skip
    said = [process.communicate(timeout=60) for process in begun]
    assert not any(errors for _, errors in said)
    paths = [line for out, _ in said for line in out.split()]
    assert len(paths) == 90
    if not discarded:
        assert len(set(paths)) == 90
        assert all((tmp_path / path / "mine").read_text() == path.rpartition("/")[2] for path in paths)
