import json

import pytest

from autoprune.api.sensitivity import sensitivity
from autoprune.errors import UsageError
from autoprune.report.sensitivity import sensitivity_picture, sensitivity_table


def test_every_group_is_cut_alone_and_shown(small_task):
    found = sensitivity(small_task, levels=1)
    names = [level.group for level in found.levels]
    assert len(names) == len(set(names)) >= 2
    assert all(0 < level.share < 1 and not level.error for level in found.levels)
    assert all({"accuracy", "loss", "latency.relative", "params"} <= set(level.measured) for level in found.levels)
    dense = found.dense["params"].value
    assert all(level.measured["params"].value < dense for level in found.levels)
    lines = sensitivity_table(found).splitlines()
    assert lines[0].split() == ["group", "kind", "kept", "of", "accuracy", "loss", "latency", "saved"]
    assert [line.split()[0] for line in lines[2:]] == names
    assert sensitivity_picture(found).startswith(b"\x89PNG")
    assert json.loads(json.dumps(found.to_json()))["levels"][0]["group"] == names[0]


def test_no_levels_are_refused(small_task):
    with pytest.raises(UsageError, match="at least one level"):
        sensitivity(small_task, levels=0)
