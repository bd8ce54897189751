"""Every tracker, by the registry, with its library. Slow, as some of these take seconds to be imported."""

import pytest

from autoprune import registry
from autoprune.testing.tracker import TrackerConformance


@pytest.mark.slow
@pytest.mark.parametrize("name", registry.names("trackers"))
class TestEveryTracker(TrackerConformance):
    @pytest.fixture(autouse=True)
    def _named(self, name):
        self.name = name
