import json
import os
import subprocess
import sys

import pytest

from autoprune.core.clock import SystemClock
from autoprune.errors import StorageError
from autoprune.store.files import write_atomic
from autoprune.store.run import RunDirectory, next_free, read_front


def test_a_second_search_on_a_run_is_refused_and_the_holder_named(tmp_path):
    held = RunDirectory(tmp_path / "r", SystemClock())
    code = f"from pathlib import Path; from autoprune.store.run import RunDirectory; from autoprune.core.clock import SystemClock; RunDirectory(Path({str(tmp_path / 'r')!r}), SystemClock())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert f"process {os.getpid()}" in done.stderr
    held.close()


def test_the_lock_of_a_dead_process_does_not_hold(tmp_path):
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "LOCK").write_text("process 999999 on elsewhere\n")
    held = RunDirectory(tmp_path / "r", SystemClock())
    assert f"process {os.getpid()} " in (tmp_path / "r" / "LOCK").read_text()
    held.close()


def test_a_used_directory_is_never_written_over(tmp_path):
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "thesis.txt").write_text("mine")
    with pytest.raises(StorageError, match=r"thesis\.txt"):
        RunDirectory(tmp_path / "r", SystemClock())
    assert (tmp_path / "r" / "thesis.txt").read_text() == "mine"


def test_discarding_leaves_nothing_behind(tmp_path):
    RunDirectory(tmp_path / "r", SystemClock()).discard()
    assert not (tmp_path / "r").exists()


def test_names_count_up(tmp_path):
    (tmp_path / "digits-1").mkdir()
    assert next_free(tmp_path, "digits") == tmp_path / "digits-2"


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    target = tmp_path / "front.json"
    write_atomic(target, b"old")
    monkeypatch.setattr("os.fsync", lambda number: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(StorageError, match=r"front\.json.*No space"):
        write_atomic(target, b"new")
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("content", ["", "[]", "{", json.dumps({"schema": 9})])
def test_a_front_of_another_kind_is_refused(tmp_path, content):
    (tmp_path / "front.json").write_text(content)
    with pytest.raises(StorageError):
        read_front(tmp_path)
