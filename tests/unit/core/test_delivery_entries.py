from __future__ import annotations

from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_atlan_meta.core.deliveries import (
    FINAL,
    DeliveryEntry,
    LaneEntry,
    LaneKey,
    PartitionWrite,
    Subject,
)
from airflow_provider_atlan_meta.core.delivery_entries import compact, late_again, later_delivery, later_lane
from airflow_provider_atlan_meta.core.ports import Lease

KEY = LaneKey("slack", "", "acme", "incident", "inc-1")
STATES = st.sampled_from(("claimed", "parked", "delivered", "folded", "rejected"))


def entry(state: Any = "parked", number: int = 1, **fields: Any) -> DeliveryEntry:
    return DeliveryEntry(KEY, UUID(int=number), "", 1, state, **fields)


@st.composite
def entries(draw: st.DrawFn) -> DeliveryEntry:
    return entry(
        draw(STATES),
        attempts=draw(st.integers(0, 3)),
        status=draw(st.sampled_from((None, 200, 503))),
        change=draw(st.sampled_from((b"", b"{}"))),
        folded=draw(st.integers(0, 2)),
        external_id=draw(st.sampled_from(("", "C1:17"))),
    )


@given(st.lists(entries(), min_size=1, max_size=5))
def test_the_first_final_state_stays_with_its_status(told: list[DeliveryEntry]) -> None:
    (merged,) = compact(PartitionWrite(Lease(0, 0, 1), 1, 0, deliveries=tuple(told))).deliveries

    final = [one for one in told if one.state in FINAL]
    expected = final[0] if final else told[-1]
    assert (merged.state, merged.status) == (expected.state, expected.status)
    assert merged.attempts >= expected.attempts
    assert merged.folded >= expected.folded


def test_the_end_of_a_scan_is_added_to_what_is_final() -> None:
    done = entry("delivered", scan_seconds=75.0, status=200)

    ended = later_delivery(done, entry("delivered", folded=1))

    assert (ended.scan_seconds, ended.folded, ended.status) == (None, 1, 200)


def test_a_lane_keeps_what_later_entries_leave_out() -> None:
    first = LaneEntry(KEY, 5, external_id="C1:17", is_parked=True, due_seconds=5.0, last=b"{}")

    assert later_lane(first, LaneEntry(KEY, 4)) == LaneEntry(KEY, 5, external_id="C1:17", last=b"{}")


def test_a_late_delivery_is_looked_up_if_either_call_says_so() -> None:
    plain, scanned = entry("delivered"), entry("delivered", scan_seconds=75.0, change=b"{}")

    for merged in (late_again(plain, scanned), late_again(scanned, plain)):
        assert (merged.scan_seconds, merged.change) == (75.0, b"{}")


def test_one_entry_each_is_left_in_the_order_they_were_told() -> None:
    other = LaneKey("hook", *KEY[1:])
    subject = Subject("acme", "incident", "inc-1")
    write = PartitionWrite(
        *(Lease(0, 0, 1), 1, 0),
        deliveries=(entry(number=2), entry(number=1), entry("delivered", number=2)),
        lanes=(LaneEntry(KEY, 1), LaneEntry(other, 1), LaneEntry(KEY, 2)),
        seen=((subject, 3), (subject, 2)),
    )

    compacted = compact(write)

    assert [(one.delivery_id.int, one.state) for one in compacted.deliveries] == [
        (2, "delivered"),
        (1, "parked"),
    ]
    assert [(one.key, one.seen) for one in compacted.lanes] == [(KEY, 2), (other, 1)]
    assert compacted.seen == ((subject, 3),)
    assert compact(compacted) == compacted
