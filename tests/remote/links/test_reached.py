import pytest

from autoprune.core.address import DeviceAddress
from autoprune.errors import DeviceError
from autoprune.remote.links.connect import TOKEN, reached


@pytest.mark.parametrize("token", ["SECRET0123456789\nanother", "SECRET 0123456789", "SECRETé0123456789"])
@pytest.mark.parametrize("kept", ["file", "environment"])
def test_a_token_that_cannot_be_sent_is_refused_and_not_shown(tmp_path, monkeypatch, token, kept):
    file = tmp_path / "token"
    file.write_text(token, encoding="utf-8")
    monkeypatch.setenv(TOKEN, token)
    address = DeviceAddress("http", "board", 7333, token_file=str(file) if kept == "file" else "")
    with pytest.raises(DeviceError, match="the token of the device at http://board:7333") as raised:
        reached(address, lambda _: None)
    assert "SECRET" not in str(raised.value)
