"""A batch is stored whole and moves the cursor, or it is not and does not; a poisoned record goes alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from airflow_provider_atlan_meta.core import identity
from airflow_provider_atlan_meta.core.errors import (
    LeaseLostError,
    RejectedError,
    RowsMovedError,
    TransientError,
)
from airflow_provider_atlan_meta.core.merging import BatchPlan
from airflow_provider_atlan_meta.core.ports import Commit, Lease
from airflow_provider_atlan_meta.core.rows import STATUS, DeadLetter, EventRow
from airflow_provider_atlan_meta.pipeline.batches import BatchWriter, Written, dead_letter
from airflow_provider_atlan_meta.testing.memory import Answer, MemoryLane, MemoryStore
from airflow_provider_atlan_meta.testing.memory_database import Tables
from airflow_provider_atlan_meta.testing.records import webhook_record

INC_1 = ("acme", "inc-1")


class Desk:
    """A writer with a lease on partition 0 and everything that was published."""

    def __init__(self, told: Callable[[EventRow, int], None] | None = None) -> None:
        self.lane = MemoryLane()
        identity = self.lane.topic.identity
        self.lease = self.lane.ledger(self.lane.owner()).take(identity, {0: 0}, 1).leases[0]
        self.store = MemoryStore(self.lane.database)
        self.writer = BatchWriter(self.store, sink="postgres", lease_seconds=30.0, told=told)

    def publish(self, *statuses: str) -> None:
        for status in statuses:
            self.lane.publish(0, "inc-1", alert_feedback=status)

    def write(self, lease: Lease | None = None) -> Written:
        lease = lease or self.lease
        records = self.lane.topic.read(0, lease.next_offset)
        return self.writer.write(self.lane.topic.identity, lease, records, self.lane.topic.bounds(0)[1])

    @property
    def tables(self) -> Tables:
        return self.lane.database.tables

    @property
    def cursor(self) -> int:
        return self.lane.cursors()[0]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def refuse(desk: Desk, status: str) -> None:
    desk.lane.database.refuses = lambda event: (
        event.statement is not None and event.statement[STATUS] == status
    )


def test_rows_and_cursor_are_written_together(desk: Desk) -> None:
    desk.publish("a", "b", "b")

    written = desk.write()

    assert written == Written(desk.lease._replace(next_offset=3), 3, 1, 0, 2)
    assert desk.cursor == 3
    assert len(desk.tables.events) == 3
    assert desk.tables.incidents[INC_1].revision == 2
    assert len(desk.lane.database.commits) == 1


def test_a_commit_extends_the_lease(desk: Desk) -> None:
    desk.publish("a")
    desk.lane.clock.advance(20)

    desk.write()

    assert next(iter(desk.lane.database.ledger.values())).expires_at == 50


def test_nothing_is_written_when_the_partition_is_somebody_else_s(desk: Desk) -> None:
    desk.publish("a")
    desk.lane.clock.advance(31)
    desk.lane.ledger(desk.lane.owner()).take(desk.lane.topic.identity, {0: 0}, 1)

    with pytest.raises(LeaseLostError):
        desk.write()

    assert (desk.tables.events, desk.cursor) == ({}, 0)


@pytest.mark.parametrize(("answer", "cursor"), [(Answer.NEVER, 0), (Answer.LOST, 1), (Answer.LATE, 0)])
def test_without_an_answer_the_ledger_alone_knows_whether_the_batch_is_in(
    desk: Desk, answer: Answer, cursor: int
) -> None:
    desk.publish("a")
    desk.store.answer_next(answer)

    with pytest.raises(TransientError, match="for the ledger to say"):
        desk.write()

    assert (desk.cursor, len(desk.tables.events)) == (cursor, cursor)


def test_an_unanswered_batch_that_is_in_cannot_be_written_again(desk: Desk) -> None:
    desk.publish("a")
    desk.store.answer_next(Answer.LOST)
    with pytest.raises(TransientError):
        desk.write()

    with pytest.raises(LeaseLostError):
        desk.write()

    assert desk.tables.incidents[INC_1].revision == 1


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
def test_a_poisoned_value_goes_alone_to_the_dead_letters_and_the_batch_goes_on(desk: Desk, size: int) -> None:
    for poisoned in range(size):
        desk = Desk()
        desk.publish(*(f"s{n}" for n in range(size)))
        refuse(desk, f"S{poisoned}")

        written = desk.write()

        assert (written.events, written.rejected, written.lease.next_offset) == (size - 1, 1, size)
        assert desk.cursor == size
        (letter,) = desk.tables.dead_letters.values()
        assert (letter.offset, letter.stage, letter.tenant_id) == (poisoned, "store", "acme")
        assert letter.value == desk.lane.topic.read(0, poisoned)[0].value


def test_a_halved_batch_ends_as_the_whole_one_would_and_moves_the_cursor_in_steps(desk: Desk) -> None:
    desk.publish("a", "b", "poison", "c", "c")
    refuse(desk, "POISON")

    written = desk.write()

    assert (written.events, written.duplicates, written.rejected, written.changes) == (4, 1, 1, 3)
    commits = desk.lane.database.commits
    assert [commit.start for commit in commits] == [0, *(commit.end for commit in commits[:-1])]
    assert [
        change.values[STATUS] for change in desk.tables.changes if change.values and change.kind == "incident"
    ] == ["A", "B", "C"]


def test_what_cannot_be_decoded_goes_to_the_dead_letters_in_the_same_transaction(desk: Desk) -> None:
    desk.publish("a")
    desk.lane.topic.append(0, webhook_record("inc-1")._replace(value=b"{"))
    desk.publish("b")

    written = desk.write()

    assert (written.events, written.rejected, len(desk.lane.database.commits)) == (2, 1, 1)
    (letter,) = desk.tables.dead_letters.values()
    assert (letter.offset, letter.stage, letter.value) == (1, "decode", b"{")
    assert letter.fingerprint == identity.fingerprint("decode", "record is not a MetadataEvent")


def test_an_empty_batch_moves_the_cursor_past_transaction_markers(desk: Desk) -> None:
    desk.lane.topic.commit(0)

    assert desk.write().lease.next_offset == 1
    assert desk.cursor == 1


def test_an_incident_changed_by_hand_meanwhile_is_planned_again_from_what_it_is_now(desk: Desk) -> None:
    desk.publish("a")
    written = desk.write()
    desk.lane.publish(0, "inc-1", owner="dana")
    edits = iter(["by hand"])
    store = EditedMeanwhile(desk.lane, lambda: next(edits, None))
    desk.writer = BatchWriter(store, sink="postgres", lease_seconds=30.0)

    desk.write(written.lease)

    row = desk.tables.incidents[INC_1]
    assert (row.revision, row.values[STATUS], row.values[6]) == (3, "by hand", "dana")
    assert desk.cursor == 2


def test_somebody_who_never_stops_changing_the_incident_is_a_reason_to_retry_later(desk: Desk) -> None:
    desk.publish("a")
    written = desk.write()
    desk.publish("b")
    edits = iter(range(100))
    store = EditedMeanwhile(desk.lane, lambda: f"edit {next(edits)}")
    desk.writer = BatchWriter(store, sink="postgres", lease_seconds=30.0)

    with pytest.raises(TransientError, match="keeps changing the same incidents") as caught:
        desk.write(written.lease)

    assert not isinstance(caught.value, RowsMovedError)
    assert desk.cursor == 1


class EditedMeanwhile(MemoryStore):
    """Somebody edits inc-1 between every read and its write, as long as ``edit`` names a status."""

    def __init__(self, lane: MemoryLane, edit: Callable[[], str | None]) -> None:
        super().__init__(lane.database)
        self._edit = edit

    def apply(
        self,
        plan: BatchPlan,
        *,
        commit: Commit | None,
        dead_letters: Sequence[DeadLetter] = (),
        held: bool = False,
    ) -> None:
        if (status := self._edit()) is not None:
            self._database.edit_incident(INC_1, status=status)
        super().apply(plan, commit=commit, dead_letters=dead_letters, held=held)


def test_only_what_was_committed_is_told() -> None:
    told: list[tuple[int, int]] = []
    desk = Desk(told=lambda event, partition: told.append((event.offset, partition)))
    desk.publish("a", "poison", "b")
    refuse(desk, "POISON")
    desk.store.answer_next(Answer.NEVER)
    with pytest.raises(TransientError):
        desk.write()
    assert told == []

    desk.write()

    assert told == [(0, 0), (2, 0)]


@pytest.mark.parametrize(
    ("key", "tenant"),
    [(b"acme|inc-1", "acme"), (b"Acme!|inc-1", None), (b"\xff|x", None), (b"", None), (None, None)],
)
def test_a_dead_letter_belongs_to_a_tenant_only_where_its_key_names_one(
    key: bytes | None, tenant: str | None
) -> None:
    record = webhook_record()._replace(key=key)

    letter = dead_letter(record, "decode", RejectedError("why"))

    assert (letter.tenant_id, letter.key, letter.value, letter.headers) == (
        tenant,
        key,
        record.value,
        record.headers,
    )


def test_a_dead_letter_s_reason_is_storable_and_bounded_and_its_fingerprint_groups() -> None:
    one = dead_letter(webhook_record(), "decode", RejectedError("why", detail="a\0b" + "x" * 2000))
    other = dead_letter(webhook_record("inc-2"), "decode", RejectedError("why", detail="elsewhere"))
    stored = dead_letter(webhook_record("inc-2"), "store", RejectedError("why"))

    assert "\0" not in one.reason
    assert len(one.reason) <= 1000
    assert one.fingerprint == other.fingerprint != stored.fingerprint
