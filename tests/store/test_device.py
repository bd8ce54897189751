import subprocess
import sys

from autoprune.store.device import DeviceStore

WRITER = """
import sys
from pathlib import Path
from autoprune.store.device import DeviceStore
store = DeviceStore(Path(sys.argv[1]))
for count in range(200):
    store.write("roofline.json", {"flops": count})
    store.change("table.json", lambda known: {**(known or {}), f"{sys.argv[2]} {count}": count})
"""


def test_searches_that_share_a_device_neither_disturb_nor_overwrite_each_other(tmp_path):
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
