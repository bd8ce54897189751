"""Devices elsewhere: what reaching them costs, what an agent stands, and whether the network lands in a latency.

    python benchmarks/remote.py [--only overhead requests kills link fuzz]

Everything is on loopback, so that the network costs next to nothing and what is left is ours. `link` puts a proxy in
between that delays every packet by 50 ms each way and holds one in a hundred back for 200 ms, as TCP does that lost it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from autoprune.bench.artifact import Artifact
from autoprune.core.address import DeviceAddress
from autoprune.core.measurement import RunSpec
from autoprune.cost_model.units import graph
from autoprune.errors import AutopruneError
from autoprune.remote.client import WorkerBench
from autoprune.remote.links.connect import reached
from tests.services import Agent, Sshd, client

MEGABYTES, CANDIDATES = 50, 12
CLIENTS, REQUESTS, KILLS = 8, 10_000, 50
DELAY_S, LOST, RESENT_S = 0.05, 0.01, 0.2
PRODUCT = graph._single("MatMul", (256, 256)).artifact()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = {"overhead": overhead, "requests": requests, "kills": kills, "link": link, "fuzz": fuzz}
    parser.add_argument("--only", nargs="*", choices=list(parts), default=list(parts))
    for name in parser.parse_args().only:
        with tempfile.TemporaryDirectory() as folder, agent_in(Path(folder)) as agent:
            print(f"\n### {name}", flush=True)
            parts[name](agent, Path(folder))


@contextmanager
def agent_in(folder: Path) -> Iterator[Agent]:
    made = Agent(folder / "agent").start()
    try:
        yield made
    finally:
        made.stop()


def bench_at(address: DeviceAddress | None, tell: Callable[[str], None] = print) -> WorkerBench:
    return WorkerBench("onnxruntime", RunSpec(), linked=reached(address, tell))


def chain(weights: list[np.ndarray]) -> Artifact:
    """Products one after the other."""
    nodes = [helper.make_node("MatMul", [f"x{k}", f"w{k}"], [f"x{k + 1}"]) for k in range(len(weights))]
    size = weights[0].shape[0]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, size)) for name in ("x0", f"x{len(weights)}")]
    tensors = [numpy_helper.from_array(weight, f"w{k}") for k, weight in enumerate(weights)]
    model = helper.make_model(
        helper.make_graph(nodes, "chain", ends[:1], ends[1:], tensors),
        ir_version=8,
        opset_imports=[helper.make_opsetid("", 17)],
    )
    return Artifact("onnx", model.SerializeToString(), inputs={"x0": np.ones((1, size), np.float32)})


def candidates(count: int, shared: float) -> list[Artifact]:
    """Models of `MEGABYTES` each, of which a share of the tensors is that of the first."""
    rng, layers = np.random.default_rng(0), 12
    size = int((MEGABYTES * 2**20 / 4 / layers) ** 0.5)

    def fresh() -> np.ndarray:
        return rng.standard_normal((size, size)).astype(np.float32) / size

    common = [fresh() for _ in range(layers)]
    kept = int(shared * layers)
    return [chain(common[:kept] + [fresh() for _ in range(layers - kept)]) for _ in range(count)]


def overhead(agent: Agent, folder: Path) -> None:
    """Seconds of a candidate beyond those of a local process, models in turn on all of them."""
    benches = {"here": bench_at(None), "http": bench_at(DeviceAddress.parse(agent.url))}
    os.environ["HOME"] = str(folder / "home")
    sshd = Sshd(folder / "home").start()
    benches["ssh"] = bench_at(DeviceAddress("ssh", "127.0.0.1", sshd.port, "root", sys.executable))
    small = [Artifact("onnx", PRODUCT.content, inputs=PRODUCT.inputs)] * CANDIDATES
    sets = {
        "a small model": small,
        f"{MEGABYTES} MB, nothing known": candidates(CANDIDATES, 0.0),
        f"{MEGABYTES} MB, three quarters known": candidates(CANDIDATES, 0.75),
        f"{MEGABYTES} MB, all known": candidates(1, 1.0) * CANDIDATES,
    }
    for title, artifacts in sets.items():
        seconds: dict[str, list[float]] = {name: [] for name in benches}
        for artifact in artifacts:
            for name, bench in benches.items():
                seconds[name].append(candidate(bench, artifact))
        here = seconds["here"][1:]
        beyond = {
            name: statistics.median(a - b for a, b in zip(seconds[name][1:], here, strict=True))
            for name in benches
            if name != "here"
        }
        said = ", ".join(f"{name} {value * 1e3:+.0f} ms" for name, value in beyond.items())
        print(f"{title}: here {statistics.median(here) * 1e3:.0f} ms; beyond it: {said}", flush=True)
    for bench in benches.values():
        bench.close()
    sshd.stop()


def candidate(bench: WorkerBench, artifact: Artifact) -> float:
    """Seconds of loading a model and of three lots of pairs."""
    bench.capabilities()
    begin = time.perf_counter()
    bench.prepare("candidate", artifact)
    for seed in range(3):
        bench.rounds(["candidate"], 3, 0.002, 2, seed)
    return time.perf_counter() - begin


def requests(agent: Agent, folder: Path) -> None:
    """Jobs of eight clients: none lost, none doubled, and the agent's memory."""

    def drive(number: int) -> list[str]:
        with client(agent) as http:
            lease = http.post("/leases", json={"profiler": "onnxruntime"}).json()
            path, fence = f"/leases/{lease['lease']}/jobs", lease["fence"]
            done = []
            order = {"fence": fence, "limit_s": 60, "request": {"call": "release", "name": "none"}}
            for k in range(REQUESTS // CLIENTS):
                for _ in range(1 + (k % 10 == 0)):  # some are sent twice, as a driver does that got no answer
                    answer = http.put(f"{path}/{number}-{k}", json=order, params={"wait": 30}).json()
                if answer["state"] == "done" and answer["reply"] == {"ok": None}:
                    done.append(f"{number}-{k}")
            http.delete(f"/leases/{lease['lease']}", params={"fence": fence})
            return done

    samples, ended = [], threading.Event()

    def watch() -> None:
        while not ended.wait(1.0):
            samples.append(agent.resident() / 2**20)

    watching = threading.Thread(target=watch)
    watching.start()
    begin = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as drivers:
        done = [job for each in drivers.map(drive, range(CLIENTS)) for job in each]
    seconds = time.perf_counter() - begin
    ended.set()
    watching.join()
    ran = [entry["job"] for entry in agent.log() if entry["call"] == "release"]
    print(f"{REQUESTS} jobs of {CLIENTS} clients in {seconds:.0f} s: {REQUESTS - len(set(done))} lost, "
          f"{len(ran) - len(set(ran))} ran twice, {REQUESTS - len(set(ran))} never ran")  # fmt: skip
    print(
        f"memory of the agent: {samples[len(samples) // 4]:.0f} MiB after a quarter, {samples[-1]:.0f} MiB at the end"
    )


def kills(agent: Agent, folder: Path) -> None:
    """Kills of agent and workers in the middle of measurements: each measurement ends with an answer or an error."""
    bench, outcomes, ended = bench_at(DeviceAddress.parse(agent.url), lambda _: None), [], threading.Event()
    rng = np.random.default_rng(0)

    def kill() -> None:
        for k in range(KILLS):
            time.sleep(float(rng.uniform(0.5, 3.0)))
            workers = agent.workers()
            if k % 2 and workers:
                os.kill(workers[0], signal.SIGKILL)
            else:
                agent.signal(signal.SIGKILL)
                agent.start()
        ended.set()

    killing = threading.Thread(target=kill)
    killing.start()
    asked = 0
    while not ended.is_set():
        asked += 1
        try:
            bench.prepare("one", PRODUCT)
            outcomes.append("measured" if len(bench.rounds(["one"], 4, 0.05, 2, asked)) == 4 else "?")
        except AutopruneError as error:
            outcomes.append(type(error).__name__)
    killing.join()
    bench.prepare("one", PRODUCT)
    bench.close()
    counted = {name: outcomes.count(name) for name in sorted(set(outcomes))}
    print(f"{KILLS} kills: {asked} measurements asked for, {len(outcomes)} accounted for: {counted}")
    time.sleep(2)
    left = [pid for pid in agent.workers() if Path(f"/proc/{pid}").exists()]
    print(f"processes left: {len(left)}")


def link(agent: Agent, folder: Path) -> None:
    """One model through a bad link and without, interleaved."""
    with slow_link(agent.port) as port:
        near, far = bench_at(DeviceAddress.parse(agent.url)), bench_at(DeviceAddress("http", "127.0.0.1", port))
        for bench in (near, far):
            bench.prepare("one", PRODUCT)
        begin = time.perf_counter()
        far.release("none")
        trip = time.perf_counter() - begin
        ratios: dict[str, list[float]] = {"wall": [], "processor": []}
        for seed in range(60):
            looks = [[block for (block,) in bench.rounds(["one"], 4, 0.02, 5, seed)] for bench in (near, far)]
            for name, field in (("wall", "wall_s"), ("processor", "cpu_s")):
                one, other = (statistics.median(t for block in look for t in getattr(block, field)) for look in looks)
                ratios[name].append(other / one)
        said = ", ".join(f"{statistics.median(found):.3f} by {name} time" for name, found in ratios.items())
        print(f"round trip {trip * 1e3:.0f} ms; latency through it / without: {said}")
        near.close()
        far.close()


@contextmanager
def slow_link(port: int) -> Iterator[int]:
    """A port of a proxy that delays, and now and then holds back."""
    loop, rng = asyncio.new_event_loop(), np.random.default_rng(0)

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        packets: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def deliver() -> None:
            while (packet := await packets.get())[1]:
                await asyncio.sleep(packet[0] - loop.time())
                writer.write(packet[1])
            writer.close()

        delivering, due = asyncio.create_task(deliver()), 0.0
        while data := await reader.read(1460):
            late = DELAY_S + (RESENT_S if rng.random() < LOST else 0.0)
            due = max(due, loop.time() + late)  # what comes after waits for what was held back
            packets.put_nowait((due, data))
        packets.put_nowait((due, b""))
        await delivering

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pipe(reader, to_writer), pipe(to_reader, writer), return_exceptions=True)

    server = loop.run_until_complete(asyncio.start_server(connected, "127.0.0.1", 0))
    running = threading.Thread(target=loop.run_forever, daemon=True)
    running.start()
    yield server.sockets[0].getsockname()[1]
    loop.call_soon_threadsafe(loop.stop)
    running.join()


def fuzz(agent: Agent, folder: Path) -> None:
    """What schemathesis makes of the published schema: no answer of the server's own failure."""
    schema = httpx.get(f"{agent.url}/openapi.json").text
    (folder / "openapi.json").write_text(schema)
    done = subprocess.run(
        [str(Path(sys.executable).with_name("schemathesis")), "run", str(folder / "openapi.json"), "--url", agent.url,
         "--checks", "not_a_server_error", "--max-examples", "3000", "--phases", "examples,coverage,fuzzing",
         "--suppress-health-check", "all", "--seed", "0", "--workers", "2"],
        capture_output=True, text=True, check=False, cwd=folder,
    )  # fmt: skip
    print(done.stdout[-2500:])
    health = httpx.get(f"{agent.url}/health").json()["status"]
    print(f"exit code {done.returncode}; the agent's health: {health}")


if __name__ == "__main__":
    main()
