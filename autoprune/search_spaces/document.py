"""YAML as data. Knows size limits and the safe loader; aliases, tags and repeated keys are refused."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any, Final

import yaml

from autoprune.errors import UsageError, describe

LARGEST: Final = 1 << 20


class _Plain(yaml.SafeLoader):
    """The safe loader, without aliases (a few lines could otherwise unfold to gigabytes) and repeated keys; dates are
    text."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as the base class has it
        first: [(tag, pattern) for tag, pattern in kinds if tag != "tag:yaml.org,2002:timestamp"]
        for first, kinds in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not allowed")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.YAMLError(f"the key {key!r} stands twice")
        return super().construct_mapping(node, deep)


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
        return yaml.load(content.decode(), Loader=_Plain)  # noqa: S506 - a subclass of SafeLoader
    except Exception as error:  # what a tag makes of its text may raise anything
        raise UsageError(expected=f"plain YAML in {path}", received=describe(error), cure="correct the file") from error
