"""What a cut leaves: the smaller model, beside what both cost. Knows counts and the folder; not how it was chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from os import PathLike
from pathlib import Path

from torch import nn

from autoprune.core.measurement import Measurement
from autoprune.core.plan import Plan
from autoprune.errors import SurgeryError, describe
from autoprune.measure.counts import counts
from autoprune.models.configuration import configure
from autoprune.models.folder import PrunedModel, write
from autoprune.models.form import Form
from autoprune.models.weights import to_bytes
from autoprune.surgery import CutModel, Traced, twin
from autoprune.surgery.example import Example
from autoprune.surgery.gaps import reopened


@dataclass(frozen=True)
class Pruned:
    """What `prune` returns, and `Pruner.finish`.

    Attributes:
        model: The smaller model, of the class of the one that was passed in, without wrappers.
        plan: What was kept of every group that was opened.
        slices: By group, the indices that were kept.
        traced: All groups of the dense model.
        before: Parameters, operations and size of the dense model, by key.
        after: The same of the smaller one.
        notes: What a criterion could not rank, whose inputs are unknown, and what a configuration cannot say.
        form: What rebuilds it from the dense model.
    """

    model: nn.Module = field(repr=False)
    plan: Plan
    slices: Mapping[str, tuple[int, ...]] = field(repr=False)
    traced: Traced = field(repr=False)
    before: Mapping[str, Measurement] = field(repr=False)
    after: Mapping[str, Measurement] = field(repr=False)
    notes: tuple[str, ...] = ()
    form: Form = field(kw_only=True, repr=False)

    @classmethod
    def of(
        cls,
        cut: CutModel,
        dense: nn.Module,
        traced: Traced,
        example: Example,
        notes: Sequence[str] = (),
        before: Mapping[str, Measurement] | None = None,
    ) -> Pruned:
        """Count what both models cost, and say in the smaller one's configuration what it is.

        Args:
            cut: The smaller model; it is run on a copy.
            dense: What it was cut from, without wrappers; the same.
            traced: Its groups.
            example: One forward pass.
            notes: What users should know.
            before: What the dense model costs, where that is known: zeros in it take less place.

        Raises:
            SurgeryError: the smaller model does not run.
        """
        if before is None:
            before = counts(twin(dense, meta=False)[0], example)  # running the user's own might fill its caches
        after = _counted(cut.model, example)
        configured = configure(dense, cut.model, traced, cut.slices, example)
        return cls(
            model=cut.model,
            plan=cut.plan,
            slices={name: tuple(chosen.tolist()) for name, chosen in cut.slices.items()},
            traced=traced,
            before=before,
            after=after,
            notes=(*notes, *configured.notes),
            form=Form.settled(dense, cut.model, traced, cut.slices, configured.gaps),
        )

    def __repr__(self) -> str:
        return f"Pruned({type(self.model).__name__}, {', '.join(self._costs())})"

    def _costs(self) -> list[str]:
        lines = []
        for key, title in (("params", "parameters"), ("flops", "operations"), ("size", "bytes on disk")):
            old, new = self.before[key].value, self.after[key].value
            lines.append(f"{title}: {old:.4g} -> {new:.4g} ({new / max(old, 1):.0%})")
        return lines

    def summary(self) -> str:
        """A few lines for people: what it costs now, and what could not be cut."""
        return "\n".join([*self._costs(), self.traced.summary(), *(f"  note: {note}" for note in self.notes)])

    def save(self, folder: str | PathLike[str]) -> None:
        """Write plan, weights and a card; `autoprune.load` rebuilds the model from them and the dense one.

        Raises:
            StorageError: the folder cannot be written.
        """
        card = f"# {type(self.model).__name__}, pruned\n\n{self.summary()}\n"
        weights = to_bytes(self.model, partial(reopened, gaps=self.form.gaps))
        record = PrunedModel(trial=0, task="", plan=self.plan, slices=self.slices, form=self.form)
        write(Path(folder), record, weights, card)


def _counted(model: nn.Module, example: Example) -> dict[str, Measurement]:
    """What the cut model costs; it may take ways that no proof has seen, where its numbers decide on them."""
    try:
        return counts(twin(model, meta=False)[0], example)
    except Exception as error:
        raise SurgeryError(
            expected=f"{type(model).__name__} to run on its example inputs when cut",
            received=describe(error),
            cure="pass example inputs that reach all of its modules, or keep more",
        ) from error
