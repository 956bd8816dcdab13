"""A change as people read it in a chat: the message of a row as it is now, and the answer that tells what changed.

Slack's Block Kit, within its limits whatever the row holds. Texts of a row are data: escaped, cut, on one line, and
no ``@here`` in them calls anybody. The same change makes the same message at every try.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from airflow_provider_atlan_meta.core.changes import ABSENT, ChangeEvent, changed_columns, transition
from airflow_provider_atlan_meta.core.messages import escape_mrkdwn

# Slack: 3,000 for a section, 2,000 for one of its fields, 4,000 for the text of an update, 11,000 for all blocks.
TEXT_MAX = 3_000
_TITLE_MAX, _VALUE_MAX, _ID_MAX, _URL_MAX = 600, 300, 200, 1_000
_LINES_MAX = 15
_URL = re.compile(r"https?://[^\s<>|\"\\^`{}\x00-\x20]+")
_CALLS = re.compile(r"@(?=here\b|channel\b|everyone\b|group\b)", re.IGNORECASE)
# invisible; breaks the word for whoever still looks for mentions in plain text
_BROKEN_AT = "@\N{ZERO WIDTH SPACE}"
# bold ends at the real one
_STAR = "\N{ASTERISK OPERATOR}"
_NOTHING = "none"

# What the message shows, in this order: (column, label); the first two of them when they are null too.
_SHOWN: Mapping[str, tuple[tuple[str, str], ...]] = {
    "incident": (
        ("status", "Status"),
        ("severity", "Severity"),
        ("priority", "Priority"),
        ("owner", "Owner"),
        ("entity_ids", "Tables"),
        ("opened_at", "Opened"),
        ("resolved_at", "Resolved"),
    ),
    "entity": (
        ("type_name", "Type"),
        ("platform", "Platform"),
        ("database_name", "Database"),
        ("schema_name", "Schema"),
        ("qualified_name", "Qualified name"),
    ),
}
_ALWAYS = ("status", "severity", "type_name", "platform")
_TITLES: Mapping[str, tuple[str, ...]] = {
    "incident": ("title", "type"),
    "entity": ("name", "qualified_name"),
}
_TIMES = ("opened_at", "updated_at", "resolved_at")
_RESOLVED = ("FIXED", "EXPECTED", "NO_ACTION_NEEDED", "FALSE_POSITIVE")
_SEVERE = ("SEV-1", "SEV-2")

Block = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """:ivar text: for notifications and whatever shows no blocks."""

    text: str
    blocks: Sequence[Block]


def row_message(change: ChangeEvent) -> ChatMessage:
    """The row as the change left it; a deleted one as it last was."""
    row = change.row or {}
    title = _title(change, row)
    shown = [
        (label, _shown_value(name, row.get(name)))
        for name, label in _SHOWN.get(change.kind, ())
        if row and (name in _ALWAYS or row.get(name) is not None)
    ]
    head = f"{_sign(change, row)} {_linked(title, row.get('url'))}"
    if change.op == "deleted":
        head += "\nwas deleted"
    elif not row:
        head += "\nis too large to be shown here"
    blocks = [_section(head)]
    if shown:
        blocks.append(
            {"type": "section", "fields": [_mrkdwn(f"*{label}*\n{value}") for label, value in shown]}
        )
    blocks.append(_context(change))
    state = (
        "deleted"
        if change.op == "deleted"
        else ", ".join([f"{label.lower()} {value}" for label, value in shown[:2]])
    )
    return ChatMessage(f"{title}: {state}" if state else title, blocks)


def change_answer(change: ChangeEvent) -> ChatMessage:
    """What the change did, as an answer below the row's message."""
    lines = list(_what_changed(change))
    return ChatMessage(_joined(lines, "; "), [_section(_joined(lines, "\n")), _context(change)])


def _what_changed(change: ChangeEvent) -> Iterator[str]:
    if change.op == "deleted":
        yield f"the {_text(change.kind, 64)} was deleted"
        return
    columns = changed_columns(change)
    if columns is None:
        yield "changed; what it was before is not known"
        row = change.row or {}
        columns = tuple([name for name, _ in _SHOWN.get(change.kind, ()) if row.get(name) is not None])
        yield from [f"{_label(name)}: {_shown_value(name, row[name])}" for name in columns]
        return
    if not columns:
        yield "told again; nothing in it is known to have changed"
        return
    for name in columns[:_LINES_MAX]:
        step = transition(change, name)
        yield f"{_label(name)}: {_step(name, step.before, step.after)}"
    if len(columns) > _LINES_MAX:
        yield f"and {len(columns) - _LINES_MAX} more columns"


def _step(name: str, before: Any, after: Any) -> str:
    now = _shown_value(name, None if after is ABSENT else after)
    if before is ABSENT:
        return now
    was = _shown_value(name, before)
    if isinstance(before, list) and isinstance(after, list):
        added, gone = _missing(after, before), _missing(before, after)
        return f"{was} → {now} (+{added}, -{gone})"
    return f"{was} → {now}"


def _missing(of: Iterable[Any], there: Iterable[Any]) -> int:
    known = {str(one) for one in there}
    return sum(str(one) not in known for one in of)


# ---- pieces ----------------------------------------------------------------------------------------------------------


def _title(change: ChangeEvent, row: Mapping[str, Any]) -> str:
    for name in _TITLES.get(change.kind, ()):
        if isinstance(row.get(name), str) and row[name].strip():
            return _text(row[name], _TITLE_MAX)
    return f"{_text(change.kind, 64)} {_text(change.id, _ID_MAX)}"


def _sign(change: ChangeEvent, row: Mapping[str, Any]) -> str:
    if change.op == "deleted":
        return ":wastebasket:"
    if change.kind != "incident":
        return ":card_index:"
    if row.get("status") in _RESOLVED:
        return ":large_green_circle:"
    return ":red_circle:" if row.get("severity") in _SEVERE else ":large_orange_circle:"


def _linked(title: str, url: Any) -> str:
    """Only what is an address of the web, and cannot end the link's own form, becomes a link."""
    if isinstance(url, str) and _URL.fullmatch(url) and len(escaped := escape_mrkdwn(url)) <= _URL_MAX:
        return f"<{escaped}|{title}>"
    return f"*{title.replace('*', _STAR)}*"


def _label(name: str) -> str:
    return _text(name.replace("_", " "), 100) if name != "entity_ids" else "tables"


def _shown_value(name: str, value: Any) -> str:
    if value is None:
        return _NOTHING
    if isinstance(value, list):
        return str(len(value))
    if isinstance(value, dict):
        return f"{len(value)} fields"
    if name in _TIMES and isinstance(value, str):
        return _text(_time(value), _VALUE_MAX)
    return _text(str(value), _VALUE_MAX)


def _time(text: str) -> str:
    try:
        at = datetime.fromisoformat(text)
        return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if at.tzinfo else text
    except (ValueError, OverflowError):
        return text


def _text(text: str, most: int) -> str:
    """One line, at most so many characters after escaping, never empty."""
    line = _CALLS.sub(_BROKEN_AT, " ".join(text[: 4 * most].split()))
    is_cut = len(text) > 4 * most
    escaped, left = [], most
    for character in line:
        piece = escape_mrkdwn(character)
        left -= len(piece)
        if left < 1:
            is_cut = True
            break
        escaped.append(piece)
    return "".join(escaped) + ("…" if is_cut else "") or "-"


def _joined(lines: Sequence[str], between: str) -> str:
    """As many whole lines as a section takes."""
    kept: list[str] = []
    left = TEXT_MAX - 4
    for line in lines:
        left -= len(line) + len(between)
        if left < 0:
            return between.join([*kept, "…"])
        kept.append(line)
    return between.join(kept)


def _mrkdwn(text: str) -> Block:
    # verbatim: Slack looks for no names, channels or addresses in it
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": _mrkdwn(text)}


def _context(change: ChangeEvent) -> dict[str, Any]:
    parts = (
        f"{_text(change.kind, 64)} {_text(change.id, _ID_MAX)}",
        f"tenant {change.tenant_id}",
        f"revision {change.revision}",
        f"change {change.change_id}",
    )
    return {"type": "context", "elements": [_mrkdwn(" · ".join(parts))]}
