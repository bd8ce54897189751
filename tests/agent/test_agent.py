"""An agent on loopback, as drivers and strangers meet it."""

import hashlib
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autoprune.agent.settings import AgentSettings, bound, token_of
from autoprune.core.address import DeviceAddress
from autoprune.core.measurement import RunSpec
from autoprune.cost_model.units import graph
from autoprune.errors import DeviceError, RefusedError, UsageError
from autoprune.remote.client import WorkerBench
from autoprune.remote.links.connect import TOKEN, reached
from autoprune.remote.wire_format import packed
from autoprune.testing.processes import alive, until
from tests.services import Agent, client

PRODUCT = graph._single("MatMul", (64, 64)).artifact()
OPENING = {"profiler": "onnxruntime"}


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    folder = tmp_path_factory.mktemp("agent")
    token = folder / "token"
    made = Agent(folder / "files", ("--token-file", str(token), "--cache", "1MiB")).start()
    made.token = token.read_text().strip()
    yield made
    made.stop()


@pytest.fixture
def http(agent):
    with client(agent, agent.token) as made:
        yield made


@pytest.fixture
def lease(http):
    found = http.post("/leases", json=OPENING).json()
    yield found
    http.delete(f"/leases/{found['lease']}", params={"fence": found["fence"]})


def order(lease, request, limit_s=60):
    return {"fence": lease["fence"], "limit_s": limit_s, "request": request}


def put(http, lease, job, request, **more):
    return http.put(f"/leases/{lease['lease']}/jobs/{job}", json=order(lease, request, **more), params={"wait": 30})


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic abc"}])
def test_without_the_token_nobody_gets_in_and_none_is_logged(agent, header):
    with client(agent) as stranger:
        for path in ("/metrics", "/openapi.json", "/leases/x/jobs/y"):
            answer = stranger.get(path, headers=header)
            assert answer.status_code == 401
            assert answer.json()["error"]["kind"] == "RefusedError"
        assert stranger.get("/health").json()["status"] == "ok"
    written = "".join(path.read_text(errors="replace") for path in agent.folder.glob("*.jsonl"))
    assert "wrong" not in written
    assert agent.token not in written + agent.said


def test_a_driver_with_a_wrong_token_is_told_so(agent, monkeypatch):
    monkeypatch.setenv(TOKEN, "not-the-token-at-all")
    bench = WorkerBench("onnxruntime", RunSpec(), linked=reached(DeviceAddress.parse(agent.url), print))
    with pytest.raises(DeviceError, match="token"):
        bench.fingerprint()


def test_the_same_job_twice_runs_once(agent, http, lease):
    before = len(agent.log())
    first = put(http, lease, "job-1", {"call": "speed"}).json()
    again = put(http, lease, "job-1", {"call": "speed"}).json()
    looked = http.get(f"/leases/{lease['lease']}/jobs/job-1", params={"fence": lease["fence"]}).json()
    assert first["state"] == "done"
    assert first["reply"] == again["reply"] == looked["reply"]
    assert [entry["job"] for entry in agent.log()[before:]].count("job-1") == 1


def test_an_id_that_stands_for_another_request_is_refused(http, lease):
    assert put(http, lease, "same", {"call": "speed"}).status_code == 200
    assert put(http, lease, "same", {"call": "settle", "limit_s": 0}).status_code == 409


def test_a_stale_fence_and_an_unknown_lease_are_over(http, lease):
    stale = {**lease, "fence": lease["fence"] + 1}
    assert put(http, stale, "a", {"call": "speed"}).status_code == 410
    assert put(http, {**lease, "lease": "0" * 32}, "a", {"call": "speed"}).status_code == 410


@pytest.mark.parametrize(
    "path",
    [
        "/leases/../artifacts/x",
        "/leases/x/jobs/..%2f..%2fetc",
        "/artifacts/..%2f..%2fpasswd",
        "/artifacts/file:%2f%2f%2fetc",
    ],
)
def test_paths_that_lead_elsewhere_are_refused(agent, path):
    """As they are, which an HTTP library would mend before it sends them."""
    with socket.create_connection(("127.0.0.1", agent.port)) as raw:
        raw.sendall(
            f"PUT {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {agent.token}\r\nContent-Length: 0\r\n\r\n".encode()
        )
        assert raw.recv(100).split()[1] in (b"400", b"404")
    assert [path.name for path in (agent.folder / "artifacts").iterdir() if len(path.name) != 64] == []


@pytest.mark.parametrize(
    "request_",
    [
        {"call": "answer"}, {"call": "_artifact"}, {"call": "rounds", "names": [], "count": 1, "min_s": 0, "min_runs": 1, "seed": 0},
        {"call": "release", "name": "../x"}, {"call": "speed", "more": 1}, {"call": "settle", "limit_s": "NaN"}, None,
        {"call": "memory", "artifact": {"format": "onnx", "content": ["file:///etc/passwd"]}},
    ],
)  # fmt: skip
def test_what_is_not_described_is_refused(http, lease, request_):
    assert put(http, lease, "odd", request_).status_code == 400


@pytest.mark.parametrize("opening", [{"profiler": "nothing"}, {"profiler": "torch", "task": "/tmp/evil.py:task"}])
def test_neither_unknown_profilers_nor_tasks_that_were_not_allowed(http, opening):
    assert http.post("/leases", json=opening).status_code == 400


def test_files_are_stored_by_their_hash_alone(agent, http):
    content = os.urandom(1000)
    name = hashlib.sha256(content).hexdigest()
    assert http.put(f"/artifacts/{name}", content=b"something else").status_code == 400
    assert http.post("/artifacts/missing", json={"names": [name]}).json()["missing"] == [name]
    assert http.put(f"/artifacts/{name}", content=content).status_code == 204
    assert http.post("/artifacts/missing", json={"names": [name]}).json()["missing"] == []
    assert (agent.folder / "artifacts" / name).read_bytes() == content


def test_old_files_make_room_and_are_put_again_where_they_are_needed(agent, http):
    bench = WorkerBench("onnxruntime", RunSpec(), linked=lambda _: linked(agent))
    bench.prepare("one", PRODUCT)
    for _ in range(4):
        content = os.urandom(400_000)
        assert http.put(f"/artifacts/{hashlib.sha256(content).hexdigest()}", content=content).status_code == 204
    kept = sum(path.stat().st_size for path in (agent.folder / "artifacts").iterdir())
    assert kept <= 2**20
    _, blobs = packed(PRODUCT)
    assert http.post("/artifacts/missing", json={"names": list(blobs)}).json()["missing"]
    bench.prepare("again", PRODUCT)
    bench.close()


def linked(agent):
    os.environ[TOKEN] = agent.token
    try:
        return reached(DeviceAddress.parse(agent.url), print)("onnxruntime")
    finally:
        del os.environ[TOKEN]


def test_a_job_without_its_files_names_them(http, lease):
    message, blobs = packed(graph._single("MatMul", (24, 24)).artifact())
    answer = put(http, lease, "early", {"call": "prepare", "name": "a", "artifact": message})
    assert answer.status_code == 409
    assert sorted(answer.json()["missing"]) == sorted(blobs)


def test_a_body_of_ten_gigabytes_is_refused_before_it_comes(agent):
    begin, memory = time.monotonic(), agent.resident()
    with socket.create_connection(("127.0.0.1", agent.port)) as raw:
        raw.sendall(
            f"PUT /artifacts/{'0' * 64} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {agent.token}\r\n"
            f"Content-Length: {10 * 2**30}\r\n\r\n".encode()
        )
        assert raw.recv(100).split()[1] == b"413"
    with (
        socket.create_connection(("127.0.0.1", agent.port)) as raw,
        pytest.raises((ConnectionResetError, BrokenPipeError)),
    ):
        raw.sendall(
            f"POST /leases HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {agent.token}\r\n"
            "Transfer-Encoding: chunked\r\n\r\n".encode()
        )
        chunk = b"100000\r\n" + b"x" * 2**20 + b"\r\n"
        for _ in range(10 * 2**10):
            raw.sendall(chunk)
    assert agent.resident() < memory + 200 * 2**20
    assert time.monotonic() - begin < 60


@pytest.mark.slow
def test_many_slow_connections_end_and_nobody_else_waits(agent, http):
    slow = []
    for k in range(200):
        raw = socket.create_connection(("127.0.0.1", agent.port))
        auth = f"Authorization: Bearer {agent.token}\r\nContent-Length: 1000\r\n\r\nx" if k % 2 else "X-A: "
        raw.sendall(f"POST /leases HTTP/1.1\r\nHost: x\r\n{auth}".encode())
        slow.append(raw)
    begin = time.monotonic()
    assert http.get("/health").status_code == 200
    assert time.monotonic() - begin < 2
    for raw in slow:
        raw.settimeout(30)
        answer = raw.recv(1000)
        assert answer == b"" or answer.split()[1] == b"408"
        raw.close()
    assert time.monotonic() - begin < 30


@pytest.mark.slow
def test_there_are_only_so_many_leases(http):
    made = []
    while (answer := http.post("/leases", json=OPENING)).status_code == 201:
        made.append(answer.json())
    assert answer.status_code == 429
    assert len(made) == 64
    for each in made:
        assert http.delete(f"/leases/{each['lease']}", params={"fence": each["fence"]}).status_code == 204
    assert http.get("/metrics").text.count("autoprune_leases 0.0") == 1


@pytest.mark.parametrize("faulty", ["external", "domain"])
def test_graphs_with_foreign_parts_are_refused_unopened(agent, faulty, tmp_path):
    import onnx

    model = onnx.ModelProto.FromString(PRODUCT.content)
    if faulty == "domain":
        model.graph.node[0].domain = "com.evil"
    else:
        tensor = model.graph.initializer.add(name="w", data_type=1, dims=[1], data_location=1)
        tensor.external_data.add(key="location", value="../../../../etc/passwd")
    bench = WorkerBench("onnxruntime", RunSpec(), linked=lambda _: linked(agent))
    with pytest.raises(RefusedError, match="external data|com.evil"):
        bench.prepare("evil", type(PRODUCT)("onnx", model.SerializeToString(), inputs=PRODUCT.inputs))
    bench.prepare("good", PRODUCT)
    bench.close()


def test_beyond_loopback_a_token_is_needed(command):
    code, _, errors = command("agent", "--bind", "0.0.0.0:0")
    assert code == 2
    assert "expected a token" in errors


@pytest.mark.slow
def test_two_agents_do_not_share_a_folder(agent):
    done = subprocess.run(
        [sys.executable, "-m", "autoprune", "agent", "--bind", "127.0.0.1:0", "--folder", str(agent.folder)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 5
    assert "another one has it" in done.stderr


def test_a_taken_address_is_one_line(agent, tmp_path, command):
    code, _, errors = command("agent", "--bind", f"127.0.0.1:{agent.port}", "--folder", tmp_path / "other")
    assert code == 5
    assert errors.count("\n") == 1


def test_it_ends_when_asked_with_all_that_it_started(tmp_path):
    made = Agent(tmp_path / "files").start()
    with client(made) as http:
        lease = http.post("/leases", json=OPENING).json()
        put(http, lease, "first", {"call": "speed"})
    workers = made.workers()
    assert workers
    made.stop()
    assert made.process.returncode == 0
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]


def test_tokens_are_made_once_and_must_be_private(tmp_path):
    file = tmp_path / "token"
    token, made = token_of(file)
    assert made
    assert token_of(file) == (token, False)
    file.chmod(0o644)
    with pytest.raises(UsageError, match="chmod 600"):
        token_of(file)
    file.chmod(0o600)
    file.write_text("short")
    with pytest.raises(UsageError, match="16 characters"):
        token_of(file)


def test_addresses_to_bind():
    assert bound("127.0.0.1:80") == ("127.0.0.1", 80)
    assert bound("[::1]:80") == ("::1", 80)
    assert bound("board") == ("board", 7333)
    assert bound("board", 7334) == ("board", 7334)
    assert bound(":80") == ("127.0.0.1", 80)
    with pytest.raises(UsageError):
        bound("x:y")
    with pytest.raises(UsageError, match="--tls-key"):
        AgentSettings(tls_cert="a")


def test_the_schema_is_published(http):
    schema = json.loads(http.get("/openapi.json").text)
    assert "/leases/{lease}/jobs/{job}" in schema["paths"]


def test_a_format_of_another_name_does_not_pass_by_the_check(http, lease):
    message, _ = packed(PRODUCT)
    artifact = {**message, "format": "other"}
    assert put(http, lease, "odd", {"call": "prepare", "name": "a", "artifact": artifact}).status_code == 400


def test_without_a_token_only_this_machine_by_its_own_name_is_served(tmp_path):
    made = Agent(tmp_path / "files").start()
    with client(made) as stranger:
        assert stranger.get("/health").status_code == 200
        assert stranger.post("/leases", json=OPENING, headers={"Host": "evil.example"}).status_code == 400
    made.stop()


def test_a_lease_whose_process_died_between_two_jobs_is_over(agent, http, lease):
    assert put(http, lease, "first", {"call": "speed"}).status_code == 200
    workers = agent.workers()
    assert workers
    for pid in workers:
        os.kill(pid, 9)
    until(lambda: not alive(workers))
    assert put(http, lease, "second", {"call": "speed"}).status_code == 410
