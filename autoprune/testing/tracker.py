"""What every tracker must do. Inherit `TrackerConformance` in a test class and set `name`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from autoprune import registry
from autoprune.trackers import STATES, TrackedModel, TrackedRun, Tracker


def follow(tracker: Tracker, page: Path, first: int = 0) -> None:
    """Tell a tracker of two trials, of which one fails, and of an epoch and the end of the other.

    Args:
        tracker: Open.
        page: A file of the run.
        first: The number of the first trial.
    """
    metrics = {"accuracy": 0.9, "latency": 2e-3, "latency@pi": 4e-3}
    model = TrackedModel(trial=first, plan={"conv1": 3, "blocks.0[heads]": 2}, metrics=metrics, feasible=True)
    tracker.trial(model)
    tracker.scalars({"search/volume": 0.25, "search/front": 1.0}, first + 1)
    tracker.trial(replace(model, trial=first + 1, metrics={}, feasible=False))
    tracker.scalars({"stages/training": 1.5}, first + 2)
    tracker.scalars({"training/accuracy": 0.95}, 1, first)
    tracker.finished(replace(model, metrics={"accuracy": 0.95}, best=True))
    tracker.artifact(page, page.name)
    tracker.artifact(page, f"models/{first}/{page.name}")


class TrackerConformance:
    """It takes all that a search tells, however that ends, and finds its run again. Skipped without its library."""

    name: str

    @pytest.fixture
    def run(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrackedRun:
        """A run in an empty folder, with a page."""
        pytest.importorskip(registry.load("trackers", self.name).LIBRARY)
        monkeypatch.chdir(tmp_path)
        (tmp_path / "report.html").write_text("<p>a page</p>")
        settings: dict[str, str | int | float | bool] = {
            "task": "small",
            "seed": 0,
            "effort.trials": 2,
            "effort.deadline": 1.5,
            "deterministic": False,
        }
        return TrackedRun(name="small-1", folder=tmp_path / "small-1" / "tracking" / self.name, settings=settings)

    def test_it_follows_a_search_and_goes_on_with_it(self, run: TrackedRun) -> None:
        create = registry.load("trackers", self.name).create
        tracker = create(run)
        identity = tracker.identity
        assert isinstance(identity, str)
        follow(tracker, Path("report.html"))
        tracker.close("stopped")
        later = create(replace(run, identity=identity))
        assert later.identity == identity
        follow(later, Path("report.html"), first=2)
        later.close("finished")

    @pytest.mark.parametrize("state", STATES)
    def test_a_search_may_end_before_its_first_candidate(self, run: TrackedRun, state: str) -> None:
        registry.load("trackers", self.name).create(run).close(state)
