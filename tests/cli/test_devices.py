"""Devices from the command line, as a user names, tries and uses them."""

import json
from pathlib import Path

import pytest

from autoprune.testing.processes import until
from tests.services import Agent

TASKS = Path(__file__).parents[1] / "faults" / "tasks.py"


@pytest.fixture
def agent(tmp_path):
    made = Agent(tmp_path / "agent").start()
    yield made
    made.stop()


@pytest.fixture
def configured(told, tmp_path, monkeypatch):
    """The command line with a configuration of its own."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return told


@pytest.mark.slow
def test_a_device_is_named_tried_and_forgotten(configured, agent):
    assert configured("devices", "add", "board", agent.url, "--profiler", "onnxruntime")[0] == 0
    listed = json.loads(configured("devices", "list", "--json")[1])
    assert listed == {"board": {"address": agent.url, "profiler": "onnxruntime"}}
    code, said, errors = configured("devices", "test", "board", "--seconds", "1")
    assert code == 0, errors
    assert "round trip" in said
    assert "onnxruntime" in said
    until(lambda: not agent.workers())
    assert configured("devices", "remove", "board")[0] == 0
    assert configured("search", f"{TASKS}:good", "--device", "board", "--run", "r2")[0] == 5


@pytest.mark.slow
def test_a_search_uses_a_device_by_its_name(configured, agent):
    assert configured("devices", "add", "board", agent.url, "--profiler", "onnxruntime")[0] == 0
    code, said, errors = configured(
        "search", f"{TASKS}:good", "--device", "board", "--budget", "latency=1s", "--trials", 4, "--sampler", "random",
        "--finetune-epochs", 0, "--finalists", 1, "--run", "r", "--json",
    )  # fmt: skip
    assert code == 0, errors
    found = json.loads(said)
    assert found["profiler"]["name"] == "onnxruntime"
    assert found["trials"]["failed"] == 0
    assert {entry["call"] for entry in agent.log()} >= {"open", "prepare", "rounds"}
    until(lambda: not agent.workers())


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["inline", "ray"])
def test_one_front_over_two_devices(configured, agent, tmp_path, executor):
    assert configured("devices", "add", "board", agent.url, "--profiler", "onnxruntime")[0] == 0
    code, said, errors = configured(
        "search", f"{TASKS}:good", "--budget", "latency@board=99%", "--budget", "latency@local=99%", "--trials", 4,
        "--executor", executor, "--sampler", "random", "--finetune-epochs", 0, "--finalists", 1, "--run", "r", "--json",
    )  # fmt: skip
    found = json.loads(said or (tmp_path / "r" / "front.json").read_text())
    assert code in (0, 3), errors  # so small a model may not become faster everywhere
    assert found["objectives"] == ["accuracy", "latency@board", "latency"]
    assert {name: each["name"] for name, each in found["devices"].items()} == {"": "torch", "board": "onnxruntime"}
    assert found["trials"]["failed"] == 0
    for point in [found["dense"], *found["front"]]:
        assert point["metrics"]["latency@board"]["profiler"] == "onnxruntime"
        assert point["metrics"]["latency"]["profiler"] == "torch"
        assert point["metrics"]["latency.p99@board"]["value"] > 0
    assert {entry["call"] for entry in agent.log()} >= {"open", "prepare", "rounds"}
    until(lambda: not agent.workers())
    code, said, errors = configured("resume", "r", "--trials", 5, "--json")
    again = json.loads(said or (tmp_path / "r" / "front.json").read_text())
    assert code in (0, 3), errors
    assert again["devices"] == found["devices"]
    assert (again["trials"]["complete"], again["trials"]["failed"]) == (found["trials"]["complete"] + 1, 0)
    configured("devices", "add", "board", agent.url, "--profiler", "onnxruntime", "--threads", 2)
    code, _, errors = configured("resume", "r", "--trials", 6)
    assert code == 5
    assert "onnxruntime on 2 threads" in errors


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["devices", "add", "x", "ftp://board"], 2, "address of a device"),
        (["devices", "add", "local", "http://board"], 2, "other than 'local'"),
        (["devices", "add", "x", "http://board", "--profiler", "onxruntime"], 2, "did you mean 'onnxruntime'"),
        (["devices", "test", "nowhere"], 2, "known: none"),
        (["devices", "remove", "nowhere"], 2, "known: none"),
        (["search", "--device", "nowhere"], 5, "devices add"),
        (["search", "--budget", "latency@nowhere=5ms"], 2, "known: none"),
        (["search", "--budget", "params@local=1M"], 2, "the same on all"),
        (["search", "--device", "http://board", "--on-device-loss", "panic"], 2, "known: wait, fail"),
        (["search", "--device", "ssh://"], 2, "address of a device"),
        (["agent", "--bind", "nowhere:x"], 2, "HOST:PORT"),
        (["agent", "--tls-cert", "x"], 2, "--tls-key"),
        (["agent", "--memory", "lots"], 2, "number"),
    ],
)
def test_what_cannot_be_is_one_line_with_its_cure(configured, arguments, code, words):
    status, said, errors = configured(*arguments)
    assert status == code
    assert said == ""
    assert words in errors.strip().splitlines()[-1]
    assert "Traceback" not in errors
