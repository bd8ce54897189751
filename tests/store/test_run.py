import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from autoprune.core.clock import SystemClock
from autoprune.errors import StorageError
from autoprune.store.files import partial_folder, write_atomic
from autoprune.store.lock import remote
from autoprune.store.reading import read_front, read_recipe, read_run
from autoprune.store.run import RunDirectory
from autoprune.testing.fakes import FakeClock


def test_a_second_search_on_a_run_is_refused_and_the_holder_named(tmp_path):
    held = RunDirectory.create(tmp_path / "r", SystemClock())
    code = f"from pathlib import Path; from autoprune.store.run import RunDirectory; from autoprune.core.clock import SystemClock; RunDirectory.create(Path({str(tmp_path / 'r')!r}), SystemClock())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert f"process {os.getpid()}" in done.stderr
    held.close()


def test_the_lock_of_a_dead_process_does_not_hold(tmp_path):
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "LOCK").write_text("process 999999 on elsewhere\n")
    held = RunDirectory.create(tmp_path / "r", SystemClock())
    assert f"process {os.getpid()} " in (tmp_path / "r" / "LOCK").read_text()
    assert any("process 999999 on elsewhere" in note and "taken over" in note for note in held.notes)
    held.close()
    again, _ = RunDirectory.reopen(recipe(tmp_path / "r"), SystemClock())
    assert again.notes == ()
    again.close()


def recipe(run, schema=2, version="0.1.0"):
    (run / "run.yaml").write_text(f"schema: {schema}\nversions: {{autoprune: {version}}}\n")
    return run


@pytest.mark.parametrize(("schema", "word"), [(1, "search anew"), (3, "0.9.7"), ("two", "schema 'two'")])
def test_runs_of_other_versions_are_refused_by_name(tmp_path, schema, word):
    with pytest.raises(StorageError, match=word):
        RunDirectory.reopen(recipe(tmp_path, schema, "0.9.7"), SystemClock())


def test_a_run_of_the_first_schema_still_shows_its_front():
    old = Path(__file__).with_name("schema_1")
    assert read_front(old)["best"] is not None
    with pytest.raises(StorageError, match="schema 1, written by autoprune 0.1.0"):
        RunDirectory.reopen(old, SystemClock())


def test_the_clock_of_a_run_goes_on_where_it_was(tmp_path):
    clock = FakeClock()
    first = RunDirectory.create(tmp_path / "r", clock)
    recipe(first.path)
    clock.advance(70)
    first.log("something")
    first.close()
    clock = FakeClock()
    again, _ = RunDirectory.reopen(tmp_path / "r", clock)
    clock.advance(5)
    assert again.seconds == 75
    again.close()


def test_how_long_was_searched_is_known_whatever_else_was_done(tmp_path):
    clock = FakeClock()

    def process(directory, *events):
        for seconds, event in events:
            clock.advance(seconds)
            directory.log(event, trial=0, trials=1, epoch=1)
        directory.close()

    first = RunDirectory.create(tmp_path / "r", clock)
    recipe(first.path)
    process(first, (1, "began"), (9, "forecast"), (2, "searching"), (10, "trial"), (5, "trial"))  # and a kill
    again, _ = RunDirectory.reopen(tmp_path / "r", clock)
    assert again.searched == 15
    process(again, (3, "resumed"), (4, "searching"), (6, "trial"), (1, "searched"), (50, "epoch"))
    last, _ = RunDirectory.reopen(tmp_path / "r", clock)
    assert last.searched == 22
    last.close()


def test_an_event_that_lacks_what_others_of_its_name_have_is_refused_and_the_lock_given_back(tmp_path):
    path = recipe(tmp_path) / "log.jsonl"
    for line in (
        '{"seconds": 1, "event": "stage"}',
        '{"seconds": 1, "event": "stage", "stage": "timing", "took": "x"}',
    ):
        path.write_text(f"{line}\n")
        with pytest.raises(StorageError, match=r"took in each such line of .*log\.jsonl"):
            read_run(tmp_path)
        with pytest.raises(StorageError, match=r"took in each such line"):
            RunDirectory.reopen(tmp_path, SystemClock())
    path.write_text('{"seconds": 1}\n{"seconds": 2, "event": "what a later version tells"}\n')
    assert len(read_run(tmp_path).events) == 1
    again, _ = RunDirectory.reopen(tmp_path, SystemClock())
    again.close()


def test_half_a_line_in_a_log_is_cut_off_and_the_rest_read(tmp_path):
    held = RunDirectory.create(tmp_path / "r", SystemClock())
    path = recipe(held.path) / "measurements.jsonl"
    path.write_text('{"stage": "search", "trial": 0}\n{"stage": "final", "trial": 1}\n{"stage": "search", "tri')
    assert held.recorded() == {0}
    assert path.read_text().endswith('"trial": 1}\n')
    held.close()


def test_network_file_systems_are_known_by_their_mount(tmp_path):
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/sda / ext4 rw 0 0\nserver:/x {tmp_path} nfs4 rw 0 0\n/dev/b {tmp_path}/local xfs rw 0 0\n")
    assert remote(tmp_path / "run", mounts) == "nfs4"
    assert remote(tmp_path / "local" / "run", mounts) == ""
    assert remote(Path("/usr"), mounts) == ""


def test_a_used_directory_is_never_written_over(tmp_path):
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "thesis.txt").write_text("mine")
    with pytest.raises(StorageError, match=r"thesis\.txt"):
        RunDirectory.create(tmp_path / "r", SystemClock())
    assert [each.name for each in (tmp_path / "r").iterdir()] == ["thesis.txt"]
    assert (tmp_path / "r" / "thesis.txt").read_text() == "mine"


def test_discarding_takes_folders_with_it_that_were_made_for_the_run(tmp_path):
    (tmp_path / "mine").mkdir()
    RunDirectory.create(tmp_path / "mine" / "new" / "a" / "b", SystemClock()).discard()
    assert not list((tmp_path / "mine").iterdir())
    RunDirectory.create(tmp_path / "mine", SystemClock()).discard()
    assert (tmp_path / "mine").is_dir()


def test_discarding_leaves_nothing_behind_but_what_a_user_put_there(tmp_path):
    for others in ([], ["thesis.txt"]):
        run = RunDirectory.create(tmp_path / "r", SystemClock())
        run.write_recipe({"task": "t"})
        run.log("began")
        run.write("forecast.json", b"{}")
        for name in others:
            (tmp_path / "r" / name).write_text("mine")
        run.discard()
        run.close()
        left = sorted(each.name for each in (tmp_path / "r").iterdir()) if (tmp_path / "r").exists() else []
        assert left == others


@pytest.mark.parametrize("content", ["seed: !!int foo", "day: !!timestamp foo", "[" * 20_000])
def test_a_recipe_that_cannot_be_read_is_named(tmp_path, content):
    (tmp_path / "run.yaml").write_text(content)
    with pytest.raises(StorageError, match=r"run\.yaml"):
        read_recipe(tmp_path)


def test_names_count_up(tmp_path):
    (tmp_path / "digits-1").mkdir()
    assert RunDirectory.create_next(tmp_path, "digits", FakeClock()).path == tmp_path / "digits-2"


def test_the_clock_of_the_log_is_its_own(tmp_path):
    run = RunDirectory.create(tmp_path / "r", FakeClock())
    run.log("epoch", seconds=900.0, event="accuracy", loss=0.5)  # a metric may have any name
    run.close()
    assert json.loads((tmp_path / "r" / "log.jsonl").read_text()) == {"seconds": 0.0, "event": "epoch", "loss": 0.5}


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    target = tmp_path / "front.json"
    write_atomic(target, b"old")
    monkeypatch.setattr("os.fsync", lambda number: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(StorageError, match=r"front\.json.*no space"):
        write_atomic(target, b"new")
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("content", ["", "[]", "{", json.dumps({"schema": 9}), json.dumps({"schema": 1})])
def test_a_front_of_another_kind_is_refused(tmp_path, content):
    (tmp_path / "front.json").write_text(content)
    with pytest.raises(StorageError):
        read_front(tmp_path)


def test_what_a_kill_left_of_a_write_is_gone_when_the_run_goes_on(tmp_path):
    RunDirectory.create(tmp_path / "run", FakeClock()).write_recipe({})
    left = tmp_path / "run" / "models" / "3" / "model.safetensors.0f0f0f0f.partial"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half of it")
    export = left.parent / "exported" / "onnx.0f0f0f0f.partial"
    export.mkdir(parents=True)
    (export / "model.onnx").write_bytes(b"half of it")
    with partial_folder(export.with_name("openvino")) as going_on:
        RunDirectory.reopen(tmp_path / "run", FakeClock())[0].close()
        assert going_on.exists()
    assert not left.exists()
    assert not export.exists()


def test_inner_stages_count_alone_and_over_processes(tmp_path):
    clock = FakeClock()
    run = RunDirectory.create(tmp_path / "r", clock)
    run.write_recipe({"task": "t"})
    run.log("began")
    with run.stage("finishing"):
        clock.advance(2)
        with run.stage("training"):
            clock.advance(5)
        clock.advance(1)
    run.close()
    again, _ = RunDirectory.reopen(tmp_path / "r", clock)
    with again.stage("training"):
        clock.advance(1)
    assert again.stages == {"training": 6.0, "finishing": 3.0}
    again.close()
