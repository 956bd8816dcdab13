"""The pattern language once more, slow and by definition: on plain JSON, without closures, index or short cuts.

It shares nothing with the product: whole rows before and after are rebuilt first, wildcards become regular expressions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

HEAD = ("kind", "op", "tenant_id", "id", "revision", "changed_at")
MISSING = object()
Row = dict[str, Any]


def matches(pattern: Mapping[str, Any], change: Mapping[str, Any]) -> bool:
    """:param change: the message as JSON says it."""
    return all(_field(name, wanted, change) for name, wanted in pattern.items())


def heard_by(
    subscriptions: list[tuple[str, str, Mapping[str, Any], bool]], change: Mapping[str, Any]
) -> list[str]:
    """:param subscriptions: name, tenant, pattern, enabled."""
    return [
        name
        for name, tenant, pattern, enabled in subscriptions
        if enabled and tenant in ("*", change["tenant_id"]) and matches(pattern, change)
    ]


def _field(name: str, wanted: Any, change: Mapping[str, Any]) -> bool:
    before, after, changed = _before(change), _after(change), _changed(change)
    if name == "$or":
        return any(matches(one, change) for one in wanted)
    if name == "changed":
        return any(column in (changed or ()) for column in _list(wanted))
    if name in HEAD:
        return _value(wanted, change[name])
    if name in ("before", "after"):
        row = before if name == "before" else after
        return row is not None and all(
            column in row and _within(inner, row[column]) for column, inner in wanted.items()
        )
    if isinstance(wanted, dict) and wanted and set(wanted) <= {"from", "to"}:
        if changed is None or name not in changed:
            return False
        sides = {"from": before, "to": after}
        return all(
            row is not None and name in row and _value(wanted[side], row[name])
            for side, row in sides.items()
            if side in wanted
        )
    row = before if change["op"] == "deleted" else after
    return row is not None and _within(wanted, row.get(name, MISSING))


def _after(change: Mapping[str, Any]) -> Row | None:
    if change["op"] == "deleted":
        return None if change.get("before") is None else dict.fromkeys(change["before"])
    return change.get("after")


def _before(change: Mapping[str, Any]) -> Row | None:
    told, after = change.get("before"), change.get("after")
    if change["op"] == "deleted":
        return told
    if after is None:
        return told
    if change["op"] == "created":
        return dict.fromkeys(after) | (told or {})
    if change.get("changed") is None:
        return told
    same = {column: value for column, value in after.items() if column not in change["changed"]}
    return same | (told or {})


def _changed(change: Mapping[str, Any]) -> set[str] | None:
    if change.get("changed") is not None:
        return set(change["changed"])
    if change["op"] == "updated":
        return None
    row = change.get("after") if change["op"] == "created" else change.get("before")
    return None if row is None else {column for column, value in row.items() if value is not None}


def _within(wanted: Any, value: Any) -> bool:
    if not isinstance(wanted, dict):
        return _value(wanted, value)
    for key, inner in wanted.items():
        if key == "$or":
            if not any(_within(one, value) for one in inner):
                return False
        elif not _within(inner, _step(value, key)):
            return False
    return True


def _step(value: Any, key: str) -> Any:
    if isinstance(value, dict):
        return value.get(key, MISSING)
    if isinstance(value, list):
        found: list[Any] = []
        for one in value:
            if isinstance(one, dict) and key in one:
                found += one[key] if isinstance(one[key], list) else [one[key]]
        return found or MISSING
    return MISSING


def _list(wanted: Any) -> list[Any]:
    return wanted if isinstance(wanted, list) else [wanted]


def _value(wanted: Any, value: Any) -> bool:
    return any(_alternative(one, value) for one in _list(wanted))


def _alternative(one: Any, value: Any) -> bool:
    name, argument = next(iter(one.items())) if isinstance(one, dict) else (None, one)
    if name == "exists":
        return argument is (value is not MISSING and value is not None)
    if value is MISSING:
        return False
    elements = value if isinstance(value, list) else [value]
    if name == "anything-but":
        inner = argument if isinstance(argument, dict) else None
        refused = [inner] if inner else _list(argument)
        return not any(_element(bad, element) for bad in refused for element in elements)
    return any(_element(one, element) for element in elements)


def _element(wanted: Any, value: Any) -> bool:
    if not isinstance(wanted, dict):
        alike = _number(value) if _number(wanted) else type(wanted) is type(value)
        return alike and wanted == value
    name, argument = next(iter(wanted.items()))
    if name == "numeric":
        return _number(value) and all(map(_compared, argument[::2], argument[1::2], [value] * 2))
    if not isinstance(value, str):
        return False
    if isinstance(argument, dict):
        return any(
            _text(name, text.casefold(), value.casefold()) for text in _list(argument["equals-ignore-case"])
        )
    return any(_text(name, text, value) for text in _list(argument))


def _text(name: str, text: str, value: str) -> bool:
    if name == "prefix":
        return value[: len(text)] == text
    if name == "suffix":
        return value[max(0, len(value) - len(text)) :] == text
    if name == "equals-ignore-case":
        return value.casefold() == text.casefold()
    pattern = "".join(
        ".*" if part == "*" else re.escape(part[-1]) for part in re.findall(r"\\.|.", text, re.DOTALL)
    )
    return re.fullmatch(pattern, value, re.DOTALL) is not None


def _compared(sign: str, bound: Any, value: Any) -> bool:
    return {
        "<": value < bound,
        "<=": value <= bound,
        "=": value == bound,
        ">": value > bound,
        ">=": value >= bound,
    }[sign]


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
