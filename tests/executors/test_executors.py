"""Every executor, by the registry: the one in this process always, those on a cluster of their own as slow ones."""

import pytest

from autoprune import registry
from autoprune.testing.executor import ExecutorConformance

NAMES = [pytest.param(name, marks=() if name == "inline" else pytest.mark.slow) for name in registry.names("executors")]


@pytest.mark.parametrize("name", NAMES, scope="class")
class TestEveryExecutor(ExecutorConformance):
    @pytest.fixture(autouse=True)
    def _named(self, name):
        self.name = name
