"""Where a row lies in Cassandra and which of two writes wins; nothing here depends on when it is written.

Every write carries its own time (``USING TIMESTAMP``): an incident's is its revision, an event's is its key's
``received_at``. So the order and number of writes do not count, the newest revision does.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

# an incident of which nobody said when it began
UNKNOWN_DAY = date(1970, 1, 1)
# what Python can read back
_LAST_MS = 253_402_300_799_999
_FIRST_MS = -62_135_596_800_000


class Place(NamedTuple):
    """The day an incident lies under: as its newest write says.

    :param day: None: it is deleted.
    """

    revision: int
    day: date | None


class Clearing(NamedTuple):
    """Copies to delete, and the write time that deletes them and nothing newer."""

    days: tuple[date, ...]
    write_time: int


def first_seen_day(values: Mapping[str, Any] | None) -> date | None:
    """The UTC day of ``opened_at``; None: the row is deleted."""
    if values is None:
        return None
    opened_at = values.get("opened_at")
    return UNKNOWN_DAY if opened_at is None else opened_at.astimezone(UTC).date()


def clearing(mine: Place, newest: Place, known_days: Collection[date]) -> Clearing:
    """What a writer deletes after its write, so that one copy of the incident is left, that of the newest revision.

    Every writer first announces its place, then writes the row, then reads the places: of two writers at least one
    reads the other's place, whichever order their steps come in.

    :param newest: as read after the own write, which it includes.
    :param known_days: every day the incident was ever announced under.
    """
    if newest.revision > mine.revision:
        stray = mine.day is not None and mine.day != newest.day
        return Clearing((mine.day,) if stray and mine.day else (), newest.revision)
    return Clearing(tuple(sorted(day for day in known_days if day != mine.day)), mine.revision)


def received_at_ms(event_key: bytes) -> int:
    """The time in an event's key, milliseconds since 1970."""
    return int.from_bytes(event_key[:6], "big")


def write_time(event_key: bytes) -> int:
    """An event's write time, microseconds: the same however often it is written."""
    return received_at_ms(event_key) * 1000


def month(event_key: bytes) -> int:
    """The UTC month of arrival, as in 202611."""
    moment = datetime.fromtimestamp(min(received_at_ms(event_key), _LAST_MS) / 1000, UTC)
    return moment.year * 100 + moment.month


def timestamp(microseconds: int | None) -> int | None:
    """Milliseconds, as Cassandra keeps time, within what Python can read back."""
    return None if microseconds is None else max(_FIRST_MS, min(microseconds // 1000, _LAST_MS))
