"""A `Pruner` in the `Trainer` of transformers. Knows when that steps and keeps checkpoints; nothing of pruning."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from safetensors.torch import load_file, save_file
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from autoprune.errors import StorageError
from autoprune.surgery.wrappers import inner
from autoprune.training.pruner import Pruner

_FILE: Final = "pruner.safetensors"


class PrunerCallback(TrainerCallback):
    """Prunes while a `transformers.Trainer` trains; its checkpoints keep the state of the pruner, too.

    Example:
        >>> pruner = Pruner(model, example_inputs, keep=0.5, steps=1000)  # doctest: +SKIP
        >>> trainer = Trainer(model, arguments, callbacks=[PrunerCallback(pruner)])  # doctest: +SKIP
        >>> trainer.train()  # doctest: +SKIP
        >>> pruner.finish().model  # doctest: +SKIP
    """

    def __init__(self, pruner: Pruner) -> None:
        """pruner: Of the trainer's model, for as many steps as the trainer takes."""
        self.pruner = pruner

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Check that pruner and trainer are about the same model and length; go on from the trainer's checkpoint.

        Raises:
            UsageError: they are not.
            StorageError: training goes on from a checkpoint that has no state of a pruner.
        """
        model: nn.Module | None = kwargs.get("model")
        if model is not None:
            self.pruner.check(inner(model) or model, state.max_steps)
        if state.global_step > 0 and self.pruner.done != state.global_step:
            folders = [_folder(args, state)]
            if isinstance(args.resume_from_checkpoint, str):
                folders.insert(0, Path(args.resume_from_checkpoint))
            file = next((folder / _FILE for folder in folders if (folder / _FILE).exists()), None)
            if file is None:
                raise StorageError(
                    expected=f"{_FILE} in the checkpoint that training goes on from",
                    received=f"none in {folders[-1]}",
                    cure="go on from a checkpoint that was kept with this callback",
                )
            self.pruner.load_state_dict(load_file(file))

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """One step of the optimizer is done."""
        self.pruner.step()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Keep the pruner's state beside the model."""
        folder = _folder(args, state)
        if state.is_world_process_zero and folder.is_dir():
            save_file(self.pruner.state_dict(), folder / _FILE)


def _folder(args: TrainingArguments, state: TrainerState) -> Path:
    """Where the trainer keeps a checkpoint of now."""
    return Path(args.output_dir or ".") / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
