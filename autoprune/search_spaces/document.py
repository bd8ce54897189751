"""YAML as data. Knows size limits and the safe loader; aliases, tags and repeated keys are refused."""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any, Final

import yaml

from autoprune.errors import UsageError, describe

LARGEST: Final = 1 << 20


#: The one of libyaml where PyYAML was built with it, which is ten times faster.
_Safe: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


#: Of YAML 1.1, 2:4 is a number to the base 60: two minutes and four seconds.
_BASE_60: Final = ("tag:yaml.org,2002:str", re.compile(r"[-+]?[0-9_]+(?::[0-5]?[0-9])+(?:\.[0-9_]*)?$"))


class _Plain(_Safe):  # type: ignore[misc]
    """The safe loader, without repeated keys; dates, and numbers to the base 60, are text."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as the base class has it
        first: [_BASE_60] + [(tag, pattern) for tag, pattern in kinds if tag != "tag:yaml.org,2002:timestamp"]
        for first, kinds in _Safe.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.YAMLError(f"the key {key!r} stands twice")
        found: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return found


def read(path: Path) -> Any:
    """The content of a YAML file of at most `LARGEST` bytes.

    Raises:
        UsageError: it is missing, too large, not text, or not plain YAML.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise UsageError(expected=f"a readable file {path}", received=describe(error), cure="check the path") from error
    if len(content) > LARGEST:
        raise UsageError(
            expected=f"at most {LARGEST} bytes in {path}", received="more", cure="keep to what the file is for"
        )
    try:
        return _loaded(content.decode())
    except Exception as error:  # what a tag makes of its text may raise anything
        raise UsageError(expected=f"plain YAML in {path}", received=describe(error), cure="correct the file") from error


def _loaded(text: str) -> Any:
    # A few lines with aliases could unfold to gigabytes.
    if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=_Plain)):
        raise yaml.YAMLError("aliases are not allowed")
    return yaml.load(text, Loader=_Plain)  # noqa: S506 - a subclass of the safe loader
