"""Finished models in production: what is watched, what is told of it, and that the service never suffers from it."""

import json
import logging
import threading
import urllib.request
from pathlib import Path

import pytest
import torch
from torch import nn

import autoprune
from autoprune.calibration.baseline import BASELINE
from autoprune.errors import StorageError, UsageError
from autoprune.measure import limits
from autoprune.testing.fakes import RecordingReporter
from tests.conftest import SmallNet, stripes
from tests.hurried import LIMITS

QUICK = {"trials": 1, "finetune_epochs": 0, "finalists": 1, "repair": "none", "criterion": "l1", "sampler": "random"}
BUDGET = autoprune.Budget.parse("params=100%", objectives=("accuracy", "params"))  # so that nothing is timed


def striped():
    torch.manual_seed(0)
    images, labels = stripes(400)
    return autoprune.Classification(
        SmallNet().eval(), data=(images, labels), example_inputs=(images[:4],), name="stripes"
    )


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A task, a run of it, and its best model."""
    before, limits.USUAL = limits.USUAL, LIMITS
    try:
        task = striped()
        run = tmp_path_factory.mktemp("runs") / "r"
        result = autoprune.search(task, BUDGET, run=run, **QUICK)
        return task, run, result.best.load()
    finally:
        limits.USUAL = before


@pytest.fixture
def watched(searched):
    """A monitor that looks at every call."""
    _, run, model = searched

    def watch(model=model, folder=run, **options):
        return autoprune.monitor(model, folder, **{"share": 1e6, "reporter": RecordingReporter(), **options})

    return watch


def pour(monitor, images, batch=5, most=100):
    """Call it until something drifts; the samples that went in."""
    for count, part in enumerate(images.split(batch)[:most]):
        monitor(part)
        if monitor.state().drifting:
            return (count + 1) * batch
    return None


def test_it_answers_as_the_model_does(searched, watched):
    _, _, model = searched
    images, _ = stripes(8, seed=3)
    with watched() as monitor, torch.no_grad():
        assert torch.equal(monitor(images), model(images))
        assert torch.equal(monitor(x=images), model(images))


def test_a_brightness_shift_is_found_and_told_and_ordinary_images_are_not(watched):
    images, _ = stripes(500, seed=3)
    told = []
    with watched(on_drift=told.append) as monitor, torch.no_grad():
        assert pour(monitor, images) is None
        assert not told
    with watched(on_drift=told.append) as monitor, torch.no_grad():
        assert pour(monitor, images + 0.3) < 100
        assert told[0].stream == "x"
        assert told[0].shifts[0].deviations > 1


def test_tokens_are_watched_by_how_frequent_they_are():
    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.head = nn.Embedding(60, 8), nn.Linear(8, 2)

        def forward(self, input_ids, mask=None):
            return self.head(self.table(input_ids).mean(1))

    def texts(count, common=0.6):
        chosen = torch.rand(count, 12) < common
        return torch.where(chosen, torch.randint(0, 5, (count, 12)), torch.randint(5, 60, (count, 12)))

    torch.manual_seed(0)
    ids, labels = texts(600), torch.randint(0, 2, (600,))
    task = autoprune.Task(
        name="words",
        model=Words().eval(),
        example_inputs={"input_ids": ids[:2]},
        splits={
            name: [{"input_ids": ids, "labels": labels}] for name in ("calibration", "search", "validation", "test")
        },
        evaluate=lambda model, split: 0.5,
    )
    pruned = autoprune.prune(task.model, task.example_inputs, 0.5)
    pruned.save("words")
    monitor = autoprune.monitor(pruned.model, "words", task=task, share=1e6, reporter=RecordingReporter())
    assert [each.name for each in monitor.state().streams] == ["input_ids"]
    for part in texts(200).split(10):
        monitor(input_ids=part)
    assert not monitor.state().drifting
    for part in texts(200, common=0.3).split(10):
        monitor(part)
    assert "input_ids" in monitor.state().drifting


def test_confidence_agreement_and_latency_are_told_beside_what_they_were(searched, watched):
    task, _, _ = searched
    images, _ = stripes(40, seed=5)
    with watched(dense=task.model, dense_share=1e6, budget="latency=10s") as monitor, torch.no_grad():
        for part in images.split(4):
            monitor(part)
    state = monitor.state()
    assert 1 / 3 <= state.confidence.now <= 1
    assert state.agreement.samples >= 4
    assert 0 <= state.agreement.now <= 1
    assert 0 <= state.agreement.baseline <= 1
    assert state.calls == 10
    assert 0 < state.latency.quantiles["p50"] <= state.latency.quantiles["p99"]
    (held,) = state.latency.limits
    assert (held.limit, held.bound, held.kept) == ("latency<=10s", 10.0, True)


def test_prometheus_reads_it_over_loopback_only_and_where_it_is_asked_for(watched):
    parser = pytest.importorskip("prometheus_client.parser")
    images, _ = stripes(20, seed=3)
    with watched() as monitor, torch.no_grad():
        for part in images.split(4):
            monitor(part)
        address = monitor.serve()
        assert address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(address) as answer:  # noqa: S310 - of this machine
            text = answer.read().decode()
        families = {each.name: each for each in parser.text_string_to_metric_families(text)}
        assert families["autoprune_monitor_calls"].samples[0].value == 5
        assert {each.labels["stream"] for each in families["autoprune_monitor_drifting"].samples} == {"x", "answers"}
        elsewhere = urllib.request.Request(address, headers={"Host": "example.org"})  # noqa: S310 - of this machine
        with pytest.raises(urllib.error.HTTPError, match="400"):
            urllib.request.urlopen(elsewhere)  # noqa: S310 - of this machine


def test_states_are_lines_of_json_and_alarms_have_one_at_once(watched):
    images, _ = stripes(100, seed=3)
    with watched(log="logs/m.jsonl") as monitor, torch.no_grad():
        pour(monitor, images + 1)
    lines = [json.loads(line) for line in Path("logs/m.jsonl").read_text().splitlines()]
    assert any(stream["drifting"] for stream in lines[0]["streams"])
    assert lines[-1]["calls"] == lines[0]["calls"]


def test_many_threads_may_call_it(watched):
    images, _ = stripes(40, seed=3)
    with watched() as monitor:

        def serve():
            with torch.no_grad():
                for part in images.split(4):
                    monitor(part)

        threads = [threading.Thread(target=serve) for _ in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert monitor.state().calls == 40


def test_what_it_cannot_look_at_is_told_once_and_answered_all_the_same(searched):
    class Odd(nn.Module):
        def forward(self, x):
            return "none" if x.dim() == 4 else 1 / 0

    _, run, _ = searched
    reporter = RecordingReporter()
    monitor = autoprune.monitor(Odd(), run, share=1e6, reporter=reporter)
    assert [monitor(stripes(4)[0]) for _ in range(3)] == ["none"] * 3
    assert len([text for text in reporter.warnings if "could not be looked at" in text]) == 1
    with pytest.raises(ZeroDivisionError):
        monitor(torch.ones(2, 2))
    assert monitor.state().failures == 1


def test_a_dense_model_that_failed_once_is_asked_again(searched, watched):
    task, _, _ = searched

    class Flaky(nn.Module):
        failed = threading.Event()

        def forward(self, x):
            if self.failed.is_set():
                return task.model(x)
            self.failed.set()
            raise ZeroDivisionError

    reporter, dense, calls = RecordingReporter(), Flaky().eval(), 0
    images, _ = stripes(4, seed=5)
    with watched(dense=dense, dense_share=1e6, reporter=reporter) as monitor, torch.no_grad():
        while calls < 300 and not monitor.state().agreement.samples:
            monitor(images)
            calls += 1
    assert monitor.state().agreement.samples
    assert sum("ZeroDivisionError" in text for text in reporter.warnings) == 1


def test_a_model_may_lie_right_below_the_root_as_containers_have_it(searched, monkeypatch):
    _, run, model = searched
    folder = next((run / "models").iterdir())
    monkeypatch.setattr(Path, "resolve", lambda path, strict=False: Path("/model"))
    with autoprune.monitor(model, folder) as monitor:
        assert monitor.state().latency.limits == ()


def test_after_its_end_it_writes_no_more(watched):
    images, _ = stripes(20, seed=3)
    with watched(log="m.jsonl", every=0) as monitor, torch.no_grad():
        monitor(images[:4])
    before = Path("m.jsonl").read_text()
    with torch.no_grad():
        monitor(images[:4])
    assert monitor.state().calls == 2
    assert Path("m.jsonl").read_text() == before


def test_without_a_share_it_is_only_timed(watched):
    images, _ = stripes(20, seed=3)
    with watched(share=0.0) as monitor:
        monitor(images)
    assert monitor.state().calls == 1
    assert not any(each.samples for each in monitor.state().streams)


def test_a_model_that_kept_nothing_says_so_with_the_cure(searched, watched, tmp_path):
    task, run, model = searched
    folder = next((run / "models").iterdir())
    for name in ("plan.json", "model.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(StorageError, match="pass task="):
        autoprune.monitor(model, tmp_path)
    assert autoprune.monitor(model, tmp_path, task=task).state().calls == 0
    (tmp_path / BASELINE).write_text("{}")
    with pytest.raises(StorageError, match="restore the file"):
        autoprune.monitor(model, tmp_path)


def test_a_split_that_no_model_runs_on_is_told_and_the_rest_is_watched(searched, tmp_path):
    task, _, model = searched
    odd = task.with_split("validation", [("of another form",)])
    autoprune.prune(task.model, task.example_inputs).save(tmp_path / "m")
    reporter = RecordingReporter()
    monitor = autoprune.monitor(model, tmp_path / "m", task=odd, reporter=reporter)
    assert [each.name for each in monitor.state().streams] == ["x"]
    assert any("answers are not watched" in text for text in reporter.notes)


@pytest.mark.parametrize(
    "wrong", [{"share": -1}, {"false_alarms": 0}, {"window": 0}, {"budget": "params=1M"}, {"budget": "latency=50%"}]
)
def test_what_is_out_of_range_is_refused(watched, wrong):
    with pytest.raises(UsageError):
        watched(**wrong)


def test_an_alarm_is_a_warning_of_the_logger(watched, caplog):
    with caplog.at_level(logging.WARNING, "autoprune"), torch.no_grad(), watched(reporter=None) as monitor:
        for part in (stripes(100, seed=3)[0] + 1).split(10):
            monitor(part)
    assert "'x' is not as it was when the model was made" in caplog.text
