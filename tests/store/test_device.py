import os
import subprocess
import sys

import pytest

from autoprune.cost_model.table import Table
from autoprune.errors import StorageError
from autoprune.store.device import DeviceStore, cache_folder

WRITER = """
import sys
from pathlib import Path
from autoprune.store.device import DeviceStore
store = DeviceStore(Path(sys.argv[1]))
for count in range(200):
    store.write("roofline.json", {"flops": count})
    store.change("table.json", lambda known: {**(known or {}), f"{sys.argv[2]} {count}": count})
"""


@pytest.mark.slow
def test_searches_that_share_a_device_keep_both_tables(tmp_path):
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), name], stderr=subprocess.PIPE, text=True)
        for name in ("one", "other")
    ]
    said = [writer.communicate(timeout=120)[1] for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0], said
    assert len(DeviceStore(tmp_path).read("table.json")) == 400


def test_what_is_broken_is_as_if_it_were_not_there(tmp_path):
    (tmp_path / "table.json").write_text('{"schema": 1, "fam')
    store = DeviceStore(tmp_path)
    assert store.read("table.json") is None
    store.change("table.json", lambda known: {"was": known})
    assert store.read("table.json") == {"was": None}


@pytest.mark.parametrize(
    "content", ['{"schema": 1}', '{"schema": 1, "families": [1]}', '{"schema": 1, "families": {"a": 3}}']
)
def test_a_damaged_table_is_measured_anew(tmp_path, content):
    (tmp_path / "table.json").write_text(content)
    assert Table.of(DeviceStore(tmp_path)).entries == {}


def test_a_log_with_bytes_that_are_no_text_keeps_its_other_lines(tmp_path):
    (tmp_path / "speed.jsonl").write_bytes(b'{"a": 1}\n\xff\xfe\n{"a": 2}\n')
    assert DeviceStore(tmp_path).lines("speed.jsonl") == [{"a": 1}, {"a": 2}]


def test_unwritable_cache_gives_way_to_a_temporary_one(tmp_path, monkeypatch):
    (tmp_path / "home").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert cache_folder("leases") == tmp_path / f"autoprune-{os.getuid()}" / "leases"
    assert (tmp_path / f"autoprune-{os.getuid()}").stat().st_mode & 0o777 == 0o700
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "home"))
    with pytest.raises(StorageError, match="set XDG_CACHE_HOME"):
        cache_folder("leases")
