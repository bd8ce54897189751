import getpass

import pytest

from autoprune.core.address import DeviceAddress
from tests.services import SSHD, Agent, Sshd


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    made = Agent(tmp_path_factory.mktemp("agent") / "files").start()
    yield made
    made.stop()


@pytest.fixture
def sshd(tmp_path, monkeypatch):
    if SSHD is None:
        pytest.skip("no sshd here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    made = Sshd(tmp_path / "home").start()
    yield made
    made.stop()


@pytest.fixture
def ssh_address(sshd):
    import sys

    return DeviceAddress("ssh", "127.0.0.1", sshd.port, getpass.getuser(), sys.executable)
