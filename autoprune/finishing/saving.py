"""The folder of one finished model. Knows what is written into it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from autoprune.calibration.baseline import Baseline, keep
from autoprune.core.plan import Plan
from autoprune.core.trial import Trial
from autoprune.deployment.measured_file import keep_measured
from autoprune.exporters import Subject
from autoprune.measure.any_device import AnyDevice
from autoprune.models.folder import PrunedModel, write
from autoprune.models.form import Form
from autoprune.models.weights import forms, to_bytes
from autoprune.surgery import CutModel, Traced
from autoprune.tasks.task import Task


def save(trial: Trial, cut: CutModel, task: Task, traced: Traced, folder: Path) -> None:
    """Write the folder of one model. traced: of the dense one."""
    record = PrunedModel(
        trial=trial.number,
        task=task.spec,
        plan=trial.plan,
        slices={name: tuple(kept.tolist()) for name, kept in cut.slices.items()},
        form=Form.of(task.model, cut, traced, task.example),
    )
    write(folder, record, to_bytes(cut.model), card(trial, task.name, folder, traced=traced, packed=forms(cut.model)))
    keep(Baseline.of(cut.model, task), folder)


def save_file(trial: Trial, cut: CutModel, task: Task, device: AnyDevice, folder: Path) -> None:
    """Write the file that the device measured of a model beside it, where it is files that it measures.

    Raises:
        DeviceError: none computes what the model does.
    """
    name = f"Trial {trial.number} of a search on '{task.name}'"
    precision = cut.plan.precision or device.setup.spec.precision
    subject = Subject(model=cut.model, example=device.example, name=name, precision=precision)
    keep_measured(
        device.packed(cut),
        subject,
        folder=folder,
        task=task.spec,
        measured=trial.measurements,
        profiler=device.setup.profiler,
    )


def card(trial: Trial, task: str, folder: Path, *, traced: Traced, packed: Mapping[str, int]) -> str:
    """What the folder's README says. packed: how many weights are stored in each form that is not dense."""
    zeros = "".join(f"\n- {count} weights with zeros are stored as {form}" for form, count in sorted(packed.items()))
    rows = "\n".join(f"- `{name}`: {told}" for name, told in _kept(trial.plan, traced))
    return (
        f"# Trial {trial.number} of a search on `{task}`\n\n"
        f'```python\nimport autoprune\n\nmodel = autoprune.load("{folder}")\n```\n\n'
        f"Slices kept of each group (`plan.json` has their indices, `model.safetensors` the weights):\n\n"
        f"{rows}{zeros}\n"
    )


def _kept(plan: Plan, traced: Traced) -> Iterator[tuple[str, str]]:
    """What is left of each group of a plan, in the order of the model; nothing is told of what went with its layer."""
    kept = plan.kept
    gone = [f"{group.name}." for group in traced.groups if group.kind == "layer" and kept.get(group.name) == 0]
    for group in traced.groups:
        if group.name not in kept or group.name.startswith(tuple(gone)):
            continue
        if group.kind == "layer":
            yield group.name, "kept" if kept[group.name] else "dropped, with all inside it"
        else:
            yield group.name, f"{kept[group.name]} of {group.size}"
