"""YAML that people write and we check: plain values under bounds, and the line of each.

A stricter YAML than most readers take: no anchors, aliases, tags and merge keys, one document, no key twice, and no
word that means something else than it looks like (``no``, ``1:30`` and ``2026-01-01`` are a boolean, a number and a
date to YAML 1.1). Whatever is refused is refused with its line and its cure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from yaml.events import AliasEvent, DocumentStartEvent, Event, NodeEvent
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from airflow_provider_atlan_meta.core.conditions import Path
from airflow_provider_atlan_meta.core.errors import FileError

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_NODES = 100_000

# libyaml where PyYAML was built with it: the same events, many times faster.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,18})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?")
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_READ_AS = {
    "bool": "true or false",
    "int": "a number, of a form that JSON does not have",
    "float": "a number, of a form that JSON does not have",
    "timestamp": "a date",
}
_QUOTES = 'write it in quotes if it is text: "..."'


@dataclass(frozen=True, slots=True)
class YamlDocument:
    """:ivar value: JSON values only.
    :ivar lines: of every key and list item, by its path.
    """

    file: str
    value: Any
    lines: Mapping[Path, int]

    def line(self, path: Path) -> int:
        """Of what lies there, or of the nearest around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def read_yaml(content: bytes, *, file: str) -> YamlDocument:
    """:param file: how errors name it.

    :raises FileError: malformed, out of bounds, or not plain.
    """
    if len(content) > MAX_BYTES:
        raise FileError(file, [(0, f"larger than {MAX_BYTES >> 20} MiB; split it")])
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise FileError(file, [(line, "not UTF-8; save the file as UTF-8")]) from None
    try:
        _check_events(text, file)
        node = yaml.compose(text, _Loader)
    except yaml.YAMLError as error:
        raise FileError(file, [_translated(error, text)]) from None
    builder = _Builder()
    value = None if node is None else builder.value(node, ())
    if builder.problems:
        raise FileError(file, builder.problems)
    return YamlDocument(file, value, builder.lines)


def _check_events(text: str, file: str) -> None:
    """Before anything is built of it: nodes are composed by recursion, events are not."""
    depth = nodes = documents = 0
    for event in yaml.parse(text, _Loader):
        nodes += isinstance(event, NodeEvent)
        documents += isinstance(event, DocumentStartEvent)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        problem = ""
        if isinstance(event, AliasEvent):
            problem = f"an alias *{_cut(event.anchor)}; {_QUOTES}, aliases are not read"
        elif isinstance(event, NodeEvent) and event.anchor is not None:
            problem = f"an anchor &{_cut(event.anchor)}; {_QUOTES}, anchors are not read"
        elif depth > MAX_DEPTH:
            problem = f"nested deeper than {MAX_DEPTH} levels"
        elif nodes > MAX_NODES:
            problem = f"more than {MAX_NODES:,} values; split the file"
        elif documents > 1:
            problem = "a second document (---); a file holds one"
        if problem:
            raise FileError(file, [(_line(event), problem)])


def _translated(error: yaml.YAMLError, text: str) -> tuple[int, str]:
    """PyYAML's own words say what it saw; what it quotes of the file is left out."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        position = getattr(error, "position", 0)
        return text.count("\n", 0, position) + 1, "a character that YAML does not allow"
    context, problem = getattr(error, "context", None), getattr(error, "problem", None)
    said = ", ".join(part for part in (context, problem) if part)
    if context and "alias" in context:
        said = f"a * is an alias to YAML; {_QUOTES}"
    elif any("\t" in line[: mark.column + 1] for line in text.split("\n")[mark.line : mark.line + 1]):
        said = "a tab; YAML is indented with spaces"
    return mark.line + 1, said


def _line(found: Event | Node) -> int:
    return found.start_mark.line + 1 if found.start_mark is not None else 1


class _Builder:
    def __init__(self) -> None:
        self.lines: dict[Path, int] = {}
        self.problems: list[tuple[int, str]] = []

    def value(self, node: Node, path: Path) -> Any:
        self.lines.setdefault(path, _line(node))
        if isinstance(node, MappingNode) and node.tag == f"{_TAG}map":
            return self._mapping(node, path)
        if isinstance(node, SequenceNode) and node.tag == f"{_TAG}seq":
            return [self.value(item, (*path, number)) for number, item in enumerate(node.value)]
        if isinstance(node, ScalarNode):
            return self._scalar(node)
        return self._refuse(node, f"a tag {_short(node.tag)}; tags are not read")

    def _mapping(self, node: MappingNode, path: Path) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node)
            if key is None:
                continue
            if key in made:
                first = self.lines[(*path, key)]
                self._refuse(
                    key_node, f"{_short(key)} stands here for the second time, first on line {first}"
                )
                continue
            self.lines[(*path, key)] = _line(key_node)
            made[key] = self.value(value_node, (*path, key))
        return made

    def _key(self, node: Node) -> str | None:
        if not isinstance(node, ScalarNode):
            self._refuse(node, "a key that is no text")
        elif node.tag == f"{_TAG}merge":
            self._refuse(node, "a merge key <<; write out what it would merge")
        else:
            key = self._scalar(node)
            if isinstance(key, str):
                return key
            self._refuse(node, f"a key {_short(node.value)} that is no text; {_QUOTES}")
        return None

    def _scalar(self, node: ScalarNode) -> Any:
        kind, text = node.tag.removeprefix(_TAG), node.value
        if kind in ("str", "value"):
            return text
        if kind == "null":
            return None
        if kind == "bool" and text in _BOOLEANS:
            return _BOOLEANS[text]
        if kind in ("int", "float") and _NUMBER.fullmatch(text):
            return int(text) if kind == "int" else float(text)
        if kind in _READ_AS:
            # a long one may be a secret in the wrong place
            what = repr(text) if len(text) <= 20 else "this value"
            return self._refuse(node, f"{what} is read as {_READ_AS[kind]}; {_QUOTES}")
        return self._refuse(node, f"a tag {_short(node.tag)}; tags are not read")

    def _refuse(self, node: Node, text: str) -> None:
        self.problems.append((_line(node), text))


def _short(text: str) -> str:
    return repr(_cut(text))


def _cut(text: str | None) -> str:
    text = text or ""
    return text if len(text) <= 40 else f"{text[:40]}..."
