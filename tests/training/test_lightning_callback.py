"""Pruning in the Trainer of Lightning, beside a plain loop."""

import pytest
import torch
from torch.nn import functional

import autoprune
from autoprune.errors import UsageError
from tests.training.own_loop import Net, X, batches, outputs, trained

lightning = pytest.importorskip("lightning.pytorch")
callback = pytest.importorskip("autoprune.training.lightning_callback")

STEPS = 24
BATCHES = list(batches(STEPS))


class Module(lightning.LightningModule):  # type: ignore[name-defined]
    def __init__(self):
        super().__init__()
        self.net = Net()

    def training_step(self, batch, _):
        x, labels = batch
        return functional.cross_entropy(self.net(x), labels)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 0.01)


def trainer(pruner, **options):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    options = {"max_steps": STEPS, "enable_checkpointing": False} | quiet | options
    return lightning.Trainer(accelerator="cpu", devices=1, callbacks=[callback.PrunerCallback(pruner)], **options)


def pruner_of(model, schedule="gradual", **options):
    return autoprune.Pruner(model, X, keep=0.5, schedule=schedule, **({"steps": STEPS} | options))


def loader(given=BATCHES):
    return torch.utils.data.DataLoader(given, batch_size=None)


@pytest.mark.parametrize("schedule", ["gradual", "lottery-ticket"])
def test_the_trainer_gives_the_plain_loops_weights(schedule):
    plain, module = Net(), Module()
    pruner = pruner_of(module.net, schedule)
    trainer(pruner).fit(module, loader())
    trained(plain, own := pruner_of(plain, schedule), STEPS)
    for name, value in plain.state_dict().items():
        assert torch.allclose(module.net.state_dict()[name], value, atol=1e-5)
    assert torch.allclose(outputs(pruner.finish().model), outputs(own.finish().model), atol=1e-5)


def test_accumulated_gradients_are_one_step():
    plain, module = Net(), Module()
    pruner = pruner_of(module.net, steps=STEPS // 2)
    trainer(pruner, max_steps=STEPS // 2, accumulate_grad_batches=2).fit(module, loader())
    trained(plain, pruner_of(plain, steps=STEPS // 2), STEPS // 2, accumulate=2)
    assert torch.allclose(outputs(module.net), outputs(plain), atol=1e-5)


def test_a_trainer_goes_on_from_its_checkpoint(tmp_path):
    whole, rest = Module(), Module()
    keep = lightning.callbacks.ModelCheckpoint(tmp_path, save_top_k=-1)
    first = trainer(pruner_of(whole.net, "soft", steps=2 * STEPS), max_steps=2 * STEPS, enable_checkpointing=True)
    first.callbacks.append(keep)
    alike = loader(BATCHES[:1] * STEPS)  # which batch comes next is the trainer's business
    first.fit(whole, alike)
    pruner = pruner_of(rest.net, "soft", steps=2 * STEPS)
    (kept,) = tmp_path.glob("epoch=0-*.ckpt")
    trainer(pruner, max_steps=2 * STEPS).fit(rest, alike, ckpt_path=kept)
    assert pruner.done == 2 * STEPS
    assert all(torch.equal(value, rest.state_dict()[name]) for name, value in whole.state_dict().items())


def test_what_does_not_fit_is_refused_before_the_first_step():
    module = Module()
    with pytest.raises(UsageError, match="a trainer that takes 24 steps; received one that takes 12"):
        trainer(pruner_of(module.net), max_steps=12).fit(module, loader())
    with pytest.raises(UsageError, match="the same object"):
        trainer(pruner_of(Net())).fit(module, loader())
