"""A device's table of units, filled where it is needed. Knows what is worth measuring; not what it is used for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from autoprune.core.measurement import QUANTISED, Block
from autoprune.cost_model.table import Table
from autoprune.cost_model.units import Unit, taken_apart
from autoprune.errors import DeviceError, StorageError
from autoprune.measure.device import Device
from autoprune.models.decoding import at_work
from autoprune.remote.packing import accepted
from autoprune.surgery.cut_model import CutModel
from autoprune.surgery.modes import evaluating


@dataclass(frozen=True)
class DeviceTable:
    """A device that is open, with what is known of its units from this and earlier runs."""

    device: Device
    table: Table

    @classmethod
    def of(cls, device: Device) -> DeviceTable:
        """The table that the device's folder has."""
        return cls(device, Table.of(device.store))

    def units(self, cut: CutModel) -> list[Unit]:
        """The pieces of work that a model consists of on this device; see `cost_model.units`."""
        device = self.device
        apart = taken_apart(device.capabilities.format)
        if device.capabilities.format == "module":
            model, example = at_work(cut.model, device.example, device.setup.spec.work)
            if model is not cut.model:  # its first run fills a cache, which is no work of the others
                with torch.no_grad(), evaluating(model):
                    example.call(model)
            found: list[Unit] = apart.units(model, example)
            return found
        if (cut.plan.precision or device.setup.spec.precision) == QUANTISED:
            raise DeviceError(
                expected="a graph in float32 to take apart", received=f"one in {QUANTISED}", cure="time whole models"
            )
        return accepted(device.packer.packed(cut), lambda artifact: list(apart.units(artifact.content)))

    def fill(self, units: Iterable[Unit], limit_s: float) -> int:
        """Measure the units that the table lacks, as far as time allows; how many that were."""
        return self.table.measure(self.device.bench, self.table.missing(units), self.device.spec.clock, limit_s)

    def keep(self) -> None:
        """Write the table down for later runs, which can do without."""
        try:
            self.table.keep()
        except StorageError as error:
            self.device.reporter.warn(f"the device's table is not kept: {error}")


def blocks_alone(device: Device, unit: Unit, rounds: int) -> list[Block]:
    """So many blocks of a unit."""
    device.bench.prepare("alone", unit.artifact())
    limits = device.setup.limits
    blocks = device.bench.rounds(["alone"], rounds, limits.block_s, limits.block_runs, device.spec.seed)
    device.bench.release("alone")
    return [block for (block,) in blocks]
