"""Reading the log again: verify changes nothing that is so, reapply puts right what is not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import pytest

from airflow_provider_atlan_meta.core.errors import TransientError
from airflow_provider_atlan_meta.core.merging import BatchPlan
from airflow_provider_atlan_meta.core.ports import Commit, Poll
from airflow_provider_atlan_meta.core.rows import STATUS, DeadLetter
from airflow_provider_atlan_meta.pipeline.ingest import DrainLimits
from airflow_provider_atlan_meta.pipeline.replay import Replay, Replayed, ReplayWriter
from airflow_provider_atlan_meta.testing.memory import MemoryLane, MemoryLog, MemoryStore
from airflow_provider_atlan_meta.testing.records import webhook_record

INC_1 = ("acme", "inc-1")


@pytest.fixture
def lane() -> MemoryLane:
    """Six records on two partitions, read by the live lane: with a duplicate and one that is none."""
    lane = MemoryLane(partitions=2)
    for status in ("a", "b", "b", "a"):
        lane.publish(0, "inc-1", alert_feedback=status)
    lane.topic.append(0, webhook_record()._replace(value=b"{"))
    lane.publish(1, "inc-2")
    lane.ingest().drain(DrainLimits())
    return lane


def replay(
    lane: MemoryLane,
    mode: Literal["verify", "reapply"] = "verify",
    ranges: dict[int, tuple[int, int]] | None = None,
    *,
    log: MemoryLog | None = None,
    store: MemoryStore | None = None,
    batch_records: int = 1000,
) -> tuple[Replayed, list[Replayed]]:
    reports: list[Replayed] = []
    whole = Replay(
        log=log or MemoryLog(lane.topic, clock=lane.clock),
        writer=ReplayWriter(store or MemoryStore(lane.database)),
        batch_records=batch_records,
        report=reports.append,
    )
    return whole.run(ranges or {0: (0, 5), 1: (0, 1)}, mode=mode), reports


def forget(lane: MemoryLane, *offsets: int) -> None:
    """These events of partition 0 were never stored."""
    events = lane.database.tables.events
    for key in [key for key, (row, _) in events.items() if row.subject == "inc-1" and row.offset in offsets]:
        del events[key]


@pytest.mark.parametrize("mode", ["verify", "reapply"])
def test_what_is_stored_is_known_and_nothing_is_written(
    lane: MemoryLane, mode: Literal["verify", "reapply"]
) -> None:
    before, cursors = repr(lane.database.tables), lane.cursors()

    done, _ = replay(lane, mode)

    assert done == Replayed(records=6, known=5, rejected=1)
    assert (repr(lane.database.tables), lane.cursors()) == (before, cursors)


def test_what_is_missing_is_stored_and_changes_no_newer_state(lane: MemoryLane) -> None:
    forget(lane, 1)
    before = lane.database.tables.incidents[INC_1]

    done, _ = replay(lane)

    assert (done.known, done.stored, done.changes) == (4, 1, 0)
    assert len(lane.database.tables.events) == 5
    assert lane.database.tables.incidents[INC_1] == before


def test_verify_leaves_what_was_changed_by_hand_and_reapply_puts_it_right(lane: MemoryLane) -> None:
    lane.database.edit_incident(INC_1, status="by hand")

    verified, _ = replay(lane, "verify")
    assert (verified.changes, status(lane)) == (0, "by hand")
    reapplied, _ = replay(lane, "reapply")

    assert (reapplied.changes, status(lane)) == (1, "A")
    assert replay(lane, "reapply")[0].changes == 0


def status(lane: MemoryLane) -> Any:
    return lane.database.tables.incidents[INC_1].values[STATUS]


def test_only_the_range_is_read(lane: MemoryLane) -> None:
    done, _ = replay(lane, ranges={0: (1, 3), 1: (1, 1)})

    assert done.records == 2


def test_an_empty_range_reads_nothing(lane: MemoryLane) -> None:
    assert replay(lane, ranges={0: (3, 3)}) == (Replayed(), [])


def test_sums_are_told_after_every_batch(lane: MemoryLane) -> None:
    done, reports = replay(lane, ranges={0: (0, 5)}, batch_records=2)

    assert [report.records for report in reports] == [2, 4, 5]
    assert reports[-1] == done


def test_an_end_behind_transaction_markers_is_reached(lane: MemoryLane) -> None:
    lane.topic.commit(0)

    assert replay(lane, ranges={0: (0, 6)})[0].records == 5


def test_an_end_is_reached_although_records_keep_coming(lane: MemoryLane) -> None:
    class BusyLog(MemoryLog):
        def poll(self, max_records: int, timeout_seconds: float) -> Poll:
            lane.publish(0, "inc-1")
            return super().poll(max_records, timeout_seconds)

    lane.topic.commit(0)

    log = BusyLog(lane.topic, clock=lane.clock)
    assert replay(lane, ranges={0: (0, 6)}, log=log, batch_records=1)[0].records == 5


def test_a_log_that_goes_silent_is_a_reason_to_retry(lane: MemoryLane) -> None:
    class SilentLog(MemoryLog):
        def poll(self, max_records: int, timeout_seconds: float) -> Poll:
            return Poll([], {})

    with pytest.raises(TransientError, match=r"partitions \[0, 1\] have some left"):
        replay(lane, log=SilentLog(lane.topic))


class EditedMeanwhile(MemoryStore):
    """The live lane changes inc-1 between every read and its write, so often."""

    def __init__(self, lane: MemoryLane, times: int) -> None:
        super().__init__(lane.database)
        self._times = times

    def apply(
        self,
        plan: BatchPlan,
        *,
        commit: Commit | None,
        dead_letters: Sequence[DeadLetter] = (),
        held: bool = False,
    ) -> None:
        if self._times:
            self._times -= 1
            self._database.edit_incident(INC_1, severity=f"edit {self._times}")
        super().apply(plan, commit=commit, dead_letters=dead_letters, held=held)


def test_a_row_that_moved_meanwhile_is_planned_again(lane: MemoryLane) -> None:
    lane.database.edit_incident(INC_1, status="by hand")

    done, _ = replay(lane, "reapply", store=EditedMeanwhile(lane, 2))

    assert (done.changes, status(lane)) == (1, "A")


def test_a_row_that_never_stands_still_is_a_reason_to_retry(lane: MemoryLane) -> None:
    lane.database.edit_incident(INC_1, status="by hand")

    with pytest.raises(TransientError, match="the live lane keeps changing"):
        replay(lane, "reapply", store=EditedMeanwhile(lane, 100))


def test_a_replay_that_is_cut_off_may_be_repeated(lane: MemoryLane) -> None:
    forget(lane, 0, 1, 2, 3)
    broken = MemoryLog(lane.topic, clock=lane.clock)
    broken.fail_next(None, TransientError("broker away"))
    with pytest.raises(TransientError):
        replay(lane, log=broken, batch_records=2)

    done, _ = replay(lane)

    assert done.known + done.stored == 5
    assert len(lane.database.tables.events) == 5


def test_sums_fit_into_json() -> None:
    assert Replayed(records=1, known=1).to_dict() == {
        "records": 1, "known": 1, "stored": 0, "changes": 0, "rejected": 0
    }  # fmt: skip


@pytest.mark.parametrize(("notify", "held"), [(False, True), (True, False)])
def test_what_a_replay_changes_is_told_only_when_asked(lane: MemoryLane, notify: bool, held: bool) -> None:
    lane.database.edit_incident(INC_1, status="by hand")
    told = len(lane.database.tables.changes)
    writer = ReplayWriter(MemoryStore(lane.database), notify=notify)
    log = MemoryLog(lane.topic, clock=lane.clock)

    Replay(log=log, writer=writer, batch_records=10, report=lambda _: None).run({0: (0, 5)}, mode="reapply")

    changes = lane.database.tables.changes[told:]
    assert changes
    assert {change.held for change in changes} == {held}
