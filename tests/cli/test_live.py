"""A search as one picture on a terminal."""

import io
import os
import pty
import select
import shutil
import signal
import subprocess

import pytest
from rich.console import Console

from autoprune.cli.live import news, picture
from autoprune.core.callbacks import FrontReport
from autoprune.core.measurement import Measurement
from autoprune.core.metric import Metric
from autoprune.core.plan import Plan
from autoprune.core.trial import Trial, TrialState
from tests.conftest import COMMAND
from tests.faults.runs import TASK

HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"


def front(count):
    trials = tuple(
        Trial(
            number,
            Plan.of({"conv": 8}),
            TrialState.COMPLETE,
            {
                "accuracy": Measurement.exact("accuracy", 0.9, "1"),
                "latency": Measurement.exact("latency", 1e-3 * number, "s"),
            },
            {"latency": number - 9.5},
        )
        for number in range(1, count + 1)
    )
    objectives = (Metric("accuracy", "1", lower_is_better=False), Metric("latency", "s", lower_is_better=True))
    return FrontReport(trials=30, objectives=objectives, front=trials, best=trials[8], volume=0.25)


def console():
    return Console(file=io.StringIO(), force_terminal=True, width=100, height=40)


def test_front_bars_and_news_are_one_picture():
    terminal = console()
    with picture(terminal) as reporter:
        reporter.note("budget: [median] latency")
        with reporter.track("searching", 30, 29) as advance:
            reporter.front(front(12))
            advance("front 12")
            reporter.warn("trial 3 failed")
            print("what a user's code prints")
    shown = terminal.file.getvalue()
    for text in (
        "budget: [median] latency",
        "warning: trial 3 failed",
        "searching",
        "30/30",
        "what a user's code prints",
    ):
        assert text in shown
    last = shown[shown.rindex("front of 12 after 30 candidates, volume 0.250") :]
    rows = [line for line in last.splitlines() if "within" in line or "beyond" in line]
    assert len(rows) <= 10
    assert "1 ms" in rows[0]
    assert "12 ms" in rows[-1]
    (best,) = [line for line in rows if "*" in line]
    assert "9 ms" in best
    assert (shown.count(HIDE), shown.count(SHOW)) == (1, 1)


def test_an_interrupt_leaves_the_terminal_as_it_was():
    terminal = console()
    with pytest.raises(KeyboardInterrupt), picture(terminal) as reporter:
        reporter.front(front(9))
        raise KeyboardInterrupt
    shown = terminal.file.getvalue()
    assert shown.rindex(SHOW) > shown.rindex(HIDE)


def test_without_a_terminal_news_are_lines(capsys):
    with news(False, True) as (reporter, on_front):
        reporter.note("one line")
        assert on_front is None
    assert capsys.readouterr().err == "one line\n"


@pytest.mark.slow
def test_ctrl_c_in_a_terminal_ends_with_a_front_and_a_cursor(tmp_path):
    shutil.copy(TASK, tmp_path)
    ours, theirs = pty.openpty()
    search = subprocess.Popen(
        [*COMMAND, "search", "tasks.py:slow", "--budget", "params=95%", "--run", "r", "--live", "--sampler", "random"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=theirs, stdin=theirs, env={**os.environ, "TERM": "xterm"},
    )  # fmt: skip
    os.close(theirs)
    shown, asked = b"", False
    while search.poll() is None or select.select([ours], [], [], 0)[0]:
        if select.select([ours], [], [], 0.1)[0]:
            try:
                shown += os.read(ours, 1 << 16)
            except OSError:  # nobody has the other end any more
                break
        if not asked and b"after 4 candidates" in shown:
            asked = True
            search.send_signal(signal.SIGINT)
    text = shown.decode()
    assert search.wait(60) == 130, text
    assert "the front so far has" in text
    assert text.rindex(SHOW) > text.rindex(HIDE)
    assert (tmp_path / "r" / "front.json").exists()
