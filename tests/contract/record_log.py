"""What every ``core.ports.RecordLog`` promises: inherit, and give a ``bench`` fixture."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import pytest

from airflow_provider_atlan_meta.core.errors import TerminalError
from airflow_provider_atlan_meta.core.ports import RecordLog
from airflow_provider_atlan_meta.core.rows import LogRecord

DEADLINE_SECONDS = 20.0


class LogBench(Protocol):
    """An empty topic with partitions 0 and 1, and what others do to it."""

    def append(self, partition: int, *records: LogRecord) -> None: ...

    def begin(self, partition: int, *records: LogRecord) -> Callable[[bool], None]:
        """Appends in a transaction that stays open; call the result to commit (True) or abort it."""
        ...

    def delete_before(self, partition: int, offset: int) -> None: ...

    def reader(self) -> RecordLog: ...


def record(
    value: bytes | None, key: bytes | None = b"k", headers: tuple[tuple[str, bytes | None], ...] = ()
) -> LogRecord:
    return LogRecord(0, 0, key, value, headers)


def numbered(count: int) -> list[LogRecord]:
    return [record(b"%d" % n) for n in range(count)]


class Reading:
    """What a reader gave so far."""

    def __init__(self, log: RecordLog, max_records: int = 1000) -> None:
        self._log = log
        self._max_records = max_records
        self.records: list[LogRecord] = []
        self.ends: dict[int, int] = {}
        self.polls: list[int] = []

    def until(self, done: Callable[[Reading], bool]) -> Reading:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not done(self):
            assert time.monotonic() < deadline, f"got {self.records} and ends {self.ends} only"
            self.once(0.2)
        return self

    def once(self, timeout_seconds: float) -> Reading:
        poll = self._log.poll(self._max_records, timeout_seconds)
        self.records += poll.records
        self.ends.update(poll.ends)
        self.polls.append(len(poll.records) + len(poll.ends))
        return self

    @property
    def values(self) -> list[bytes | None]:
        return [record.value for record in self.records]


def read_to_ends(log: RecordLog, positions: dict[int, int]) -> Reading:
    log.assign(positions)
    return Reading(log).until(lambda reading: reading.ends.keys() == positions.keys())


class RecordLogContract:
    @pytest.fixture
    def bench(self) -> LogBench:
        raise NotImplementedError

    @pytest.fixture
    def log(self, bench: LogBench) -> RecordLog:
        return bench.reader()

    def test_every_reader_finds_the_same_topic(self, bench: LogBench, log: RecordLog) -> None:
        identity = log.identify()

        assert identity == bench.reader().identify()
        assert identity.partitions == (0, 1)
        assert identity.cluster_id
        assert identity.topic_id

    def test_bounds_are_first_kept_and_last_stable(self, bench: LogBench, log: RecordLog) -> None:
        bench.append(1, *numbered(3))

        assert log.bounds([0, 1]) == {0: (0, 0), 1: (0, 3)}

    def test_bounds_are_of_the_partitions_asked_for(self, log: RecordLog) -> None:
        assert log.bounds([1]) == {1: (0, 0)}

    def test_records_come_in_order_with_key_value_and_headers_as_they_were_sent(
        self, bench: LogBench, log: RecordLog
    ) -> None:
        headers = (
            ("received_at", b"1795000000000"),
            ("received_at", b"again"),
            ("empty", b""),
            ("none", None),
        )
        bench.append(0, record(b"\0\xff", b"acme|inc-1", headers), record(None, None), record(b"", b""))

        assert read_to_ends(log, {0: 0}).records == [
            LogRecord(0, 0, b"acme|inc-1", b"\0\xff", headers),
            LogRecord(0, 1, None, None, ()),
            LogRecord(0, 2, b"", b"", ()),
        ]

    def test_reading_starts_exactly_where_it_was_assigned(self, bench: LogBench, log: RecordLog) -> None:
        bench.append(0, *numbered(5))

        assert read_to_ends(log, {0: 3}).values == [b"3", b"4"]

    def test_only_assigned_partitions_are_read(self, bench: LogBench, log: RecordLog) -> None:
        bench.append(0, *numbered(2))
        bench.append(1, *numbered(3))

        assert {found.partition for found in read_to_ends(log, {1: 0}).records} == {1}

    def test_a_new_assignment_replaces_the_old_one(self, bench: LogBench, log: RecordLog) -> None:
        bench.append(0, *numbered(3))
        bench.append(1, *numbered(1))
        read_to_ends(log, {0: 0})

        again = read_to_ends(log, {0: 1, 1: 0})

        assert sorted((found.partition, found.offset) for found in again.records) == [(0, 1), (0, 2), (1, 0)]

    def test_two_readers_do_not_disturb_each_other(self, bench: LogBench) -> None:
        bench.append(0, *numbered(3))

        first, second = bench.reader(), bench.reader()

        assert read_to_ends(first, {0: 0}).values == read_to_ends(second, {0: 0}).values

    def test_a_poll_gives_no_more_than_it_was_asked_for(self, bench: LogBench, log: RecordLog) -> None:
        bench.append(0, *numbered(7))
        log.assign({0: 0})

        reading = Reading(log, max_records=3).until(lambda found: bool(found.ends))

        assert max(reading.polls) <= 3
        assert reading.values == [b"%d" % n for n in range(7)]

    def test_a_poll_of_nothing_comes_back_empty_after_its_timeout(self, log: RecordLog) -> None:
        read_to_ends(log, {0: 0})
        begun = time.monotonic()

        poll = log.poll(10, 0.1)

        assert (poll.records, poll.ends) == ([], {})
        assert time.monotonic() - begun < 5

    def test_the_end_of_an_empty_partition_is_told(self, log: RecordLog) -> None:
        assert read_to_ends(log, {0: 0, 1: 0}).ends == {0: 0, 1: 0}

    def test_an_end_is_told_behind_the_last_record_once_until_there_is_more(
        self, bench: LogBench, log: RecordLog
    ) -> None:
        bench.append(0, *numbered(2))
        first = read_to_ends(log, {0: 0})
        assert (first.values, first.ends) == ([b"0", b"1"], {0: 2})
        assert Reading(log).once(0.1).ends == {}

        bench.append(0, record(b"2"))
        second = Reading(log).until(lambda found: bool(found.ends))

        assert (second.values, second.ends) == ([b"2"], {0: 3})

    def test_a_transaction_s_marker_takes_an_offset_and_the_end_is_behind_it(
        self, bench: LogBench, log: RecordLog
    ) -> None:
        bench.begin(0, *numbered(2))(True)

        reading = read_to_ends(log, {0: 0})

        assert reading.values == [b"0", b"1"]
        assert reading.ends == {0: 3} == {0: log.bounds([0])[0][1]}

    def test_reading_may_start_at_a_marker(self, bench: LogBench, log: RecordLog) -> None:
        bench.begin(0, *numbered(2))(True)

        reading = read_to_ends(log, {0: 2})

        assert (reading.values, reading.ends) == ([], {0: 3})

    def test_an_aborted_transaction_is_never_seen_but_takes_offsets(
        self, bench: LogBench, log: RecordLog
    ) -> None:
        bench.begin(0, *numbered(2))(False)
        bench.append(0, record(b"after"))

        reading = read_to_ends(log, {0: 0})

        assert [(found.offset, found.value) for found in reading.records] == [(3, b"after")]
        assert reading.ends == {0: 4}

    def test_an_open_transaction_holds_the_end_back(self, bench: LogBench, log: RecordLog) -> None:
        bench.append(0, record(b"before"))
        finish = bench.begin(0, *numbered(2))

        reading = read_to_ends(log, {0: 0})

        assert (reading.values, reading.ends, log.bounds([0])) == ([b"before"], {0: 1}, {0: (0, 1)})
        finish(True)
        later = Reading(log).until(lambda found: found.ends.get(0) == 4)
        assert later.values == [b"0", b"1"]

    def test_retention_moves_the_first_bound(self, bench: LogBench, log: RecordLog) -> None:
        bench.append(0, *numbered(5))
        bench.delete_before(0, 2)

        assert log.bounds([0]) == {0: (2, 5)}
        assert read_to_ends(log, {0: 2}).values == [b"2", b"3", b"4"]

    def test_a_position_below_the_log_stops_instead_of_skipping(
        self, bench: LogBench, log: RecordLog
    ) -> None:
        bench.append(0, *numbered(5))
        bench.delete_before(0, 2)
        log.assign({0: 1})

        with pytest.raises(TerminalError, match=r"Nothing was\s+skipped"):
            Reading(log).until(lambda found: bool(found.records or found.ends))

    def test_a_position_above_the_log_stops_instead_of_skipping(
        self, bench: LogBench, log: RecordLog
    ) -> None:
        bench.append(0, *numbered(5))
        log.assign({0: 9})

        with pytest.raises(TerminalError, match=r"Nothing was\s+skipped"):
            Reading(log).until(lambda found: bool(found.records or found.ends))

    def test_a_reader_that_reads_nothing_may_be_polled_and_closed(self, log: RecordLog) -> None:
        log.assign({})

        assert Reading(log).once(0.1).records == []
        log.close()
        log.close()
