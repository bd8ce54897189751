"""TensorBoard: event files in the run directory, which `tensorboard --logdir runs` shows side by side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from autoprune.trackers import TrackedModel, TrackedRun

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

LIBRARY: Final = "tensorboard"
#: Seconds after which what was written is on disk at the latest.
_FLUSH_S: Final = 10


class TensorBoard:
    """The search is one run of it, each trial another one below; it has no artifacts, so that paths are told."""

    identity = ""

    def __init__(self, writer: Any, run: TrackedRun) -> None:
        """writer: folder -> a writer of its event files."""
        self._write, self._run = writer, run
        self._search: SummaryWriter = writer(run.folder)
        self._trials: dict[int, SummaryWriter] = {}
        rows = [f"| {name} | {value} |" for name, value in run.settings.items()]
        self._search.add_text("settings", "\n".join(["| option | value |", "|---|---|", *rows]))
        self._artifacts: list[str] = []

    def trial(self, model: TrackedModel) -> None:
        for name, value in model.metrics.items():
            self._search.add_scalar(f"trials/{name}", value, model.trial)
        known = {f"trials/{name}": value for name, value in model.metrics.items()}
        # A folder each, where the table of parameters looks for them.
        self._search.add_hparams(dict(model.plan), {**known, "feasible": model.feasible}, run_name=_folder(model.trial))

    def scalars(self, values: Mapping[str, float], step: int, trial: int | None = None) -> None:
        if trial is not None and trial not in self._trials:
            self._trials[trial] = self._write(self._run.folder / _folder(trial))
        writer = self._search if trial is None else self._trials[trial]
        for name, value in values.items():
            writer.add_scalar(name, value, step)

    def finished(self, model: TrackedModel) -> None:
        for name, value in model.metrics.items():
            self._search.add_scalar(f"finished/{name}", value, model.trial)
        if model.best:
            text = ", ".join(f"{name} {value:g}" for name, value in model.metrics.items())
            self._search.add_text("best", f"trial {model.trial}: {text}")

    def artifact(self, path: Path, name: str) -> None:
        self._artifacts.append(f"- {name}: {path.resolve()}")

    def close(self, state: str) -> None:
        self._search.add_text("state", state)
        self._search.add_text("files", "\n".join(self._artifacts))
        for writer in (self._search, *self._trials.values()):
            writer.close()


def _folder(trial: int) -> str:
    return f"trial-{trial}"


def create(run: TrackedRun) -> TensorBoard:
    """Goes on in the same folder."""
    from torch.utils.tensorboard import SummaryWriter

    return TensorBoard(lambda folder: SummaryWriter(str(folder), flush_secs=_FLUSH_S), run)
