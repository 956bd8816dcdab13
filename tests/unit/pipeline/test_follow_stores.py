"""A store follows PostgreSQL: what is written, when, and by whom."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from uuid import UUID, uuid4

import pytest

from airflow_provider_atlan_meta.core.errors import TransientError
from airflow_provider_atlan_meta.core.ports import LeaseOwner
from airflow_provider_atlan_meta.core.rows import INCIDENT_FIELDS, IncidentRow
from airflow_provider_atlan_meta.core.stores import INCIDENT, Landed, Landing, RowRef, StateRow
from airflow_provider_atlan_meta.pipeline.echoes import repair_old_echoes
from airflow_provider_atlan_meta.pipeline.follow import (
    LEASE,
    Follow,
    FollowLimits,
    FollowOutcome,
    FollowPolicy,
)
from airflow_provider_atlan_meta.pipeline.wakes import ThreadWake
from airflow_provider_atlan_meta.testing.memory_database import MemoryDatabase
from airflow_provider_atlan_meta.testing.memory_ledger import MemoryLedger
from airflow_provider_atlan_meta.testing.memory_projection import MemoryProjection, state_row
from airflow_provider_atlan_meta.testing.memory_sink import MemoryStateSink

SINK = "atlas"


def ref(number: int = 1) -> RowRef:
    return RowRef("acme", INCIDENT, f"inc-{number:05}")


class Desk:
    """A database, a store and any number of workers between them."""

    def __init__(self) -> None:
        self.database = MemoryDatabase()
        self.sink = MemoryStateSink(SINK)

    def put(self, number: int = 1, title: str = "a") -> None:
        key, tables = ("acme", ref(number).id), self.database.tables
        if key in tables.incidents:
            self.database.edit_incident(key, title=title)
        else:
            values = tuple(title if name == "title" else None for name in INCIDENT_FIELDS)
            tables.incidents[key] = IncidentRow(
                *key, values, (), -1, None, False, tables.tombstones.get(key, 0) + 1
            )

    def worker(
        self,
        label: str = "service a:1",
        *,
        task: str = "",
        told: Callable[[FollowOutcome], None] = lambda _: None,
        **policy: float,
    ) -> Follow:
        owner = LeaseOwner(id=uuid4(), label=label, task=task)
        return Follow(
            sink=self.sink,
            projection=MemoryProjection(self.database, sink=SINK),
            leases=MemoryLedger(self.database, owner, sink=SINK),
            owner=owner,
            policy=FollowPolicy(**policy),  # type: ignore[arg-type]
            told=told,
            clock=self.database.clock,
        )

    def drain(self, **limits: float) -> FollowOutcome:
        return self.worker().drain(FollowLimits(**limits))  # type: ignore[arg-type]

    def assert_equal(self) -> None:
        for one, stored in self.sink.rows.items():
            assert stored.values == state_row(self.database, one).values


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_every_row_is_told_once_and_then_only_when_it_changes(desk: Desk) -> None:
    desk.put(1)
    desk.put(2)

    first = desk.drain()
    again = desk.drain()
    desk.put(2, "b")
    third = desk.drain()

    assert (first.written, again.written, third.written) == (2, 0, 1)
    assert first.is_complete
    assert [row.ref for row in desk.sink.writes] == [ref(1), ref(2), ref(2)]
    desk.assert_equal()


def test_a_deleted_row_is_told_as_deleted(desk: Desk) -> None:
    desk.put()
    desk.drain()
    desk.database.delete_incident(("acme", ref().id))

    desk.drain()

    assert desk.sink.rows[ref()].values is None


def test_a_row_that_came_back_to_what_the_store_has_costs_no_call(desk: Desk) -> None:
    desk.put(title="a")
    desk.drain()
    desk.put(title="b")
    desk.put(title="a")

    outcome = desk.drain()

    assert (outcome.unchanged, outcome.written, len(desk.sink.writes)) == (1, 0, 1)
    assert desk.drain().rows == 0


def test_a_row_that_moves_during_its_write_is_written_again_before_it_is_projected(desk: Desk) -> None:
    desk.put(title="a")
    titles = iter("bc")

    def meanwhile(_: StateRow) -> None:
        if (title := next(titles, None)) is not None:
            desk.put(title=title)

    desk.sink.told = meanwhile
    outcome = desk.drain()

    assert [row.revision for row in desk.sink.writes] == [1, 2, 3]
    assert (outcome.written, outcome.is_complete) == (1, True)
    assert desk.drain().rows == 0


def test_a_row_that_never_stands_still_keeps_nobody_waiting(desk: Desk) -> None:
    desk.put(1)
    desk.put(2)

    def meanwhile(row: StateRow) -> None:
        if row.ref == ref(1):
            desk.put(1, f"t{row.revision}")

    desk.sink.told = meanwhile
    assert desk.drain().is_complete

    desk.sink.told = lambda _: None
    assert desk.drain().written == 1
    desk.assert_equal()


def test_a_worker_that_lost_its_lease_finishes_what_it_has_sent_and_sends_nothing_else(desk: Desk) -> None:
    for number in range(4):
        desk.put(number)
    slow = desk.worker("service slow:1", batch_rows=2)
    taken = []

    def meanwhile(_: StateRow) -> None:
        desk.sink.told = lambda _: None
        desk.database.clock.advance(31)
        desk.put(0, "moved")
        taken.append(desk.worker("service fast:1").drain(FollowLimits()))

    desk.sink.told = meanwhile
    outcome = slow.drain(FollowLimits())

    assert outcome.owned_by
    assert not outcome.is_complete
    # the other one left the two rows under way alone
    assert (taken[0].written, taken[0].waiting) == (2, 2)
    assert outcome.written == 2
    assert desk.sink.rows[ref(0)].revision == 2
    assert [row.ref for row in desk.sink.writes].count(ref(3)) == 1


def test_a_rejected_row_is_set_aside_and_those_beside_it_go_on(desk: Desk) -> None:
    for number in range(3):
        desk.put(number)
    desk.sink.answers.extend([Landing.DONE, Landing.REJECTED, Landing.DONE])

    outcome = desk.drain()

    assert (outcome.written, outcome.rejected, outcome.is_complete) == (2, 1, True)
    ((key, letter),) = ((key, letter) for (key, _), letter in desk.database.tables.dead_letters.items())
    assert (key[3], letter.tenant_id) == (SINK, "acme")
    assert desk.drain().rows == 0


def test_a_row_told_to_come_later_waits_and_is_told_again(desk: Desk) -> None:
    desk.put()
    desk.sink.answers.append(Landed(ref(), 1, Landing.LATER, "busy", retry_after=20.0))
    assert desk.drain().waiting == 1

    desk.database.clock.advance(19)
    assert desk.drain().rows == 0
    desk.database.clock.advance(2)
    assert desk.drain().written == 1


def test_an_unknown_outcome_is_written_again_after_a_minute_and_wins(desk: Desk) -> None:
    desk.put(title="a")
    desk.sink.answers.append(Landing.UNKNOWN)
    desk.drain()
    desk.put(title="b")

    desk.database.clock.advance(59)
    assert desk.drain().rows == 0
    desk.sink.run_late()
    desk.database.clock.advance(2)
    desk.drain()

    desk.assert_equal()


def test_a_store_that_is_away_leaves_everything_for_its_return(desk: Desk) -> None:
    for number in range(3):
        desk.put(number)
    desk.sink.is_up = False
    for _ in range(3):
        with pytest.raises(TransientError):
            desk.drain()

    desk.sink.is_up = True
    outcome = desk.drain()

    assert (outcome.written, outcome.is_complete) == (3, True)


def test_what_a_dead_worker_has_sent_is_left_alone_until_it_cannot_come_any_more(desk: Desk) -> None:
    desk.put()
    dead = MemoryProjection(desk.database, sink=SINK)
    dead.claim(dead.read([ref()]))

    assert desk.drain().waiting == 1
    assert desk.sink.writes == []
    desk.database.clock.advance(80)
    assert desk.drain().written == 1


def test_only_one_follows_at_a_time(desk: Desk) -> None:
    desk.put()
    busy = desk.worker("service busy:1")
    outcomes = []
    desk.sink.told = lambda _: outcomes.append(desk.drain())

    busy.drain(FollowLimits())

    assert [(one.owned_by, one.rows, one.is_complete) for one in outcomes] == [("service busy:1", 0, False)]
    assert desk.drain().owned_by == ""


def test_a_later_try_of_a_task_waits_for_the_lease_of_the_earlier_one(desk: Desk) -> None:
    desk.put()
    task = "dag/run/follow"
    earlier = desk.worker(f"{task}#1", task=task)
    later = desk.worker(f"{task}#2", task=task)
    raised = []

    def meanwhile(_: StateRow) -> None:
        with pytest.raises(TransientError, match="earlier try") as caught:
            later.drain(FollowLimits())
        raised.append(caught.value.retry_after)

    desk.sink.told = meanwhile
    earlier.drain(FollowLimits())

    assert raised == [31.0]


def test_a_run_stops_at_its_limits_and_the_next_goes_on(desk: Desk) -> None:
    for number in range(10):
        desk.put(number)
    worker = desk.worker(batch_rows=2, page_rows=4)

    first = worker.drain(FollowLimits(max_rows=4))
    second = worker.drain(FollowLimits())

    assert (first.written, first.is_complete) == (4, False)
    assert (second.written, second.is_complete) == (6, True)


def test_a_long_run_renews_its_lease(desk: Desk) -> None:
    for number in range(10):
        desk.put(number)
    desk.sink.told = lambda _: desk.database.clock.advance(12)

    outcome = desk.worker(batch_rows=1).drain(FollowLimits(max_seconds=1000))

    assert (outcome.written, outcome.owned_by) == (10, "")


def test_what_is_due_is_not_kept_waiting_by_a_long_sweep(desk: Desk) -> None:
    for number in range(10):
        desk.put(number)
    projection = MemoryProjection(desk.database, sink=SINK)

    def meanwhile(row: StateRow) -> None:
        desk.database.clock.advance(3)
        if row.ref == ref(2):
            projection.mark_dirty([ref(0)])

    desk.sink.told = meanwhile
    desk.worker(batch_rows=1).drain(FollowLimits(max_seconds=1000))

    assert [row.ref for row in desk.sink.writes][:5] == [ref(0), ref(1), ref(2), ref(0), ref(3)]


def test_an_outcome_is_a_document(desk: Desk) -> None:
    desk.put()

    assert desk.drain().to_dict() == {
        "sink": SINK,
        "written": 1,
        "unchanged": 0,
        "rejected": 0,
        "waiting": 0,
        "is_complete": True,
        "owned_by": "",
    }


def test_a_service_is_woken_by_commits_and_lets_go_at_the_end(desk: Desk) -> None:
    wake, written, stop = ThreadWake(), ThreadWake(), []
    worker = desk.worker(told=lambda _: written.set(), sweep_seconds=60.0)
    thread = Thread(target=worker.follow, args=(lambda: bool(stop), wake))
    thread.start()
    try:
        for title in "ab":
            desk.put(title=title)
            wake.set()
            assert written.wait(10)
    finally:
        stop.append(True)
        wake.set()
        thread.join(10)

    assert not thread.is_alive()
    assert worker.is_following
    assert worker.owned == ()
    assert desk.drain().owned_by == ""
    desk.assert_equal()


def test_a_service_beside_another_waits_for_its_lease(desk: Desk) -> None:
    desk.put()
    other = MemoryLedger(desk.database, LeaseOwner(id=UUID(int=1), label="service b:1"), sink=SINK)
    other.take(LEASE, {0: 0}, 1)
    looks = iter([False, False, True])

    desk.worker(sweep_seconds=0.0).follow(lambda: next(looks))
    assert desk.sink.writes == []

    desk.database.clock.advance(31)
    looks = iter([False, False, False, False, True, True, True])
    desk.worker(sweep_seconds=0.0).follow(lambda: next(looks))
    assert len(desk.sink.writes) == 1


def test_an_echo_older_than_the_row_has_it_written_again_and_others_cost_nothing(desk: Desk) -> None:
    for number in (1, 2, 3):
        desk.put(number, "a")
    desk.put(1, "b")
    desk.put(2, "b")
    desk.drain()
    projection = MemoryProjection(desk.database, sink=SINK)

    # a lost write of the first row came late, after the newer one
    late = desk.sink.writes[0]._replace(revision=1)
    desk.sink.rows[ref(1)] = late
    echoes = [(ref(1), 2), (ref(1), 1), (ref(2), 2), (ref(3), 1), (ref(9), 4)]

    assert repair_old_echoes(projection, echoes) == [ref(1)]
    assert repair_old_echoes(projection, []) == []
    assert desk.drain().written == 1
    assert desk.sink.rows[ref(1)].revision == 2
