"""An NVIDIA card's own counter, of the whole board, by NVML."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any


@dataclass
class NvmlMeter:
    """One card."""

    nvml: Any
    handle: Any

    def read(self) -> float:
        return float(self.nvml.nvmlDeviceGetTotalEnergyConsumption(self.handle)) / 1e3


def create(card: str = "") -> NvmlMeter | None:
    """card: its number or UUID; empty for the first that this process sees."""
    try:
        import pynvml

        pynvml.nvmlInit()
        seen = card or os.environ.get("CUDA_VISIBLE_DEVICES", "").partition(",")[0]
        by_name = seen.startswith("GPU-")
        handle = pynvml.nvmlDeviceGetHandleByUUID(seen) if by_name else None
        return NvmlMeter(pynvml, handle or pynvml.nvmlDeviceGetHandleByIndex(int(seen or 0)))
    except Exception:  # no library, no driver, no card: each with an exception of its own
        return None
