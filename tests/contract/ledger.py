"""What every ``core.ports.Ledger`` promises: inherit, and give a ``bench`` fixture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol
from uuid import uuid4

import pytest

from airflow_provider_atlan_meta.core.errors import LeaseLostError, TerminalError
from airflow_provider_atlan_meta.core.merging import BatchPlan
from airflow_provider_atlan_meta.core.ports import Commit, EventStore, Lease, LeaseOwner, Ledger, LogIdentity

LEASE_SECONDS = 30.0


class LedgerBench(Protocol):
    """:ivar log: a topic with partitions 0 to 3 that the ledger does not know yet."""

    log: LogIdentity

    def ledger(self, owner: LeaseOwner, *, sink: str = "postgres") -> Ledger:
        """With leases of 30 s."""
        ...

    def store(self) -> EventStore: ...

    def pass_time(self, seconds: float) -> None: ...


def owner(label: str = "") -> LeaseOwner:
    return LeaseOwner(id=uuid4(), label=label or f"service {uuid4()}")


def at(*partitions: int, offset: int = 0) -> dict[int, int]:
    return dict.fromkeys(partitions, offset)


def numbers(leases: Sequence[Lease]) -> list[int]:
    return [lease.partition for lease in leases]


class LedgerContract:
    @pytest.fixture
    def bench(self) -> LedgerBench:
        raise NotImplementedError

    def move(self, bench: LedgerBench, lease: Lease, end: int) -> None:
        """A commit that writes no rows."""
        log = bench.log
        commit = Commit(
            log.cluster_id,
            log.topic,
            lease.partition,
            "postgres",
            lease.epoch,
            lease.next_offset,
            end,
            LEASE_SECONDS,
        )
        bench.store().apply(BatchPlan(), commit=commit)

    def test_an_unknown_partition_starts_where_the_caller_says(self, bench: LedgerBench) -> None:
        taken = bench.ledger(owner()).take(bench.log, {0: 7, 2: 9}, 4)

        assert taken == ([Lease(0, 7, 1), Lease(2, 9, 1)], [])

    def test_a_known_partition_keeps_its_cursor(self, bench: LedgerBench) -> None:
        ledger = bench.ledger(owner())
        (lease,) = ledger.take(bench.log, {0: 7}, 1).leases
        ledger.release(bench.log, [lease])

        assert ledger.take(bench.log, {0: 99}, 1).leases[0].next_offset == 7

    def test_a_live_lease_is_nobody_else_s_to_take_and_says_whose_it_is(self, bench: LedgerBench) -> None:
        bench.ledger(owner("service a:1")).take(bench.log, at(0, 1, offset=5), 2)
        bench.pass_time(10)

        taken = bench.ledger(owner()).take(bench.log, at(0, 1, 2), 3)

        assert numbers(taken.leases) == [2]
        assert [(lease.partition, lease.next_offset, lease.label) for lease in taken.foreign] == [
            (0, 5, "service a:1"),
            (1, 5, "service a:1"),
        ]
        assert taken.foreign[0].left_seconds == pytest.approx(20, abs=2)
        assert taken.foreign[0].moved_seconds == pytest.approx(10, abs=2)

    def test_an_expired_lease_is_taken_with_a_new_epoch(self, bench: LedgerBench) -> None:
        bench.ledger(owner()).take(bench.log, at(0), 1)
        bench.pass_time(LEASE_SECONDS + 1)

        taken = bench.ledger(owner()).take(bench.log, at(0), 1)

        assert taken == ([Lease(0, 0, 2)], [])

    def test_a_released_partition_is_free_at_once_and_its_epoch_goes_on(self, bench: LedgerBench) -> None:
        first = bench.ledger(owner())
        first.release(bench.log, first.take(bench.log, at(0), 1).leases)

        assert bench.ledger(owner()).take(bench.log, at(0), 1).leases == [Lease(0, 0, 2)]

    def test_an_owner_takes_its_own_again_under_a_new_epoch(self, bench: LedgerBench) -> None:
        ledger = bench.ledger(owner())
        (before,) = ledger.take(bench.log, at(0), 1).leases

        assert ledger.take(bench.log, at(0), 1) == ([Lease(0, 0, 2)], [])
        assert ledger.renew(bench.log, [before]) == set()

    def test_no_more_than_the_limit_is_taken_own_ones_first(self, bench: LedgerBench) -> None:
        ledger = bench.ledger(owner())
        ledger.take(bench.log, at(2), 1)

        assert numbers(ledger.take(bench.log, at(0, 1, 2, 3), 2).leases) == [0, 2]

    def test_taking_nothing_takes_nothing(self, bench: LedgerBench) -> None:
        assert bench.ledger(owner()).take(bench.log, at(0, 1), 0).leases == []

    def test_a_renewal_keeps_what_is_owned_and_tells_what_is_not(self, bench: LedgerBench) -> None:
        mine, theirs = bench.ledger(owner()), bench.ledger(owner())
        leases = mine.take(bench.log, at(0, 1), 2).leases
        bench.pass_time(LEASE_SECONDS + 1)
        theirs.take(bench.log, at(1), 1)

        assert mine.renew(bench.log, leases) == {0}
        bench.pass_time(LEASE_SECONDS - 5)
        assert bench.ledger(owner()).take(bench.log, at(0), 1).leases == []

    def test_an_expired_lease_nobody_took_may_be_renewed(self, bench: LedgerBench) -> None:
        ledger = bench.ledger(owner())
        leases = ledger.take(bench.log, at(0), 1).leases
        bench.pass_time(LEASE_SECONDS + 1)

        assert ledger.renew(bench.log, leases) == {0}
        assert bench.ledger(owner()).take(bench.log, at(0), 1).leases == []

    def test_a_stale_owner_releases_nothing_of_its_successor_s(self, bench: LedgerBench) -> None:
        stale = bench.ledger(owner())
        leases = stale.take(bench.log, at(0), 1).leases
        bench.pass_time(LEASE_SECONDS + 1)
        bench.ledger(owner()).take(bench.log, at(0), 1)

        stale.release(bench.log, leases)

        assert bench.ledger(owner()).take(bench.log, at(0), 1).leases == []

    def test_a_commit_moves_the_cursor_and_extends_the_lease(self, bench: LedgerBench) -> None:
        (lease,) = bench.ledger(owner("a")).take(bench.log, at(0), 1).leases
        bench.pass_time(LEASE_SECONDS - 5)

        self.move(bench, lease, 12)
        bench.pass_time(LEASE_SECONDS - 5)

        taken = bench.ledger(owner()).take(bench.log, at(0), 1)
        assert taken.leases == []
        assert taken.foreign[0].next_offset == 12
        assert taken.foreign[0].moved_seconds == pytest.approx(LEASE_SECONDS - 5, abs=2)

    def test_a_commit_under_a_former_epoch_moves_nothing(self, bench: LedgerBench) -> None:
        (stale,) = bench.ledger(owner()).take(bench.log, at(0), 1).leases
        bench.pass_time(LEASE_SECONDS + 1)
        ledger = bench.ledger(owner())
        ledger.take(bench.log, at(0), 1)

        with pytest.raises(LeaseLostError):
            self.move(bench, stale, 12)

        assert ledger.look(bench.log)[0] == {0: 0}

    def test_a_commit_from_another_offset_moves_nothing(self, bench: LedgerBench) -> None:
        ledger = bench.ledger(owner())
        (lease,) = ledger.take(bench.log, at(0), 1).leases
        self.move(bench, lease, 12)

        with pytest.raises(LeaseLostError):
            self.move(bench, lease, 12)

        assert ledger.look(bench.log)[0] == {0: 12}

    def test_a_look_knows_cursors_and_other_owners_and_changes_nothing(self, bench: LedgerBench) -> None:
        mine = bench.ledger(owner())
        leases = mine.take(bench.log, at(0, 1, offset=3), 2).leases
        bench.ledger(owner("service b:1")).take(bench.log, at(2), 1)

        cursors, foreign = mine.look(bench.log)

        assert cursors == {0: 3, 1: 3, 2: 0}
        assert [(lease.partition, lease.label) for lease in foreign] == [(2, "service b:1")]
        assert mine.renew(bench.log, leases) == {0, 1}

    def test_a_look_at_an_unknown_topic_finds_nothing(self, bench: LedgerBench) -> None:
        assert bench.ledger(owner()).look(bench.log) == ({}, [])

    def test_a_topic_that_was_created_again_is_refused(self, bench: LedgerBench) -> None:
        ledger = bench.ledger(owner())
        ledger.take(bench.log, at(0, offset=3), 1)
        again = replace(bench.log, topic_id="another")

        for call in (lambda: ledger.take(again, at(0), 1), lambda: ledger.look(again)):
            with pytest.raises(TerminalError, match="deleted and created again"):
                call()

        assert ledger.look(bench.log)[0] == {0: 3}

    def test_a_refused_topic_leaves_nothing_in_the_ledger(self, bench: LedgerBench) -> None:
        ledger = bench.ledger(owner())
        ledger.take(bench.log, at(0, offset=3), 1)
        again = replace(bench.log, topic_id="another")

        with pytest.raises(TerminalError):
            ledger.take(again, at(0, 1), 2)

        assert ledger.look(bench.log)[0] == {0: 3}

    def test_sinks_and_topics_have_cursors_of_their_own(self, bench: LedgerBench) -> None:
        bench.ledger(owner()).take(bench.log, at(0, offset=3), 1)
        other_topic = replace(bench.log, topic=f"{bench.log.topic}-2", topic_id="another")

        for sink, log in (("cassandra", bench.log), ("postgres", other_topic)):
            assert bench.ledger(owner(), sink=sink).take(log, at(0), 1).leases == [Lease(0, 0, 1)]

    def test_renewing_or_releasing_nothing_is_fine(self, bench: LedgerBench) -> None:
        ledger = bench.ledger(owner())

        assert ledger.renew(bench.log, []) == set()
        ledger.release(bench.log, [])
        assert ledger.renew(bench.log, [Lease(3, 0, 1)]) == set()
