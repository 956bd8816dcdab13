"""What Cassandra and its fake promise as ``StateSink`` and ``HistorySink``: inherit, and give a ``bench`` fixture."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple, Protocol
from uuid import UUID, uuid4

import pytest

from airflow_provider_atlan_meta.core.errors import TransientError
from airflow_provider_atlan_meta.core.identity import event_key
from airflow_provider_atlan_meta.core.rows import INCIDENT_FIELDS, EntityRow, EventRow
from airflow_provider_atlan_meta.core.stores import (
    ENTITY,
    INCIDENT,
    HistorySink,
    Landed,
    Landing,
    RowRef,
    StateRow,
    StateSink,
)

OPENED = datetime(2026, 11, 25, 10, 30, 0, 123000, tzinfo=UTC)
ARRIVED_MS = 1_795_000_000_000


class Copy(NamedTuple):
    """An incident as it lies in one day."""

    day: date
    revision: int
    content_hash: int
    values: Mapping[str, Any]


class Told(NamedTuple):
    """An event as it lies under one entity. ``when``: its write time, microseconds."""

    month: int
    event_key: bytes
    event_id: bytes
    texts: tuple[str, str, str]
    occurred_ms: int | None
    received_ms: int
    payload: bytes
    when: int


class Bench(Protocol):
    def sink(self) -> StateSink: ...

    def history(self) -> HistorySink: ...

    def copies(self, tenant: str, incident: str) -> list[Copy]:
        """Under whatever day: there must never be two."""
        ...

    def write_times(self, tenant: str, incident: str) -> Any:
        """Of every cell; equal before and after a write that changed nothing."""
        ...

    def told(self, tenant: str, entity: bytes) -> list[Told]:
        """The newest first, of all months."""
        ...

    def sink_away(self) -> StateSink:
        """Of a store that does not answer."""
        ...

    def history_away(self) -> HistorySink: ...


def incident(tenant: str, revision: int, id: str = "inc-1", **values: Any) -> StateRow:
    full = {**dict.fromkeys(INCIDENT_FIELDS), "opened_at": OPENED, "entity_ids": [], **values}
    return StateRow(RowRef(tenant, INCIDENT, id), revision, full, -revision)


def deleted(tenant: str, revision: int, id: str = "inc-1") -> StateRow:
    return StateRow(RowRef(tenant, INCIDENT, id), revision, None, 0)


def entity(tenant: str, id: bytes) -> EntityRow:
    return EntityRow(tenant, id, "mc:a:db:s.t", "table", "t", "montecarlo", "db", "s", 1)


def event(
    tenant: str, *ids: bytes, received_ms: int = ARRIVED_MS, payload: bytes = b"{}", **fields: Any
) -> EventRow:
    id = uuid4().bytes
    known: dict[str, Any] = {
        "offset": 0,
        "event_key": event_key(id, received_ms),
        "tenant_id": tenant,
        "event_id": id,
        "source": "montecarlo",
        "type": "incident",
        "subject": "inc-1",
        "occurred_at": None,
        "received_at": received_ms * 1000,
        "payload": payload,
        "statement": None,
        "entities": tuple(entity(tenant, one) for one in ids),
    }
    return EventRow(**{**known, **fields})


def as_told(event: EventRow, month: int) -> Told:
    return Told(
        month,
        event.event_key,
        event.event_id,
        (event.source, event.type, event.subject),
        None if event.occurred_at is None else event.occurred_at // 1000,
        event.received_at // 1000,
        event.payload,
        event.received_at // 1000 * 1000,
    )


def landings(landed: Sequence[Landed]) -> list[Landing]:
    return [one.landing for one in landed]


class WideRowsContract:
    @pytest.fixture
    def bench(self) -> Bench:
        raise NotImplementedError

    @pytest.fixture
    def tenant(self) -> str:
        return f"t{uuid4().hex[:12]}"

    # ---- state -------------------------------------------------------------------------------------------------------

    def test_a_row_lies_whole_under_the_day_it_was_opened(self, bench: Bench, tenant: str) -> None:
        row = incident(
            tenant,
            3,
            **{
                name: f"{name} Zoë \U0001f600"
                for name in ("source", "type", "title", "severity", "priority", "status", "owner", "url")
            },
            updated_at=OPENED + timedelta(hours=1),
            resolved_at=OPENED + timedelta(hours=2),
            entity_ids=[uuid4(), uuid4()],
        )

        (landed,) = bench.sink().write([row])

        assert landed == Landed(row.ref, 3, Landing.DONE)
        assert row.values is not None
        assert bench.copies(tenant, "inc-1") == [Copy(OPENED.date(), 3, -3, row.values)]

    def test_the_newest_revision_is_there_in_whatever_order_they_are_written(
        self, bench: Bench, tenant: str
    ) -> None:
        sink, day = bench.sink(), timedelta(days=1)
        versions = [
            incident(tenant, 1, title="one", status="ACKNOWLEDGED"),
            incident(tenant, 2, title="two", opened_at=OPENED - day),
            incident(tenant, 3, owner="three"),
        ]

        for order in itertools.permutations(range(3)):
            id = f"inc-{order}"
            rows = [versions[number]._replace(ref=RowRef(tenant, INCIDENT, id)) for number in order]
            for row in rows:
                assert landings(sink.write([row])) == [Landing.DONE]

            assert versions[2].values is not None
            assert bench.copies(tenant, id) == [Copy(OPENED.date(), 3, -3, versions[2].values)], order

    def test_an_older_revision_written_late_changes_nothing(self, bench: Bench, tenant: str) -> None:
        sink = bench.sink()
        sink.write([incident(tenant, 7, title="new", owner=None)])
        before = bench.write_times(tenant, "inc-1")

        assert landings(sink.write([incident(tenant, 6, title="old", owner="stays away")])) == [Landing.DONE]

        assert bench.write_times(tenant, "inc-1") == before
        (copy,) = bench.copies(tenant, "inc-1")
        assert (copy.revision, copy.values["title"], copy.values["owner"]) == (7, "new", None)

    def test_the_same_row_twice_changes_nothing(self, bench: Bench, tenant: str) -> None:
        sink, row = bench.sink(), incident(tenant, 2, title="t", entity_ids=[uuid4(), uuid4()])
        sink.write([row])
        copies, times = bench.copies(tenant, "inc-1"), bench.write_times(tenant, "inc-1")

        assert landings(bench.sink().write([row])) == [Landing.DONE]
        assert landings(sink.write([row, row])) == [Landing.DONE, Landing.DONE]

        assert bench.copies(tenant, "inc-1") == copies
        assert bench.write_times(tenant, "inc-1") == times

    def test_a_value_that_is_cleared_is_gone(self, bench: Bench, tenant: str) -> None:
        sink = bench.sink()
        sink.write([incident(tenant, 1, owner="zoe", entity_ids=[uuid4()])])
        sink.write([incident(tenant, 2)])

        (copy,) = bench.copies(tenant, "inc-1")
        assert (copy.values["owner"], copy.values["entity_ids"]) == (None, [])

    @pytest.mark.parametrize("moved", [False, True])
    def test_a_deleted_row_stays_deleted_when_an_older_write_arrives(
        self, bench: Bench, tenant: str, moved: bool
    ) -> None:
        sink = bench.sink()
        old = incident(tenant, 1, opened_at=OPENED - timedelta(days=9) if moved else OPENED)
        sink.write([incident(tenant, 2)])
        assert landings(sink.write([deleted(tenant, 3)])) == [Landing.DONE]
        assert bench.copies(tenant, "inc-1") == []

        assert landings(sink.write([old])) == [Landing.DONE]
        assert landings(sink.write([incident(tenant, 2)])) == [Landing.DONE]

        assert bench.copies(tenant, "inc-1") == []

    def test_a_row_that_is_made_again_comes_back(self, bench: Bench, tenant: str) -> None:
        sink = bench.sink()
        sink.write([incident(tenant, 1)])
        sink.write([deleted(tenant, 2)])
        sink.write([incident(tenant, 3)])
        sink.write([deleted(tenant, 2)])

        assert [copy.revision for copy in bench.copies(tenant, "inc-1")] == [3]

    def test_deleting_what_was_never_there_is_fine_and_keeps_it_away(self, bench: Bench, tenant: str) -> None:
        sink = bench.sink()

        assert landings(sink.write([deleted(tenant, 5)])) == [Landing.DONE]
        sink.write([incident(tenant, 4)])

        assert bench.copies(tenant, "inc-1") == []

    def test_a_row_that_was_opened_on_another_day_leaves_no_copy_behind(
        self, bench: Bench, tenant: str
    ) -> None:
        sink, days = bench.sink(), [0, 3, 0, -2]
        for revision, offset in enumerate(days, 1):
            opened = OPENED + timedelta(days=offset)
            sink.write([incident(tenant, revision, opened_at=opened)])
            assert [(copy.day, copy.revision) for copy in bench.copies(tenant, "inc-1")] == [
                (opened.date(), revision)
            ]

    def test_a_row_of_which_nobody_knows_when_it_was_opened_has_a_day_all_the_same(
        self, bench: Bench, tenant: str
    ) -> None:
        sink = bench.sink()
        sink.write([incident(tenant, 1, opened_at=None)])
        assert [copy.day for copy in bench.copies(tenant, "inc-1")] == [date(1970, 1, 1)]

        sink.write([incident(tenant, 2)])
        assert [copy.day for copy in bench.copies(tenant, "inc-1")] == [OPENED.date()]

    def test_a_row_that_can_never_be_stored_is_rejected_alone(self, bench: Bench, tenant: str) -> None:
        sink = bench.sink()
        sink.write([incident(tenant, 1, "large")])
        large = incident(tenant, 2, "large", title="x" * 1_100_000)

        landed = sink.write([incident(tenant, 1, "first"), large, incident(tenant, 1, "last")])

        assert landings(landed) == [Landing.DONE, Landing.REJECTED, Landing.DONE]
        assert landed[1].ref == large.ref
        assert "x" * 9 not in landed[1].reason
        assert [len(bench.copies(tenant, id)) for id in ("first", "last")] == [1, 1]
        assert [copy.revision for copy in bench.copies(tenant, "large")] == [1]

    def test_entities_are_done_at_once_and_answers_come_in_the_rows_order(
        self, bench: Bench, tenant: str
    ) -> None:
        rows = [
            StateRow(RowRef(tenant, ENTITY, str(uuid4())), 4, {"name": "t"}, 1),
            incident(tenant, 2),
            StateRow(RowRef(tenant, ENTITY, str(uuid4())), 9, None, 0),
        ]

        assert bench.sink().write(rows) == [Landed(row.ref, row.revision, Landing.DONE) for row in rows]
        assert bench.sink().write([]) == []

    def test_equal_ids_of_two_tenants_are_two_rows(self, bench: Bench, tenant: str) -> None:
        bench.sink().write([incident(tenant, 1, title="mine"), incident(f"{tenant}x", 5, title="theirs")])

        assert [copy.values["title"] for copy in bench.copies(tenant, "inc-1")] == ["mine"]

    def test_a_store_that_is_away_says_so(self, bench: Bench, tenant: str) -> None:
        with pytest.raises(TransientError):
            bench.sink_away().write([incident(tenant, 1)])
        with pytest.raises(TransientError):
            bench.history_away().append([event(tenant, uuid4().bytes)])

    # ---- history -----------------------------------------------------------------------------------------------------

    def test_an_event_is_told_under_every_entity_it_names(self, bench: Bench, tenant: str) -> None:
        one, two, other = (uuid4().bytes for _ in range(3))
        payload = '{"text": "Zoë \U0001f600", "n": 1.50}'.encode()
        first = event(tenant, one, two, payload=payload, occurred_at=(ARRIVED_MS - 5) * 1000)
        none = event(tenant)

        bench.history().append([first, none])

        assert bench.told(tenant, one) == bench.told(tenant, two) == [as_told(first, 202611)]
        assert bench.told(tenant, other) == []

    def test_the_newest_event_comes_first_within_a_month(self, bench: Bench, tenant: str) -> None:
        id = uuid4().bytes
        events = [event(tenant, id, received_ms=ARRIVED_MS + n) for n in range(40)]

        bench.history().append(events[::2])
        bench.history().append(events[1::2])

        assert [one.event_key for one in bench.told(tenant, id)] == [one.event_key for one in events[::-1]]

    def test_a_month_begins_at_midnight_utc(self, bench: Bench, tenant: str) -> None:
        id, december = uuid4().bytes, int(datetime(2026, 12, 1, tzinfo=UTC).timestamp() * 1000)
        events = [event(tenant, id, received_ms=ms) for ms in (december - 1, december)]

        bench.history().append(events)

        assert [one.month for one in bench.told(tenant, id)] == [202612, 202611]

    def test_an_event_written_again_changes_nothing(self, bench: Bench, tenant: str) -> None:
        id = uuid4().bytes
        events = [event(tenant, id, payload=b'{"n": %d}' % n) for n in range(20)]
        history = bench.history()
        history.append(events)
        before = bench.told(tenant, id)
        assert len(before) == 20

        history.append(events[::-1])
        bench.history().append(events[5:7])

        assert bench.told(tenant, id) == before

    def test_many_events_of_any_size_arrive_whole(self, bench: Bench, tenant: str) -> None:
        ids = [uuid4().bytes for _ in range(3)]
        sizes = [10, 1_700, 4_900, 5_200, 60_000, 300_000] * 5
        events = [
            event(
                tenant,
                ids[n % 3],
                ids[(n + 1) % 3],
                received_ms=ARRIVED_MS + n,
                payload=b'"%s"' % (b"x" * size),
            )
            for n, size in enumerate(sizes)
        ]

        bench.history().append(events)

        for number, id in enumerate(ids):
            expected = [one for n, one in enumerate(events) if number in (n % 3, (n + 1) % 3)]
            assert bench.told(tenant, id) == [as_told(one, 202611) for one in expected[::-1]]

    def test_nothing_to_tell_is_fine(self, bench: Bench) -> None:
        bench.history().append([])


def uuids(values: Sequence[UUID] | None) -> list[UUID]:
    """Cassandra has no empty list apart from none."""
    return list(values or [])
