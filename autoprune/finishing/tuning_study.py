"""The study of a run's fine-tuning: one trial a lane, one value an epoch. Knows Optuna and the ledger only.

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
from autoprune.finishing.lane import Lane
from autoprune.searching.study import quiet
from autoprune.store.ledger import Ledger

_SUFFIX: Final = "-finetune"
_LANE, _BRACKET, _CHOSEN, _ENDED, _RATE, _STOPPED, _ERROR = (
    "lane",
    "round",
    "chosen",
    "ended",
    "rate",
    "stopped",
    "error",
)


@dataclass(frozen=True)
class Told:
    """What the study knows of one lane: "running", "complete", "pruned", "stopped" (time was up) or "fail", its
    values by epoch, and why it failed."""

    state: str
    values: Mapping[int, float]
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class Bracket:
    """One choice of lanes to fine-tune: lane -> its bin, and for how many epochs."""

    bins: Mapping[Lane, int]
    epochs: int


class TuningStudy:
    """Begins, reports and ends the fine-tuning of candidates; goes on where another process was.

    A bracket is one choice of candidates, trained for so many epochs: what one says of a lane is none of the next
    one's business. told: by lane, what is known of the current bracket.
    """

    def __init__(self, ledger: Ledger, name: str, quality: Metric) -> None:
        self._ledger = ledger
        self._bracket = ""
        with quiet(), ledger.commit():
            self._study = optuna.create_study(
                study_name=f"{name}{_SUFFIX}",
                storage=ledger.storage,
                sampler=optuna.samplers.RandomSampler(0),
                direction="minimize" if quality.lower_is_better else "maximize",
                load_if_exists=True,
            )
        self._open: dict[Lane, optuna.Trial] = {}
        self.told: dict[Lane, Told] = {}

    def chosen(self, asked: str, choose: Callable[[], Bracket]) -> Bracket:
        """The bracket as it was chosen when the same was asked last; otherwise chosen now, and kept.

        asked: what the choice depends on. A choice that is kept cannot become another one by what is measured later.
        """
        kept: Any = self._study.user_attrs.get(_CHOSEN)
        if not kept or "lanes" not in kept or kept["asked"] != asked or kept.get(_ENDED):
            made = choose()
            lanes = [[lane.to_json(), place] for lane, place in made.bins.items()]
            count = 0 if not kept else int(kept[_BRACKET].partition(" ")[0])
            kept = {"asked": asked, "lanes": lanes, "epochs": made.epochs, _BRACKET: f"{count + 1} ({asked})"}
            with self._ledger.commit():
                self._study.set_user_attr(_CHOSEN, kept)
        self._bracket = kept[_BRACKET]
        for frozen in self._study.get_trials(deepcopy=False):
            if frozen.user_attrs.get(_BRACKET) == self._bracket:
                lane = Lane.from_json(frozen.user_attrs[_LANE])
                own = frozen.user_attrs
                state = _STOPPED if own.get(_STOPPED) else frozen.state.name.lower()
                self.told[lane] = Told(state, dict(frozen.intermediate_values), str(own.get(_ERROR, "")))
                if not frozen.state.is_finished():
                    self._open[lane] = optuna.Trial(self._study, frozen._trial_id)
        return Bracket(bins={Lane.from_json(raw): place for raw, place in kept["lanes"]}, epochs=kept["epochs"])

    def rate(self, find: Callable[[], float]) -> float:
        """The learning rate of the bracket, as it was found first."""
        kept: Any = self._study.user_attrs[_CHOSEN]
        if _RATE not in kept:
            kept = {**kept, _RATE: find()}
            with self._ledger.commit():
                self._study.set_user_attr(_CHOSEN, kept)
        return float(kept[_RATE])

    def close(self) -> None:
        """The bracket has come to its end: who asks for the same again wants another one."""
        if kept := self._study.user_attrs.get(_CHOSEN):
            with self._ledger.commit():
                self._study.set_user_attr(_CHOSEN, {**kept, _ENDED: True})

    def begin(self, lane: Lane, place: int) -> None:
        """Fine-tuning of a lane begins, from its first epoch."""
        with quiet(), self._ledger.commit():
            asked = self._open[lane] = self._study.ask()
            for key, value in ((_LANE, lane.to_json()), ("bin", place), (_BRACKET, self._bracket)):
                asked.set_user_attr(key, value)

    def report(self, lane: Lane, epoch: int, value: float) -> None:
        """The quality after an epoch; durable once this returns."""
        with quiet(), self._ledger.commit():
            self._open[lane].report(value, epoch)

    def end(self, lane: Lane, state: str, value: float | None = None, error: str = "") -> None:
        """A lane is trained ("complete", with its quality), beaten ("pruned"), lost ("fail"), or left as it was
        when time was up ("stopped")."""
        asked = self._open.pop(lane)
        with quiet(), self._ledger.commit():
            if error:
                asked.set_user_attr(_ERROR, error)
            if state == _STOPPED:
                asked.set_user_attr(_STOPPED, True)
            self._study.tell(asked, value, state=OptunaState["PRUNED" if state == _STOPPED else state.upper()])
