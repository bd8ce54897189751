"""What each tracker leaves, as its own library reads it, and that it asks no network."""

import json
import socket
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from autoprune import registry
from autoprune.testing.tracker import follow
from autoprune.trackers import TrackedRun


@pytest.fixture
def followed(tmp_path, monkeypatch):
    """Follow a small search to its end, twice, as when it is gone on with; the folder of the tracker."""

    def follow_with(name):
        pytest.importorskip(registry.load("trackers", name).LIBRARY)
        (tmp_path / "report.html").write_text("<p>a page</p>")
        folder = tmp_path / "small-1" / "tracking" / name
        run = TrackedRun(name="small-1", folder=folder, settings={"task": "small", "effort.trials": 2})
        create = registry.load("trackers", name).create
        first = create(run)
        follow(first, Path("report.html"))
        first.close("stopped")
        later = create(replace(run, identity=first.identity))
        follow(later, Path("report.html"), first=2)
        later.close("finished")
        return folder, later.identity

    asked = []
    for name in ("WANDB_MODE", "WANDB_PROJECT", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "AIM_REPO"):
        monkeypatch.delenv(name, raising=False)

    def connect(self, address):
        if self.family == socket.AF_UNIX or address[0] in ("127.0.0.1", "::1", "localhost"):
            return real(self, address)
        asked.append(address)
        raise OSError(f"{address} is not on this machine")

    def resolve(host, *rest, **more):
        if host in (None, "", "127.0.0.1", "::1", "localhost"):
            return resolved(host, *rest, **more)
        asked.append(host)
        raise OSError(f"{host} is not this machine")

    real, resolved = socket.socket.connect, socket.getaddrinfo
    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    yield follow_with
    assert asked == []


def test_tensorboard(followed):
    folder, _ = followed("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    search = EventAccumulator(str(folder)).Reload()
    assert [(each.step, each.value) for each in search.Scalars("search/volume")] == [(1, 0.25), (3, 0.25)]
    assert [each.step for each in search.Scalars("trials/accuracy")] == [0, 2]
    assert [each.step for each in search.Scalars("finished/accuracy")] == [0, 2]
    assert b"report.html" in search.Tensors("files/text_summary")[0].tensor_proto.string_val[0]
    (epoch,) = EventAccumulator(str(folder / "trial-2")).Reload().Scalars("training/accuracy")
    assert (epoch.step, epoch.value) == (1, pytest.approx(0.95))


@pytest.mark.slow
def test_mlflow(followed):
    _, identity = followed("mlflow")
    from mlflow import MlflowClient

    client = MlflowClient()
    run = client.get_run(identity)
    assert (run.info.run_name, run.info.status) == ("small-1", "FINISHED")
    assert run.data.params == {"task": "small", "effort.trials": "2"}
    assert run.data.metrics["best/accuracy"] == 0.95
    assert [each.step for each in client.get_metric_history(identity, "search/volume")] == [1, 3]
    assert {each.path for each in client.list_artifacts(identity)} == {"models", "report.html"}
    children = client.search_runs([run.info.experiment_id], f"tags.`mlflow.parentRunId` = '{identity}'")
    assert sorted(each.info.run_name for each in children) == [f"trial {number}" for number in range(4)]
    third = next(each for each in children if each.info.run_name == "trial 2")
    assert third.data.params == {"conv1": "3", "blocks.0_heads_": "2"}
    assert third.data.metrics["training/accuracy"] == 0.95
    assert third.data.metrics["latency"] == 2e-3
    assert sorted(each.info.status for each in children) == ["FAILED", "FAILED", "FINISHED", "FINISHED"]


def records(path):
    """The records of an offline run: blocks of 32 KiB after a header of 7 bytes, in parts of (crc, length, kind)."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, place, whole = path.read_bytes(), 7, b""
    while place < len(content):
        if (left := 32768 - place % 32768) < 7:
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, place)
        whole += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # all of it, or its last part
            yield Record.FromString(whole)
            whole = b""


@pytest.mark.slow
def test_wandb(followed):
    folder, identity = followed("wandb")
    import wandb

    wandb.teardown()  # as a process does at its end
    kept = sorted(folder.glob("wandb/offline-run-*/*.wandb"))
    assert {path.name for path in kept} == {f"run-{identity}.wandb"}
    rows, files = [], set()
    for record in (record for path in kept for record in records(path)):
        rows.append({"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in record.history.item})
        files |= {entry.path for entry in record.request.log_artifact.artifact.manifest.contents}
        files |= {entry.path for entry in record.artifact.manifest.contents}
    volumes = [(row["search/trials"], row["search/volume"]) for row in rows if "search/volume" in row]
    assert volumes == [(1, 0.25), (3, 0.25)]
    assert [row["trial/number"] for row in rows if "trial/number" in row] == [0, 1, 2, 3]
    assert [row["trial-2/training/accuracy"] for row in rows if "trial-2/epoch" in row] == [0.95]
    assert {"report.html", "models/2/report.html"} <= files


@pytest.mark.slow
def test_aim(followed):
    folder, identity = followed("aim")
    from aim import Repo
    from aim.sdk.index_manager import RepoIndexManager

    RepoIndexManager.get_index_manager(Repo.from_path(".")).index(identity)  # as `aim up` does
    run = Repo(".").get_run(identity)
    assert (run.name, run["state"], run["best", "trial"]) == ("small-1", "finished", 2)
    assert run["settings", "effort.trials"] == 2
    values = {
        (metric.name, metric.context.to_dict().get("trial")): list(metric.values.sparse_list()[1])
        for metric in run.metrics()
    }
    assert values["search/volume", None] == [0.25, 0.25]
    assert values["training/accuracy", 2] == [0.95]
    assert {path.name for path in folder.rglob("*.html")} == {"report.html"}
