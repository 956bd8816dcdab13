"""What one lane of the delivery protocol does, step by step."""

from __future__ import annotations

from uuid import UUID

import pytest

from airflow_provider_atlan_meta.core.breaker import Breaker, BreakerPolicy
from airflow_provider_atlan_meta.core.lanes import (
    Answer,
    Claim,
    ClaimUse,
    Delivery,
    Lane,
    LanePolicy,
    LaneState,
    Offered,
)
from airflow_provider_atlan_meta.core.offsets import UnfinishedOffsets

SLACK = LanePolicy(claims=ClaimUse.FIRST)


def change(revision: int, **row: str) -> Delivery:
    return Delivery(UUID(int=revision), revision, row)


def lane_of(*revisions: int, policy: LanePolicy | None = None) -> Lane:
    lane = Lane(policy or LanePolicy())
    for revision in revisions:
        assert lane.offer(change(revision)) is Offered.QUEUED
    return lane


def finished(lane: Lane) -> list[tuple[int, str]]:
    return [(one.delivery_id.int, how) for one, how in lane.take_finished()]


def test_one_change_is_under_way_at_a_time_in_the_order_of_revisions() -> None:
    lane = lane_of(1, 2)

    assert lane.next_step(0.0).delivery == change(1)
    assert lane.next_step(0.0).action == "wait"
    lane.answered(Answer.DELIVERED, 0.1)
    assert lane.next_step(0.1).delivery == change(2)


def test_what_is_not_newer_than_what_was_seen_is_superseded_even_if_that_was_never_sent() -> None:
    lane = lane_of()
    lane.note(2)  # no rule matched it

    assert lane.offer(change(1)) is Offered.SUPERSEDED
    assert lane.next_step(0.0).action == "idle"


class GateOnSent(Lane):
    """A mutant: only what was sent makes older changes old."""

    def note(self, revision: int) -> bool:
        return revision > (self.state.last.revision if self.state.last else 0)


@pytest.mark.parametrize(("kind", "opens"), [(Lane, False), (GateOnSent, True)])
def test_a_resolved_incident_is_not_opened_by_a_recovered_change(kind: type[Lane], opens: bool) -> None:
    """`open` was lost with the slot, `resolved` went to nobody, as there was no ticket; then `open` comes again."""
    lane = kind(LanePolicy())
    lane.note(2)
    lane.offer(change(1, status="open"))

    assert (lane.next_step(0.0).action == "send") is opens


def test_a_recovered_change_is_compared_with_what_was_sent_last() -> None:
    lane = Lane(LanePolicy())
    assert lane.before_of_recovered() is None
    lane.offer(change(1, status="open"))
    lane.next_step(0.0)
    lane.answered(Answer.DELIVERED, 0.0)

    assert lane.before_of_recovered() == {"status": "open"}


def test_retries_start_within_five_seconds_then_the_lane_is_parked_with_what_is_behind() -> None:
    lane, now, starts = lane_of(1, 2), 0.0, []
    while (step := lane.next_step(now)).action != "idle":
        if step.action == "send":
            starts.append(now)
            lane.answered(Answer.FAILED, now)
        else:
            now = step.at

    assert starts == [0.0, 0.25, 0.75, 1.75, 3.75]
    assert lane.offer(change(3)) is Offered.PARKED
    assert finished(lane) == [(1, "parked"), (2, "parked"), (3, "parked")]


def test_a_throttled_target_gets_the_newest_state_and_the_steps_are_recorded_as_folded() -> None:
    lane = lane_of(1, 2, 3)
    lane.next_step(0.0)
    lane.answered(Answer.THROTTLED, 0.0, retry_after=2.0)
    assert lane.next_step(1.0).at == 2.0

    assert lane.next_step(2.0).delivery == change(3)._replace(folded=(change(1), change(2)))
    lane.answered(Answer.DELIVERED, 2.1)
    assert finished(lane) == [(1, "folded"), (2, "folded"), (3, "delivered")]


def test_after_an_unknown_outcome_the_newest_state_is_sent_once_more_when_the_old_call_is_dead() -> None:
    lane = lane_of(1, 2)
    lane.next_step(0.0)
    lane.answered(Answer.UNKNOWN, 1.0)
    for now in (2.0, 2.1):
        lane.next_step(now)
        lane.answered(Answer.DELIVERED, now)

    assert (lane.next_step(3.0).action, lane.next_step(3.0).at) == ("wait", 61.0)
    assert (lane.next_step(61.0).action, lane.state.last) == ("close", change(2))
    lane.answered(Answer.DELIVERED, 61.0)
    assert lane.next_step(200.0).action == "idle"


def test_a_takeover_makes_the_lane_unsure() -> None:
    lane = Lane(LanePolicy(), LaneState(last=change(4)))
    lane.taken_over(10.0)

    assert lane.next_step(69.0).at == 70.0
    assert lane.next_step(70.0).delivery == change(4)


def test_an_endpoint_that_is_gone_is_sent_nothing_any_more() -> None:
    lane = lane_of(1)
    lane.next_step(0.0)
    lane.answered(Answer.GONE, 0.0)

    assert finished(lane) == [(1, "parked")]
    assert (lane.offer(change(2)), lane.next_step(99.0).action) == (Offered.PARKED, "idle")


def test_a_rejected_change_does_not_hold_up_the_next() -> None:
    lane = lane_of(1, 2)
    lane.next_step(0.0)
    lane.answered(Answer.REJECTED, 0.0)

    assert finished(lane) == [(1, "rejected")]
    assert lane.next_step(0.0).delivery == change(2)


def test_a_claim_is_committed_before_the_call_and_only_for_what_creates() -> None:
    lane = lane_of(1, 2, policy=SLACK)
    assert lane.next_step(0.0).action == "claim"
    assert lane.claimed(1, 0.1).action == "send"
    lane.answered(Answer.DELIVERED, 0.2)

    assert lane.next_step(0.3).action == "send"


def test_nobody_calls_under_a_claim_older_than_five_seconds() -> None:
    lane = lane_of(1, policy=SLACK)
    lane.next_step(0.0)

    step = lane.claimed(1, 5.1)
    assert (step.action, step.at, finished(lane)) == ("wait", 75.0, [(1, "parked")])


def test_a_sender_that_was_stopped_looks_at_its_clock_before_the_call() -> None:
    lane = lane_of(1, policy=SLACK)
    lane.next_step(0.0)
    lane.claimed(1, 0.1)

    assert (lane.may_call(5.0), lane.may_call(5.1)) == (True, False)
    lane.not_called()
    assert finished(lane) == [(1, "parked")]


@pytest.mark.parametrize(("found", "then"), [(True, "idle"), (False, "claim"), (None, "wait")])
def test_a_claim_is_settled_by_its_own_age_and_a_failed_lookup_says_nothing(
    found: bool | None, then: str
) -> None:
    state = LaneState(waiting=(change(1),), claim=Claim(change(1), 1, 0.0))
    lane = Lane(SLACK, state, is_drain=True)
    lane.taken_over(30.0)

    assert (lane.next_step(74.9).action, lane.next_step(74.9).at) == ("wait", 75.0)
    assert lane.next_step(75.0).action == "look_up"
    lane.looked_up(found, 75.0)
    assert lane.next_step(75.0).action == ("wait" if found else then)
    assert finished(lane) == ([(1, "delivered")] if found else [])


def test_a_failed_refused_call_under_a_claim_is_claimed_again() -> None:
    lane = lane_of(1, policy=SLACK)
    lane.next_step(0.0)
    lane.claimed(1, 0.0)
    lane.answered(Answer.FAILED, 0.0)

    assert lane.next_step(1.0).action == "claim"


def test_an_answer_nobody_waits_for_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="under way"):
        lane_of(1).answered(Answer.DELIVERED, 0.0)


# ---- beside the lanes ------------------------------------------------------------------------------------------------


def test_the_cursor_stays_at_the_lowest_unfinished_offset() -> None:
    offsets = UnfinishedOffsets(5)
    for offset in (5, 6, 8):
        offsets.start(offset)
    offsets.finish(6)
    assert (offsets.position, len(offsets)) == (5, 2)

    offsets.finish(5)
    assert offsets.position == 8
    offsets.finish(8)
    offsets.skip_to(11)
    assert offsets.position == 11
    with pytest.raises(ValueError, match="started before"):
        offsets.start(8)


def test_a_breaker_opens_after_failures_in_a_row_and_asks_one_at_a_time() -> None:
    breaker = Breaker(BreakerPolicy(failures=2, pause=5.0, longest_pause=8.0))
    breaker.failed(0.0)
    breaker.succeeded()
    breaker.failed(1.0)
    assert breaker.allows(1.0)
    breaker.failed(2.0)

    assert (breaker.allows(6.9), breaker.allows(7.0), breaker.allows(7.1)) == (False, True, False)
    breaker.failed(7.5)
    assert (breaker.retry_at(), breaker.allows(15.4), breaker.allows(15.5)) == (15.5, False, True)
    breaker.succeeded()
    assert breaker.allows(15.6)
