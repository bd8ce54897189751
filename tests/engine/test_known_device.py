import pytest

from autoprune.engine.known_device import meant


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("ssh://pi@raspberrypi", "raspberrypi"),
        ("http://127.0.0.1:7333", "127.0.0.1"),
        ("http://[::1]:7333", "device-1"),
        ("http://local:7333", "device-local"),
        ("https://agent.measuring.namespace-of-the-team.svc.cluster-in-the-basement.example:7333", None),
    ],
)
def test_device_at_an_address_is_called_by_its_host(address, name):
    found = meant(address)
    assert found.address.url == address
    assert found.name == name or (name is None and found.name.startswith("device-agent.measuring"))
