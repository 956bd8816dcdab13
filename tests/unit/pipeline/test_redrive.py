"""A dead letter that can be stored now is stored where it belonged, once, and says so."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from airflow_provider_atlan_meta.core.dead_letters import LetterQuery, RedriveNote
from airflow_provider_atlan_meta.core.enrich import enrich
from airflow_provider_atlan_meta.core.errors import ConfigurationError, RejectedError, TransientError
from airflow_provider_atlan_meta.core.rows import STATUS, EventRow, LogRecord
from airflow_provider_atlan_meta.pipeline.batches import BatchWriter
from airflow_provider_atlan_meta.pipeline.ingest import SINK
from airflow_provider_atlan_meta.pipeline.redrive import Redrive, Redriven
from airflow_provider_atlan_meta.pipeline.replay import ReplayWriter
from airflow_provider_atlan_meta.testing.memory import Answer, MemoryLane, MemoryStore
from airflow_provider_atlan_meta.testing.memory_dead_letters import MemoryDeadLetters

NOTE = RedriveNote("dana@desk", "the decoder was mended")
INC_1 = ("acme", "inc-1")


class World:
    """One partition, ingested by a decoder that refuses what ``refused`` names."""

    def __init__(self, *statuses: str, refused: tuple[str, ...] = ()) -> None:
        self.lane = MemoryLane()
        for status in statuses:
            self.lane.publish(0, "inc-1", alert_feedback=status)
        self.refused = {f'"alert_feedback":"{status}"'.encode() for status in refused}
        self.store = MemoryStore(self.lane.database)
        self.letters = MemoryDeadLetters(self.lane.database)
        self.topic = self.lane.log.identify().topic
        self._ingest()

    def _ingest(self) -> None:
        log = self.lane.log.identify()
        (lease,) = self.lane.ledger(self.lane.owner()).take(log, {0: 0}, 1).leases
        writer = BatchWriter(self.store, sink=SINK, lease_seconds=30.0, decode=self.decode)
        self.lane.log.assign({0: 0})
        records = self.lane.log.poll(10_000, 1.0).records
        writer.write(log, lease, records, len(records))

    def decode(self, record: LogRecord) -> EventRow:
        if any(part in (record.value or b"") for part in self.refused):
            raise RejectedError("not understood")
        return enrich(record)

    def redrive(
        self,
        *,
        dry_run: bool = False,
        fingerprint: str = "",
        report: Callable[[Redriven], None] | None = None,
    ) -> Redriven:
        redrive = Redrive(
            letters=self.letters,
            writer=ReplayWriter(self.store, decode=self.decode),
            report=report or (lambda _: None),
            decode=self.decode,
        )
        return redrive.run(LetterQuery(topic=self.topic, fingerprint=fingerprint), NOTE, dry_run=dry_run)

    @property
    def waiting(self) -> int:
        return self.letters.count(LetterQuery(state="new"))

    @property
    def status(self) -> object:
        return self.lane.database.tables.incidents[INC_1].values[STATUS]


def test_what_can_be_read_now_is_stored_and_waits_no_more() -> None:
    world = World("a", "b", refused=("b",))
    assert (world.status, world.waiting) == ("A", 1)
    world.refused.clear()

    done = world.redrive()

    assert done == Redriven(letters=1, redriven=1, changes=1)
    assert (world.status, world.waiting) == ("B", 0)
    fingerprint = world.letters.shown(LetterQuery())[0].letter.fingerprint
    assert world.letters.audit == [(*NOTE, fingerprint, 1)]


def test_an_old_record_changes_nothing_that_a_newer_one_has_said() -> None:
    world = World("a", "b", "c", refused=("b",))
    world.refused.clear()

    done = world.redrive()

    assert (done.redriven, done.changes) == (1, 0)
    assert world.status == "C"
    assert len(world.lane.database.tables.events) == 3


def test_a_second_redrive_finds_nothing_to_do() -> None:
    world = World("a", "b", refused=("b",))
    world.refused.clear()
    world.redrive()
    audited, changes = list(world.letters.audit), len(world.lane.database.tables.changes)

    assert world.redrive() == Redriven()
    assert world.letters.audit == audited
    assert len(world.lane.database.tables.changes) == changes


def test_what_fails_as_before_stays_with_its_reason() -> None:
    world = World("a", "b", "c", refused=("a", "b"))

    done = world.redrive()

    assert (done.letters, done.redriven, done.rejected) == (2, 0, 2)
    assert done.reasons == (("not understood", 2),)
    assert world.waiting == 2
    assert world.letters.audit == []


def test_one_that_the_store_refuses_keeps_no_other_waiting() -> None:
    world = World(*"abcdefg", refused=tuple("abcdef"))
    world.refused.clear()
    world.lane.database.refuses = lambda event: b'"alert_feedback":"c"' in event.payload

    done = world.redrive()

    assert (done.letters, done.redriven, done.rejected) == (6, 5, 1)
    assert done.reasons == (("the database refuses the value", 1),)
    assert world.waiting == 1


def test_a_dry_run_tells_what_could_be_read_and_stores_nothing() -> None:
    world = World("a", "b", "c", refused=("b", "c"))
    world.refused = {b'"alert_feedback":"c"'}
    before = world.lane.database.tables.copy()

    done = world.redrive(dry_run=True)

    assert (done.letters, done.redriven, done.rejected, done.dry_run) == (2, 1, 1, True)
    assert world.lane.database.tables == before
    assert world.waiting == 2


@pytest.mark.parametrize("answer", [Answer.NEVER, Answer.LOST])
def test_a_redrive_that_was_cut_off_is_simply_run_again(answer: Answer) -> None:
    world = World("a", "b", refused=("b",))
    world.refused.clear()
    world.store.answer_next(answer)
    with pytest.raises(TransientError):
        world.redrive()
    assert world.waiting == 1

    done = world.redrive()

    assert done.redriven == 1
    assert (world.status, world.waiting) == ("B", 0)
    revisions = [
        change.revision for change in world.lane.database.tables.changes if change.kind == "incident"
    ]
    assert revisions == [1, 2]


def test_only_what_was_asked_for_is_redriven() -> None:
    world = World("a", "b", refused=("b",))
    world.refused.clear()

    assert world.redrive(fingerprint="0" * 16) == Redriven()
    assert world.waiting == 1


def test_more_than_a_page_is_told_as_it_goes() -> None:
    world = World(*[f"s{n}" for n in range(1100)], refused=tuple(f"s{n}" for n in range(1100)))
    world.refused.clear()
    told: list[int] = []

    done = world.redrive(report=lambda sums: told.append(sums.redriven))

    assert told == [500, 1000, 1100]
    assert (done.redriven, world.waiting, world.status) == (1100, 0, "S1099")


def test_offsets_of_a_topic_that_was_not_named_are_not_compared() -> None:
    world = World("a")
    redrive = Redrive(letters=world.letters, writer=ReplayWriter(world.store), report=lambda _: None)

    with pytest.raises(ConfigurationError, match="one topic"):
        redrive.run(LetterQuery(), NOTE)
