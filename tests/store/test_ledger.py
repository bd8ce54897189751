import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import optuna
import pytest
import yaml

from autoprune.errors import StorageError
from autoprune.samplers.random import create
from autoprune.searching.study import Study
from autoprune.store.ledger import masked, open_ledger
from autoprune.testing.sampler import OBJECTIVES, pretended, small_context, small_space


def test_a_deleted_or_empty_journal_is_an_error_and_never_a_new_study(tmp_path):
    with pytest.raises(StorageError, match="no such file"):
        open_ledger(tmp_path, "", new=False)
    (tmp_path / "study.journal").touch()
    with pytest.raises(StorageError, match="an empty file"):
        open_ledger(tmp_path, "", new=False)
    assert (tmp_path / "study.journal").stat().st_size == 0


def test_passwords_are_neither_shown_nor_kept():
    assert masked("postgresql+psycopg://me:secret@db.org:5432/runs") == "postgresql+psycopg://me@db.org:5432/runs"
    assert masked("sqlite:///runs.db") == "sqlite:///runs.db"
    assert masked("postgresql+psycopg://h/db?user=u&password=secret") == "postgresql+psycopg://h/db"
    assert masked("postgresql+psycopg://u:pa/ss@h/db") == "postgresql+psycopg://u@h/db"
    assert "secret" not in masked("what:secret@[is/this")
    assert masked("") == ""


@pytest.mark.parametrize(
    "url",
    ["postgresql+psycopg://me:secret@127.0.0.1:1/x", "postgresql+psycopg://u:p@ss:secret@h/x", "nonsense", "nodb://x"],
)
def test_a_database_that_does_not_answer_is_one_line_without_its_password(tmp_path, url):
    with pytest.raises(StorageError, match="--storage") as refused:
        open_ledger(tmp_path, url, new=True)
    assert "secret" not in str(refused.value)


def binaries():
    found = [Path(path).parent for path in [shutil.which("initdb")] if path]
    return next(iter([*found, *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]), None)


@pytest.fixture(scope="module")
def postgres():
    """The URL of a real server on loopback."""
    place = binaries()
    if place is None:
        pytest.skip("PostgreSQL is not installed")
    user = "postgres" if os.getuid() == 0 else None
    data = Path(tempfile.mkdtemp(dir="/tmp", prefix="autoprune-pg-"))
    if user:
        shutil.chown(data, user)
    subprocess.run(
        [place / "initdb", "-D", data / "db", "-A", "trust", "-U", "me", "--no-sync"], user=user, cwd="/", check=True, capture_output=True
    )  # fmt: skip
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [place / "postgres", "-D", data / "db", "-h", "127.0.0.1", "-p", str(port), "-k", data], user=user, cwd="/", stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )  # fmt: skip
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            time.sleep(0.1)
    yield f"postgresql+psycopg://me:word@127.0.0.1:{port}/postgres"
    server.send_signal(signal.SIGINT)
    server.wait()
    shutil.rmtree(data, ignore_errors=True)


def test_a_study_in_postgresql_is_found_again_with_what_was_told(postgres, tmp_path):
    space = small_space()

    def opened(new):
        ledger = open_ledger(tmp_path, postgres, new=new)
        return ledger, Study(ledger, "told", space, OBJECTIVES, create(small_context(space)), new=new)

    ledger, study = opened(True)
    told = []
    for _ in range(3):
        proposal = study.ask()
        study.begun(proposal)
        told.append(pretended(proposal))
        study.tell(told[-1])
    study.begun(left := study.ask())
    ledger.close()
    ledger, study = opened(False)
    assert {trial.plan for trial in study.restored.finished} == {trial.plan for trial in told}
    assert [proposal.plan for proposal in study.restored.running] == [left.plan]
    ledger.close()


@pytest.mark.slow
def test_a_search_on_postgresql_is_killed_and_goes_on(postgres, tmp_path):
    shutil.copy(Path(__file__).parents[1] / "faults" / "tasks.py", tmp_path)
    options = ["--trials", "9", "--storage", postgres, "--finetune-epochs", "0", "--finalists", "1", "--quiet"]
    command = [sys.executable, "-m", "autoprune"]
    driver = subprocess.Popen(
        [*command, "search", "tasks.py:slow", "--run", "pg", "--budget", "params=90%", *options], cwd=tmp_path, stderr=subprocess.DEVNULL
    )  # fmt: skip
    for _ in range(400):
        log = tmp_path / "pg" / "measurements.jsonl"
        if log.exists() and log.read_text().count("\n") >= 3:
            break
        time.sleep(0.05)
    driver.kill()
    driver.wait()
    acknowledged = {json.loads(line)["trial"] for line in log.read_text().splitlines()}
    assert "word" not in (tmp_path / "pg" / "run.yaml").read_text()
    done = subprocess.run([*command, "resume", "pg", "--storage", postgres, "--quiet"], cwd=tmp_path, capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    name = yaml.safe_load((tmp_path / "pg" / "run.yaml").read_text())["study"]
    study = optuna.load_study(study_name=name, storage=postgres)
    assert not [t for t in study.trials if t.state == optuna.trial.TrialState.RUNNING]
    evaluated = [json.loads(line)["trial"] for line in log.read_text().splitlines() if '"search"' in line]
    assert len(evaluated) == len(set(evaluated)) == 6
    assert acknowledged <= set(evaluated)
