"""Templates of qualified names: ``{database}.{schema}.{table}@{cluster}``, ``{DATABASE}/{SCHEMA}/{TABLE}``.

A part of the table in capitals, ``{TABLE}``, stands for that part in capitals; in small letters for what the
warehouse's case makes of it. ``{{`` and ``}}`` are braces.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

from airflow_provider_atlan_meta.core.errors import TerminalError

Case = Literal["upper", "lower", "keep"]
Parts = tuple[str, str, str]
PARTS = ("database", "schema", "table")


class TemplateError(TerminalError):
    """A template that cannot be used; the text says why, and the cure."""


class Naming:
    """A template, ready to be filled.

    :ivar used: which of PARTS it names.
    """

    def __init__(self, template: str, values: Mapping[str, str], case: Case) -> None:
        """:param values: of the placeholders that are no parts.

        :raises TemplateError: unknown placeholders, no ``{table}``, nothing between two parts.
        """
        pieces = list(_pieces(template))
        _check(pieces, values)
        self.used = tuple(sorted({PARTS.index(name.lower()) for _, name in pieces if name.lower() in PARTS}))
        # %-formatting of six texts is faster than str.format with names
        self._format = "".join(_percent(literal, name, values) for literal, name in pieces)
        self._order = tuple(
            PARTS.index(name.lower()) + (3 if name.isupper() else 0)
            for _, name in pieces
            if name.lower() in PARTS
        )
        self._has_capitals = any(number > 2 for number in self._order)
        self._fold: Callable[[str], str] | None = {"upper": str.upper, "lower": str.lower, "keep": None}[case]

    def fold(self, parts: Parts) -> Parts:
        """As the warehouse writes them; folded again they stay as they are."""
        fold = self._fold
        if fold is None:
            return parts
        database, schema, table = parts
        return fold(database), fold(schema), fold(table)

    def render(self, parts: Parts) -> str:
        """:param parts: as ``fold`` has made them."""
        texts = (*parts, *[part.upper() for part in parts]) if self._has_capitals else parts
        return self._format % tuple([texts[number] for number in self._order])


def _pieces(template: str) -> Iterator[tuple[str, str]]:
    """Literal texts, each with the placeholder behind it (empty at the end)."""
    try:
        for literal, name, spec, conversion in string.Formatter().parse(template):
            if spec or conversion:
                raise TemplateError(f"{{{name}}} takes nothing behind its name; write {{{name}}}")
            if name == "":
                raise TemplateError(f"{{}} names nothing; there are: {_braced(PARTS)}")
            yield literal, name or ""
    except ValueError as error:
        raise TemplateError(
            f"a brace without its other one ({error}); a brace itself is {{{{ or }}}}"
        ) from None


def _check(pieces: list[tuple[str, str]], values: Mapping[str, str]) -> None:
    names = [name for _, name in pieces if name]
    for name in names:
        if name.lower() in PARTS and (name.isupper() or name.islower()):
            continue
        if name not in values:
            told = (*PARTS, *map(str.upper, PARTS), *values)
            if name in ("cluster", "epoch"):
                raise TemplateError(f"{{{name}}} has no value; give it beside the naming, {name}: ...")
            raise TemplateError(f"no {{{name[:40]}}}; there are: {_braced(told)}")
    if "table" not in map(str.lower, names):
        raise TemplateError("without {table} every table would have one name")
    lowered = [name.lower() in PARTS for _, name in pieces]
    for number in range(1, len(pieces)):
        if lowered[number - 1] and lowered[number] and not pieces[number][0]:
            raise TemplateError(
                f"nothing stands between {{{pieces[number - 1][1]}}} and {{{pieces[number][1]}}}: "
                "tables of two schemas could get one name"
            )


def _percent(literal: str, name: str, values: Mapping[str, str]) -> str:
    if name.lower() in PARTS:
        return f"{literal.replace('%', '%%')}%s"
    return (literal + values.get(name, "")).replace("%", "%%")


def _braced(names: tuple[str, ...]) -> str:
    return ", ".join(f"{{{name}}}" for name in names)
