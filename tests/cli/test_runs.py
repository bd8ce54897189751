"""Runs side by side, and what of them can go."""

import json
import os

import pytest

from autoprune.store.files import partial_folder
from autoprune.store.lock import RunLock
from tests.report.runs import make_run


def test_runs_are_listed_side_by_side(told, tmp_path):
    for name, seed in (("a", 0), ("b", 1)):
        make_run(tmp_path / "runs" / name, trials=20, seed=seed, task=f"task-{name}")
    make_run(tmp_path / "runs" / "c", trials=20, ended=False)
    (tmp_path / "runs" / "notes").mkdir()
    (tmp_path / "runs" / "d").mkdir()
    (tmp_path / "runs" / "d" / "run.yaml").write_text("schema: 99")
    code, out, _ = told("runs", "list")
    assert code == 0
    head, *rows = out.splitlines()
    assert head.split() == [
        "run",
        "state",
        "begun",
        "task",
        "budget",
        "candidates",
        "best",
        "accuracy",
        "best",
        "latency",
        "disk",
    ]
    states = {row.split()[0]: row.split()[1] for row in rows}
    assert states == {"runs/a": "finished", "runs/b": "finished", "runs/c": "unfinished", "runs/d": "unreadable"}
    assert "ms [" in rows[0]
    found = json.loads(told("runs", "list", "--state", "finished", "--task", "k-b", "--json")[1])
    assert [each["path"] for each in found] == ["runs/b"]
    assert found[0]["size"] > 1000
    assert told("runs", "list", "--state", "done")[0] == 2


def test_places_without_runs_are_named(told, tmp_path):
    assert told("runs", "list") == (0, "", "no such runs\n")  # nothing was searched here so far
    (tmp_path / "notes.txt").write_text("")
    for place, what in (("nothing", "not there"), ("notes.txt", "a file")):
        code, _, said = told("runs", "list", tmp_path / place)
        assert code == 6
        assert f"expected a run, or a folder of runs; received {tmp_path / place}, which is {what};" in said
    for command in (("front",), ("resume",), ("check", "--budget", "params=1M")):
        code, _, said = told(*command, "runs/nothing")
        assert code == 6
        assert "runs/nothing" in said
        assert "`autoprune runs list`" in said


@pytest.mark.parametrize("command", ["runs", "devices"])
def test_a_command_of_commands_alone_shows_its_help(told, command):
    code, out, said = told(command)
    assert (code, said) == (0, "")
    assert f"Usage: autoprune {command}" in out
    assert out.count("\n") > 5


@pytest.mark.parametrize("command", [(), ("runs",)])
def test_help_says_in_a_whole_sentence_what_each_command_does(told, command):
    _, out, _ = told(*command, "--help")
    assert "..." not in out.partition("Commands:")[2]


def test_what_is_limited_from_below_is_shown_too(told, tmp_path):
    run = make_run(tmp_path / "runs" / "a", trials=20)
    for name, old, new in (("run.yaml", "- latency<=5ms", "- accuracy>=0.5"), ("run.yaml", "- accuracy\n", "")):
        text = (run / name).read_text()
        assert old in text
        (run / name).write_text(text.replace(old, new))
    assert told("runs", "list")[1].splitlines()[0].split()[-5:-1] == ["best", "latency", "best", "accuracy"]


def test_a_run_that_somebody_works_on_is_running_and_stays(told, tmp_path):
    run = make_run(tmp_path / "runs" / "a", trials=20, ended=False)
    lock = RunLock(run)
    assert " running " in told("runs", "list")[1]
    code, _, said = told("runs", "clean", run, "--whole")
    assert code == 6
    assert f"it is held by process {os.getpid()}" in said
    lock.release()
    assert " unfinished " in told("runs", "list")[1]


def test_what_a_killed_container_left_is_not_running(told, tmp_path):
    run = make_run(tmp_path / "runs" / "a", trials=20, ended=False)
    (run / "LOCK").write_text("process 7 on 4f5c0f9a2b1e\n")
    assert " unfinished " in told("runs", "list")[1]
    assert told("runs", "clean", run, "--whole")[0] == 0
    assert not run.exists()


def test_a_folder_that_is_no_run_stays_as_it_is(told, tmp_path):
    mine = [tmp_path / "runs" / name for name in ("report.html", "sub/movie.partial", "a.0f0f0f0f.partial/b.txt")]
    for path in mine:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    code, _, said = told("runs", "clean", tmp_path / "runs")
    assert (code, "no run.yaml" in said) == (6, True)
    assert all(path.exists() for path in mine)


def test_what_kills_left_goes_and_what_is_written_stays(told, tmp_path):
    run = make_run(tmp_path / "runs" / "a", trials=20)
    left = [run / name for name in ("front.json.0f0f0f0f.partial", "checkpoints/3.safetensors.0f0f0f0f.partial")]
    export = run / "models" / "2" / "exported" / "onnx.0f0f0f0f.partial"
    mine = run / "movie.partial"
    for path in (*left, export / "model.onnx", mine):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    with partial_folder(export.with_name("openvino")) as going_on:
        code, out, _ = told("runs", "clean", run, run)
        assert going_on.exists()
        (going_on / "model.xml").write_text("x")
        assert f"{going_on.name}/model.xml" in told("runs", "clean", run, "--whole")[2]
    assert (code, out.split()) == (0, [str(path) for path in (run / "checkpoints", left[0], export)])
    assert mine.exists()
    assert not export.exists()


def test_cleaning_keeps_results(told, tmp_path):
    run = make_run(tmp_path / "runs" / "a", trials=20)
    kept = {"LOCK", *(path.name for path in run.iterdir())}
    (run / "report.html").write_text("x" * 5000)
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "1.safetensors").write_bytes(b"x")
    code, out, said = told("runs", "clean", run, "--dry-run")
    assert out.split() == [str(run / "report.html"), str(run / "checkpoints")]
    assert (run / "report.html").exists()
    code, _, said = told("runs", "clean", run)
    assert code == 0
    assert "4.884 KiB are free now" in said
    assert {path.name for path in run.iterdir()} == kept


def test_a_whole_run_goes_with_nothing_of_its_user(told, tmp_path):
    run, other = (make_run(tmp_path / "runs" / name, trials=20) for name in "ab")
    (other / "models" / "3" / "exported").mkdir(parents=True)
    (other / "models" / "3" / "thesis.txt").write_text("mine")
    for path in (run / "models" / "3" / "onnx", run / "models" / "3" / "exported" / "onnx"):
        path.mkdir(parents=True)
        (path / "model.onnx").write_text("x")
        (path / "export.json").write_text("{}")
    (run / "checkpoints").mkdir()
    for name in ("3-rate-x2.safetensors", "3-rate-x2-2.sent"):  # of a fine-tuning that was killed
        (run / "checkpoints" / name).write_bytes(b"x")
    code, _, said = told("runs", "clean", run, other, "--whole")
    assert code == 6
    assert "received models/3/thesis.txt;" in said
    assert run.exists()
    assert told("runs", "clean", run, "--whole")[0] == 0
    assert not run.exists()
    assert told("runs", "clean", tmp_path / "runs", "--whole")[0] == 6
