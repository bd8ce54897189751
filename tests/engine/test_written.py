"""What a search writes at its end for people, without which it has all that it found."""

from pathlib import Path

import autoprune
from autoprune.engine import written
from autoprune.store.reading import read_front
from autoprune.testing.fakes import RecordingReporter

QUICK = {"budget": "params=90%", "run": "r", "trials": 2, "sampler": "random", "finetune_epochs": 0, "finalists": 1}


def test_what_cannot_be_drawn_or_told_ends_no_search(small_task, monkeypatch):
    def fails(*_, **__):
        raise KeyError("took")

    for maker in ("report", "decisions", "model_card"):
        monkeypatch.setattr(written, maker, fails)
    reporter = RecordingReporter()
    result = autoprune.search(small_task, reporter=reporter, **QUICK)
    assert result.best is not None
    assert read_front(Path("r"))["best"] == result.best.trial
    for lost in ("decisions.md", "card", "report.html"):
        assert f"there is no {lost}: KeyError: 'took'" in reporter.notes
