"""Every meter, by the registry."""

import pytest

from autoprune import registry
from autoprune.testing.meter import MeterConformance


@pytest.mark.parametrize("name", registry.names("meters"))
class TestEveryMeter(MeterConformance):
    @pytest.fixture(autouse=True)
    def _named(self, name):
        self.name = name
