"""How verbs speak: results on stdout (``--json``: exactly one document), everything else on stderr."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any


def add_json_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json", action="store_true", help="print one JSON document on stdout, logs on stderr"
    )


def emit(document: Any, *, as_json: bool, text: str) -> None:
    """The verb's result: the JSON document, or the text meant for people."""
    print(json.dumps(document, default=str) if as_json else text)


def owner_lines(owned_by: Mapping[int, str]) -> list[str]:
    """Who else works on which partitions, an owner a line."""
    return [
        f"owned by {owner}: partitions {sorted(p for p, label in owned_by.items() if label == owner)}"
        for owner in sorted(set(owned_by.values()))
    ]


def fail(error: BaseException, code: int, *, as_json: bool) -> int:
    """Says what happened and returns the exit code."""
    if as_json:
        document: Mapping[str, object] = {"error": type(error).__name__, "message": str(error)}
        print(json.dumps(document))
    print(f"atlan-meta: {error}", file=sys.stderr)
    return code


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of texts as columns; the first one is usually their titles."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = (zip(row, widths, strict=True) for row in rows)
    return "\n".join("  ".join(f"{text:{width}}" for text, width in row).rstrip() for row in padded)


def spelled_time(moment: datetime | None) -> str:
    """In UTC, to the second."""
    return "-" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"
