"""Options of a command, made of the record that says what they are. Knows typer; not what options lead to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING
from inspect import Parameter, Signature, signature
from typing import Annotated, Any, Final, get_args, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

from autoprune.cli.completion import plugins, spaces
from autoprune.errors import UsageError
from autoprune.options.described import described
from autoprune.options.option import Option
from autoprune.options.search_options import SearchOptions
from autoprune.registry import first_sentence

#: The last sections of a command's help: what it prints, and what is left over.
OUTPUT, _OTHERS = "Output", "Options"
#: Of the commands that search.
Live = Annotated[
    bool,
    typer.Option("--live", help="On a terminal: the front and all progress as one picture.", rich_help_panel=OUTPUT),
]
#: What shells offer for options that take no plug-in's name.
_OFFERED: Final = {"space": spaces}


class GroupedCommand(TyperCommand):
    """A command whose help lists its options under headings."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments, and then one section a panel."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                panel = getattr(parameter, "rich_help_panel", None)
                usual = "Arguments" if parameter.param_type_name == "argument" else _OTHERS
                sections.setdefault(panel or usual, []).append(record)
        ends = {name: sections.pop(name) for name in (OUTPUT, _OTHERS) if name in sections}
        for name, rows in (sections | ends).items():
            with formatter.section(name):
                formatter.write_dl(rows)


class ListingGroup(TyperGroup):
    """A command of commands, whose help says of each in a whole sentence what it does."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write a row a command; what is longer than a line goes on below."""
        rows = [(name, f"{first_sentence(command.help or '')}.") for name, command in self.commands.items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def group_of_commands(about: str) -> typer.Typer:
    """A command that only has commands below it; alone, it shows its help, as `autoprune` does."""
    app = typer.Typer(help=about, cls=ListingGroup, rich_markup_mode=None)

    @app.callback(invoke_without_command=True)
    def alone(context: typer.Context) -> None:
        if context.invoked_subcommand is None:
            typer.echo(context.get_help())

    return app


def with_options(
    function: Callable[..., int],
    *,
    names: tuple[str, ...] = (),
    as_begun: bool = False,
) -> Callable[..., int]:
    """The command, which takes options by name beside its own arguments.

    Args:
        function: Takes them as `**options`.
        names: Of the options; all where none is given.
        as_begun: Whether an option that is not given is None, and the run has it.
    """
    own = [each for each in signature(function, eval_str=True).parameters.values() if each.kind.name != "VAR_KEYWORD"]
    hints = get_type_hints(SearchOptions)
    taken = []
    for item, option in described():
        if not names or item.name in names:
            kind = option.shell or hints[item.name]
            default = None if as_begun or item.default is MISSING else item.default
            if default is None and type(None) not in get_args(kind):
                kind = kind | None
            annotation: Any = Annotated[kind, _shown(item.name, option, option.resumed if as_begun else "")]
            taken.append(Parameter(item.name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation))
    own = [each.replace(kind=Parameter.KEYWORD_ONLY) for each in own]
    parameters = sorted([*own, *taken], key=_place)

    def command(**given: Any) -> int:
        return function(**given)

    command.__name__, command.__doc__ = function.__name__, function.__doc__
    command.__signature__ = Signature(parameters, return_annotation=int)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    return command


def parsed(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as the command line gave them, as the record takes them."""
    found = dict(options)
    for name in ("sampler_options", "schedule_options", "regularizer_options"):
        if found.get(name) is not None:
            pairs = (pair(text, name) for text in found[name])
            found[name] = {key.replace("-", "_"): value for key, value in pairs}
    return found


def _shown(name: str, option: Option, instead: str) -> Any:
    flag = "--" + (option.flag or name.replace("_", "-"))
    offer = plugins(option.plugins, several=option.several) if option.plugins else _OFFERED.get(name)
    return typer.Option(flag, help=instead or option.help, rich_help_panel=option.panel, autocompletion=offer)


def _place(parameter: Parameter) -> int:
    """Arguments first."""
    extra = getattr(parameter.annotation, "__metadata__", ())
    return 0 if any(isinstance(each, typer.models.ArgumentInfo) for each in extra) else 1


def pair(text: str, option: str) -> tuple[str, str]:
    """`NAME=VALUE` as the command line gave it. option: the name of its field.

    Raises:
        UsageError: one of the two is missing.
    """
    name, sign, value = text.partition("=")
    if not (name and sign and value):
        raise UsageError(
            expected=f"--{option.removesuffix('s').replace('_', '-')} NAME=VALUE",
            received=repr(text),
            cure="write for example warm=true",
        )
    return name, value
