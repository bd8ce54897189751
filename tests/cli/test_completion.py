"""What shells are told while somebody types."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def completed(monkeypatch, told):
    """What bash would offer for the last word of a line."""

    def offered(line):
        monkeypatch.setenv("_AUTOPRUNE_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(line.count(" ")))
        code, out, err = told()
        assert (code, err) == (0, "")
        return out.split()

    return offered


@pytest.fixture
def _runs():
    for name in ("runs/digits-1", "runs/digits-2", "elsewhere/a"):
        Path(name).mkdir(parents=True)
        Path(name, "run.yaml").write_text("")
    Path("runs/no-run").mkdir()


@pytest.mark.usefixtures("_runs")
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("autoprune sea", ["search"]),
        ("autoprune search --sampler nsga", ["nsga2", "nsga3"]),
        ("autoprune search --track tensorboard,ml", ["tensorboard,mlflow"]),
        ("autoprune search --finetune-pa", ["--finetune-patience"]),
        ("autoprune resume ", ["runs/digits-1", "runs/digits-2"]),
        ("autoprune report elsewhere/", ["elsewhere/a"]),
    ],
)
def test_commands_options_names_and_runs_are_offered(completed, line, offered):
    assert completed(line) == offered


def test_bash_completes_with_the_script_that_it_is_given(tmp_path):
    """A shell of its own, from the script to the word."""
    command = tmp_path / "bin" / "autoprune"
    command.parent.mkdir()
    command.write_text(
        f'#!/bin/sh\nexec {sys.executable} -c \'import sys; sys.argv[0] = "autoprune"; '
        f'from autoprune.cli import main; sys.exit(main())\' "$@"\n'
    )
    command.chmod(0o755)
    script = """
        eval "$(_AUTOPRUNE_COMPLETE=source_bash autoprune)"
        COMP_WORDS=(autoprune search --sampler nsga) COMP_CWORD=3
        "$(complete -p autoprune | sed 's/.*-F \\([^ ]*\\).*/\\1/')" autoprune
        echo "${COMPREPLY[@]}"
    """
    path = {**os.environ, "PATH": f"{command.parent}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=path, check=False)
    assert (done.stdout.split(), done.stderr) == (["nsga2", "nsga3"], "")
