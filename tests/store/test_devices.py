import pytest

from autoprune.core.address import DeviceAddress, KnownDevice
from autoprune.errors import StorageError, UsageError
from autoprune.store.devices import Devices

PI = KnownDevice("pi", DeviceAddress("ssh", "raspberrypi", 22, "pi", "/opt/python"), "onnxruntime", 4)
SERVER = KnownDevice("server", DeviceAddress("https", "board", 7333, token_file="/etc/token"))  # noqa: S106


def test_devices_are_kept_changed_and_forgotten(tmp_path):
    file = tmp_path / "deep" / "devices.yaml"
    for device in (PI, SERVER):
        Devices(file).add(device)
    assert Devices(file).all() == (PI, SERVER)
    changed = KnownDevice("pi", SERVER.address)
    Devices(file).add(changed)
    assert Devices(file).find("pi") == changed
    Devices(file).remove("pi")
    assert Devices(file).all() == (SERVER,)
    with pytest.raises(UsageError, match="known: server"):
        Devices(file).remove("pi")


@pytest.mark.parametrize(
    "text",
    ["- a", "pi: 3", "pi: {address: nowhere}", "pi: {}", "pi: {address: 'ssh://x', shell: y}", "{", "!!python/name:os.system x: 1",
     "pi: {address: 'ssh://x', threads: many}"],
)  # fmt: skip
def test_a_damaged_list_is_said_and_left_alone(tmp_path, text):
    file = tmp_path / "devices.yaml"
    file.write_text(text)
    with pytest.raises(StorageError, match="mend or remove"):
        Devices(file)
    assert file.read_text() == text


def test_commands_at_the_same_time_lose_no_device(tmp_path):
    file = tmp_path / "devices.yaml"
    opened = [Devices(file) for _ in range(3)]
    for place, devices in enumerate(opened):
        devices.add(KnownDevice(f"board{place}", SERVER.address))
    assert [each.name for each in Devices(file).all()] == ["board0", "board1", "board2"]


def test_a_list_that_is_a_link_stays_one(tmp_path):
    (tmp_path / "dotfiles").mkdir()
    file = tmp_path / "devices.yaml"
    file.symlink_to(tmp_path / "dotfiles" / "devices.yaml")
    Devices(file).add(PI)
    assert file.is_symlink()
    assert Devices(tmp_path / "dotfiles" / "devices.yaml").all() == (PI,)
