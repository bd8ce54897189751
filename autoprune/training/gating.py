"""Gates that learn in a phase how many slices of each group it needs least. Knows steps; not where gates act."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor, distributed, nn
from torch.nn.utils import get_total_norm

from autoprune.core.plan import Plan
from autoprune.errors import StorageError, TaskError, UsageError
from autoprune.finetuning.finetune import loss_of
from autoprune.finetuning.optimizer_state import load_optimizer, optimizer_state
from autoprune.finetuning.teacher import Teacher, trained
from autoprune.options.training_options import TrainingOptions
from autoprune.surgery import CutModel, Traced, twin
from autoprune.surgery.random_state import forked_random
from autoprune.tasks.task import Task
from autoprune.training.gated_runs import GatedRuns
from autoprune.training.gates import INPUTS, Gate, GateContext, kind_of
from autoprune.training.schedules import Phase, between, cubic, phases_of

_GATE, _OPTIMIZER = "gate.", "gates_optimizer."


class Gating:
    """The gates of a phase, which act on a model from now on.

    Attributes:
        gates: By group; groups that this kind cannot gate have none.
    """

    def __init__(
        self,
        phase: Phase,
        cut: CutModel,
        traced: Traced,
        seed: int,
        live: tuple[nn.Module, Mapping[str, nn.Parameter]] | None = None,
    ) -> None:
        """Make gates that are all open.

        Args:
            phase: Says of which kind, and how many slices are open in the end.
            cut: The model, whole or cut from the one that was traced.
            traced: Groups of the dense model.
            seed: Of all that is random.
            live: As in `GatedRuns`.

        Raises:
            UsageError: no group can be gated.
        """
        kind = kind_of(phase.gate)
        self._phase, self._groups, self._seed = phase, traced.groups, seed
        self._runs = GatedRuns(cut, traced, inputs=getattr(kind, "NEEDS", "") == INPUTS, live=live)
        if not self._runs.sizes:
            raise UsageError(
                expected=f"groups of slices that gates of the kind '{phase.gate}' can act on",
                received=f"none among the {len(traced.open)} groups that may be cut",
                cure="choose another --schedule, or gates that ask for less, such as hard-concrete",
            )
        with forked_random(seed):
            self.gates: dict[str, Gate] = {name: kind.create(size) for name, size in self._runs.sizes.items()}
        for gate in self.gates.values():
            gate.to(self._runs.device)
        self._weights = [parameter for gate in self.gates.values() for parameter in gate.parameters()]
        self._optimizer: torch.optim.Optimizer = kind.optimizer(self._weights)
        self._rates = [group["lr"] for group in self._optimizer.param_groups]
        self._chance = torch.Generator()
        self._runs.attach(self._number)

    def at(self, step: int, steps: int) -> None:
        """Say which step of the phase comes next, from 0 on, and of how many."""
        self._open(cubic(step / max(steps, 1)))
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate / max(steps, 1)
        self._chance.manual_seed(self._seed * 1_000_003 + step)

    def step(self) -> None:
        """Learn from the gradients that there are, but where one is no number, as in mixed precision now and then.

        All processes learn the same, whichever parts of the model each has run. Gradients are divided by their common
        norm, as losses are scaled, in mixed precision by another number now and then.

        Raises:
            UsageError: gates act no longer.
            TaskError: the model was not called, so that no gate has a gradient.
        """
        if not self._runs.acting:
            raise UsageError(
                expected="gates that still act on the model when they learn",
                received="gates that finish(), or another pruner of the model, has ended",
                cure="call finish() last, or go on with pruner.load_state_dict(pruner.state_dict())",
            )
        slopes = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in self._weights]
        some = slopes[0].new_tensor(float(any(weight.grad is not None for weight in self._weights)))
        some, *slopes = _of_all_processes([some, *slopes])
        if not some:
            raise TaskError(
                expected="a loss of what the model returns when it is called, from which its gates learn",
                received="one that does not depend on a gate",
                cure="call model(...) and not only its methods, or choose another schedule",
            )
        noted = [each for gate in self.gates.values() for each in gate.buffers()]
        for own, mean in zip(noted, _of_all_processes(noted), strict=True):
            own.copy_(mean)
        norm = get_total_norm(slopes)
        if bool(norm.isfinite()):
            for weight, slope in zip(self._weights, slopes, strict=True):
                weight.grad = slope / norm.clamp(min=torch.finfo(norm.dtype).tiny)
            self._optimizer.step()
        self._optimizer.zero_grad()

    def settle(self, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Multiply weights by their gates for good, in place; gates may still act on the model.

        Args:
            parameters: Of the model or of a copy, by name.

        Returns:
            By group what gates say of its slices, (size,) float64 on the processor.
        """
        self._open(1.0)
        with torch.no_grad():
            settled = {name: gate.settled() for name, gate in self.gates.items()}
            for name, product in self._runs.products(parameters, settled).items():
                parameters[name].copy_(product)
        return {name: gate.scores().detach().cpu().double() for name, gate in self.gates.items()}

    def end(self) -> None:
        """Act no longer."""
        self._runs.detach()

    def detached(self) -> AbstractContextManager[None]:
        """The model without a trace of gates, inside."""
        return self._runs.detached()

    def state(self) -> dict[str, Tensor]:
        """What the next step needs beside the model, on the processor."""
        own = {
            f"{_GATE}{name}:{key}": value
            for name, gate in self.gates.items()
            for key, value in gate.state_dict().items()
        }
        own |= optimizer_state(self._optimizer, _OPTIMIZER)
        return {name: value.detach().cpu().clone() for name, value in own.items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state.

        Raises:
            StorageError: it is one of other gates.
        """
        try:
            for name, gate in self.gates.items():
                prefix = f"{_GATE}{name}:"
                own = {key.removeprefix(prefix): each for key, each in state.items() if key.startswith(prefix)}
                gate.load_state_dict(own)
            load_optimizer(self._optimizer, state, _OPTIMIZER)
        except (RuntimeError, ValueError, KeyError) as error:
            raise StorageError(
                expected=f"the state of gates of the kind '{self._phase.gate}' for these groups",
                received="one of another kind or model",
                cure="go on with the gates that the training was begun with, or begin it anew",
            ) from error

    def _open(self, share: float) -> None:
        """How many slices are to be open, a share of the way to the end."""
        target = self._phase.thinned_to or self._phase.plan
        plan = between(self._phase.plan, target, self._groups, share)
        for name, gate in self.gates.items():
            gate.at(plan.kept.get(name, gate.size))

    def _number(self, name: str, inputs: Tensor | None) -> Tensor:
        gate, device = self.gates[name], self._runs.device
        uniform = torch.rand(gate.size, generator=self._chance).to(device) if self._runs.training else None
        found: Tensor = gate(GateContext(uniform=uniform, inputs=None if inputs is None else inputs.to(device)))
        return found


def _of_all_processes(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Means over processes of tensors that each of them has, in the same order."""
    if not tensors or not (distributed.is_available() and distributed.is_initialized()):
        return [*tensors]
    flat = torch.cat([each.flatten() for each in tensors])
    distributed.all_reduce(flat)
    parts = (flat / distributed.get_world_size()).split([each.numel() for each in tensors])
    return [part.view_as(each) for part, each in zip(parts, tensors, strict=True)]


def check_gates(options: TrainingOptions, task: Task, traced: Traced) -> None:
    """Let the gates of a schedule learn once from a copy of the dense model; nothing happens for one without any.

    Args:
        options: With the schedule.
        task: With the dense model.
        traced: Its groups.

    Raises:
        UsageError: there are no such gates, no groups for them, or the task trains by itself.
        TaskError: the task's loss does not depend on what the model returns when it is called.
    """
    gated = next((phase for phase in phases_of(options, Plan(()), ()) if phase.gate), None)
    if gated is None:
        return
    if task.train is not None:
        raise UsageError(
            expected=f"a training from whose steps the gates of '{options.schedule}' may learn",
            received="a task with a train of its own",
            cure="choose another --schedule, or leave out Task.train",
        )
    cut = CutModel(twin(task.model, meta=False)[0].train())
    gating = Gating(gated, cut, traced, 0)
    if trained(task, options):
        batch = next(iter(task.batches("train")))
        gating.at(0, 1)
        with torch.enable_grad(), forked_random():
            loss_of(task, Teacher.of(task, options, traced), cut, batch).backward()
        gating.step()
