"""The service: takes what is free, stores what comes, and lets go at once when it is told to stop."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from airflow_provider_atlan_meta.core.errors import TerminalError, TransientError
from airflow_provider_atlan_meta.core.ports import LeaseOwner, LogIdentity, Poll, Taken
from airflow_provider_atlan_meta.pipeline.ingest import DrainLimits, Ingest, IngestPolicy, Listener
from airflow_provider_atlan_meta.testing.memory import (
    Answer,
    MemoryLane,
    MemoryLedger,
    MemoryLog,
    MemoryStore,
    MemoryTopic,
)


@pytest.fixture
def lane() -> MemoryLane:
    """Four empty partitions."""
    return MemoryLane(partitions=4)


def publish(lane: MemoryLane, partition: int, records: int = 1) -> None:
    for _ in range(records):
        lane.publish(partition, f"inc-{partition}", owner=f"o{lane.topic.bounds(partition)[1]}")


class Turns:
    """Stops the service after so many turns of its loop; ``at`` does something at the start of one."""

    def __init__(self, number: int, at: Mapping[int, Callable[[], object]] | None = None) -> None:
        self._number = number
        self._at = at or {}
        self.turn = 0

    def __call__(self) -> bool:
        self.turn += 1
        self._at.get(self.turn, lambda: None)()
        return self.turn > self._number


def held(lane: MemoryLane) -> dict[str, list[int]]:
    """Owner -> the partitions it has a live lease of."""
    owners: dict[str, list[int]] = {}
    for key, row in sorted(lane.database.ledger.items()):
        if row.expires_at >= lane.clock():
            owners.setdefault(row.label, []).append(key[2])
    return owners


def hold(lane: MemoryLane, label: str, *partitions: int) -> MemoryLedger:
    ledger = lane.ledger(lane.owner(label))
    ledger.take(lane.topic.identity, dict.fromkeys(partitions, 0), len(partitions))
    return ledger


def test_everything_that_comes_is_stored_as_it_comes(lane: MemoryLane) -> None:
    publish(lane, 0, 2)
    seen: list[int] = []

    def look() -> None:
        seen.append(len(lane.database.tables.events))

    lane.ingest().follow(Turns(6, {3: look, 4: lambda: publish(lane, 3, 3), 6: look}))

    assert seen == [2, 5]
    assert lane.cursors() == {0: 2, 1: 0, 2: 0, 3: 3}


def test_it_owns_what_is_free_and_lets_go_of_all_when_it_stops(lane: MemoryLane) -> None:
    engine = lane.ingest(lane.owner("a"))
    owned: list[tuple[int, ...]] = []

    engine.follow(Turns(2, {2: lambda: owned.append(engine.owned)}))

    assert owned == [(0, 1, 2, 3)]
    assert (held(lane), engine.owned) == ({}, ())


def test_it_stops_within_about_a_second(lane: MemoryLane) -> None:
    stop_at: list[float] = []

    def stopped() -> bool:
        if lane.clock() > 10 and not stop_at:
            stop_at.append(lane.clock())
        return bool(stop_at)

    lane.ingest().follow(stopped)

    assert lane.clock() - stop_at[0] <= 1.0


def test_two_replicas_share_by_their_limits(lane: MemoryLane) -> None:
    first = lane.ingest(lane.owner("a"), policy=IngestPolicy(max_partitions=3))
    second = lane.ingest(lane.owner("b"), policy=IngestPolicy(max_partitions=3))
    shares: list[dict[str, list[int]]] = []

    first.follow(Turns(2, {2: lambda: second.follow(Turns(2, {2: lambda: shares.append(held(lane))}))}))

    assert shares == [{"a": [0, 1, 2], "b": [3]}]


def test_partitions_of_an_owner_that_let_go_are_taken_within_a_sixth_of_the_lease(lane: MemoryLane) -> None:
    ledger = hold(lane, "b", 0, 1)
    identity = lane.topic.identity
    released_at: list[float] = []
    taken_at: list[float] = []

    def release() -> None:
        released_at.append(lane.clock())
        ledger.release(identity, ledger.take(identity, {0: 0, 1: 0}, 2).leases)

    def stopped() -> bool:
        if lane.clock() >= 7 and not released_at:
            release()
        if held(lane).get("a") == [0, 1, 2, 3]:
            taken_at.append(lane.clock())
        return bool(taken_at) or lane.clock() > 60

    lane.ingest(lane.owner("a")).follow(stopped)

    assert taken_at[0] - released_at[0] <= 30 / 6 + 1


def test_partitions_of_an_owner_that_died_are_taken_when_its_lease_runs_out(lane: MemoryLane) -> None:
    publish(lane, 0, 2)
    hold(lane, "dead", 0, 1)

    lane.ingest(lane.owner("a")).follow(lambda: lane.clock() > 37)

    assert lane.cursors()[0] == 2
    assert {row.epoch for key, row in lane.database.ledger.items() if key[2] < 2} == {2}


def test_a_full_service_does_not_look_for_more(lane: MemoryLane) -> None:
    engine = lane.ingest(lane.owner("a"), policy=IngestPolicy(max_partitions=2))

    engine.follow(lambda: lane.clock() > 60)

    assert [row.epoch for row in lane.database.ledger.values()] == [1, 1, 0, 0]


def test_an_idle_service_keeps_its_partitions(lane: MemoryLane) -> None:
    owners: set[str] = set()

    def stopped() -> bool:
        if lane.clock() > 0:
            owners.update(held(lane))
            assert lane.ledger(lane.owner("robber")).take(lane.topic.identity, {0: 0}, 1).leases == []
        return lane.clock() > 300

    lane.ingest(lane.owner("a")).follow(stopped)

    assert owners == {"a"}


def test_the_cursor_passes_transaction_markers_so_an_idle_owner_has_no_lag(lane: MemoryLane) -> None:
    publish(lane, 0, 2)
    lane.topic.commit(0)
    outcomes: list[Mapping[int, str]] = []

    def drain_elsewhere() -> None:
        lane.clock.advance(120 - 1)
        outcomes.append(lane.ingest(lane.owner("dag/run/task#1")).drain(DrainLimits()).owned_by)

    engine = lane.ingest(lane.owner("a"), policy=IngestPolicy(lease_seconds=200))
    engine.follow(Turns(5, {5: drain_elsewhere}))

    assert lane.cursors()[0] == 3
    assert outcomes == [{0: "a", 1: "a", 2: "a", 3: "a"}]


def test_day_partitions_are_ensured_at_the_start_and_every_hour(lane: MemoryLane) -> None:
    lane.ingest().follow(lambda: lane.clock() > 7300)

    assert lane.database.days_ensured == 3


def test_the_listener_hears_of_every_committed_range(lane: MemoryLane) -> None:
    publish(lane, 0, 3)
    heard: list[tuple[int, int, int]] = []
    listener = Listener(batch=lambda part: heard.append((part.partition, part.start, part.end)))

    lane.ingest(policy=IngestPolicy(batch_records=2), listener=listener).follow(Turns(4))

    assert heard == [(0, 0, 2), (0, 2, 3)]


# ---- partitions lost -------------------------------------------------------------------------------------------------


def rob(lane: MemoryLane, label: str, partition: int) -> None:
    """Somebody takes the partition: the service was stopped for longer than its lease."""
    lane.clock.advance(31)
    hold(lane, label, partition)


class RobbedLog(MemoryLog):
    """At its second look with records the service loses partition 0 before it can commit them."""

    def __init__(self, lane: MemoryLane) -> None:
        super().__init__(lane.topic, clock=lane.clock)
        self._lane = lane
        self._robbed = False

    def poll(self, max_records: int, timeout_seconds: float) -> Poll:
        poll = super().poll(max_records, timeout_seconds)
        if poll.records and not self._robbed:
            self._robbed = True
            rob(self._lane, "b", 0)
        return poll


def with_log(lane: MemoryLane, log: MemoryLog, owner: LeaseOwner) -> Ingest:
    return Ingest(
        log=log,
        ledger=lane.ledger(owner),
        store=MemoryStore(lane.database),
        owner=owner,
        policy=IngestPolicy(),
        clock=lane.clock,
    )


def test_a_partition_lost_at_a_commit_is_left_alone_until_it_is_free_again(lane: MemoryLane) -> None:
    publish(lane, 0, 3)
    publish(lane, 1, 3)
    cursors: list[dict[int, int]] = []

    def stopped() -> bool:
        if lane.clock() > 33 and not cursors:
            cursors.append(lane.cursors())
        return lane.clock() > 100

    with_log(lane, RobbedLog(lane), lane.owner("a")).follow(stopped)

    assert cursors == [{0: 0, 1: 3, 2: 0, 3: 0}]
    assert lane.cursors() == {0: 3, 1: 3, 2: 0, 3: 0}
    assert [change.revision for change in lane.database.tables.changes if change.id == "inc-0"] == [1, 2, 3]


def test_a_partition_lost_at_a_renewal_is_read_no_further(lane: MemoryLane) -> None:
    publish(lane, 0, 1)
    engine = lane.ingest(lane.owner("a"))
    owned: list[tuple[int, ...]] = []

    def robbed() -> None:
        rob(lane, "b", 0)
        publish(lane, 0, 1)

    engine.follow(Turns(6, {4: robbed, 6: lambda: owned.append(engine.owned)}))

    assert owned == [(1, 2, 3)]
    assert lane.cursors()[0] == 1


def test_an_unanswered_commit_ends_the_service_s_turn_and_the_next_starts_at_the_ledger(
    lane: MemoryLane,
) -> None:
    publish(lane, 0, 3)
    owner = lane.owner("a")
    for answer in (Answer.LATE, Answer.LOST, Answer.NEVER):
        engine = lane.ingest(owner)
        lane.store.answer_next(answer)
        with pytest.raises(TransientError, match="for the ledger to say"):
            engine.follow(lambda: False)
        publish(lane, 0, 1)

    lane.ingest(owner).follow(Turns(3))
    lane.database.run_late()

    assert lane.cursors()[0] == 6
    assert lane.database.tables.incidents["acme", "inc-0"].revision == 6


# ---- trouble ---------------------------------------------------------------------------------------------------------


def test_a_broker_that_is_away_ends_the_turn_with_every_lease_released(lane: MemoryLane) -> None:
    engine = lane.ingest(lane.owner("a"))
    lane.log.fail_next(None, None, None, TransientError("broker away"))

    with pytest.raises(TransientError, match="broker away"):
        engine.follow(lambda: False)

    assert held(lane) == {}


def test_records_that_retention_deleted_unread_stop_the_service_with_every_lease_released(
    lane: MemoryLane,
) -> None:
    publish(lane, 2, 3)
    lane.ingest().drain(DrainLimits(max_records=1))
    lane.topic.delete_before(2, 3)

    with pytest.raises(TerminalError, match="2 records were deleted by retention"):
        lane.ingest(lane.owner("a")).follow(lambda: False)

    assert held(lane) == {}


def test_a_log_that_is_shorter_than_the_ledger_stops_the_service(lane: MemoryLane) -> None:
    publish(lane, 2, 3)
    lane.ingest().drain(DrainLimits())
    lane.topic = MemoryTopic(partitions=4)

    with pytest.raises(TerminalError, match="the log ends at 0"):
        lane.ingest(lane.owner("a")).follow(lambda: False)


class OvertakenLedger(MemoryLedger):
    """Between our look at the ends and our take, a replica that is going down commits newer records and lets go."""

    def __init__(self, lane: MemoryLane, owner: LeaseOwner) -> None:
        super().__init__(lane.database, owner)
        self._lane = lane

    def take(self, log: LogIdentity, first_offsets: Mapping[int, int], limit: int) -> Taken:
        publish(self._lane, 0, 2)
        self._lane.ingest().drain(DrainLimits())
        return super().take(log, first_offsets, limit)


def test_a_rolling_restart_stops_no_replica(lane: MemoryLane) -> None:
    owner = lane.owner("a")
    engine = Ingest(
        log=MemoryLog(lane.topic, clock=lane.clock),
        ledger=OvertakenLedger(lane, owner),
        store=MemoryStore(lane.database),
        owner=owner,
        policy=IngestPolicy(),
        clock=lane.clock,
    )

    engine.follow(Turns(3))

    assert lane.cursors()[0] == 2


def test_a_store_that_is_away_while_stopping_is_no_error_of_the_stop(lane: MemoryLane) -> None:
    def cut() -> None:
        lane.database.is_up = False

    lane.ingest(lane.owner("a")).follow(Turns(1, {2: cut}))

    assert held(lane) == {"a": [0, 1, 2, 3]}


def test_it_says_when_it_follows_and_when_it_has_committed(lane: MemoryLane) -> None:
    engine = lane.ingest()
    said: list[tuple[bool, bool]] = []

    def say() -> None:
        said.append((engine.is_following, engine.has_committed))

    engine.follow(Turns(5, {1: say, 2: say, 3: lambda: publish(lane, 0), 5: say}))

    assert said == [(False, False), (True, False), (True, True)]
