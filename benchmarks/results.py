"""Rows of a run, their gates, the file they are kept in and the tables people read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

Row = dict[str, Any]
Verdict = Literal["pass", "near", "miss", "reported"]

FOLDER = Path(__file__).parent / "results"
LATEST = FOLDER / "latest.json"
PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
FIELDS = ("id", "name", "ours", "peer", "unit", "ratio", "target", "pass")
# Missed by no more than this, a gate is "near": reported, not failed.
_TOLERANCE = 0.15


def row(
    id: str,
    name: str,
    *,
    ours: float,
    peer: float | None,
    unit: str,
    ratio: float,
    target: float | None = None,
    at_most: bool = False,
    **details: Any,
) -> Row:
    """One line of the result.

    :param ratio: what the gate looks at; for a comparison above 1 when ours is better.
    :param target: None: reported without a gate.
    :param at_most: the ratio must not exceed the target; else it must reach it.
    """
    made: Row = {
        "id": id,
        "name": name,
        "ours": _rounded(ours),
        "peer": None if peer is None else _rounded(peer),
        "unit": unit,
        "ratio": _rounded(ratio),
        "target": target,
        "pass": None,
        "at_most": at_most,
        **{key: _rounded(value) if isinstance(value, float) else value for key, value in details.items()},
    }
    if target is not None:
        made["pass"] = verdict({**made, "ratio": ratio}) == "pass"
    return made


def verdict(row: Mapping[str, Any]) -> Verdict:
    target, ratio = row["target"], row["ratio"]
    if target is None:
        return "reported"
    # how far the gate is reached, 1 or more is all the way
    if row.get("at_most"):
        reached = 1.0 if ratio <= target else target / ratio
        near = ratio <= target * (1 + _TOLERANCE)
    else:
        reached = ratio / target
        near = reached >= 1 - _TOLERANCE
    # a row that was rounded up to its target is still no pass
    if reached >= 1 and row.get("pass") is not False:
        return "pass"
    return "near" if near else "miss"


def missed(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Names of the gates that are missed by more than the tolerance."""
    return [f"{row['id']} {row['name']}" for row in rows if verdict(row) == "miss"]


def save(rows: Iterable[Row], path: Path = LATEST) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(list(rows), indent=2) + "\n")


def load(path: Path = LATEST) -> list[Row]:
    rows: list[Row] = json.loads(path.read_text())
    return rows


def merged(earlier: Iterable[Row], rows: Iterable[Row]) -> list[Row]:
    """The rows of benchmarks that did not run this time stay as they were measured."""
    fresh = list(rows)
    again = {row["id"] for row in fresh}
    return sorted([*(row for row in earlier if row["id"] not in again), *fresh], key=_place)


def _place(row: Mapping[str, Any]) -> tuple[int, str]:
    digits = "".join(character for character in row["id"] if character.isdigit())
    return int(digits or 0), row["id"]


def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """A row as people read it: id, name, ours, peer, unit, ratio, gate, verdict."""
    target = row["target"]
    gate = "" if target is None else f"{'≤' if row.get('at_most') else '≥'} {shown(target)}"
    peer = "" if row["peer"] is None else shown(row["peer"])
    return (
        row["id"],
        row["name"],
        shown(row["ours"]),
        peer,
        row["unit"],
        shown(row["ratio"]),
        gate,
        verdict(row),
    )


_TITLES = ("", "measured / peer", "ours", "peer", "unit", "ratio", "gate", "")
_PART = re.compile(r"(<!-- measured -->\n).*?(<!-- end -->)", re.DOTALL)


def page(text: str, rows: Iterable[Mapping[str, Any]]) -> str:
    """The documentation's page with its table made anew from the rows."""
    lines = [_TITLES, ("---",) * len(_TITLES), *map(cells, rows)]
    table = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    return _PART.sub(lambda part: f"{part[1]}\n{table}\n\n{part[2]}", text)


def shown(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"


def _rounded(value: float) -> float:
    return round(value, 4 if abs(value) < 10 else 2)
