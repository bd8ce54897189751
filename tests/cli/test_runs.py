"""Runs side by side, and what of them can go."""

import json
import os
import socket

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
    assert told("runs", "list", tmp_path / "nothing")[0] == 6


def test_a_run_that_somebody_works_on_is_running_and_stays(told, tmp_path):
    run = make_run(tmp_path / "runs" / "a", trials=20, ended=False)
    (run / "LOCK").write_text(f"process {os.getpid()} on {socket.gethostname()}\n")
    assert " running " in told("runs", "list")[1]
    code, _, said = told("runs", "clean", run, "--whole")
    assert code == 6
    assert "it is held by process" in said
    (run / "LOCK").write_text(f"process {2**22 + 1} on {socket.gethostname()}\n")  # a number that no process has
    assert " unfinished " in told("runs", "list")[1]


def test_cleaning_keeps_results(told, tmp_path):
    run = make_run(tmp_path / "runs" / "a", trials=20)
    kept = {path.name for path in run.iterdir()}
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
    (other / "thesis.txt").write_text("mine")
    code, _, said = told("runs", "clean", run, other, "--whole")
    assert code == 6
    assert "thesis.txt" in said
    assert run.exists()
    assert told("runs", "clean", run, "--whole")[0] == 0
    assert not run.exists()
    assert told("runs", "clean", tmp_path / "runs", "--whole")[0] == 6
