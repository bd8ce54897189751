"""Every task with a name, by the registry."""

import pytest

from autoprune import registry
from autoprune.testing.task import TaskConformance


@pytest.mark.parametrize("name", registry.names("tasks"), scope="class")
class TestEveryTask(TaskConformance):
    @pytest.fixture(autouse=True)
    def _named(self, name):
        self.name = name
