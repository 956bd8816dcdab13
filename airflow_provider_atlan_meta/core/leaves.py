"""The conditions of a pattern on the fields of a change: each a closure that decides, and what it looked at.

A leaf answers True, False, or None where what it asks about is not there or cannot be known: no match either, but one
a caller may count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final, Literal

from airflow_provider_atlan_meta.core.changes import (
    ABSENT,
    ChangeEvent,
    after_of,
    changed_columns,
    is_changed,
)
from airflow_provider_atlan_meta.core.conditions import Path, Values, Where

Row = Mapping[str, Any]
LeafTest = Callable[[ChangeEvent, Row], bool | None]
Found = Callable[[ChangeEvent, Row], Any]
ColumnReader = Callable[[ChangeEvent, str], Any]

# The row of a change that carries none: nothing is known of it, not even that a column is missing.
NO_ROW: Final[Row] = MappingProxyType({})

# What a leaf costs, roughly: cheap ones decide first.
_LOOKUP, _CHANGED, _TRANSITION, _OPERATORS = range(4)


@dataclass(frozen=True, slots=True)
class Key:
    """What a leaf needs at least, for an index to look up.

    :ivar place: ``kind``, ``op``, or ``row.<column>``: what has to hold one of ``texts``.
    :ivar where: how it has to hold it; ``is``: nothing but it.
    :ivar decides: whether that is all the leaf asks.
    """

    place: str
    texts: frozenset[str]
    where: Where | Literal["is"] = "is"
    decides: bool = False


@dataclass(frozen=True, slots=True)
class Leaf:
    """:ivar found: what the test looks at, for people."""

    path: Path
    wanted: Any
    test: LeafTest
    found: Found
    cost: int
    key: Key | None = None


@dataclass(frozen=True, slots=True)
class Unchanged:
    """What a transition finds in a column that did not change."""

    value: Any


@dataclass(frozen=True, slots=True)
class AnyOf:
    alternatives: tuple[AllOf, ...]


@dataclass(frozen=True, slots=True)
class AllOf:
    nodes: tuple[Leaf | AnyOf, ...]


def row_of(change: ChangeEvent) -> Row:
    """The columns that leaves of the row look at: as they are, or of a deleted row as they last were."""
    row = change.row
    return NO_ROW if row is None else row


def head_leaf(path: Path, name: str, values: Values) -> Leaf:
    """A field of the change itself, such as ``kind``; all of them are always there."""
    accepts, read = values.accepts, attrgetter(name)
    return Leaf(
        path,
        values.source,
        lambda change, _: accepts(read(change)),
        lambda change, _: read(change),
        _OPERATORS,
        None if values.strings is None else Key(name, values.strings, decides=True),
    )


def row_leaf(path: Path, column: str, inner: Sequence[str], values: Values) -> Leaf:
    """A column of the row, or what lies at ``inner`` in it."""
    find = _found_in_row(column, inner)
    if inner or values.accepts_absent:
        return Leaf(path, values.source, _any_value(find, values), find, _OPERATORS)
    key = _column_key(column, values, decides=True)
    if values.strings is None:
        return Leaf(path, values.source, _value_of(column, values), find, _OPERATORS, key)
    return Leaf(path, values.source, _text_of(column, values.strings), find, _LOOKUP, key)


def section_leaf(path: Path, column: str, inner: Sequence[str], values: Values, read: ColumnReader) -> Leaf:
    """The same of a row as it was (``before_of``) or is (``after_of``)."""
    accepts, fits_absent = values.accepts, values.accepts_absent

    def find(change: ChangeEvent, _: Row) -> Any:
        return value_at(read(change, column), inner)

    def test(change: ChangeEvent, _: Row) -> bool | None:
        whole = read(change, column)
        value = value_at(whole, inner)
        if value is not ABSENT:
            return accepts(value)
        return True if fits_absent and whole is not ABSENT else None

    return Leaf(path, values.source, test, find, _OPERATORS)


def transition_leaf(path: Path, column: str, read: ColumnReader, values: Values) -> Leaf:
    """One side of a transition: the column changed, and ``read`` finds what is wanted."""
    accepts = values.accepts

    def test(change: ChangeEvent, _: Row) -> bool | None:
        moved = is_changed(change, column)
        if not moved:
            return moved
        value = read(change, column)
        return None if value is ABSENT else accepts(value)

    def find(change: ChangeEvent, _: Row) -> Any:
        value = read(change, column)
        return Unchanged(value) if is_changed(change, column) is False else value

    # what a row became is what the row of the change holds; a deleted one became null, which is no text
    key = _column_key(column, values, decides=False) if read is after_of else None
    return Leaf(path, values.source, test, find, _TRANSITION, key)


def changed_leaf(path: Path, columns: Sequence[str]) -> Leaf:
    """At least one of the columns changed."""

    def test(change: ChangeEvent, _: Row) -> bool | None:
        unknown = False
        for column in columns:
            moved = is_changed(change, column)
            if moved:
                return True
            unknown = unknown or moved is None
        return None if unknown else False

    def find(change: ChangeEvent, _: Row) -> Any:
        changed = changed_columns(change)
        return ABSENT if changed is None else list(changed)

    return Leaf(path, list(columns), test, find, _CHANGED)


def _column_key(column: str, values: Values, *, decides: bool) -> Key | None:
    place = f"row.{column}"
    if values.strings is not None:
        return Key(place, values.strings, decides=decides)
    part = values.part
    if part is None:
        return None
    return Key(place, frozenset([part.text]), part.where, decides=decides and part.decides)


def value_at(value: Any, inner: Sequence[str]) -> Any:
    """What lies at a path of keys; of an array, what lies there in its objects, put together."""
    for step in inner:
        if type(value) is dict:
            value = value.get(step, ABSENT)
        elif type(value) is list:
            value = _gathered(value, step)
        else:
            return ABSENT
    return value


def _gathered(elements: list[Any], step: str) -> Any:
    gathered: list[Any] = []
    for element in elements:
        if type(element) is dict and step in element:
            found = element[step]
            gathered.extend(found) if type(found) is list else gathered.append(found)
    return gathered or ABSENT


def _found_in_row(column: str, inner: Sequence[str]) -> Found:
    if not inner:
        return lambda _, row: row.get(column, ABSENT)
    return lambda _, row: value_at(row.get(column, ABSENT), inner)


# What most patterns are made of has closures of its own: this runs for every rule an index leaves over.


def _any_value(find: Found, values: Values) -> LeafTest:
    accepts, fits_absent = values.accepts, values.accepts_absent

    def test(change: ChangeEvent, row: Row) -> bool | None:
        value = find(change, row)
        if value is not ABSENT:
            return accepts(value)
        return True if fits_absent and row is not NO_ROW else None

    return test


def _value_of(column: str, values: Values) -> LeafTest:
    accepts, accepts_one = values.accepts, values.accepts_one

    def test(_: ChangeEvent, row: Row) -> bool | None:
        value = row.get(column, ABSENT)
        if type(value) is list:
            return accepts(value)
        return None if value is ABSENT else accepts_one(value)

    return test


def _text_of(column: str, texts: frozenset[str]) -> LeafTest:
    def test(_: ChangeEvent, row: Row) -> bool | None:
        value = row.get(column, ABSENT)
        if type(value) is str:
            return value in texts
        if value is ABSENT:
            return None
        return type(value) is list and any(type(one) is str and one in texts for one in value)

    return test
