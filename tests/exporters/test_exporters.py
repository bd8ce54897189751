"""Every exporter, by the registry."""

import pytest

from autoprune import registry
from autoprune.testing.exporter import ExporterConformance


@pytest.mark.parametrize("name", registry.names("exporters"), scope="class")
class TestEveryExporter(ExporterConformance):
    @pytest.fixture(autouse=True)
    def _named(self, name):
        self.name = name
