"""Patterns over changes: parsed, compiled to closures, explained leaf by leaf. docs/rules.md tells the language.

Every field of a pattern has to hold. A field is a column of the row (``severity: [SEV-1]``), a field of the change
itself (``kind``, ``op``, ...), ``changed: [columns]``, a transition (``status: {from: [...], to: [...]}``), a section
``before`` or ``after``, or ``$or``.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from airflow_provider_atlan_meta.core.changes import ABSENT, ChangeEvent
from airflow_provider_atlan_meta.core.conditions import shown
from airflow_provider_atlan_meta.core.errors import spelled_path
from airflow_provider_atlan_meta.core.leaves import AllOf, AnyOf, Key, Leaf, LeafTest, Row, Unchanged, row_of
from airflow_provider_atlan_meta.core.pattern_parser import Columns, parse_pattern

Outcome = Literal["match", "no match", "absent"]


@dataclass(frozen=True, slots=True)
class CompiledPattern:
    """:ivar source: with every list written out; equal patterns have equal ones."""

    source: dict[str, Any]
    root: AllOf
    test: LeafTest

    def keys(self) -> Iterator[Key]:
        """What every match has: all of them hold of a change that fits."""
        return (node.key for node in self.root.nodes if isinstance(node, Leaf) and node.key is not None)

    def test_without(self, places: Collection[str]) -> LeafTest | None:
        """The rest, for somebody who has looked up these places already; None: nothing is left to ask."""
        left = tuple(
            node
            for node in self.root.nodes
            if not (isinstance(node, Leaf) and node.key and node.key.decides and node.key.place in places)
        )
        return _test(AllOf(left)) if left else None


class Pattern:
    """A pattern as it was written, compiled at its first use. Equal ones say the same.

    :param source: JSON values only.
    """

    def __init__(self, source: Mapping[str, Any]) -> None:
        self.source: Mapping[str, Any] = source

    @cached_property
    def compiled(self) -> CompiledPattern:
        """:raises PatternError: with every problem and its place."""
        return compile_pattern(self.source)

    def matches(self, change: ChangeEvent) -> bool:
        return self.compiled.test(change, row_of(change)) is True

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Pattern):
            return NotImplemented
        return self.source is other.source or alike(self.compiled.source, other.compiled.source)

    def __hash__(self) -> int:
        return hash(frozenset(self.source))

    def __repr__(self) -> str:
        return f"Pattern({self.source!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return (Pattern, (self.source,))


def alike(one: Any, other: Any) -> bool:
    """Whether two JSON values say the same; Python would take ``1`` for ``True``."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


@dataclass(frozen=True, slots=True)
class LeafExplanation:
    """Why one leaf holds or does not: what it wants and the value that decided, each as JSON text of one line."""

    path: str
    wanted: str
    found: str
    outcome: Outcome

    def __str__(self) -> str:
        return f"{self.path}: found {self.found}, wanted {self.wanted}: {self.outcome}"


def explain(pattern: Pattern, change: ChangeEvent) -> tuple[LeafExplanation, ...]:
    """Every leaf, in the order it was written, decided by itself: by the same closures that route."""
    row = row_of(change)
    return tuple(_explained(leaf, change, row) for leaf in _leaves(pattern.compiled.root))


def _explained(leaf: Leaf, change: ChangeEvent, row: Row) -> LeafExplanation:
    answer, found = leaf.test(change, row), leaf.found(change, row)
    return LeafExplanation(
        path=spelled_path(leaf.path),
        wanted=shown(leaf.wanted),
        found=f"unchanged {_shown(found.value)}" if isinstance(found, Unchanged) else _shown(found),
        outcome="match" if answer else "absent" if answer is None else "no match",
    )


def _shown(value: Any) -> str:
    return "nothing" if value is ABSENT else shown(value)


def _leaves(node: AllOf | AnyOf) -> Iterator[Leaf]:
    for child in node.nodes if isinstance(node, AllOf) else node.alternatives:
        if isinstance(child, Leaf):
            yield child
        else:
            yield from _leaves(child)


# ---- closures ------------------------------------------------------------------------------------------------------


def _always(_: ChangeEvent, __: Row) -> bool:
    return True


def _test(node: Leaf | AnyOf | AllOf) -> LeafTest:
    if isinstance(node, Leaf):
        return node.test
    if isinstance(node, AnyOf):
        return _any_of([_test(one) for one in node.alternatives])
    return _all_of([_test(one) for one in sorted(node.nodes, key=_cost)])


def _cost(node: Leaf | AnyOf) -> int:
    return node.cost if isinstance(node, Leaf) else 100


def _all_of(tests: Sequence[LeafTest]) -> LeafTest:
    """The first that does not hold decides."""
    if not tests:
        return _always
    if len(tests) == 1:
        return tests[0]
    first, second, *more = tests
    if not more:
        return lambda change, row: first(change, row) and second(change, row)

    def all_of(change: ChangeEvent, row: Row) -> bool | None:
        for test in tests:
            answer = test(change, row)
            if not answer:
                return answer
        return True

    return all_of


def _any_of(tests: Sequence[LeafTest]) -> LeafTest:
    def any_of(change: ChangeEvent, row: Row) -> bool | None:
        unknown = False
        for test in tests:
            answer = test(change, row)
            if answer:
                return True
            unknown = unknown or answer is None
        return None if unknown else False

    return any_of


def compile_pattern(source: Mapping[str, Any], *, columns: Columns | None = None) -> CompiledPattern:
    """:param columns: the columns of each kind; given, other names are refused, and unknown kinds.

    :raises PatternError: with every problem and its place.
    """
    root, written_out = parse_pattern(source, columns)
    return CompiledPattern(written_out, root, _test(root))
