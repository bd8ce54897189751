"""The command line. Knows options, streams and exit codes; each file beside this one is one command.

Data goes to stdout, messages and progress to stderr. Nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

import signal
import sys
import traceback
from types import FrameType
from typing import Final

import typer
from typer.exceptions import TyperException

from autoprune.cli import (
    agent,
    bundle,
    check,
    devices,
    doctor,
    evaluate,
    export,
    front,
    inspect,
    plugins,
    profile,
    renew,
    report,
    resume,
    runs,
    search,
    watch,
)
from autoprune.cli.console import hush, say
from autoprune.cli.options import GroupedCommand, ListingGroup
from autoprune.errors import (
    AutopruneError,
    InterruptedSearchError,
    StoppedEarlyError,
    Terminated,
    UsageError,
    describe,
    one_line,
)

#: What a machine that only measures need not have.
_SEARCHING: Final = ("torch", "optuna", "ray", "sklearn", "scipy", "safetensors", "matplotlib", "threadpoolctl")


def make_app() -> typer.Typer:
    app = typer.Typer(
        name="autoprune",
        help="Automated pruning of PyTorch models under budgets that are measured on the device.",
        cls=ListingGroup,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(_options)
    for command in (
        search.search,
        resume.resume,
        resume.finetune,
        evaluate.evaluate,
        export.export,
        bundle.bundle,
        check.check,
        renew.renew,
        front.front,
        report.report,
        watch.watch,
        inspect.inspect,
        profile.profile,
        plugins.plugins,
        doctor.doctor,
        agent.agent,
    ):
        app.command(cls=GroupedCommand)(command)
    app.add_typer(devices.devices_app(), name="devices")
    app.add_typer(runs.runs_app(), name="runs")
    return app


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(version("autoprune"))
        raise typer.Exit


def _options(
    version: bool = typer.Option(
        False, "--version", help="Print the version and exit.", is_eager=True, callback=_version
    ),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks; without it every error is one line."),
) -> None:
    del version, debug  # read from the command line by `main`, so that errors in parsing obey it too


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit code."""
    given = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    signal.signal(signal.SIGTERM, _terminate)
    try:
        code = make_app()(given, prog_name="autoprune", standalone_mode=False)
    except BaseException as error:  # the one place where every error becomes its line and its exit code
        if "--debug" in given:
            traceback.print_exc()
        return _explain(error)
    if code == InterruptedSearchError.exit_code:  # typer makes of a Ctrl-C that nobody took a number
        return _explain(KeyboardInterrupt())
    return code if isinstance(code, int) else 0


def _terminate(_number: int, _frame: FrameType | None) -> None:
    # Who asks once more, as `timeout` does of a process and its group, does not mean it otherwise: what was found is
    # written. No SIG_IGN, which children would inherit.
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    raise Terminated


def _explain(error: BaseException) -> int:
    """Say what happened in one line on stderr; the exit code."""
    # Of a reader of stdout that has ended, such as `head`, typer makes an exit.
    cause = error.__context__ if isinstance(error, SystemExit) else error
    if isinstance(cause, BrokenPipeError):
        hush(sys.stdout)
        return 0
    if isinstance(error, SystemExit) and isinstance(error.code, int):  # a shell was told what it asked for
        return error.code
    text, code = _line(error)
    say(f"autoprune: {text}")
    return code


def _line(error: BaseException) -> tuple[str, int]:
    if isinstance(error, AutopruneError):
        return str(error), error.exit_code
    if isinstance(error, TyperException):
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "autoprune"
        message = one_line(getattr(error, "format_message", error.__str__)()).rstrip(".")
        return f"{message}; see `{command} --help`", UsageError.exit_code
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return "interrupted", InterruptedSearchError.exit_code
    if isinstance(error, ModuleNotFoundError) and error.name in _SEARCHING:
        missing = UsageError(
            expected="the libraries of a search", received=str(error), cure="pip install 'autoprune[search]'"
        )
        return str(missing), missing.exit_code
    if isinstance(error, Terminated):
        return "stopped early", StoppedEarlyError.exit_code
    return f"unexpected {describe(error)}; run again with `autoprune --debug` and report it", AutopruneError.exit_code
