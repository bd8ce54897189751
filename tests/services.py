"""Real servers for tests: an agent, and an sshd, each in a process of its own on loopback."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


@dataclass
class Agent:
    """`autoprune agent` as a user starts it; the same folder and port when started again."""

    folder: Path
    options: tuple[str, ...] = ()
    port: int = 0
    process: subprocess.Popen | None = field(default=None, init=False)

    def start(self):
        self.errors = (self.folder.parent / f"{self.folder.name}.err").open("a+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "autoprune", "agent", "--bind", f"127.0.0.1:{self.port}", "--folder", str(self.folder),
             *self.options],
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.said = ""
        while "agent at" not in self.said:
            line = self.process.stderr.readline()
            if not line:
                raise AssertionError(self.said)
            self.said += line
        self.port = int(re.search(r"agent at \S+:(\d+),", self.said).group(1))
        return self

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def log(self, event="job"):
        file = self.folder / "log.jsonl"
        entries = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        return [entry for entry in entries if entry["event"] == event]

    def signal(self, number):
        self.process.send_signal(number)
        if number == signal.SIGKILL:
            self.process.wait()

    def workers(self):
        """Processes that measure for it."""
        threads = Path(f"/proc/{self.process.pid}/task").iterdir()  # any of which may have started one
        return [int(pid) for thread in threads for pid in (thread / "children").read_text().split()]

    def resident(self):
        """Bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) * 1024

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            self.process.wait(timeout=20)


@dataclass
class Sshd:
    """An sshd of its own, with a key that it knows; home: where a client finds both keys."""

    home: Path
    port: int = 0
    process: subprocess.Popen | None = field(default=None, init=False)

    def start(self):
        keys = self.home / ".ssh"
        keys.mkdir(parents=True, exist_ok=True)
        self.port = self.port or free_port()
        for name in ("id_ed25519", "host"):
            if not (keys / name).exists():
                subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(keys / name)], check=True)
        (keys / "authorized").write_text((keys / "id_ed25519.pub").read_text())
        kind, key, *_ = (keys / "host.pub").read_text().split()
        (keys / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {kind} {key}\n")
        (self.home / "sshd_config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {keys}/host\nAuthorizedKeysFile {keys}/authorized\n"
            f"PidFile none\nStrictModes no\nPasswordAuthentication no\nUsePAM no\nPermitRootLogin yes\n"
            f"Subsystem sftp internal-sftp\n"
        )
        Path("/run/sshd").mkdir(exist_ok=True)
        self.process = subprocess.Popen(
            [SSHD, "-D", "-e", "-f", str(self.home / "sshd_config")], stderr=subprocess.DEVNULL
        )
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            time.sleep(0.05)
        raise AssertionError("sshd does not listen")

    def stop(self):
        """The server with every connection."""
        if self.process is not None:
            for pid in children(self.process.pid):
                os.kill(pid, signal.SIGKILL)
            self.process.kill()
            self.process.wait()


def children(pid):
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(each) for each in listed.read_text().split()] if listed.exists() else []


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def client(agent, token=""):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.Client(base_url=agent.url, headers=headers, timeout=60)
