import os

from autoprune.remote.links.process import scratch
from autoprune.store.machine import namespace

DEAD = 2**22 + 1


def test_scratch_of_dead_processes_goes(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("autoprune.remote.links.process._ROOM", float("inf"))  # not in memory
    names = {f"autoprune-{DEAD}-{namespace()}-a": False, f"autoprune-{DEAD}-another-b": True,
             f"autoprune-{os.getpid()}-{namespace()}-c": True, "autoprune-tune-d": True}  # fmt: skip
    for name in names:
        (tmp_path / name).mkdir()
    assert scratch().parent == tmp_path
    assert {name: (tmp_path / name).exists() for name in names} == names
