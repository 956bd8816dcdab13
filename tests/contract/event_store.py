"""What every ``core.ports.EventStore`` promises: inherit, and give a ``bench`` fixture."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol
from uuid import uuid4

import msgspec
import pytest

from airflow_provider_atlan_meta.core.enrich import enrich
from airflow_provider_atlan_meta.core.errors import LeaseLostError, RejectedError, RowsMovedError
from airflow_provider_atlan_meta.core.merging import (
    BatchPlan,
    IncidentKey,
    incident_keys,
    plan_batch,
    plan_replay,
)
from airflow_provider_atlan_meta.core.ports import Commit, DeadLetterOutbox, EventStore, StoredDeadLetter
from airflow_provider_atlan_meta.core.rows import OWNER, STATUS, DeadLetter, EntityRow, EventRow, Link
from airflow_provider_atlan_meta.testing.records import EPOCH_MS, webhook_record


class Incident(NamedTuple):
    """What the tests look at of a stored incident."""

    revision: int
    status: str | None
    owner: str | None
    log_position: int
    unconfirmed: bool


class StoreBench(Protocol):
    """A store and a leased partition of an unknown topic, at offset 0; and what is really stored.

    :ivar commit: of that partition under its lease, from 0 to 0.
    """

    commit: Commit

    def store(self) -> EventStore: ...

    def outbox(self) -> DeadLetterOutbox: ...

    def cursor(self) -> int: ...

    def events(self, tenant: str) -> dict[bytes, tuple[str, bytes, bytes | None, bytes]]:
        """event_key -> (subject, event_id, duplicate_of, payload)"""
        ...

    def incident(self, key: IncidentKey) -> Incident | None: ...

    def entities(self, tenant: str) -> dict[str, tuple[str | None, int]]:
        """qualified name -> (name, revision)"""
        ...

    def links(self, tenant: str) -> set[tuple[bytes, str]]: ...

    def dead_letters(self) -> dict[int, DeadLetter]: ...

    def changes(self, tenant: str) -> list[tuple[str, str, int]]:
        """(kind, operation, revision) of every change message, in order."""
        ...

    def held(self, tenant: str) -> list[tuple[str, int, bool]]:
        """(kind, revision, whether it is held) of every change message, in order."""
        ...

    def edit_incident(self, key: IncidentKey, status: str) -> None:
        """Somebody's own UPDATE."""
        ...

    def delete_incident(self, key: IncidentKey) -> None: ...

    def refused(self, event: EventRow) -> EventRow:
        """The event with something in it that this store cannot take."""
        ...


class Batches:
    """Webhooks of one tenant, and plans of them."""

    def __init__(self, bench: StoreBench) -> None:
        self.tenant = f"t{uuid4().hex[:12]}"
        self._bench = bench
        self._count = 0

    @property
    def key(self) -> IncidentKey:
        return (self.tenant, "inc-1")

    def event(self, status: str = "", *, incident: str | None = "inc-1", **payload: Any) -> EventRow:
        """Received one millisecond after the one before, at the next offset."""
        said: dict[str, Any] = {"alert_feedback": status} if status else {}
        offset, self._count = self._count, self._count + 1
        stamp = EPOCH_MS + offset
        record = webhook_record(
            incident, tenant=self.tenant, offset=offset, received_at_ms=stamp, **said, **payload
        )
        return enrich(record)

    def plan(self, *events: EventRow) -> BatchPlan:
        return plan_batch(events, self._bench.store().read_incidents(incident_keys(events)))

    def store(self, *events: EventRow) -> None:
        """As a replay does: without a cursor."""
        self._bench.store().apply(self.plan(*events), commit=None)


def moving(commit: Commit, start: int, end: int) -> Commit:
    return commit._replace(start=start, end=end)


def letter(offset: int, **fields: Any) -> DeadLetter:
    default = DeadLetter(
        offset, "acme", b"acme|inc-1", (("received_at", b"1"), ("none", None)), b"{", "decode", "why", "f00d"
    )
    return msgspec.structs.replace(default, **fields)


class EventStoreContract:
    @pytest.fixture
    def bench(self) -> StoreBench:
        raise NotImplementedError

    @pytest.fixture
    def batches(self, bench: StoreBench) -> Batches:
        return Batches(bench)

    # ---- rows and cursor ---------------------------------------------------------------------------------------------

    def test_rows_and_cursor_are_written_together(self, bench: StoreBench, batches: Batches) -> None:
        first, again, second = batches.event("a"), batches.event("a"), batches.event("b", owner="dana")

        bench.store().apply(batches.plan(first, again, second), commit=moving(bench.commit, 0, 3))

        assert bench.cursor() == 3
        assert bench.events(batches.tenant) == {
            event.event_key: (event.subject, event.event_id, duplicate_of, event.payload)
            for event, duplicate_of in ((first, None), (again, first.event_id), (second, None))
        }
        assert bench.incident(batches.key) == Incident(2, "B", "dana", 2, True)
        assert list(bench.entities(batches.tenant).values()) == [("orders", 1)]
        assert bench.links(batches.tenant) == {(first.entities[0].entity_id, "inc-1")}

    @pytest.mark.parametrize(
        "moved", [{"start": 1}, {"start": -1}, {"epoch": 0}, {"epoch": 99}, {"topic": "unknown"}]
    )
    def test_a_commit_the_ledger_disagrees_with_writes_nothing(
        self, bench: StoreBench, batches: Batches, moved: dict[str, Any]
    ) -> None:
        commit = moving(bench.commit, 0, 1)._replace(**moved)

        with pytest.raises(LeaseLostError):
            bench.store().apply(batches.plan(batches.event("a")), commit=commit, dead_letters=[letter(5)])

        assert (bench.cursor(), bench.events(batches.tenant), bench.dead_letters()) == (0, {}, {})
        assert bench.incident(batches.key) is None

    def test_a_commit_that_is_executed_twice_has_effect_once(
        self, bench: StoreBench, batches: Batches
    ) -> None:
        plan, commit = batches.plan(batches.event("a")), moving(bench.commit, 0, 1)
        bench.store().apply(plan, commit=commit)

        with pytest.raises(LeaseLostError):
            bench.store().apply(plan, commit=commit)

        assert bench.cursor() == 1
        assert bench.changes(batches.tenant).count(("incident", "created", 1)) == 1

    def test_an_empty_batch_moves_the_cursor(self, bench: StoreBench) -> None:
        bench.store().apply(BatchPlan(), commit=moving(bench.commit, 0, 2))

        assert bench.cursor() == 2

    def test_a_replay_moves_no_cursor(self, bench: StoreBench, batches: Batches) -> None:
        batches.store(batches.event("a"))

        assert bench.cursor() == 0
        assert len(bench.events(batches.tenant)) == 1

    # ---- incidents ---------------------------------------------------------------------------------------------------

    def test_what_is_read_is_what_was_written(self, bench: StoreBench, batches: Batches) -> None:
        plan = batches.plan(
            batches.event("fixed", owner="Zoë \U0001f600", url=None), batches.event("", owner=None)
        )
        bench.store().apply(plan, commit=None)

        (state,) = bench.store().read_incidents([batches.key]).values()

        written = plan.waves[-1][0]
        assert state.row(batches.key) == written
        assert state.positions == written.positions

    def test_an_incident_nobody_has_written_is_not_read(self, bench: StoreBench, batches: Batches) -> None:
        assert bench.store().read_incidents([batches.key]) == {}
        assert bench.store().read_incidents([]) == {}

    def test_an_incident_somebody_changed_since_it_was_read_moved(
        self, bench: StoreBench, batches: Batches
    ) -> None:
        batches.store(batches.event("a"))
        event = batches.event("b")
        plan = batches.plan(event)
        bench.edit_incident(batches.key, "by hand")

        with pytest.raises(RowsMovedError):
            bench.store().apply(plan, commit=moving(bench.commit, 0, 1), dead_letters=[letter(9)])

        assert (bench.cursor(), bench.dead_letters()) == (0, {})
        assert event.event_key not in bench.events(batches.tenant)
        seen = bench.incident(batches.key)
        assert seen is not None
        assert (seen.revision, seen.status) == (2, "by hand")

    def test_bookkeeping_alone_also_notices_that_the_incident_moved(
        self, bench: StoreBench, batches: Batches
    ) -> None:
        batches.store(batches.event("a"))
        plan = batches.plan(batches.event("a", note="changes nothing effective"))
        assert (plan.waves, len(plan.quiet)) == ([], 1)
        bench.edit_incident(batches.key, "by hand")

        with pytest.raises(RowsMovedError):
            bench.store().apply(plan, commit=None)

    def test_an_incident_that_appeared_since_it_was_read_moved(
        self, bench: StoreBench, batches: Batches
    ) -> None:
        plan = batches.plan(batches.event("a"))
        batches.store(batches.event("b"))

        with pytest.raises(RowsMovedError):
            bench.store().apply(plan, commit=None)

    def test_a_deleted_incident_goes_on_from_its_tombstone(self, bench: StoreBench, batches: Batches) -> None:
        batches.store(batches.event("a"), batches.event("b"))
        bench.delete_incident(batches.key)

        state = bench.store().read_incidents([batches.key])[batches.key]
        assert (state.revision, state.log_position, state.values[STATUS]) == (3, -1, None)
        batches.store(batches.event("c"))

        seen = bench.incident(batches.key)
        assert seen is not None
        assert (seen.revision, seen.status) == (4, "C")

    def test_an_insert_that_did_not_know_of_the_tombstone_goes_on_from_it(
        self, bench: StoreBench, batches: Batches
    ) -> None:
        plan = batches.plan(batches.event("a"))
        batches.store(batches.event("b"))
        bench.delete_incident(batches.key)

        bench.store().apply(plan, commit=None)

        seen = bench.incident(batches.key)
        assert seen is not None
        assert seen.revision == 3

    @pytest.mark.parametrize("held", [False, True])
    def test_changes_of_a_replay_say_whether_they_are_held_and_later_ones_do_not(
        self, bench: StoreBench, batches: Batches, held: bool
    ) -> None:
        bench.store().apply(batches.plan(batches.event("a")), commit=None, held=held)
        bench.store().apply(batches.plan(batches.event("b")), commit=None)

        assert bench.held(batches.tenant) == [
            ("incident", 1, held),
            ("entity", 1, held),
            ("incident", 2, False),
        ]

    def test_every_effective_change_is_one_revision_and_one_message(
        self, bench: StoreBench, batches: Batches
    ) -> None:
        batches.store(batches.event("a"), batches.event("b"), batches.event("a"), batches.event("a"))
        bench.edit_incident(batches.key, "by hand")
        bench.delete_incident(batches.key)

        assert [change for change in bench.changes(batches.tenant) if change[0] == "incident"] == [
            ("incident", "created", 1),
            ("incident", "updated", 2),
            ("incident", "updated", 3),
            ("incident", "updated", 4),
            ("incident", "deleted", 5),
        ]

    def test_what_changes_nothing_effective_is_noted_without_revision_or_message(
        self, bench: StoreBench, batches: Batches
    ) -> None:
        batches.store(batches.event("a"))
        before = bench.changes(batches.tenant)

        batches.store(batches.event("a", note="changes nothing effective"))

        assert bench.incident(batches.key) == Incident(1, "A", None, 1, True)
        assert bench.changes(batches.tenant) == before

    # ---- events ------------------------------------------------------------------------------------------------------

    def test_an_event_that_is_stored_stays_as_it_is(self, bench: StoreBench, batches: Batches) -> None:
        event = batches.event(incident=None)
        batches.store(event)

        bench.store().apply(BatchPlan(events=[(event, event.event_id)]), commit=None)

        assert [stored[2] for stored in bench.events(batches.tenant).values()] == [None]

    def test_known_events_are_told_with_whether_they_are_duplicates(
        self, bench: StoreBench, batches: Batches
    ) -> None:
        first, again, missing = batches.event("a"), batches.event("a"), batches.event("b")
        batches.store(first, again)

        known = bench.store().known_events([e.event_key for e in (first, again, missing)], [batches.tenant])

        assert known == {first.event_key: False, again.event_key: True}
        assert bench.store().known_events([], [batches.tenant]) == {}

    def test_another_tenant_s_events_are_unknown(self, bench: StoreBench, batches: Batches) -> None:
        event = batches.event("a")
        batches.store(event)

        assert bench.store().known_events([event.event_key], ["somebodyelse"]) == {}

    def test_reapplying_what_is_stored_writes_nothing(self, bench: StoreBench, batches: Batches) -> None:
        events = [batches.event("a"), batches.event("b")]
        batches.store(*events)
        before = bench.changes(batches.tenant)
        store = bench.store()
        known = store.known_events([event.event_key for event in events], [batches.tenant])

        plan = plan_replay(events, store.read_incidents([batches.key]), known, reapply=True)
        store.apply(plan, commit=None)

        assert (plan.events, plan.waves, plan.quiet, plan.links) == ([], [], [], [])
        assert bench.changes(batches.tenant) == before

    # ---- entities and links ------------------------------------------------------------------------------------------

    def test_an_entity_said_alike_again_makes_no_revision(self, bench: StoreBench, batches: Batches) -> None:
        for position in (1, 2):
            self.say_entity(bench, batches, "orders", 1, position)

        assert bench.entities(batches.tenant) == {"mc:a:b.orders": ("orders", 1)}

    def test_an_entity_changes_only_by_what_was_said_later(self, bench: StoreBench, batches: Batches) -> None:
        self.say_entity(bench, batches, "orders", 1, 5)
        self.say_entity(bench, batches, "late", 2, 4)
        self.say_entity(bench, batches, "renamed", 3, 6)

        assert bench.entities(batches.tenant) == {"mc:a:b.orders": ("renamed", 2)}
        assert bench.changes(batches.tenant) == [("entity", "created", 1), ("entity", "updated", 2)]

    def say_entity(
        self, bench: StoreBench, batches: Batches, name: str, content_hash: int, position: int
    ) -> None:
        row = EntityRow(
            *(
                batches.tenant,
                b"e" * 16,
                "mc:a:b.orders",
                "table",
                name,
                "montecarlo",
                None,
                None,
                content_hash,
            )
        )
        plan = BatchPlan(entity_waves=[[(row, position.to_bytes(16, "big"))]])
        # what carries the tenants of a batch is its events
        plan.events.append((batches.event(incident=None), None))
        bench.store().apply(plan, commit=None)

    def test_links_come_and_go(self, bench: StoreBench, batches: Batches) -> None:
        batches.store(batches.event("a"))
        batches.store(batches.event("b", event_list=[{"table_name": "users"}, {"table_name": "orders"}]))
        both = {incident for _, incident in bench.links(batches.tenant)}, len(bench.links(batches.tenant))
        batches.store(batches.event("c", event_list=[]))

        assert (both, bench.links(batches.tenant)) == (({"inc-1"}, 2), set())

    def test_a_link_that_is_there_may_be_added_and_one_that_is_not_dropped(
        self, bench: StoreBench, batches: Batches
    ) -> None:
        batches.store(batches.event("a"))
        ((entity, incident),) = bench.links(batches.tenant)
        plan = batches.plan(batches.event("b"))
        plan.links += [
            Link(batches.tenant, entity, incident, False),
            Link(batches.tenant, b"x" * 16, incident, True),
        ]

        bench.store().apply(plan, commit=None)

        assert bench.links(batches.tenant) == {(entity, incident)}

    # ---- what cannot be stored ---------------------------------------------------------------------------------------

    def test_a_value_the_store_refuses_refuses_the_whole_batch(
        self, bench: StoreBench, batches: Batches
    ) -> None:
        good, bad = batches.event("a"), bench.refused(batches.event("b"))

        with pytest.raises(RejectedError):
            bench.store().apply(
                batches.plan(good, bad), commit=moving(bench.commit, 0, 2), dead_letters=[letter(9)]
            )

        assert (bench.cursor(), bench.events(batches.tenant), bench.dead_letters()) == (0, {}, {})

    def test_text_with_nul_is_refused(self, bench: StoreBench, batches: Batches) -> None:
        event = batches.event("a")
        assert event.statement is not None
        statement = (*event.statement[:OWNER], "a\0b", *event.statement[OWNER + 1 :])

        with pytest.raises(RejectedError):
            batches.store(msgspec.structs.replace(event, statement=statement))

    def test_dead_letters_are_kept_whole_by_their_origin(self, bench: StoreBench) -> None:
        letters = [letter(3), letter(5, tenant_id=None, key=None, value=None, headers=(), stage="store")]

        bench.store().apply(BatchPlan(), commit=moving(bench.commit, 0, 6), dead_letters=letters)

        assert bench.dead_letters() == {3: letters[0], 5: letters[1]}

    def test_a_dead_letter_of_the_same_origin_stays_as_it_is(self, bench: StoreBench) -> None:
        store = bench.store()
        store.apply(BatchPlan(), commit=moving(bench.commit, 0, 1), dead_letters=[letter(0)])

        store.apply(
            BatchPlan(), commit=moving(bench.commit, 1, 2), dead_letters=[letter(0, reason="another")]
        )

        assert bench.dead_letters()[0].reason == "why"

    # ---- dead letters on their way to their topic --------------------------------------------------------------------

    def waiting(self, bench: StoreBench) -> list[StoredDeadLetter]:
        return [stored for stored in bench.outbox().unpublished(10_000) if stored.topic == bench.commit.topic]

    def test_a_dead_letter_waits_with_its_origin_until_it_is_marked(self, bench: StoreBench) -> None:
        letters = [letter(3), letter(5, tenant_id=None, key=None, value=None, headers=())]
        bench.store().apply(BatchPlan(), commit=moving(bench.commit, 0, 6), dead_letters=letters)

        first, second = self.waiting(bench)

        assert first[:11] == (
            *(bench.commit.cluster_id, bench.commit.topic, 0, 3, "postgres", b"acme|inc-1"),
            *([("received_at", b"1"), ("none", None)], b"{", "decode", "why", "f00d"),
        )
        assert (second.offset, second.key, second.headers, second.value) == (5, None, [], None)
        assert first.at[:2].isdigit()
        bench.outbox().mark_published([first])
        assert self.waiting(bench) == [second]

    def test_no_more_are_told_than_asked_for_and_marking_again_is_fine(self, bench: StoreBench) -> None:
        letters = [letter(offset) for offset in range(5)]
        bench.store().apply(BatchPlan(), commit=moving(bench.commit, 0, 6), dead_letters=letters)

        assert len(bench.outbox().unpublished(2)) == 2
        waiting = self.waiting(bench)
        for _ in range(2):
            bench.outbox().mark_published(waiting)
        assert self.waiting(bench) == []

    # ---- its life ----------------------------------------------------------------------------------------------------

    def test_days_may_be_ensured_again_and_again(self, bench: StoreBench) -> None:
        store = bench.store()

        store.ensure_event_days()
        store.ensure_event_days()

    def test_a_closed_store_opens_again_when_it_is_used(self, bench: StoreBench, batches: Batches) -> None:
        store = bench.store()
        store.close()

        assert store.read_incidents([batches.key]) == {}
        store.close()
        store.close()
