import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoprune.core.address import DeviceAddress, KnownDevice
from autoprune.errors import UsageError


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("ssh://pi@board", DeviceAddress("ssh", "board", 0, "pi")),
        ("ssh://board:2222?python=/opt/v/bin/python", DeviceAddress("ssh", "board", 2222, "", "/opt/v/bin/python")),
        ("http://127.0.0.1:7333/", DeviceAddress("http", "127.0.0.1", 7333)),
        ("https://[::1]:7333", DeviceAddress("https", "::1", 7333)),
    ],
)
def test_addresses_are_read(text, found):
    assert DeviceAddress.parse(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "board", "ftp://board", "ssh://", "http://board/path", "http://user@board", "ssh://pi:secret@board",
        "ssh://board:99999", "ssh://-oProxyCommand=x", "ssh://-l@board", "http://board?python=x", "ssh://board?shell=x",
        "ssh://board#x",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(text):
    with pytest.raises(UsageError, match="ssh://pi@raspberrypi"):
        DeviceAddress.parse(text)


@given(st.sampled_from(["ssh", "http", "https"]), st.from_regex(r"[a-z][a-z0-9.-]{0,20}[a-z0-9]", fullmatch=True),
       st.integers(0, 65535))  # fmt: skip
def test_what_is_written_is_read_again(scheme, host, port):
    address = DeviceAddress(scheme, host, port)
    assert DeviceAddress.parse(address.url) == address


@pytest.mark.parametrize("name", ["", "local", "a/b", "../x", "-x", "a b", "x" * 64])
def test_names_are_plain(name):
    with pytest.raises(UsageError, match="name"):
        KnownDevice(name, DeviceAddress("http", "board"))
