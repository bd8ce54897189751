"""Which machine this is, and which of its processes this one sees. Knows names of the kernel, or that it has none."""

from __future__ import annotations

from pathlib import Path


def boot() -> str:
    """The boot that this machine is in: it tells machines apart that share a home, and clocks begin with it."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def namespace() -> str:
    """Where process numbers mean the same as here: containers of one machine may share folders and not these."""
    try:
        return str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        return ""
