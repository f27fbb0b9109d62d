"""YAML with places: reads a document as nodes, so that every complaint can say in which line and column.

Only plain data is read. Anchors, aliases and `<<` merges work; tags and keys that stand twice are refused.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from penstock.errors import PipelineFileError, did_you_mean

if TYPE_CHECKING:
    from yaml.nodes import MappingNode, Node

__all__ = ["Document", "Entry"]

_STR = "tag:yaml.org,2002:str"
_NULL = "tag:yaml.org,2002:null"
_MERGE = "tag:yaml.org,2002:merge"
_PLAIN = {
    _STR,
    _NULL,
    _MERGE,
    *(f"tag:yaml.org,2002:{kind}" for kind in ("bool", "int", "float", "timestamp", "value")),
}
# The parser in C, where PyYAML was built with it, is about ten times as fast; the nodes are the same.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Entry(NamedTuple):
    """One key of a mapping and its value, as nodes."""

    key: Node
    value: Node


class Document:
    """One YAML document.

    Args:
        text: the whole file.
        path: the file as the user named it, for messages.

    Raises:
        PipelineFileError: it does not parse, or is empty.
    """

    def __init__(self, text: str, path: str) -> None:
        self.path = path
        try:
            self._loader = _LOADER(text)
            root = self._loader.get_single_node()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            parts = [part for part in (error.context, error.problem) if part]
            place = (None, None) if mark is None else (mark.line + 1, mark.column + 1)
            raise PipelineFileError(f"{', '.join(parts)}.", path, *place) from None
        except yaml.YAMLError as error:  # a character that YAML does not allow
            raise PipelineFileError(f"{str(error).splitlines()[0]}.", path) from None
        if root is None:
            raise PipelineFileError("it is empty; write at least `tasks:` with one task.", path)
        self.root: Node = root

    def error(self, node: Node, problem: str) -> PipelineFileError:
        """Return the error for a problem with `node`."""
        mark = node.start_mark
        return PipelineFileError(problem, self.path, mark.line + 1, mark.column + 1)

    def mapping(self, node: Node, what: str, allowed: Collection[str] | None = None) -> dict[str, Entry]:
        """Return the entries of a mapping by key, in order.

        Args:
            node: the node.
            what: names it in messages.
            allowed: the keys that it may have; None for any.

        Raises:
            PipelineFileError: it is no mapping, a key is no text, stands twice, or is not allowed.
        """
        if not isinstance(node, yaml.MappingNode):
            raise self.error(node, f"{what} is {_kind(node)}; allowed is a mapping (`key: value`).")
        self._refuse_repeated(node, what)
        try:
            self._loader.flatten_mapping(node)
        except yaml.MarkedYAMLError as error:
            raise self.error(node, f"{what}: {error.problem}.") from None
        entries = {}
        for key_node, value_node in node.value:
            key = self.text(key_node, f"a key of {what}")
            if allowed is not None and key not in allowed:
                hint = did_you_mean(key, allowed) or f" The keys are {', '.join(allowed)}."
                raise self.error(key_node, f"{what} has the unknown key {key!r}.{hint}")
            entries[key] = Entry(key_node, value_node)
        return entries

    def items(self, node: Node, what: str) -> list[Node]:
        """Return the items of a list.

        Raises:
            PipelineFileError: it is no list.
        """
        if not isinstance(node, yaml.SequenceNode):
            raise self.error(node, f"{what} is {_kind(node)}; allowed is a list.")
        return list(node.value)

    def text(self, node: Node, what: str) -> str:
        """Return the text of a scalar as it stands in the file: `1`, `1.0`, `yes` and `on` are text too.

        Raises:
            PipelineFileError: it is a list, a mapping, or nothing.
        """
        if not isinstance(node, yaml.ScalarNode):
            raise self.error(node, f"{what} is {_kind(node)}; allowed is text.")
        if node.tag == _NULL:
            raise self.error(node, f"{what} is empty; write '' for empty text.")
        self._refuse_tag(node, what)
        return str(node.value)

    def value(self, node: Node, what: str) -> str | int | float | bool | None:
        """Return the value of a scalar: a number, text, true or false, or None for nothing.

        Raises:
            PipelineFileError: it is a list or a mapping, or YAML would read it as something that nobody means.
        """
        if not isinstance(node, yaml.ScalarNode):
            raise self.error(node, f"{what} is {_kind(node)}; allowed is one value.")
        self._refuse_tag(node, what)
        if ":" in node.value and node.tag != _STR:  # 1:30 is 90 to YAML 1.1
            raise self.error(node, f"{what} is {node.value}, which YAML does not read as text; put it in quotes.")
        try:
            value = self._loader.construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            raise self.error(node, f"{what} is {node.value!r}, which is not understood: {error}.") from None
        return value if isinstance(value, (str, int, float, bool, type(None))) else str(node.value)

    def _refuse_tag(self, node: Node, what: str) -> None:
        if node.tag not in _PLAIN:
            raise self.error(node, f"{what} has the tag {node.tag}; tags are not allowed here.")

    def _refuse_repeated(self, node: MappingNode, what: str) -> None:
        seen: dict[str, Node] = {}
        for key_node, _ in node.value:
            key = getattr(key_node, "value", None)
            if not isinstance(key, str) or key_node.tag == _MERGE:
                continue
            if key in seen:
                first = seen[key].start_mark.line + 1
                raise self.error(key_node, f"{what} has the key {key!r} twice; the first is in line {first}.")
            seen[key] = key_node


def _kind(node: Node) -> str:
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    return "empty" if node.tag == _NULL else repr(node.value)
