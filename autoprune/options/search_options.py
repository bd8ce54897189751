"""What a user may say of how a search runs. Knows names, defaults, help and legal ranges; not what they lead to.

This record is the one place in which an option is written down: the command line, YAML files, `run.yaml`, the Python
signature and what `resume` may change follow from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Final

from autoprune.core.address import HERE
from autoprune.core.budget import GUARANTEES, Budget
from autoprune.core.cluster import Cluster
from autoprune.core.effort import MOST_EPOCHS, Effort
from autoprune.core.limit import Limit
from autoprune.core.measurement import RunSpec
from autoprune.core.precision import precisions_of
from autoprune.core.preference import Preference
from autoprune.core.quantity import seconds
from autoprune.errors import UsageError
from autoprune.options.defaults import CRITERION, DISTILL, EXECUTOR, REGULARIZER, REPAIR, SAMPLER, SCHEDULE
from autoprune.options.option import HOW, HOW_LONG, WHAT, WHERE, option
from autoprune.options.training_options import PRECISIONS, TRIAL_SCHEDULERS, TrainingOptions
from autoprune.search_spaces.locks import patterns
from autoprune.search_spaces.space_config import Space

#: What to do where the device does not answer.
LOSSES: Final = ("wait", "fail")
#: Below this, whatever takes a seed takes it.
_SEEDS: Final = 2**32


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """How a search runs; what it is about is its task, budget and objectives.

    Raises:
        UsageError: a value outside of its legal range.
    """

    guarantee: str = option(
        GUARANTEES[0],
        "What a latency in seconds is held against: quiet, the device undisturbed; worst, its slow hours as far as "
        "they are known.",
        WHAT,
        recorded=False,
    )
    prefer: str = option(
        "",
        "Which model within the budget is the best: weights of what is traded off, such as accuracy:2,latency:1, or "
        "knee; default: the one of the highest quality. `autoprune front` chooses again.",
        WHAT,
    )
    space: Space = option(
        None, "A search space by name, or a YAML file; default: by the model's modules.", WHAT, shell=str
    )
    freeze: Sequence[str] = option(
        (),
        "A regular expression on names of groups that stay whole, as `autoprune inspect` lists them. May be repeated.",
        WHAT,
        shell=list[str],
    )
    only: Sequence[str] = option(
        (),
        "A regular expression on names of the only groups that may be cut. May be repeated.",
        WHAT,
        shell=list[str],
    )
    criterion: str = option(
        CRITERION,
        "Which slices go first: l2, taylor, hessian ...; `autoprune plugins` lists all.",
        WHAT,
        plugins="criteria",
    )
    repair: str = option(
        REPAIR,
        "How a cut model is repaired before it is scored: none, bias, sequential ...; `autoprune plugins` lists all.",
        WHAT,
        plugins="repairs",
    )
    plans: Sequence[Any] = option(
        (),
        "A plan to evaluate before all others: a JSON file of counts by group, such as the plan.json of a "
        "model. May be repeated.",
        HOW,
        flag="plan",
        shell=list[str],
    )
    sampler: Any = option(
        SAMPLER,
        "Who proposes plans: auto, evolution, ddpg, nsga2 ...; `autoprune plugins` lists all.",
        HOW,
        shell=str,
        plugins="samplers",
    )
    sampler_options: Mapping[str, str] = option(
        dict,
        "An option of the sampler, such as warm=true. May be repeated.",
        HOW,
        flag="sampler-option",
        shell=list[str],
    )
    deterministic: bool = option(
        False, "Propose by seed and earlier outcomes alone, however often it is interrupted.", HOW
    )
    seed: int = option(0, "Of all that is random.", HOW)
    schedule: str = option(
        SCHEDULE,
        "In which phases a finished model is cut while it is fine-tuned: one-shot, iterative, gradual ...; "
        "`autoprune plugins` lists all.",
        HOW,
        resumable=True,
        plugins="schedules",
    )
    schedule_options: Mapping[str, str] = option(
        dict,
        "An option of the schedule, such as rounds=4. May be repeated.",
        HOW,
        resumable=True,
        flag="schedule-option",
        shell=list[str],
    )
    distill: str = option(
        DISTILL,
        "What finished models learn from the dense one beside the task's loss: logits, features, attention, relation, "
        "progressive, none; several with weights, such as logits,features:0.5. `autoprune plugins` lists all.",
        HOW,
        resumable=True,
        plugins="distillers",
        several=True,
    )
    regularizer: str = option(
        REGULARIZER,
        "What draws slices to zero while a model is trained that is cut afterwards, with such a --schedule: "
        "group-lasso, growing, scale ...; `autoprune plugins` lists all.",
        HOW,
        resumable=True,
        plugins="regularizers",
    )
    regularizer_options: Mapping[str, str] = option(
        dict,
        "An option of the regularizer, such as strength=5. May be repeated.",
        HOW,
        resumable=True,
        flag="regularizer-option",
        shell=list[str],
    )
    finetune_lr: float | None = option(
        None,
        "Highest learning rate of fine-tuning; default: the one that does best in a few steps, or that of the task's "
        "own optimizer.",
        HOW,
        resumable=True,
    )
    finetune_precision: str = option(
        PRECISIONS[0],
        "What fine-tuning computes in: float32, bfloat16 (autocast, for devices that are faster at it).",
        HOW,
        resumable=True,
    )
    profiler: str = option(
        "",
        "What runs and times models: torch, torch-compile, onnxruntime, openvino, executorch, cuda; default: the "
        "device's own, or torch.",
        WHERE,
        plugins="profilers",
    )
    device: str = option(
        HERE,
        "Where it is measured: local, a name from `autoprune devices list`, ssh://user@host, http://host:port, or a "
        "node that a cluster knows by that name.",
        WHERE,
    )
    on_device_loss: str = option(
        LOSSES[0],
        "When the device does not answer: wait for it, or fail the candidate and go on.",
        WHERE,
        resumable=True,
    )
    batch: int = option(0, "Batch size whose latency counts; 0: the task's own.", WHERE)
    threads: int | None = option(None, "Processor threads while measuring; default: the device's own, or 1.", WHERE)
    precision: str = option(
        "float32",
        "What models run in, and are timed and scored in: float32, bfloat16, float16, int8; float32,int8 lets the "
        "search choose for each.",
        WHERE,
    )
    meter: str = option(
        "",
        "What counts energy: cpu, nvidia, jetson, script:PROGRAM; default: the profiler's own, where there is one.",
        WHERE,
    )
    rate: Sequence[str] = option(
        (),
        "What makes other costs of measured ones: carbon=350g/kWh, price=0.12/h, price=0.30/kWh. May be repeated.",
        WHERE,
        shell=list[str],
    )
    executor: str = option(
        EXECUTOR,
        "Where candidates are evaluated: inline, ray, ray-tune (fine-tuning by Ray Tune).",
        WHERE,
        resumable=True,
        plugins="executors",
    )
    workers: int = option(0, "Candidates evaluated at a time with ray; 0: one a core.", WHERE, resumable=True)
    address: str = option(
        "",
        "A Ray cluster to join: auto or HOST:PORT; default: a private one on this machine.",
        WHERE,
        resumable=True,
        resumed="A Ray cluster to join: auto or HOST:PORT.",
    )
    gpus: float = option(0.0, "What each worker holds of a GPU, such as 0.5.", WHERE, resumable=True)
    dashboard: bool = option(
        False,
        "Ray's dashboard, in a private cluster.",
        WHERE,
        resumable=True,
        flag="dashboard/--no-dashboard",
    )
    storage: str = option(
        "",
        "URL of a database for the study; default: a journal in the run directory.",
        WHERE,
        resumable=True,
        resumed="URL of the study's database, where its password is needed.",
    )
    track: str = option(
        "",
        "Where the search is followed, too: tensorboard, mlflow, wandb, aim; with commas. `autoprune plugins` tells.",
        WHERE,
        resumable=True,
        plugins="trackers",
        several=True,
    )
    run: str | PathLike[str] | None = option(
        None, "A new run directory; default: the next free one under runs/.", WHERE, recorded=False, shell=Path
    )
    trials: int = option(
        Effort.trials,
        "Candidates to evaluate.",
        HOW_LONG,
        resumable=True,
        recorded=False,
        resumed="Candidates to evaluate in all.",
    )
    timeout: float | str | None = option(
        None,
        "How long to look for candidates, the forecast included, such as 10m; fine-tuning and finishing are extra.",
        HOW_LONG,
        resumable=True,
        recorded=False,
        shell=str,
        resumed="When to stop looking for candidates, from now, such as 10m.",
    )
    deadline: float | str | None = option(
        None,
        "How long all of it may take, fine-tuning and finishing included, such as 10m.",
        HOW_LONG,
        resumable=True,
        recorded=False,
        shell=str,
        resumed="How long all that is left may take, from now, such as 10m.",
    )
    until: str | Sequence[str] = option(
        (),
        "Propose no more once a candidate within the budget, as repaired, meets this too, such as "
        "accuracy>=0.97. May be repeated.",
        HOW_LONG,
        resumable=True,
        shell=list[str],
    )
    finetune_epochs: int | None = option(
        None,
        f"Fine-tuning of each finished model. Default: {Effort.epochs}, or as many as fit into --finetune-time.",
        HOW_LONG,
        resumable=True,
        recorded=False,
    )
    finetune_time: float | str | None = option(
        None,
        "How long fine-tuning of all finished models may take, such as 10m. What epochs leave of it goes into other "
        "recipes.",
        HOW_LONG,
        resumable=True,
        shell=str,
        resumed="How long fine-tuning of all finished models may take, from now, such as 10m.",
    )
    finetune_steps: int = option(
        0, "Batches of an epoch of fine-tuning at most; 0: all of them.", HOW_LONG, resumable=True
    )
    finetune_patience: int = option(
        0,
        "Epochs without a better score on the search split after which fine-tuning of a model ends, with its best "
        "epoch's weights; 0: all epochs are trained.",
        HOW_LONG,
        resumable=True,
    )
    trial_scheduler: str = option(
        TRIAL_SCHEDULERS[0],
        "Which models are trained on: the best third of all that came to a rung (halving), or of those that came there "
        "before, so that no worker waits (asha).",
        HOW_LONG,
        resumable=True,
    )
    finalists: int = option(
        Effort.finalists,
        "How many models of the front are finished at most.",
        HOW_LONG,
        resumable=True,
        recorded=False,
    )

    def __post_init__(self) -> None:
        for name in ("freeze", "only"):  # one alone is no list of letters
            object.__setattr__(self, name, patterns(getattr(self, name), name))
        threads = 1 if self.threads is None else self.threads
        _ = (
            self.trackers,
            self.effort,
            self.enough,
            self.training,
            self.cluster,
            RunSpec(threads, self.batch, precisions_of(self.precision)[0]),
        )
        Preference(self.prefer)
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < _SEEDS:
            cure = "pass a whole number to seed"
            raise UsageError(expected=f"a seed from 0 to {_SEEDS - 1}", received=repr(self.seed), cure=cure)
        if self.on_device_loss not in LOSSES:
            cure = f"known: {', '.join(LOSSES)}"
            raise UsageError(expected="what to do without the device", received=repr(self.on_device_loss), cure=cure)

    @property
    def effort(self) -> Effort:
        """What may be spent."""
        limits = seconds(self.timeout), seconds(self.deadline)
        return Effort(self.trials, limits[0], self._epochs, self.finalists, limits[1])

    @property
    def _epochs(self) -> int:
        usual = Effort.epochs if self.finetune_time is None else MOST_EPOCHS
        return usual if self.finetune_epochs is None else self.finetune_epochs

    @property
    def enough(self) -> tuple[Limit, ...]:
        """What a candidate meets after which none is looked for; empty where all are looked for."""
        if not isinstance(self.until, str | list | tuple | None):
            cure = 'write for example until="accuracy>=0.97"'
            raise UsageError(expected="limits as text", received=repr(self.until), cure=cure)
        return Budget.parse(*([self.until] if isinstance(self.until, str) else self.until or ())).limits

    @property
    def training(self) -> TrainingOptions:
        """How finished models are fine-tuned."""
        return TrainingOptions(
            epochs=self._epochs,
            seconds=seconds(self.finetune_time),
            steps=self.finetune_steps,
            patience=self.finetune_patience,
            rate=self.finetune_lr,
            precision=self.finetune_precision,
            trial_scheduler=self.trial_scheduler,
            schedule=self.schedule,
            schedule_options=self.schedule_options or {},
            distill=self.distill,
            regularizer=self.regularizer,
            regularizer_options=self.regularizer_options or {},
            criterion=self.criterion,
            repair=self.repair,
        )

    @property
    def trackers(self) -> tuple[str, ...]:
        """Names of those that follow the search."""
        if not isinstance(self.track, str):
            cure = 'write for example track="tensorboard,mlflow"'
            raise UsageError(expected="names of trackers with commas", received=repr(self.track), cure=cure)
        return tuple(dict.fromkeys(name for each in self.track.split(",") if (name := each.strip())))

    @property
    def cluster(self) -> Cluster:
        """Where candidates are evaluated."""
        return Cluster(self.workers, self.address, self.gpus, self.dashboard)
