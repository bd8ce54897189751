import asyncio
import hashlib

import pytest

from autoprune.agent.artifacts import Artifacts
from autoprune.agent.settings import FullError
from autoprune.errors import RefusedError, UsageError


def test_uploads_beside_each_other_are_limited_too(tmp_path):
    async def arriving(count, between):
        for _ in range(count):
            yield bytes(1000)
            await between()

    async def put():
        kept, going = Artifacts(tmp_path / "a", 10_000), asyncio.Event()
        slow = asyncio.create_task(kept.put("0" * 64, arriving(9, going.wait)))
        for _ in range(20):
            await asyncio.sleep(0)
        with pytest.raises(FullError, match="larger --cache"):
            await kept.put("1" * 64, arriving(10, lambda: asyncio.sleep(0)))
        going.set()
        with pytest.raises(RefusedError, match="hash"):
            await slow
        alone = bytes(20_000)
        await kept.put(hashlib.sha256(alone).hexdigest(), arriving(20, lambda: asyncio.sleep(0)))
        assert not list(kept.folder.glob("*.partial"))

    asyncio.run(put())


def test_a_folder_with_anything_else_in_it_is_left_alone(tmp_path):
    (tmp_path / "model.pt").write_bytes(b"of the user")
    (tmp_path / ("0" * 64)).write_bytes(b"of an agent")
    with pytest.raises(UsageError, match=r"received model\.pt; give another --folder"):
        Artifacts(tmp_path, 100)
    assert len(list(tmp_path.iterdir())) == 2
    (tmp_path / "model.pt").unlink()
    Artifacts(tmp_path, 100)
    assert not list(tmp_path.iterdir())
