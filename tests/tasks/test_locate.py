import pytest

from autoprune.core.reporter import Silent
from autoprune.errors import TaskError, UsageError
from autoprune.tasks.locate import locate

TASK = """
import numpy as np, torch, autoprune
def task():
    return autoprune.Classification(torch.nn.Linear(4, 3), data=(np.zeros((60, 4)), np.arange(60) % 3), name="mine")
def number(): return 3
def broken(): raise RuntimeError("two\\nlines")
value = 3
"""


def test_a_file_is_found_from_anywhere_and_remembers_its_place(tmp_path):
    folder = tmp_path / "with späces"
    folder.mkdir()
    (folder / "mein modul.py").write_text(TASK)
    made = locate("with späces/mein modul.py:task", Silent())
    assert made.name == "mine"
    assert made.spec == f"{folder / 'mein modul.py'}:task"


def test_a_module_in_the_working_directory_is_found(tmp_path):
    (tmp_path / "my_own_module.py").write_text(TASK)
    assert locate("my_own_module:task", Silent()).spec == "my_own_module:task"


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        ("t.py:nothing", UsageError), ("t.py:value", UsageError), ("t.py:number", TaskError), ("t.py:broken", TaskError),
        ("missing.py:task", UsageError), ("no.such.module:task", UsageError), ("digts", UsageError), ("bad.py:task", TaskError), ("t.py", UsageError),
        ("lacks_something:task", TaskError), ("leaves_at_once:task", TaskError),
    ],
)  # fmt: skip
def test_what_is_not_there_or_no_task_is_said_in_one_line(tmp_path, spec, error):
    (tmp_path / "t.py").write_text(TASK)
    (tmp_path / "bad.py").write_text("import nothing_like_this")
    (tmp_path / "lacks_something.py").write_text("import nothing_like_this")
    (tmp_path / "leaves_at_once.py").write_text("raise SystemExit(3)")
    with pytest.raises(error) as refused:
        locate(spec, Silent())
    assert "\n" not in str(refused.value)


def test_a_near_name_is_suggested():
    with pytest.raises(UsageError, match="t.py:task"):
        locate("t.py", Silent())
    with pytest.raises(UsageError, match="did you mean 'digits'"):
        locate("digts", Silent())
