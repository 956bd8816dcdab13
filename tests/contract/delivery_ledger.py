"""What every ``core.deliveries.DeliveryLedger`` promises: inherit, and give a ``bench`` fixture."""

from __future__ import annotations

import json
from typing import Any, NamedTuple, Protocol
from uuid import UUID, uuid4

import pytest

from airflow_provider_atlan_meta.core.deliveries import (
    FINAL,
    DeliveryEntry,
    DeliveryLedger,
    LaneEntry,
    LaneKey,
    LaneRow,
    OpenClaim,
    ParkedDelivery,
    PartitionWrite,
    Subject,
)
from airflow_provider_atlan_meta.core.ports import Lease, LeaseOwner, Ledger, LogIdentity
from airflow_provider_atlan_meta.core.rows import DeadLetter

LEASE_SECONDS = 30.0
SINK = "consumer"


class Stored(NamedTuple):
    """What the tests look at of a stored delivery. ``scan`` and ``claimed``: whether the time is there."""

    state: str
    attempts: int = 0
    claimed: bool = False
    status: int | None = None
    detail: str = ""
    external_id: str = ""
    change: bytes = b""
    scan: bool = False
    folded: int = 0
    settled: bool = False


class DeliveryBench(Protocol):
    """:ivar log: a topic with four partitions that the ledger does not know yet, and nobody else's lanes have."""

    log: LogIdentity

    def ledgers(self, owner: LeaseOwner) -> tuple[Ledger, DeliveryLedger]:
        """Leases and deliveries of one owner, with leases of 30 s."""
        ...

    def pass_time(self, seconds: float) -> None: ...

    def delivery(self, delivery_id: UUID) -> Stored | None: ...

    def dead_letters(self) -> dict[tuple[int, int], DeadLetter]:
        """(partition, offset) -> letter"""
        ...

    def change_subscriptions(self) -> None: ...

    def put_incident(self, subject: Subject, title: str) -> int:
        """Inserts it, or changes its title; its revision."""
        ...

    def put_entity(self, subject: Subject, name: str) -> int: ...


class Owner:
    """Somebody who holds the first two partitions, and says what it does in few words."""

    def __init__(self, bench: DeliveryBench, tenant: str) -> None:
        self.leases, self.ledger = bench.ledgers(LeaseOwner(id=uuid4(), label=f"consumer {uuid4()}"))
        self.log, self.tenant, self.number = bench.log, tenant, 0
        first, second = bench.log.partitions[:2]
        taken = self.leases.take(bench.log, {first: 0, second: 0}, 2).leases
        self.lease, self.other = taken if len(taken) == 2 else (Lease(first, 0, 0), Lease(second, 0, 0))

    def subject(self, name: str = "inc-1") -> Subject:
        return Subject(self.tenant, "incident", name)

    def key(self, subscription: str = "slack", part: str = "", name: str = "inc-1") -> LaneKey:
        return LaneKey(subscription, part, *self.subject(name))

    def entry(self, state: Any = "delivered", revision: int = 1, **fields: Any) -> DeliveryEntry:
        known = {
            "key": self.key(),
            "delivery_id": uuid4(),
            "change_id": str(uuid4()),
            "change": change(revision),
        }
        return DeliveryEntry(**{**known, "revision": revision, "state": state, **fields})

    def lane(self, seen: int = 1, **fields: Any) -> LaneEntry:
        return LaneEntry(**{"key": self.key(), "seen": seen, **fields})

    def say(self, *entries: DeliveryEntry | LaneEntry, **fields: Any) -> PartitionWrite:
        """The next write of the first partition."""
        self.number += 1
        return PartitionWrite(
            **{
                "lease": self.lease,
                "number": self.number,
                "end": 0,
                "deliveries": tuple(one for one in entries if isinstance(one, DeliveryEntry)),
                "lanes": tuple(one for one in entries if isinstance(one, LaneEntry)),
                **fields,
            }
        )

    def write(self, *entries: DeliveryEntry | LaneEntry, **fields: Any) -> None:
        assert self.ledger.write(self.log, [self.say(*entries, **fields)]) == frozenset()

    def claim(self, *entries: DeliveryEntry) -> dict[UUID, int]:
        return dict(self.ledger.claim(self.log, self.lease, entries))

    def begin(self, *names: str, reach: int = 0, with_last: bool = False) -> Any:
        subjects = [self.subject(name) for name in names]
        return self.ledger.begin(self.log, {self.lease: reach}, subjects, with_last=with_last)

    def row(self, subscription: str = "slack", part: str = "", name: str = "inc-1") -> LaneRow:
        lanes = self.begin(name, with_last=True).lanes
        found = lanes[self.key(subscription, part, name)]
        assert isinstance(found, LaneRow)
        return found

    def due(self, lanes: int = 10, deliveries: int = 10) -> Any:
        return self.ledger.due(self.log, [self.lease.partition], lanes=lanes, deliveries=deliveries)

    def scans(self) -> Any:
        return self.ledger.due_scans(self.log, [self.lease.partition], limit=100)

    def cursor(self) -> int:
        return self.leases.look(self.log)[0][self.lease.partition]


def change(revision: int) -> bytes:
    return json.dumps({"revision": revision, "title": "Zoë \\u0000 \U0001f600"}).encode()


def seconds(value: float) -> Any:
    return pytest.approx(value, abs=5)


class DeliveryLedgerContract:
    @pytest.fixture
    def bench(self) -> DeliveryBench:
        raise NotImplementedError

    @pytest.fixture
    def owner(self, bench: DeliveryBench) -> Owner:
        return Owner(bench, f"t{uuid4().hex[:12]}")

    def successor(self, bench: DeliveryBench, owner: Owner) -> Owner:
        """Takes the partitions when the lease is over."""
        bench.pass_time(LEASE_SECONDS + 1)
        return Owner(bench, owner.tenant)

    # ---- begin -------------------------------------------------------------------------------------------------------

    def test_what_may_have_been_sent_is_told_to_whoever_begins_next(
        self, bench: DeliveryBench, owner: Owner
    ) -> None:
        assert owner.begin(reach=40).reached == {owner.lease.partition: 0}
        assert owner.begin(reach=30).reached == {owner.lease.partition: 40}

        assert self.successor(bench, owner).begin(reach=10).reached == {owner.lease.partition: 40}

    def test_a_write_may_take_back_what_was_never_sent(self, owner: Owner) -> None:
        owner.begin(reach=40)
        owner.write(end=12)
        assert owner.begin().reached == {owner.lease.partition: 40}

        owner.write(end=12, reach=12)

        assert owner.begin().reached == {owner.lease.partition: 12}

    def test_only_the_partitions_of_somebody_else_are_lost(self, bench: DeliveryBench, owner: Owner) -> None:
        stale = owner.other._replace(epoch=owner.other.epoch - 1)

        begun = owner.ledger.begin(bench.log, {owner.lease: 5, stale: 7}, [], with_last=False)

        assert begun.lost == {owner.other.partition}
        assert begun.reached == {owner.lease.partition: 0}
        again = owner.ledger.begin(bench.log, {owner.lease: 0, owner.other: 0}, [], with_last=False)
        assert again.reached == {owner.lease.partition: 5, owner.other.partition: 0}

    def test_beginning_extends_the_lease(self, bench: DeliveryBench, owner: Owner) -> None:
        bench.pass_time(LEASE_SECONDS - 5)
        owner.begin()
        bench.pass_time(LEASE_SECONDS - 5)

        taken = bench.ledgers(LeaseOwner(id=uuid4(), label="late"))[0].take(
            bench.log, {owner.lease.partition: 0}, 1
        )
        assert taken.leases == []

    def test_every_lane_of_the_subjects_is_told_and_no_other(self, owner: Owner) -> None:
        keys = [owner.key("slack"), owner.key("slack", "thread"), owner.key("hook", name="inc-2")]
        owner.write(*(LaneEntry(key, 3) for key in (*keys, owner.key("hook", name="inc-3"))))

        begun = owner.begin("inc-1", "inc-2", "inc-1", "unknown")

        assert set(begun.lanes) == set(keys)
        assert begun.lanes[keys[0]] == LaneRow(keys[0], seen=3)

    def test_every_part_reads_what_the_main_part_made(self, owner: Owner) -> None:
        owner.write(
            LaneEntry(owner.key(), 1, external_id="C1:17"),
            LaneEntry(owner.key(part="thread"), 1, external_id="not the main part's to say"),
            LaneEntry(owner.key("hook", "thread"), 1),
        )

        assert owner.row().external_id == owner.row(part="thread").external_id == "C1:17"
        assert owner.row("hook", "thread").external_id == ""

    def test_what_a_lane_delivered_last_is_told_where_it_is_asked_for(self, owner: Owner) -> None:
        owner.write(owner.lane(last=change(7)))

        assert owner.begin("inc-1", with_last=True).lanes[owner.key()].last == change(7)
        assert owner.begin("inc-1").lanes[owner.key()].last == b""

    def test_times_are_told_as_ages_and_waits_of_the_ledger_s_clock(
        self, bench: DeliveryBench, owner: Owner
    ) -> None:
        owner.write(owner.lane(is_parked=True, parks=2, due_seconds=100.0, unsure_seconds=20.0))
        bench.pass_time(30)

        row = owner.row()

        assert (row.is_parked, row.parks) == (True, 2)
        assert (row.due_seconds, row.unsure_seconds) == (seconds(70), seconds(50))
        bench.pass_time(100)
        assert owner.row().due_seconds == seconds(-30)

    def test_the_highest_revision_the_cursor_passed_is_told(self, owner: Owner) -> None:
        subject, other = owner.subject(), owner.subject("inc-2")
        owner.write(seen=((subject, 4), (other, 1)))
        owner.write(seen=((subject, 3), (other, 2)))

        assert owner.begin("inc-1", "inc-2", "unknown").seen == {subject: 4, other: 2}

    def test_a_change_of_subscriptions_is_another_version(self, bench: DeliveryBench, owner: Owner) -> None:
        before = owner.begin().version
        assert owner.begin().version == before

        bench.change_subscriptions()

        assert owner.begin().version > before

    # ---- claims ------------------------------------------------------------------------------------------------------

    def test_a_claim_is_an_attempt_and_claiming_again_is_the_next(self, owner: Owner) -> None:
        entry = owner.entry("claimed")

        assert owner.claim(entry) == {entry.delivery_id: 1}
        assert owner.claim(entry) == {entry.delivery_id: 2}
        assert attempts_of_the_claim(owner, entry) == 2
        assert owner.claim() == {}

    def test_attempts_that_were_begun_before_are_counted(self, owner: Owner) -> None:
        first, second = owner.entry("claimed", attempts=3), owner.entry("claimed")
        owner.write(second._replace(state="parked", attempts=5))

        assert owner.claim(first, second) == {first.delivery_id: 4, second.delivery_id: 6}

    @pytest.mark.parametrize("state", FINAL)
    def test_what_is_final_may_not_be_called(self, bench: DeliveryBench, owner: Owner, state: Any) -> None:
        final, fresh = owner.entry(state), owner.entry("claimed", 2)
        owner.write(final)

        assert owner.claim(final, fresh) == {fresh.delivery_id: 1}
        stored = bench.delivery(final.delivery_id)
        assert stored is not None
        assert (stored.state, stored.claimed) == (state, False)

    def test_claims_of_a_lost_lease_are_missing(self, bench: DeliveryBench, owner: Owner) -> None:
        self.successor(bench, owner)
        entry = owner.entry("claimed")

        assert owner.claim(entry) == {}
        assert bench.delivery(entry.delivery_id) is None

    def test_an_open_claim_is_found_by_whoever_begins_next(self, bench: DeliveryBench, owner: Owner) -> None:
        entry = owner.entry("claimed", 2)
        owner.claim(entry)
        owner.claim(entry)

        row = self.successor(bench, owner).row()

        assert row.claim == OpenClaim(entry.delivery_id, 2, seconds(LEASE_SECONDS + 1))
        assert (row.seen, row.is_parked) == (0, False)

    def test_claiming_another_delivery_of_a_lane_ends_the_claim_before(
        self, bench: DeliveryBench, owner: Owner
    ) -> None:
        older, newer = owner.entry("claimed", 2), owner.entry("claimed", 3)
        owner.claim(older)
        owner.claim(newer)

        claim = owner.row().claim
        assert claim is not None
        assert claim.delivery_id == newer.delivery_id
        stored = bench.delivery(older.delivery_id)
        assert (stored.state, stored.claimed) == ("parked", False)

    @pytest.mark.parametrize("is_open", [True, False])
    def test_a_parked_claim_stays_open_only_where_it_is_said(
        self, bench: DeliveryBench, owner: Owner, is_open: bool
    ) -> None:
        entry = owner.entry("claimed")
        owner.claim(entry)
        bench.pass_time(50)

        owner.write(entry._replace(state="parked", attempts=1, claim_open=is_open))

        expected = OpenClaim(entry.delivery_id, 1, seconds(50)) if is_open else None
        assert owner.row().claim == expected

    # ---- writes ------------------------------------------------------------------------------------------------------

    def test_everything_a_partition_says_is_written_with_its_cursor(
        self, bench: DeliveryBench, owner: Owner
    ) -> None:
        entry = owner.entry(attempts=2, status=200, detail="why", external_id="C1:17")
        letter = DeadLetter(
            *(9, owner.tenant, b"k", (("h", b"1"), ("none", None)), b"v", "propagate", "why", "f00d")
        )

        owner.write(entry, owner.lane(seen=1), end=12, seen=((owner.subject(), 1),), dead_letters=(letter,))

        assert owner.cursor() == 12
        assert bench.delivery(entry.delivery_id) == Stored(
            *("delivered", 2, False, 200, "why", "C1:17"), settled=True
        )
        assert owner.row().seen == 1
        assert owner.begin("inc-1").seen == {owner.subject(): 1}
        assert bench.dead_letters() == {(owner.lease.partition, 9): letter}

    def test_the_same_write_twice_is_once(self, bench: DeliveryBench, owner: Owner) -> None:
        entry = owner.entry(folded=1)
        said = owner.say(entry, owner.lane(seen=1), end=12, reach=12)
        assert owner.ledger.write(owner.log, [said]) == frozenset()
        owner.begin(reach=40)

        assert owner.ledger.write(owner.log, [said]) == frozenset()

        stored = bench.delivery(entry.delivery_id)
        assert stored is not None
        assert stored.folded == 1
        assert owner.begin().reached == {owner.lease.partition: 40}

    def test_a_write_that_comes_behind_a_newer_one_is_refused(self, owner: Owner) -> None:
        late, newer = owner.say(owner.lane(seen=9), end=99), owner.say(end=12)
        owner.ledger.write(owner.log, [late._replace(lanes=(), end=5)])
        owner.ledger.write(owner.log, [newer])

        assert owner.ledger.write(owner.log, [late]) == {owner.lease.partition}

        assert owner.cursor() == 12
        assert owner.begin("inc-1").lanes == {}

    def test_a_write_is_not_taken_before_the_one_before_it(self, owner: Owner) -> None:
        owner.say()

        assert owner.ledger.write(owner.log, [owner.say(end=12)]) == {owner.lease.partition}
        assert owner.cursor() == 0

    def test_under_a_new_lease_writes_are_counted_anew(self, bench: DeliveryBench, owner: Owner) -> None:
        owner.write(end=3)
        owner.write(end=4)

        successor = self.successor(bench, owner)
        successor.write(end=5)

        assert successor.cursor() == 5

    def test_a_former_owner_writes_nothing_and_the_others_write_theirs(
        self, bench: DeliveryBench, owner: Owner
    ) -> None:
        bench.pass_time(LEASE_SECONDS + 1)
        leases, _ = bench.ledgers(LeaseOwner(id=uuid4(), label="thief"))
        leases.take(bench.log, {owner.lease.partition: 0}, 1)
        lost, kept = owner.entry(), owner.entry(key=owner.key(name="inc-2"))
        theirs = owner.say(
            *(lost, owner.lane()),
            end=12,
            seen=((owner.subject(), 1),),
            dead_letters=(DeadLetter(9, None, None, (), None, "propagate", "why", "f00d"),),
        )
        ours = PartitionWrite(owner.other, 1, 8, None, (kept,), (LaneEntry(kept.key, 1),))

        assert owner.ledger.write(owner.log, [theirs, ours]) == {owner.lease.partition}

        assert leases.look(bench.log)[0] == {owner.lease.partition: 0, owner.other.partition: 8}
        assert bench.delivery(lost.delivery_id) is None
        assert bench.delivery(kept.delivery_id) is not None
        assert bench.dead_letters() == {}
        begun = owner.begin("inc-1", "inc-2")
        assert (set(begun.lanes), begun.seen, begun.lost) == ({kept.key}, {}, {owner.lease.partition})

    def test_nothing_to_write_loses_nothing(self, owner: Owner) -> None:
        assert owner.ledger.write(owner.log, []) == frozenset()

    def test_the_cursor_never_goes_back(self, owner: Owner) -> None:
        owner.write(end=12)
        owner.write(end=7)

        assert owner.cursor() == 12

    def test_only_a_cursor_that_moves_is_said_to_have_moved(self, bench: DeliveryBench, owner: Owner) -> None:
        owner.write(end=12)
        bench.pass_time(20)
        owner.write(owner.lane(), end=12)

        (lease, _) = bench.ledgers(LeaseOwner(id=uuid4(), label="other"))[0].look(bench.log)[1]
        assert (lease.moved_seconds, lease.left_seconds) == (seconds(20), seconds(LEASE_SECONDS))

    def test_a_write_extends_the_lease_also_when_it_is_repeated(
        self, bench: DeliveryBench, owner: Owner
    ) -> None:
        said = owner.say(end=1)
        owner.ledger.write(owner.log, [said])
        bench.pass_time(LEASE_SECONDS - 5)
        owner.ledger.write(owner.log, [said])
        bench.pass_time(LEASE_SECONDS - 5)

        leases, _ = bench.ledgers(LeaseOwner(id=uuid4(), label="late"))
        assert leases.take(bench.log, {owner.lease.partition: 0}, 1).leases == []

    @pytest.mark.parametrize("state", FINAL)
    @pytest.mark.parametrize("later", ["parked", "claimed", "delivered", "rejected"])
    def test_a_final_state_is_never_overwritten(
        self, bench: DeliveryBench, owner: Owner, state: Any, later: Any
    ) -> None:
        entry = owner.entry(state, attempts=2, status=200, detail="first")
        owner.write(entry)

        owner.write(entry._replace(state=later, status=500, detail="later"))

        stored = bench.delivery(entry.delivery_id)
        assert stored == Stored(state, 2, False, 200, "first", settled=True)

    def test_a_change_is_kept_while_somebody_may_still_need_it(
        self, bench: DeliveryBench, owner: Owner
    ) -> None:
        entry = owner.entry("parked", attempts=3)
        owner.write(entry)
        assert bench.delivery(entry.delivery_id) == Stored("parked", 3, change=change(1))

        owner.write(entry._replace(attempts=1, change=b""))
        assert bench.delivery(entry.delivery_id) == Stored("parked", 3, change=change(1))

        owner.write(entry._replace(state="delivered", scan_seconds=75.0, attempts=4, change=b""))
        assert bench.delivery(entry.delivery_id) == Stored(
            "delivered", 4, change=change(1), scan=True, settled=True
        )

        owner.write(entry._replace(state="delivered", folded=2))
        assert bench.delivery(entry.delivery_id) == Stored("delivered", 4, folded=2, settled=True)

    def test_a_receipt_stays(self, bench: DeliveryBench, owner: Owner) -> None:
        entry = owner.entry("parked", external_id="C1:17")
        owner.write(entry)
        owner.write(entry._replace(state="delivered", external_id=""))
        owner.write(entry._replace(state="delivered", external_id="C1:18"))

        stored = bench.delivery(entry.delivery_id)
        assert stored is not None
        assert stored.external_id == "C1:17"

    def test_a_lane_keeps_what_later_entries_leave_out(self, owner: Owner) -> None:
        owner.write(
            owner.lane(5, external_id="C1:17", last=change(5), is_parked=True, parks=3, due_seconds=0.0)
        )

        owner.write(owner.lane(4))

        assert owner.row() == LaneRow(owner.key(), seen=5, external_id="C1:17", last=change(5))

    def test_what_is_told_twice_in_one_write_comes_to_one(self, bench: DeliveryBench, owner: Owner) -> None:
        entry, subject = owner.entry("parked"), owner.subject()
        done = entry._replace(state="delivered", status=200)

        owner.write(
            *(entry, done, entry, owner.lane(3, last=change(3)), owner.lane(2, due_seconds=60.0)),
            seen=((subject, 3), (subject, 2)),
        )

        assert bench.delivery(entry.delivery_id) == Stored("delivered", 0, False, 200, settled=True)
        row = owner.row()
        assert (row.seen, row.last, row.due_seconds) == (3, change(3), seconds(60))
        assert owner.begin("inc-1").seen == {subject: 3}

    def test_two_partitions_may_tell_of_one_lane(self, owner: Owner) -> None:
        mine, theirs = owner.say(owner.lane(3), end=4), PartitionWrite(owner.other, 1, 5)
        theirs = theirs._replace(lanes=(owner.lane(2, due_seconds=0.0),))

        assert owner.ledger.write(owner.log, [mine, theirs]) == frozenset()

        assert owner.row().seen == 3
        due = owner.ledger.due(owner.log, [owner.other.partition], lanes=9, deliveries=9)
        assert [one.partition for one in due] == [owner.other.partition]

    @pytest.mark.parametrize("text", ["a\0b", "ünïcode \U0001f600"])
    def test_what_the_other_side_says_is_kept_as_far_as_it_can_be(
        self, bench: DeliveryBench, owner: Owner, text: str
    ) -> None:
        entry = owner.entry("rejected", detail=text)
        owner.write(entry)

        stored = bench.delivery(entry.delivery_id)
        assert stored is not None
        assert stored.detail.replace("\0", "") == text.replace("\0", "")

    # ---- a former owner ----------------------------------------------------------------------------------------------

    def test_what_a_former_owner_delivered_is_final_and_makes_the_lane_unsure(
        self, bench: DeliveryBench, owner: Owner
    ) -> None:
        parked, unknown = owner.entry("parked", 3), owner.entry(revision=4, status=200, attempts=1)
        owner.write(parked, owner.lane(3, is_parked=True, parks=1, due_seconds=200.0))
        successor = self.successor(bench, owner)
        late = [(owner.lease.partition, one._replace(state="delivered")) for one in (parked, unknown)]

        owner.ledger.write_late(owner.log, late)

        for one in (parked, unknown):
            stored = bench.delivery(one.delivery_id)
            assert stored is not None
            assert (stored.state, stored.settled, stored.change) == ("delivered", True, b"")
        row = successor.row()
        assert (row.unsure_seconds, row.due_seconds) == (seconds(0), seconds(60))
        assert (row.seen, row.is_parked, row.parks, successor.cursor()) == (3, True, 1, 0)

    def test_a_lane_that_is_due_sooner_stays_so(self, bench: DeliveryBench, owner: Owner) -> None:
        owner.write(owner.lane(3, is_parked=True, due_seconds=20.0))

        owner.ledger.write_late(owner.log, [(owner.lease.partition, owner.entry())])

        assert owner.row().due_seconds == seconds(20)

    def test_a_former_owner_tells_of_a_lane_that_nobody_knew(self, owner: Owner) -> None:
        first = owner.entry(external_id="C1:17")
        owner.ledger.write_late(owner.log, [(owner.lease.partition, one) for one in (first, owner.entry())])

        row = owner.row()

        assert (row.seen, row.external_id, row.unsure_seconds) == (0, "C1:17", seconds(0))

    def test_a_former_owner_s_effect_replaces_none_that_is_known(self, owner: Owner) -> None:
        owner.write(owner.lane(external_id="C1:1"))

        thread = owner.entry(key=owner.key(part="thread"), external_id="C1:18")
        owner.ledger.write_late(
            owner.log,
            [(owner.lease.partition, one) for one in (owner.entry(external_id="C1:17"), thread)],
        )

        assert owner.row().external_id == owner.row(part="thread").external_id == "C1:1"

    @pytest.mark.parametrize("state", ["rejected", "folded"])
    def test_a_former_owner_overwrites_nothing_final(
        self, bench: DeliveryBench, owner: Owner, state: Any
    ) -> None:
        entry = owner.entry(state, detail="first")
        owner.write(entry)

        owner.ledger.write_late(owner.log, [(owner.lease.partition, entry._replace(state="delivered"))])

        assert bench.delivery(entry.delivery_id) == Stored(state, detail="first", settled=True)

    def test_what_both_owners_delivered_is_looked_up_for_doubles(
        self, bench: DeliveryBench, owner: Owner
    ) -> None:
        entry = owner.entry()
        owner.write(entry, owner.lane())

        late = entry._replace(scan_seconds=75.0)
        owner.ledger.write_late(owner.log, [(owner.lease.partition, late)])

        assert owner.scans() == ()
        bench.pass_time(76)
        assert [scan.delivery.delivery_id for scan in owner.scans()] == [entry.delivery_id]

    def test_nothing_late_is_fine(self, owner: Owner) -> None:
        owner.ledger.write_late(owner.log, [])

    # ---- what is due -------------------------------------------------------------------------------------------------

    def test_lanes_come_back_when_they_are_due_the_longest_due_first(
        self, bench: DeliveryBench, owner: Owner
    ) -> None:
        owner.write(
            LaneEntry(owner.key(name="later"), 1, due_seconds=200.0),
            LaneEntry(owner.key(name="second"), 1, due_seconds=100.0),
            LaneEntry(owner.key(name="first"), 1, due_seconds=50.0),
            LaneEntry(owner.key(name="never"), 1),
        )
        assert owner.due() == ()
        bench.pass_time(120)

        assert [one.row.key.id for one in owner.due()] == ["first", "second"]
        assert [one.row.key.id for one in owner.due(lanes=1)] == ["first"]
        assert owner.ledger.due(owner.log, [owner.other.partition], lanes=9, deliveries=9) == ()
        assert owner.ledger.due(owner.log, [], lanes=9, deliveries=9) == ()

    def test_the_longest_due_come_first_over_all_partitions(self, owner: Owner) -> None:
        lanes = (
            LaneEntry(owner.key(name="a"), 1, due_seconds=-10.0),
            LaneEntry(owner.key(name="b"), 1, due_seconds=-30.0),
        )
        other = PartitionWrite(
            owner.other, 1, 0, lanes=(LaneEntry(owner.key(name="c"), 1, due_seconds=-20.0),)
        )
        owner.ledger.write(owner.log, [owner.say(*lanes), other])

        due = owner.ledger.due(
            owner.log, [owner.lease.partition, owner.other.partition], lanes=2, deliveries=1
        )

        assert [one.row.key.id for one in due] == ["b", "c"]

    def test_a_due_lane_comes_with_what_waits_in_it_by_revision(self, owner: Owner) -> None:
        waiting = [owner.entry("parked", revision, attempts=revision) for revision in (4, 2, 3)]
        owner.write(
            *(*waiting, owner.entry("delivered", 1)),
            owner.entry("parked", 1, key=owner.key("hook")),
            owner.lane(4, is_parked=True, due_seconds=0.0, last=change(1), external_id="C1:17"),
        )

        (all_of_it,) = owner.due()
        (some,) = owner.due(deliveries=2)

        expected = [
            ParkedDelivery(
                waiting[index].delivery_id, waiting[index].revision, change(waiting[index].revision), attempts
            )
            for index, attempts in ((1, 2), (2, 3), (0, 4))
        ]
        assert (all_of_it.deliveries, all_of_it.has_more) == (tuple(expected), False)
        assert (some.deliveries, some.has_more) == (tuple(expected[:2]), True)
        row = all_of_it.row
        assert (row.last, row.external_id, row.is_parked, row.due_seconds) == (
            change(1),
            "C1:17",
            True,
            seconds(0),
        )
        assert all_of_it.partition == owner.lease.partition

    def test_what_is_parked_for_want_of_the_main_part_is_due_once_that_has_made_something(
        self, owner: Owner
    ) -> None:
        thread = owner.key(part="thread")
        owner.write(
            owner.entry("parked", 2, key=thread),
            LaneEntry(thread, 2, is_parked=True, due_seconds=200.0),
            LaneEntry(owner.key(part="thread", name="other"), 2, is_parked=True, due_seconds=200.0),
        )
        assert owner.due() == ()

        owner.write(owner.lane(1, external_id="C1:17"))

        assert [one.row.key for one in owner.due()] == [thread]
        owner.write(LaneEntry(thread, 2, is_parked=True, due_seconds=200.0))
        owner.write(owner.lane(2, external_id="C1:17"))
        assert owner.due() == ()

    def test_a_due_lane_tells_its_open_claim(self, bench: DeliveryBench, owner: Owner) -> None:
        entry = owner.entry("claimed")
        owner.claim(entry)
        owner.write(
            entry._replace(state="parked", attempts=1, claim_open=True),
            owner.lane(1, is_parked=True, due_seconds=75.0),
        )
        bench.pass_time(80)

        (due,) = owner.due()

        assert due.row.claim == OpenClaim(entry.delivery_id, 1, seconds(80))
        assert [one.delivery_id for one in due.deliveries] == [entry.delivery_id]

    def test_a_due_lane_may_have_nothing_waiting(self, owner: Owner) -> None:
        owner.write(owner.lane(3, unsure_seconds=60.0, due_seconds=0.0, last=change(3)))

        (due,) = owner.due()

        assert (due.deliveries, due.has_more, due.row.last) == ((), False, change(3))

    def test_a_scan_comes_when_its_time_has_come_and_until_it_is_ended(
        self, bench: DeliveryBench, owner: Owner
    ) -> None:
        entry = owner.entry(attempts=2, scan_seconds=75.0)
        owner.write(entry, owner.lane(1, external_id="C1:17"))
        assert owner.scans() == ()
        bench.pass_time(76)

        (scan,) = owner.scans()
        assert scan.delivery == ParkedDelivery(entry.delivery_id, 1, change(1), 2)
        assert (scan.partition, scan.row.key, scan.row.external_id) == (
            *(owner.lease.partition, entry.key, "C1:17"),
        )
        assert owner.ledger.due_scans(owner.log, [owner.other.partition], limit=9) == ()

        owner.write(entry._replace(scan_seconds=75.0))
        assert owner.scans() == ()
        bench.pass_time(76)
        assert len(owner.scans()) == 1

        owner.write(entry._replace(scan_seconds=None, folded=1))
        assert owner.scans() == ()

    # ---- rows --------------------------------------------------------------------------------------------------------

    def test_rows_are_read_as_changes_spell_them(self, bench: DeliveryBench, owner: Owner) -> None:
        incident = owner.subject()
        entity = Subject(owner.tenant, "entity", str(uuid4()))
        bench.put_incident(incident, "old")
        revisions = bench.put_incident(incident, "Zoë"), bench.put_entity(entity, "orders")

        rows = owner.ledger.read_rows([incident, entity, incident])

        assert {subject: revision for subject, (revision, _) in rows.items()} == dict(
            zip((incident, entity), revisions, strict=True)
        )
        assert json.loads(rows[incident][1])["title"] == "Zoë"
        assert json.loads(rows[entity][1])["name"] == "orders"

    @pytest.mark.parametrize("kind", ["incident", "entity", "nothing of ours"])
    @pytest.mark.parametrize("name", ["unknown", str(UUID(int=1)), "'; select 1", ""])
    def test_rows_that_are_not_there_are_left_out(self, owner: Owner, kind: str, name: str) -> None:
        assert owner.ledger.read_rows([Subject(owner.tenant, kind, name)]) == {}
        assert owner.ledger.read_rows([]) == {}


def attempts_of_the_claim(owner: Owner, entry: DeliveryEntry) -> int:
    claim = owner.row().claim
    assert claim is not None
    assert claim.delivery_id == entry.delivery_id
    return claim.attempt
