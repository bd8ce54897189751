import torch

from autoprune.recovery.batchnorm import recalibrate


def test_statistics_become_those_of_the_calibration_split(small_task):
    model = small_task.model
    recalibrate(model, small_task)
    seen = []
    handle = model.conv1.register_forward_hook(lambda module, inputs, out: seen.append(out.detach()))
    with torch.no_grad():
        for batch in small_task.split("calibration"):
            model(batch[0])
    handle.remove()
    means = torch.stack([out.mean((0, 2, 3)) for out in seen]).mean(0)
    torch.testing.assert_close(model.bn1.running_mean, means, rtol=1e-4, atol=1e-5)
    assert not model.bn1.training
    assert model.bn1.momentum == 0.1


def test_a_model_without_batch_norm_is_not_run(small_task):
    runs = []

    class Counting(torch.nn.Module):
        def forward(self, x):
            runs.append(x)

    recalibrate(Counting(), small_task)
    assert runs == []
