import os
import signal
import subprocess
import sys

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from autoprune.errors import StorageError
from autoprune.store.journal import Journal


def study(journal, trials):
    made = optuna.create_study(storage=JournalStorage(journal), study_name="s", load_if_exists=True)
    for _ in range(trials):
        trial = made.ask()
        made.tell(trial, trial.suggest_float("x", 0, 1))
    return made


def test_optunas_own_backend_reads_the_same_study(tmp_path):
    journal = Journal(tmp_path / "j")
    values = [trial.value for trial in study(journal, 5).trials]
    journal.close()
    foreign = optuna.load_study(storage=JournalStorage(JournalFileBackend(str(tmp_path / "j"))), study_name="s")
    assert [trial.value for trial in foreign.trials] == values


def test_a_reopened_study_goes_on(tmp_path):
    journal = Journal(tmp_path / "j")
    study(journal, 3)
    journal.close()
    assert len(study(Journal(tmp_path / "j"), 2).trials) == 5


def test_a_torn_tail_is_cut_off_and_the_rest_kept(tmp_path):
    journal = Journal(tmp_path / "j")
    study(journal, 3)
    journal.close()
    whole = (tmp_path / "j").read_bytes()
    (tmp_path / "j").write_bytes(whole + b'{"op_code": 4, "tri')
    again = Journal(tmp_path / "j")
    assert again.torn == 19
    assert (tmp_path / "j").read_bytes() == whole
    assert len(study(again, 1).trials) == 4


def test_a_corrupt_line_in_the_middle_is_refused_by_number(tmp_path):
    journal = Journal(tmp_path / "j")
    study(journal, 3)
    journal.close()
    lines = (tmp_path / "j").read_bytes().splitlines(keepends=True)
    lines[4] = b"\x00garbage\n"
    (tmp_path / "j").write_bytes(b"".join(lines))
    with pytest.raises(StorageError, match="line 5"):
        JournalStorage(Journal(tmp_path / "j"))


FILL = """
import resource, sys
from pathlib import Path
from autoprune.errors import StorageError
from autoprune.store.journal import Journal
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
journal = Journal(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
written = 0
try:
    while True:
        journal.append_logs([{"op_code": 10, "n": written, "pad": "x" * 40}])
        written += 1
except StorageError as error:
    print(written, str(error))
"""


def test_a_full_disk_is_named_and_every_acknowledged_line_is_there(tmp_path):
    done = subprocess.run([sys.executable, "-c", FILL, str(tmp_path / "j")], capture_output=True, text=True, check=True)
    written, _, message = done.stdout.partition(" ")
    assert str(tmp_path / "j") in message
    again = Journal(tmp_path / "j")
    assert [log["n"] for log in again.read_logs(0)] == list(range(int(written)))
    assert again.torn == 0
    assert int(written) > 5


KILLED = """
import sys
from pathlib import Path
from autoprune.store.journal import Journal
journal = Journal(Path(sys.argv[1]))
for n in range(10**6):
    journal.append_logs([{"op_code": 10, "n": n}])
    print(n, flush=True)
"""


def test_no_acknowledged_line_is_lost_to_a_kill(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path / "j")], stdout=subprocess.PIPE, text=True)
    for _ in range(25):
        last = process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    rest = process.stdout.read().split()
    process.wait()
    acknowledged = int(rest[-1] if rest else last)
    assert len(list(Journal(tmp_path / "j").read_logs(0))) > acknowledged


def test_a_commit_is_whole_or_absent_wherever_it_is_cut(tmp_path):
    journal = Journal(tmp_path / "j")
    study(journal, 2)
    before = (tmp_path / "j").stat().st_size
    storage = JournalStorage(journal)
    with journal.commit():
        for n in range(3):
            journal.append_logs([{"op_code": 10, "n": n}])
        assert (tmp_path / "j").stat().st_size == before
    journal.close()
    content = (tmp_path / "j").read_bytes()
    for end in range(before, len(content), 7):
        (tmp_path / "j").write_bytes(content[:end])
        again = Journal(tmp_path / "j")
        assert (tmp_path / "j").read_bytes() == content[:before]
        assert again.torn == end - before
        again.close()
    (tmp_path / "j").write_bytes(content)
    assert sum(log["op_code"] == 10 for log in Journal(tmp_path / "j").read_logs(0)) == 3
    del storage


def test_a_commit_that_is_broken_off_leaves_nothing_and_ends_the_writing(tmp_path):
    journal = Journal(tmp_path / "j")
    study(journal, 1)
    before = (tmp_path / "j").read_bytes()
    with pytest.raises(KeyboardInterrupt), journal.commit():
        journal.append_logs([{"op_code": 10}])
        raise KeyboardInterrupt
    assert (tmp_path / "j").read_bytes() == before
    with pytest.raises(StorageError, match="broken off"):
        journal.append_logs([{"op_code": 10}])


def test_long_commits_are_cut_back_over_many_chunks(tmp_path):
    (tmp_path / "j").write_bytes(
        b'{"op_code": 10}\n' + b'{"op_code": 10, "pad": "%s", "more": true}\n' % (b"x" * 300_000) * 9
    )
    assert len(list(Journal(tmp_path / "j").read_logs(0))) == 1


def test_what_optuna_has_read_is_not_kept_in_memory(tmp_path):
    journal = Journal(tmp_path / "j")
    study(journal, 30)
    assert len(journal._logs) < 5
