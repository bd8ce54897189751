"""The study of a run's fine-tuning: one trial a candidate, one value an epoch. Knows Optuna and the ledger only.

It stands beside the study of candidates in the same ledger: scores after training are of another kind than those of
repaired models, and would mislead the samplers that learn from these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import optuna
from optuna.trial import TrialState as OptunaState

from autoprune.core.metric import Metric
from autoprune.searching.study import quiet
from autoprune.store.ledger import Ledger

_SUFFIX: Final = "-finetune"
_CANDIDATE, _ROUND, _CHOSEN, _ENDED, _RATE, _STOPPED, _ERROR = (
    "candidate",
    "round",
    "chosen",
    "ended",
    "rate",
    "stopped",
    "error",
)


@dataclass(frozen=True)
class Told:
    """What the study knows of one candidate: "running", "complete", "pruned", "stopped" (time was up) or "fail", its
    values by epoch, and why it failed."""

    state: str
    values: Mapping[int, float]
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class Round:
    """One choice of candidates to fine-tune: candidate -> its bin, and for how many epochs."""

    bins: Mapping[int, int]
    epochs: int


class TuningStudy:
    """Begins, reports and ends the fine-tuning of candidates; goes on where another process was.

    A round is one choice of candidates, trained for so many epochs: what one says of a candidate is none of the next
    one's business. told: by candidate, what is known of the current round.
    """

    def __init__(self, ledger: Ledger, name: str, quality: Metric) -> None:
        self._ledger = ledger
        self._round = ""
        with quiet(), ledger.commit():
            self._study = optuna.create_study(
                study_name=f"{name}{_SUFFIX}",
                storage=ledger.storage,
                sampler=optuna.samplers.RandomSampler(0),
                direction="minimize" if quality.lower_is_better else "maximize",
                load_if_exists=True,
            )
        self._open: dict[int, optuna.Trial] = {}
        self.told: dict[int, Told] = {}

    def chosen(self, asked: str, choose: Callable[[], Round]) -> Round:
        """The round as it was chosen when the same was asked last; otherwise chosen now, and kept.

        asked: what the choice depends on. A choice that is kept cannot become another one by what is measured later.
        """
        kept: Any = self._study.user_attrs.get(_CHOSEN)
        if not kept or "epochs" not in kept or kept["asked"] != asked or kept.get(_ENDED):
            made = choose()
            bins = {str(number): place for number, place in made.bins.items()}
            count = 0 if not kept else int(kept[_ROUND].partition(" ")[0])
            kept = {"asked": asked, "bins": bins, "epochs": made.epochs, _ROUND: f"{count + 1} ({asked})"}
            with self._ledger.commit():
                self._study.set_user_attr(_CHOSEN, kept)
        self._round = kept[_ROUND]
        for frozen in self._study.get_trials(deepcopy=False):
            if frozen.user_attrs.get(_ROUND) == self._round:
                number = frozen.user_attrs[_CANDIDATE]
                own = frozen.user_attrs
                state = _STOPPED if own.get(_STOPPED) else frozen.state.name.lower()
                self.told[number] = Told(state, dict(frozen.intermediate_values), str(own.get(_ERROR, "")))
                if not frozen.state.is_finished():
                    self._open[number] = optuna.Trial(self._study, frozen._trial_id)
        return Round(bins={int(number): place for number, place in kept["bins"].items()}, epochs=kept["epochs"])

    def rate(self, find: Callable[[], float]) -> float:
        """The learning rate of the round, as it was found first."""
        kept: Any = self._study.user_attrs[_CHOSEN]
        if _RATE not in kept:
            kept = {**kept, _RATE: find()}
            with self._ledger.commit():
                self._study.set_user_attr(_CHOSEN, kept)
        return float(kept[_RATE])

    def close(self) -> None:
        """The round has come to its end: who asks for the same again wants another one."""
        if kept := self._study.user_attrs.get(_CHOSEN):
            with self._ledger.commit():
                self._study.set_user_attr(_CHOSEN, {**kept, _ENDED: True})

    def begin(self, candidate: int, place: int) -> None:
        """Fine-tuning of a candidate begins, from its first epoch."""
        with quiet(), self._ledger.commit():
            asked = self._open[candidate] = self._study.ask()
            for key, value in ((_CANDIDATE, candidate), ("bin", place), (_ROUND, self._round)):
                asked.set_user_attr(key, value)

    def report(self, candidate: int, epoch: int, value: float) -> None:
        """The quality after an epoch; durable once this returns."""
        with quiet(), self._ledger.commit():
            self._open[candidate].report(value, epoch)

    def end(self, candidate: int, state: str, value: float | None = None, error: str = "") -> None:
        """A candidate is trained ("complete", with its quality), beaten ("pruned"), lost ("fail"), or left as it was
        when time was up ("stopped")."""
        asked = self._open.pop(candidate)
        with quiet(), self._ledger.commit():
            if error:
                asked.set_user_attr(_ERROR, error)
            if state == _STOPPED:
                asked.set_user_attr(_STOPPED, True)
            self._study.tell(asked, value, state=OptunaState["PRUNED" if state == _STOPPED else state.upper()])
