"""Where rows lie, and that two writers leave one copy whatever their steps' order."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from airflow_provider_atlan_meta.core.cassandra import (
    UNKNOWN_DAY,
    Place,
    clearing,
    first_seen_day,
    month,
    timestamp,
    write_time,
)
from airflow_provider_atlan_meta.core.identity import event_key

A, B, C = date(2026, 11, 1), date(2026, 11, 2), date(2026, 11, 3)
DAYS = (A, B, None)


def test_the_day_is_that_of_utc() -> None:
    late = datetime(2026, 11, 1, 23, 30, tzinfo=timezone(timedelta(hours=-2)))

    assert first_seen_day({"opened_at": late}) == date(2026, 11, 2)
    assert first_seen_day({"opened_at": None}) == UNKNOWN_DAY
    assert first_seen_day(None) is None


class Table:
    """Cassandra's rule: of two writes of a cell the later time wins, a deletion before a value."""

    def __init__(self) -> None:
        self.rows: dict[date, tuple[int, bool]] = {}
        self.newest: Place | None = None
        self.days: set[date] = set()

    def put(self, day: date, time: int, alive: bool) -> None:
        old = self.rows.get(day, (0, False))
        self.rows[day] = max(old, (time, alive), key=lambda one: (one[0], not one[1]))

    def copies(self) -> list[tuple[date, int]]:
        return [(day, time) for day, (time, alive) in self.rows.items() if alive]


def writer(table: Table, mine: Place) -> Iterator[None]:
    """Step by step, as the sink does it."""
    if table.newest is None or mine.revision > table.newest.revision:
        table.newest = mine
    if mine.day is not None:
        table.days.add(mine.day)
    yield
    if mine.day is not None:
        table.put(mine.day, mine.revision, True)
    yield
    newest, days = table.newest, set(table.days)
    yield
    for day in clearing(mine, newest, days).days:
        table.put(day, clearing(mine, newest, days).write_time, False)


def orders() -> set[tuple[int, ...]]:
    """Every order of the four steps of two writers."""
    return set(itertools.permutations((0, 0, 0, 0, 1, 1, 1, 1)))


@pytest.mark.parametrize("first", DAYS)
@pytest.mark.parametrize("second", DAYS)
def test_two_writers_at_once_leave_the_newest_alone(first: date | None, second: date | None) -> None:
    expected = [] if second is None else [(second, 2)]
    for order in orders():
        table = Table()
        steps = [writer(table, Place(1, first)), writer(table, Place(2, second))]
        for number in order:
            next(steps[number], None)
        assert table.copies() == expected, order


@pytest.mark.parametrize("days", list(itertools.product(DAYS, repeat=3)))
def test_three_versions_in_any_order_leave_the_newest_alone(days: tuple[date | None, ...]) -> None:
    for order in itertools.permutations(range(3)):
        table = Table()
        for number in order:
            list(writer(table, Place(number + 1, days[number])))
        assert table.copies() == ([] if days[2] is None else [(days[2], 3)])


def test_a_writer_that_died_halfway_is_made_good_by_the_next() -> None:
    for steps in range(5):
        table = Table()
        list(writer(table, Place(1, A)))
        list(itertools.islice(writer(table, Place(2, B)), steps))
        list(writer(table, Place(3, C)))
        assert table.copies() == [(C, 3)]


def test_a_place_that_stays_clears_nothing() -> None:
    assert clearing(Place(4, A), Place(4, A), {A}).days == ()
    assert clearing(Place(3, A), Place(4, A), {A}).days == ()


# ---- events ----------------------------------------------------------------------------------------------------------


def key(ms: int) -> bytes:
    return event_key(b"\0" * 16, ms)


def test_an_event_s_time_is_that_of_its_key() -> None:
    ms = int(datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp() * 1000)

    assert (month(key(ms)), month(key(ms + 1000)), write_time(key(ms))) == (202612, 202701, ms * 1000)


def test_times_beyond_the_calendar_are_kept_within_it() -> None:
    assert month(key(2**48 - 1)) == 999912
    assert timestamp(2**62) == 253_402_300_799_999
    assert timestamp(-(2**62)) == -62_135_596_800_000
    assert (timestamp(None), timestamp(1_999_999), timestamp(-1)) == (None, 1999, -1)
