"""A `Pruner` in the `Trainer` of Lightning. Knows when the trainer steps and keeps checkpoints; nothing of pruning."""

from __future__ import annotations

import math
from typing import Any

from autoprune.training.pruner import Pruner

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ImportError:  # the same library under its older name
    from pytorch_lightning import Callback, LightningModule, Trainer


class PrunerCallback(Callback):  # type: ignore[misc] # Lightning need not be there
    """Prunes while a `lightning.Trainer` trains; its checkpoints keep the state of the pruner, too.

    Steps are those of the optimizer; of several optimizers, those of all together.

    Example:
        >>> pruner = Pruner(module.model, example_inputs, keep=0.5, steps=1000)  # doctest: +SKIP
        >>> Trainer(max_steps=1000, callbacks=[PrunerCallback(pruner)]).fit(module, loader)  # doctest: +SKIP
        >>> pruner.finish().model  # doctest: +SKIP
    """

    def __init__(self, pruner: Pruner) -> None:
        """pruner: Of the trained module or a part of it, for as many steps as the trainer takes."""
        super().__init__()
        self.pruner = pruner
        self._seen = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check that pruner and trainer are about the same model and length.

        Raises:
            UsageError: they are not.
        """
        steps = trainer.estimated_stepping_batches
        self.pruner.check(pl_module, int(steps) if math.isfinite(steps) else None)
        self._seen = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """So many steps of the optimizer are done; none while gradients are accumulated."""
        while self._seen < trainer.global_step:
            self._seen += 1
            self.pruner.step()

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of the pruner."""
        return self.pruner.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what a checkpoint kept."""
        self.pruner.load_state_dict(state_dict)
