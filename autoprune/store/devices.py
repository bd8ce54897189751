"""The devices that a user has named, in the user's configuration. Knows one YAML file; connects to nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import filelock
import platformdirs
import yaml

from autoprune.core.address import PYTHON, DeviceAddress, KnownDevice
from autoprune.errors import StorageError, UsageError, describe
from autoprune.store.files import storing, write_atomic


def devices_file() -> Path:
    return Path(platformdirs.user_config_dir("autoprune")) / "devices.yaml"


class Devices:
    """What is in the file now; it is written whole."""

    def __init__(self, file: Path | None = None) -> None:
        """Raises StorageError where the file is not such a list."""
        self.file = (file or devices_file()).resolve()  # a link to a file elsewhere stays one
        self._known = self._read()

    def _read(self) -> dict[str, KnownDevice]:
        try:
            found = yaml.safe_load(self.file.read_bytes()) if self.file.exists() else {}
            return {str(name): _device(str(name), dict(raw)) for name, raw in (found or {}).items()}
        except (OSError, ValueError, TypeError, AttributeError, KeyError, yaml.YAMLError, UsageError) as error:
            raise StorageError(
                expected=f"named devices in {self.file}", received=describe(error), cure="mend or remove the file"
            ) from error

    def all(self) -> tuple[KnownDevice, ...]:
        return tuple(self._known.values())

    def find(self, name: str) -> KnownDevice | None:
        return self._known.get(name)

    def add(self, device: KnownDevice) -> None:
        """A new one, or another one of that name."""
        with self._changing():
            self._known[device.name] = device

    def remove(self, name: str) -> None:
        """Raises UsageError where there is none."""
        with self._changing():
            if self._known.pop(name, None) is None:
                known = ", ".join(self._known) or "none"
                raise UsageError(expected="a device that was added", received=repr(name), cure=f"known: {known}")

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """What is in the file by now, to be changed; other processes wait."""
        with storing(self.file):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(self.file.with_suffix(".lock")):
                self._known = self._read()
                yield
                listed = {device.name: device.to_json() for device in self.all()}
                write_atomic(self.file, yaml.safe_dump(listed, sort_keys=False).encode())


def _device(name: str, raw: dict[str, Any]) -> KnownDevice:
    wrong = sorted(set(raw) - {"address", "profiler", "threads", "python", "token_file"})
    if wrong:
        raise ValueError(f"unknown {', '.join(map(str, wrong))} of {name}")
    address = replace(
        DeviceAddress.parse(str(raw["address"])),
        python=str(raw.get("python", PYTHON)),
        token_file=str(raw.get("token_file", "")),
    )
    return KnownDevice(name, address, str(raw.get("profiler", "")), raw.get("threads", 0))
