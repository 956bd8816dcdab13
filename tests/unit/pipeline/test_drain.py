"""A bounded run: from the ledger to the end as it was at the start, and every way it may be disturbed."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from airflow_provider_atlan_meta.core.errors import TerminalError, TransientError
from airflow_provider_atlan_meta.core.ports import Lease, LeaseOwner, LogIdentity, Poll, Taken
from airflow_provider_atlan_meta.pipeline.ingest import DrainLimits, Ingest, IngestPolicy, Listener
from airflow_provider_atlan_meta.pipeline.outcomes import IngestOutcome, PartitionRange
from airflow_provider_atlan_meta.testing.memory import (
    Answer,
    MemoryLane,
    MemoryLedger,
    MemoryLog,
    MemoryStore,
    MemoryTopic,
)
from airflow_provider_atlan_meta.testing.records import webhook_record

TOPIC = "meta.events.v1"
ONE_BY_ONE = IngestPolicy(batch_records=1)


@pytest.fixture
def lane() -> MemoryLane:
    """One partition with three webhooks."""
    lane = MemoryLane()
    publish(lane, 0, 3)
    return lane


def publish(lane: MemoryLane, partition: int, records: int) -> None:
    for _ in range(records):
        lane.publish(partition, f"inc-{partition}", owner=f"o{lane.topic.bounds(partition)[1]}")


def drain(lane: MemoryLane, owner: LeaseOwner | None = None, **limits: float) -> IngestOutcome:
    return lane.ingest(owner).drain(DrainLimits(**limits))  # type: ignore[arg-type]


def assert_free(lane: MemoryLane) -> None:
    """Nobody holds a lease."""
    assert [row for row in lane.database.ledger.values() if row.expires_at >= lane.clock()] == []


# ---- what it reads ---------------------------------------------------------------------------------------------------


def test_a_run_stores_everything_from_the_ledger_to_the_end() -> None:
    lane = MemoryLane(partitions=3)
    publish(lane, 0, 3)
    publish(lane, 2, 2)

    outcome = drain(lane)

    assert outcome == IngestOutcome(
        topic=TOPIC,
        records=5,
        ranges=(
            PartitionRange(topic=TOPIC, partition=0, start=0, end=3, records=3, changes=3),
            PartitionRange(topic=TOPIC, partition=2, start=0, end=2, records=2, changes=2),
        ),
    )
    assert lane.cursors() == {0: 3, 1: 0, 2: 2}
    assert len(lane.database.tables.events) == 5
    assert_free(lane)


def test_a_second_run_reads_nothing(lane: MemoryLane) -> None:
    drain(lane)

    assert drain(lane) == IngestOutcome(topic=TOPIC)


def test_a_partition_nobody_has_read_starts_at_the_oldest_record_that_is_kept(lane: MemoryLane) -> None:
    lane.topic.delete_before(0, 2)

    assert [(part.start, part.end) for part in drain(lane).ranges] == [(2, 3)]


def test_records_that_come_during_the_run_are_left_to_the_next_one(lane: MemoryLane) -> None:
    listener = Listener(batch=lambda _: publish(lane, 0, 1))

    first = lane.ingest(policy=ONE_BY_ONE, listener=listener).drain(DrainLimits())

    assert (first.records, first.lag, lane.cursors()) == (3, 0, {0: 3})
    assert drain(lane).records == 3


def test_the_run_writes_batches_of_the_size_it_was_told(lane: MemoryLane) -> None:
    lane.ingest(policy=IngestPolicy(batch_records=2)).drain(DrainLimits())

    assert [(commit.start, commit.end) for commit in lane.database.commits] == [(0, 2), (2, 3)]


def test_the_listener_hears_of_every_committed_range_as_it_happens(lane: MemoryLane) -> None:
    heard: list[tuple[int, int, dict[int, int]]] = []
    listener = Listener(batch=lambda part: heard.append((part.start, part.end, lane.cursors())))

    lane.ingest(policy=ONE_BY_ONE, listener=listener).drain(DrainLimits())

    assert heard == [(0, 1, {0: 1}), (1, 2, {0: 2}), (2, 3, {0: 3})]


def test_duplicates_and_rejected_records_are_counted(lane: MemoryLane) -> None:
    lane.publish(0, "inc-0", owner="o2")
    lane.topic.append(0, webhook_record()._replace(value=None))

    outcome = drain(lane)

    assert (outcome.records, outcome.duplicates, outcome.rejected) == (5, 1, 1)
    assert lane.cursors() == {0: 5}


def test_the_day_partitions_are_made_before_the_first_write(lane: MemoryLane) -> None:
    days: list[int] = []

    lane.ingest(listener=Listener(batch=lambda _: days.append(lane.database.days_ensured))).drain(
        DrainLimits()
    )

    assert days == [1]


# ---- ends ------------------------------------------------------------------------------------------------------------


def test_an_end_behind_transaction_markers_is_reached(lane: MemoryLane) -> None:
    lane.topic.commit(0)
    lane.topic.commit(0)

    outcome = drain(lane)

    assert (outcome.records, outcome.lag, lane.cursors()) == (3, 0, {0: 5})


def test_a_partition_with_nothing_but_markers_is_passed() -> None:
    lane = MemoryLane()
    lane.topic.begin(0)
    publish(lane, 0, 2)
    lane.topic.abort(0)

    outcome = drain(lane)

    assert (outcome.records, lane.cursors(), lane.database.tables.events) == (0, {0: 3}, {})


def test_an_open_transaction_is_neither_read_nor_waited_for(lane: MemoryLane) -> None:
    lane.topic.begin(0)
    publish(lane, 0, 2)

    outcome = drain(lane)

    assert (outcome.records, outcome.lag, lane.cursors()) == (3, 0, {0: 3})


class BusyLog(MemoryLog):
    """A record arrives before every poll, so the end is never in sight."""

    def __init__(self, lane: MemoryLane) -> None:
        super().__init__(lane.topic, clock=lane.clock)
        self._lane = lane

    def poll(self, max_records: int, timeout_seconds: float) -> Poll:
        publish(self._lane, 0, 1)
        self._lane.clock.advance(0.1)
        return super().poll(max_records, timeout_seconds)


def with_log(lane: MemoryLane, log: MemoryLog, policy: IngestPolicy | None = None) -> Ingest:
    owner = lane.owner()
    return Ingest(
        log=log,
        ledger=lane.ledger(owner),
        store=MemoryStore(lane.database),
        owner=owner,
        policy=policy or IngestPolicy(),
        clock=lane.clock,
    )


def test_an_end_behind_markers_is_reached_although_records_keep_coming(lane: MemoryLane) -> None:
    lane.topic.commit(0)

    outcome = with_log(lane, BusyLog(lane), ONE_BY_ONE).drain(DrainLimits())

    assert (outcome.records, outcome.lag, lane.cursors()) == (3, 0, {0: 4})


class LaggingLeaderLog(MemoryLog):
    """A new leader, whose end is for one poll below the end that was known before."""

    def poll(self, max_records: int, timeout_seconds: float) -> Poll:
        poll = super().poll(1, timeout_seconds)
        return Poll(
            poll.records, poll.ends or {record.partition: record.offset + 1 for record in poll.records}
        )


def test_an_end_below_the_one_at_the_start_skips_nothing(lane: MemoryLane) -> None:
    outcome = with_log(lane, LaggingLeaderLog(lane.topic, clock=lane.clock)).drain(DrainLimits())

    assert (outcome.records, len(lane.database.tables.events), lane.cursors()) == (3, 3, {0: 3})


# ---- limits ----------------------------------------------------------------------------------------------------------


def test_a_limit_of_records_leaves_the_rest_as_lag(lane: MemoryLane) -> None:
    first = drain(lane, max_records=2)
    second = drain(lane)

    assert (first.records, first.lag, second.records, second.lag) == (2, 1, 1, 0)


def test_a_limit_of_seconds_leaves_the_rest_as_lag(lane: MemoryLane) -> None:
    listener = Listener(batch=lambda _: lane.clock.advance(20))

    outcome = lane.ingest(policy=ONE_BY_ONE, listener=listener).drain(DrainLimits(max_seconds=30))

    assert (outcome.records, outcome.lag) == (2, 1)
    assert_free(lane)


# ---- other owners ----------------------------------------------------------------------------------------------------


def take(lane: MemoryLane, owner: LeaseOwner, *partitions: int) -> MemoryLedger:
    """The owner takes these, and nobody else holds any afterwards."""
    ledger = lane.ledger(owner)
    taken = ledger.take(lane.topic.identity, dict.fromkeys(partitions, 0), len(partitions))
    assert [lease.partition for lease in taken.leases] == list(partitions)
    return ledger


@pytest.fixture
def shared() -> MemoryLane:
    """Partition 0 with 3 records belongs to a service; partition 1 with 2 is free."""
    lane = MemoryLane(partitions=2)
    publish(lane, 0, 3)
    publish(lane, 1, 2)
    return lane


def test_partitions_of_an_owner_that_moves_are_named_and_left_alone(shared: MemoryLane) -> None:
    take(shared, shared.owner("service a:1"), 0)

    outcome = drain(shared)

    assert outcome.owned_by == {0: "service a:1"}
    assert (outcome.records, outcome.lag, shared.cursors()) == (2, 0, {0: 0, 1: 2})


def keep_alive(lane: MemoryLane, ledger: MemoryLedger, seconds: int) -> None:
    """The owner renews its first lease for so long, and does nothing else."""
    identity = lane.topic.identity
    cursor = lane.cursors()[0]
    for _ in range(0, seconds, 10):
        lane.clock.advance(10)
        assert ledger.renew(identity, [Lease(0, cursor, epoch) for epoch in (1, 2)]) == {0}


def test_an_owner_that_lives_but_does_not_move_its_lag_is_a_reason_to_retry(shared: MemoryLane) -> None:
    keep_alive(shared, take(shared, shared.owner("service a:1"), 0), 70)

    with pytest.raises(
        TransientError, match="held by service a:1, which has not moved it for 70 s"
    ) as caught:
        drain(shared)

    assert caught.value.retry_after is not None
    assert caught.value.retry_after >= 5
    assert shared.cursors() == {0: 0, 1: 2}, "what is free is stored all the same"


def test_an_owner_without_lag_may_stand_still_for_ever(shared: MemoryLane) -> None:
    drain(shared)
    keep_alive(shared, take(shared, shared.owner("service a:1"), 0), 3600)

    assert drain(shared).owned_by == {0: "service a:1"}


def test_an_expired_owner_s_partition_is_taken(shared: MemoryLane) -> None:
    take(shared, shared.owner("service a:1"), 0)
    shared.clock.advance(31)

    assert drain(shared).records == 5


def test_an_earlier_try_of_the_same_task_is_waited_for(shared: MemoryLane) -> None:
    take(shared, shared.owner("ingest/run-1/ingest#1", task="ingest/run-1/ingest"), 0)
    shared.clock.advance(12)
    second_try = shared.owner("ingest/run-1/ingest#2", task="ingest/run-1/ingest")

    with pytest.raises(TransientError, match="an earlier try of this task, for 18 s more") as caught:
        drain(shared, second_try)

    assert caught.value.retry_after == 19
    assert shared.cursors() == {0: 0, 1: 2}


def test_after_the_wait_an_earlier_try_named_the_partition_is_taken(shared: MemoryLane) -> None:
    take(shared, shared.owner("ingest/run-1/ingest#1", task="ingest/run-1/ingest"), 0)
    shared.clock.advance(12)
    task = "ingest/run-1/ingest"
    with pytest.raises(TransientError) as caught:
        drain(shared, shared.owner(f"{task}#2", task=task))
    shared.clock.advance(caught.value.retry_after or 0)

    assert drain(shared, shared.owner(f"{task}#3", task=task)).records == 3


def test_another_task_s_lease_is_not_an_earlier_try(shared: MemoryLane) -> None:
    take(shared, shared.owner("ingest/run-1/ingest#1", task="ingest/run-1/ingest"), 0)

    outcome = drain(shared, shared.owner("ingest/run-2/ingest#2", task="ingest/run-2/ingest"))

    assert outcome.owned_by == {0: "ingest/run-1/ingest#1"}


# ---- taken over meanwhile --------------------------------------------------------------------------------------------


class RobbedLog(MemoryLog):
    """While the owner looks at the log for the second time, it is stopped for 31 s and loses partition 0."""

    def __init__(self, lane: MemoryLane) -> None:
        super().__init__(lane.topic, clock=lane.clock)
        self._lane = lane
        self._polls = 0

    def poll(self, max_records: int, timeout_seconds: float) -> Poll:
        self._polls += 1
        if self._polls == 2:
            rob(self._lane)
        return super().poll(max_records, timeout_seconds)


def rob(lane: MemoryLane) -> None:
    lane.clock.advance(31)
    taken = lane.ledger(lane.owner("service b:1")).take(lane.topic.identity, {0: 0}, 1)
    assert [lease.partition for lease in taken.leases] == [0]


@pytest.fixture
def two() -> MemoryLane:
    """Two partitions with 3 records each."""
    lane = MemoryLane(partitions=2)
    publish(lane, 0, 3)
    publish(lane, 1, 3)
    return lane


def test_a_lease_lost_at_a_commit_ends_that_partition_and_no_other(two: MemoryLane) -> None:
    outcome = with_log(two, RobbedLog(two), ONE_BY_ONE).drain(DrainLimits())

    assert outcome.owned_by == {0: "taken over by another owner"}
    assert [(part.partition, part.start, part.end) for part in outcome.ranges] == [(0, 0, 1), (1, 0, 3)]
    assert (outcome.lag, two.cursors()) == (0, {0: 1, 1: 3})


def test_a_lease_lost_at_a_renewal_ends_that_partition_and_no_other(two: MemoryLane) -> None:
    robbed = iter([rob])
    listener = Listener(batch=lambda _: next(robbed, lambda _: None)(two))

    outcome = two.ingest(policy=ONE_BY_ONE, listener=listener).drain(DrainLimits())

    assert outcome.owned_by == {0: "taken over by another owner"}
    assert (outcome.lag, two.cursors()) == (0, {0: 1, 1: 3})


def test_a_run_longer_than_its_lease_keeps_it(lane: MemoryLane) -> None:
    def try_to_rob(_: PartitionRange) -> None:
        lane.clock.advance(11)
        taken = lane.ledger(lane.owner("robber")).take(lane.topic.identity, {0: 0}, 1)
        assert taken.leases == []

    publish(lane, 0, 7)

    outcome = lane.ingest(policy=ONE_BY_ONE, listener=Listener(batch=try_to_rob)).drain(
        DrainLimits(max_seconds=600)
    )

    assert outcome.records == 10


class OvertakenLedger(MemoryLedger):
    """Between our look at the log's ends and our take, the owner before us commits newer records and lets go."""

    def __init__(self, lane: MemoryLane, owner: LeaseOwner) -> None:
        super().__init__(lane.database, owner)
        self._lane = lane

    def take(self, log: LogIdentity, first_offsets: Mapping[int, int], limit: int) -> Taken:
        publish(self._lane, 0, 2)
        drain(self._lane)
        return super().take(log, first_offsets, limit)


def test_an_owner_that_moved_on_since_the_ends_were_read_is_no_error(lane: MemoryLane) -> None:
    owner = lane.owner()
    engine = Ingest(
        log=MemoryLog(lane.topic, clock=lane.clock),
        ledger=OvertakenLedger(lane, owner),
        store=MemoryStore(lane.database),
        owner=owner,
        policy=IngestPolicy(),
        clock=lane.clock,
    )

    outcome = engine.drain(DrainLimits())

    assert (outcome.records, outcome.lag, lane.cursors()) == (0, 0, {0: 5})


# ---- the log and the ledger do not fit -------------------------------------------------------------------------------


def test_records_that_retention_deleted_unread_stop_the_run_with_their_number(lane: MemoryLane) -> None:
    drain(lane, max_records=1)
    lane.topic.delete_before(0, 3)

    with pytest.raises(
        TerminalError,
        match=r"stands at 1, but the log begins at 3: 2 records were deleted by retention.*set the ledger",
    ):
        drain(lane)

    assert lane.cursors() == {0: 1}
    assert_free(lane)


def test_a_ledger_above_the_log_s_end_stops_the_run(lane: MemoryLane) -> None:
    drain(lane)
    lane.topic = MemoryTopic(partitions=1)

    with pytest.raises(TerminalError, match="stands at 3, but the log ends at 0"):
        drain(lane)

    assert lane.cursors() == {0: 3}
    assert_free(lane)


def test_a_topic_that_was_created_again_stops_the_run(lane: MemoryLane) -> None:
    drain(lane)
    lane.topic = MemoryTopic(partitions=1, topic_id="topic-2")

    with pytest.raises(TerminalError, match="deleted and created again"):
        drain(lane)

    assert lane.cursors() == {0: 3}


# ---- servers that are away -------------------------------------------------------------------------------------------


def test_a_log_that_goes_silent_with_lag_does_not_end_as_if_it_were_done(lane: MemoryLane) -> None:
    class SilentLog(MemoryLog):
        def poll(self, max_records: int, timeout_seconds: float) -> Poll:
            self._clock.advance(timeout_seconds)
            return Poll([], {})

    with pytest.raises(TransientError, match=r"no record for 15 s although partitions \[0\] have lag"):
        with_log(lane, SilentLog(lane.topic, clock=lane.clock)).drain(DrainLimits())

    assert_free(lane)


@pytest.mark.parametrize("calls_before", range(4), ids=["identify", "bounds", "first poll", "second poll"])
def test_a_broker_that_is_away_is_a_reason_to_retry_and_leaves_no_lease(
    lane: MemoryLane, calls_before: int
) -> None:
    engine = lane.ingest(policy=ONE_BY_ONE)
    lane.log.fail_next(*[None] * calls_before, TransientError("broker away"))

    with pytest.raises(TransientError, match="broker away"):
        engine.drain(DrainLimits())

    assert_free(lane)
    stored = len(lane.database.tables.events)
    assert stored + drain(lane).records == 3


def test_a_store_that_is_away_loses_nothing_and_its_leases_run_out(lane: MemoryLane) -> None:
    def cut(_: PartitionRange) -> None:
        lane.database.is_up = False

    with pytest.raises(TransientError, match="the database is away"):
        lane.ingest(policy=ONE_BY_ONE, listener=Listener(batch=cut)).drain(DrainLimits())
    lane.database.is_up = True

    assert drain(lane).owned_by == {0: "owner 1"}
    lane.clock.advance(31)
    assert drain(lane).records == 2


@pytest.mark.parametrize(("answer", "left"), [(Answer.NEVER, 3), (Answer.LOST, 0), (Answer.LATE, 3)])
def test_after_an_unanswered_commit_the_next_run_starts_where_the_ledger_stands(
    lane: MemoryLane, answer: Answer, left: int
) -> None:
    engine = lane.ingest()
    lane.store.answer_next(answer)
    with pytest.raises(TransientError):
        engine.drain(DrainLimits())

    assert drain(lane).records == left
    lane.database.run_late()

    assert [row.next_offset for row in lane.database.ledger.values()] == [3]
    assert lane.database.tables.incidents["acme", "inc-0"].revision == 3


# ---- look, and what is handed on -------------------------------------------------------------------------------------


def test_a_look_says_what_a_run_would_read_and_changes_nothing(shared: MemoryLane) -> None:
    drain(shared, max_records=1)
    before = repr(shared.database.ledger)

    seen = shared.ingest().look()

    assert (seen.records, seen.lag, seen.dry_run) == (4, 4, True)
    assert repr(shared.database.ledger) == before
    assert drain(shared).ranges != ()
    assert seen.records == 4


def test_a_look_at_a_topic_nobody_has_read_writes_nothing(lane: MemoryLane) -> None:
    lane.topic.delete_before(0, 1)

    seen = lane.ingest().look()

    assert [(part.start, part.end, part.records) for part in seen.ranges] == [(1, 3, 2)]
    assert lane.database.ledger == {}


def test_a_look_names_the_owners_and_does_not_count_their_records(shared: MemoryLane) -> None:
    take(shared, shared.owner("service a:1"), 0)

    seen = shared.ingest().look()

    assert (seen.owned_by, seen.records) == ({0: "service a:1"}, 2)


def test_a_look_counts_offsets_transaction_markers_included(lane: MemoryLane) -> None:
    lane.topic.commit(0)

    assert lane.ingest().look().records == 4


def test_an_outcome_fits_into_json(shared: MemoryLane) -> None:
    take(shared, shared.owner("service a:1"), 0)

    document = json.loads(json.dumps(drain(shared).to_dict()))

    assert document["owned_by"] == {"0": "service a:1"}
    assert document["ranges"][0] == {
        "topic": TOPIC, "partition": 1, "start": 0, "end": 2, "records": 2, "duplicates": 0, "rejected": 0, "changes": 2
    }  # fmt: skip


def test_one_engine_may_run_again_and_again(lane: MemoryLane) -> None:
    engine = lane.ingest()

    totals = []
    for _ in range(3):
        totals.append(engine.drain(DrainLimits()).records)
        publish(lane, 0, 1)

    assert totals == [3, 1, 1]
