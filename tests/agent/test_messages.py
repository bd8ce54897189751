from dataclasses import asdict

import pytest

from autoprune.agent.messages import Spec
from autoprune.core.measurement import PRECISIONS, WORKS, RunSpec


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("work", WORKS)
def test_however_a_model_is_run_an_agent_understands_it(work, precision):
    spec = RunSpec(threads=2, batch=4, precision=precision, work=work)
    assert Spec(**asdict(spec)).model_dump() == asdict(spec)
