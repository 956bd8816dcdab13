"""A pattern as people write it, into leaves: everything that is wrong with it is found at once, with place and cure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from airflow_provider_atlan_meta.core.changes import OPS, after_of, before_of
from airflow_provider_atlan_meta.core.conditions import (
    Path,
    Problems,
    Values,
    is_operator,
    parse_values,
    shown,
)
from airflow_provider_atlan_meta.core.errors import PatternError
from airflow_provider_atlan_meta.core.leaves import (
    AllOf,
    AnyOf,
    ColumnReader,
    Leaf,
    changed_leaf,
    head_leaf,
    row_leaf,
    section_leaf,
    transition_leaf,
)

MAX_LEAVES = 1000
MAX_LEVELS = 12
_MAX_NAME = 256

# Fields of the change itself; every other name at the top of a pattern is a column.
HEAD = ("kind", "op", "tenant_id", "id", "revision", "changed_at")
SECTIONS: Mapping[str, ColumnReader] = {"before": before_of, "after": after_of}
SIDES: Mapping[str, ColumnReader] = {"from": before_of, "to": after_of}
OR = "$or"
CHANGED = "changed"

Columns = Mapping[str, Collection[str]]

_FIELDS = (*HEAD, CHANGED, *SECTIONS, OR)


def parse_pattern(source: Mapping[str, Any], columns: Columns | None = None) -> tuple[AllOf, dict[str, Any]]:
    """The pattern's tree, and its source with every list written out.

    :param columns: the columns of each kind; None: any name may be a column.
    :raises PatternError: with every problem and its place.
    """
    parser = _Parser(columns)
    nodes, written_out = parser.fields(source, (), frozenset(columns or ()))
    if parser.problems:
        raise PatternError(parser.problems)
    return AllOf(nodes), written_out


_Nodes = tuple[Leaf | AnyOf, ...]
_MakeLeaf = Callable[[Path, Sequence[str], Values], Leaf]
_ParseOne = Callable[[Any, Path], tuple[_Nodes, Any]]


class _Parser:
    """Of one pattern. Every method answers nodes and the same written out; what is wrong goes to ``problems``."""

    def __init__(self, columns: Columns | None) -> None:
        self.problems: Problems = []
        self._columns = columns
        self._leaves = 0

    def fields(self, source: Any, path: Path, kinds: frozenset[str]) -> tuple[_Nodes, dict[str, Any]]:
        """:param kinds: the kinds of row this part can meet, as far as ``kind`` above it says."""
        nodes: list[Leaf | AnyOf] = []
        out: dict[str, Any] = {}
        kinds = self._narrowed(source, kinds)
        for name, wanted in self._entries(source, path, "a pattern is a mapping of fields"):
            found, out[name] = self._field(name, wanted, (*path, name), kinds)
            nodes += found
        return tuple(nodes), out

    def _field(self, name: str, wanted: Any, path: Path, kinds: frozenset[str]) -> tuple[_Nodes, Any]:
        if name == OR:
            return self._alternatives(wanted, path, lambda one, place: self.fields(one, place, kinds))
        if name == CHANGED:
            return self._changed(wanted, path, kinds)
        if name in HEAD:
            return self._head(name, wanted, path)
        if name in SECTIONS:
            return self._section(SECTIONS[name], wanted, path, kinds)
        self._check_column(name, path, kinds)
        if isinstance(wanted, dict) and wanted and SIDES.keys() >= wanted.keys():
            return self._transition(name, wanted, path)
        return self._nested(wanted, path, (), lambda at, inner, values: row_leaf(at, name, inner, values))

    # what a field may be

    def _head(self, name: str, wanted: Any, path: Path) -> tuple[_Nodes, Any]:
        leaf = head_leaf(path, name, self._values(wanted, path))
        known = {"op": OPS, "kind": None if self._columns is None else tuple(self._columns)}.get(name)
        strange = sorted(leaf.key.texts.difference(known)) if leaf.key and known else ()
        for word in strange:
            self.problems.append((path, f"no {name} {word[:40]!r}; {_listed(word, known or ())}"))
        return (leaf,), leaf.wanted

    def _changed(self, wanted: Any, path: Path, kinds: frozenset[str]) -> tuple[_Nodes, Any]:
        names = wanted if isinstance(wanted, list) else [wanted]
        if not names or not all(isinstance(name, str) for name in names):
            text = "changed takes the names of columns, as [status, owner]; for their values write a transition: "
            self.problems.append((path, text + "status: {from: [...], to: [...]}"))
            return (), names
        for number, name in enumerate(names):
            self._check_column(name, (*path, number) if names is wanted else path, kinds)
        self._count(path)
        return (changed_leaf(path, names),), list(names)

    def _section(
        self, read: ColumnReader, wanted: Any, path: Path, kinds: frozenset[str]
    ) -> tuple[_Nodes, Any]:
        nodes: list[Leaf | AnyOf] = []
        out: dict[str, Any] = {}
        for column, values in self._entries(wanted, path, f"{path[-1]} is a mapping of columns"):
            self._check_column(column, (*path, column), kinds)
            found, out[column] = self._nested(values, (*path, column), (), _leaf_maker(column, read))
            nodes += found
        return tuple(nodes), out

    def _transition(self, column: str, wanted: dict[str, Any], path: Path) -> tuple[_Nodes, Any]:
        leaves = {
            side: transition_leaf((*path, side), column, SIDES[side], self._values(values, (*path, side)))
            for side, values in wanted.items()
        }
        return tuple(leaves.values()), {side: leaf.wanted for side, leaf in leaves.items()}

    def _nested(self, wanted: Any, path: Path, inner: tuple[str, ...], make: _MakeLeaf) -> tuple[_Nodes, Any]:
        """Values of a column, or of what lies in it."""
        if not isinstance(wanted, dict):
            leaf = make(path, inner, self._values(wanted, path))
            return (leaf,), leaf.wanted
        nodes: list[Leaf | AnyOf] = []
        out: dict[str, Any] = {}
        for name, values in self._entries(wanted, path, "a mapping of what lies in the column"):
            place = (*path, name)
            if name == OR:
                found, out[name] = self._alternatives(
                    values, place, lambda one, at: self._nested(one, at, inner, make)
                )
            elif not inner and (name in SIDES or is_operator(name)):
                self.problems.append((place, _misplaced(name)))
                continue
            else:
                found, out[name] = self._nested(values, place, (*inner, name), make)
            nodes += found
        return tuple(nodes), out

    def _alternatives(self, wanted: Any, path: Path, parse: _ParseOne) -> tuple[_Nodes, Any]:
        if not isinstance(wanted, list) or not wanted:
            self.problems.append((path, f"{OR} takes a list of patterns, one of which has to hold"))
            return (), wanted
        parsed = [parse(one, (*path, number)) for number, one in enumerate(wanted)]
        return (AnyOf(tuple(AllOf(nodes) for nodes, _ in parsed)),), [out for _, out in parsed]

    # checks

    def _entries(self, source: Any, path: Path, what: str) -> Iterator[tuple[str, Any]]:
        if len(path) > MAX_LEVELS:
            self.problems.append((path, f"nested deeper than {MAX_LEVELS} levels"))
        elif not isinstance(source, Mapping):
            self.problems.append((path, f"{what}, not {shown(source)}"))
        elif path and not source:
            self.problems.append((path, f"{what}; an empty one asks nothing, leave it out"))
        else:
            for name, wanted in source.items():
                if isinstance(name, str) and 0 < len(name) <= _MAX_NAME:
                    yield name, wanted
                else:
                    self.problems.append((path, f"{shown(name)} is no name of a field"))

    def _values(self, wanted: Any, path: Path) -> Values:
        self._count(path)
        return parse_values(wanted, path, self.problems)

    def _count(self, path: Path) -> None:
        self._leaves += 1
        if self._leaves == MAX_LEAVES + 1:
            self.problems.append(
                (path, f"more than {MAX_LEAVES} conditions; make several subscriptions of it")
            )

    def _narrowed(self, source: Any, kinds: frozenset[str]) -> frozenset[str]:
        wanted = source.get("kind") if isinstance(source, Mapping) else None
        named = wanted if isinstance(wanted, list) else [wanted]
        known = frozenset(kind for kind in named if isinstance(kind, str) and kind in (self._columns or ()))
        return known if known and len(known) == len(named) else kinds

    def _check_column(self, name: str, path: Path, kinds: frozenset[str]) -> None:
        if self._columns is None:
            return
        known = [column for kind, columns in self._columns.items() if kind in kinds for column in columns]
        if name in known:
            return
        if name == "tenant":
            text = "the tenant stands beside match, not in it; a field of the change is tenant_id"
        else:
            fields = "" if path[0] in SECTIONS or CHANGED in path else f"; other fields: {', '.join(_FIELDS)}"
            text = f"no column {name[:40]!r} in {' and '.join(sorted(kinds))}; {_listed(name, known)}{fields}"
        self.problems.append((path, text))


def _leaf_maker(column: str, read: ColumnReader) -> _MakeLeaf:
    return lambda path, inner, values: section_leaf(path, column, inner, values, read)


def _misplaced(name: str) -> str:
    if name in SIDES:
        return "a transition is {from: [...], to: [...]} of a column at the top, and nothing else"
    return f"an operator stands in a list: [{{{name}: ...}}]"


def _listed(word: str, known: Sequence[str]) -> str:
    near = get_close_matches(word, known, n=1)
    return f"{f'did you mean {near[0]!r}? ' if near else ''}there are: {', '.join(dict.fromkeys(known))}"
