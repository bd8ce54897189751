"""Starting must be quick: heavy libraries load when a command needs them."""

import subprocess
import sys

import pytest

CODE = """
import sys
{action}
heavy = {{name.partition(".")[0] for name in sys.modules}} & {{"torch", "ray", "optuna", "numpy", "sklearn", "matplotlib"}}
print(sorted(heavy))
"""


@pytest.mark.parametrize(
    "action",
    [
        "import autoprune",
        "import autoprune; autoprune.Budget.parse('latency=5ms')",
        "from autoprune.cli import main; assert main(['--help']) == 0",
        "from autoprune.cli import main; assert main(['search', '--help']) == 0",
        "from autoprune.cli import main; assert main(['plugins']) == 0",
        "from autoprune.cli import main; assert main(['search', '--budget', 'latency=5mss']) == 2",
    ],
)
def test_nothing_heavy_is_imported(action):
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(action=action)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_every_public_name_exists_whatever_was_imported_before():
    import pkgutil

    import autoprune

    rooms = {module.name for module in pkgutil.iter_modules(autoprune.__path__)}
    assert not rooms & set(autoprune.__all__)

    assert all(getattr(autoprune, name) is not None for name in autoprune.__all__)
    with pytest.raises(AttributeError):
        autoprune.nothing  # noqa: B018
