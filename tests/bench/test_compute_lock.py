import itertools
import subprocess
import sys
import threading
import time

from autoprune.bench.compute_lock import Gate

WORK = """
import sys, time
from pathlib import Path
from autoprune.bench.compute_lock import Gate
gate = Gate(Path(sys.argv[1]))
for _ in range(int(sys.argv[3])):
    with gate.working():
        begin = time.monotonic(); time.sleep(float(sys.argv[2])); print(begin, time.monotonic(), flush=True)
"""
HOLD = """
import sys
from pathlib import Path
from autoprune.bench.compute_lock import Gate
with Gate(Path(sys.argv[1])).working():
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_work_overlaps_with_work_and_never_with_a_measurement(tmp_path):
    workers = [subprocess.Popen([sys.executable, "-c", WORK, str(tmp_path / "g"), "0.05", "12"], stdout=subprocess.PIPE, text=True) for _ in range(2)]  # fmt: skip
    gate, measured = Gate(tmp_path / "g"), []

    def measure():
        for _ in range(4):
            with gate.measuring():
                begin = time.monotonic()
                time.sleep(0.03)
                measured.append((begin, time.monotonic()))
            time.sleep(0.02)

    threads = [threading.Thread(target=measure) for _ in range(2)]
    first = workers[0].stdout.readline()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    worked = [[tuple(map(float, line.split())) for line in worker.communicate()[0].splitlines()] for worker in workers]
    worked[0].append(tuple(map(float, first.split())))
    every = sorted(span for spans in worked for span in spans)
    assert len(measured) == 8
    assert len(every) == 24
    measured.sort()
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(measured))
    assert not [(m, w) for m in measured for w in every if m[0] < w[1] and w[0] < m[1]]
    assert any(a[1] > b[0] for a in worked[0] for b in worked[1] if a[0] <= b[0])


def test_the_place_of_a_worker_that_dies_is_free(tmp_path):
    worker = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "g")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert worker.stdout.readline() == "held\n"
    worker.kill()
    worker.communicate()
    begin = time.monotonic()
    with Gate(tmp_path / "g").measuring():
        assert time.monotonic() - begin < 5
