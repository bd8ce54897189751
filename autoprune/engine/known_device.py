"""Which device a name or an address means. Knows the user's list of devices."""

from __future__ import annotations

import re

from autoprune.core.address import HERE, DeviceAddress, KnownDevice
from autoprune.errors import UsageError
from autoprune.store.devices import Devices


def meant(device: str) -> KnownDevice | None:
    """A device that was added, or one at an address; None for this machine, or a node that only a cluster knows.

    Raises:
        UsageError: an address that is none. StorageError: the list of devices cannot be read.
    """
    if device == HERE:
        return None
    if "://" in device:
        address = DeviceAddress.parse(device)
        return KnownDevice(_named(address.host), address)
    return Devices().find(device)


def _named(host: str) -> str:
    """A name for a device that has none, by its host."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", host).lstrip("._-")[:56]
    return name if name == host and name != HERE else f"device-{name}"


def found(device: str) -> KnownDevice:
    """A device that was added, or one at an address.

    Raises:
        UsageError: nobody knows it.
    """
    known = meant(device)
    if known is None:
        listed = ", ".join(each.name for each in Devices().all()) or "none"
        raise UsageError(
            expected="a device by its address, or one that was added with `autoprune devices add`",
            received=repr(device),
            cure=f"known: {listed}; of this machine `autoprune doctor` tells",
        )
    return known
