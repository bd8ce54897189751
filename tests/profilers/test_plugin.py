"""A third party's profiler, installed as its users would install it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "examples" / "profiler_plugin"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """An environment in which the example package is installed beside autoprune."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", folder, PACKAGE],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {**os.environ, "PYTHONPATH": str(folder)}


@pytest.mark.slow
def test_it_is_listed_and_measures(installed, command):
    code, out, _ = command("plugins", env=installed)
    assert code == 0
    assert "  torchscript " in out
    code, out, err = command("profile", "digits", "--profiler", "torchscript", env=installed)
    assert code == 0, err
    assert out.splitlines()[1].startswith("latency")


@pytest.mark.slow  # it needs the processor for itself
def test_its_own_work_does_not_count_as_that_of_others(installed, command):
    code, out, err = command("profile", "digits", "--profiler", "torchscript", env=installed)
    assert code == 0, err
    assert "uncertain: other" not in out


@pytest.mark.slow
def test_it_passes_the_conformance_suite(installed, tmp_path):
    (tmp_path / "test_it.py").write_text(
        "from autoprune.testing.profiler import ProfilerConformance\n\n\n"
        "class TestTorchScript(ProfilerConformance):\n    name = 'torchscript'\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tmp_path / "test_it.py"],
        capture_output=True, text=True, env=installed, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
