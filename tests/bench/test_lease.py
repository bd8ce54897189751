import json
import os
import signal
import subprocess
import sys
import time

import pytest

from autoprune.bench.lease import Lease, LeaseLostError, NoLease, device_lease
from autoprune.core.clock import SystemClock
from autoprune.errors import StorageError
from autoprune.store.machine import boot, namespace
from autoprune.testing.fakes import FakeClock


def test_who_holds_it_may_hold_it_again_and_it_is_free_afterwards(tmp_path):
    lease, other = (Lease(tmp_path / "device.lease", SystemClock()) for _ in range(2))
    with lease.held(), lease.held():
        assert json.loads(lease.path.read_text())["until"] > lease.clock.wall()
    assert json.loads(lease.path.read_text())["until"] == 0
    with other.held():
        assert json.loads(lease.path.read_text())["fence"] == 2


def test_runtimes_of_one_device_share_its_lease(tmp_path):
    clock = SystemClock()
    made = [device_lease(tmp_path, f"EPYC / {name}", clock, exclusive=True) for name in ("torch", "onnxruntime")]
    assert made[0].path == made[1].path
    assert made[0].path != device_lease(tmp_path, "Xeon / torch", clock, exclusive=True).path
    assert isinstance(device_lease(tmp_path, "EPYC / torch", clock, exclusive=False), NoLease)


def test_lease_not_renewed_is_taken_and_its_holder_told(tmp_path):
    clock = FakeClock()
    first, second = (Lease(tmp_path / "device.lease", clock, term_s=5.0) for _ in range(2))

    def overslept():
        with first.held():
            clock.advance(6.0)
            with second.held():
                pass

    with pytest.raises(LeaseLostError, match="expired"):
        overslept()


def test_a_lease_of_a_dead_process_is_free_at_once(tmp_path):
    script = (
        "import os, sys\nfrom pathlib import Path\nfrom autoprune.core.clock import SystemClock\n"
        "from autoprune.bench.lease import Lease\n"
        "lease = Lease(Path(sys.argv[1]), SystemClock(), term_s=600.0)\nlease.held().__enter__()\nos._exit(1)\n"
    )
    path = tmp_path / "device.lease"
    subprocess.run([sys.executable, "-c", script, path], check=False)
    assert path.exists()
    start = time.monotonic()
    with Lease(path, SystemClock()).held():
        assert time.monotonic() - start < 2.0


@pytest.mark.slow
def test_a_stopped_holder_loses_the_device_and_its_late_result(tmp_path):
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom autoprune.core.clock import SystemClock\n"
        "from autoprune.bench.lease import Lease, LeaseLostError\n"
        "lease = Lease(Path(sys.argv[1]), SystemClock(), term_s=2.0)\n"
        "try:\n    with lease.held():\n        print('held', flush=True)\n        sys.stdin.readline()\n"
        "    print('kept', flush=True)\nexcept LeaseLostError:\n    print('lost', flush=True)\n"
    )
    path = tmp_path / "device.lease"
    holder = subprocess.Popen(
        [sys.executable, "-c", script, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    time.sleep(2.5)  # it is renewed while its holder lives
    os.kill(holder.pid, signal.SIGSTOP)
    start = time.monotonic()
    with Lease(path, SystemClock()).held():
        waited = time.monotonic() - start
    os.kill(holder.pid, signal.SIGCONT)
    out, _ = holder.communicate("go on\n", timeout=20)
    assert 0.5 < waited < 6.0
    assert out == "lost\n"


def test_whether_a_process_of_another_container_lives_is_not_guessed(tmp_path):
    clock, dead = FakeClock(), 2**22 + 1
    lease = Lease(tmp_path / "device.lease", clock)
    record = {"pid": dead, "namespace": "another", "fence": 6, "until": clock.wall() + 5.0, "boot": boot()}
    lease.path.write_text(json.dumps(record))
    start = clock.wall()
    with lease.held():
        assert clock.wall() - start >= 5.0
    lease.path.write_text(json.dumps({**record, "namespace": namespace(), "until": clock.wall() + 5.0}))
    start = clock.wall()
    with lease.held():
        assert clock.wall() - start < 1.0


def test_a_record_that_cannot_be_written_is_said_and_the_last_one_stays(tmp_path):
    lease = Lease(tmp_path / "device.lease", SystemClock())
    with lease.held():
        pass
    before = lease.path.read_text()
    (tmp_path / "device.new").mkdir()
    with pytest.raises(StorageError, match="device.lease"), lease.held():
        pass
    assert lease.path.read_text() == before


def test_who_waits_is_told_who_has_the_device_also_where_no_wait_is_long(tmp_path):
    clock, holders = FakeClock(), []
    lease = Lease(tmp_path / "device.lease", clock, waiting=holders.append)
    record = {"pid": os.getpid(), "namespace": namespace(), "fence": 6, "boot": boot()}
    for _ in range(5):
        lease.path.write_text(json.dumps({**record, "until": clock.wall() + 0.5}))
        with lease.held():
            pass
    assert holders == [f"process {os.getpid()}"]
