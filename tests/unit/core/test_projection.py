"""What is written to a store that follows, and what its answers mean."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from airflow_provider_atlan_meta.core.projection import (
    Candidate,
    Settlement,
    Standing,
    content_hash,
    dead_letter,
    is_stale,
    settlement,
    triage,
    unsent,
)
from airflow_provider_atlan_meta.core.stores import INCIDENT, Landed, Landing, RowRef, StateRow

REF = RowRef("acme", INCIDENT, "inc-1")


def row(revision: int = 3, hash_: int = 7) -> StateRow:
    return StateRow(REF, revision, {"title": "a"}, hash_)


def landed(landing: Landing, *, reason: str = "", retry_after: float | None = None) -> Landed:
    return Landed(REF, 3, landing, reason, "guid", retry_after)


@pytest.mark.parametrize(
    "standing",
    [Standing(), Standing(2, 8, 1), Standing(2, None, 1), Standing(2, 8, 5, attempts=3)],
    ids=["never told", "other content", "unknown content", "told in vain"],
)
def test_what_the_store_lacks_is_written(standing: Standing) -> None:
    candidate = Candidate(row(), standing)

    assert triage([candidate]) == ([candidate], [], [])


def test_content_the_store_has_is_projected_without_a_call() -> None:
    found = triage([Candidate(row(), Standing(2, 7, 4))])

    assert found.write == []
    assert found.settled == [Settlement(REF, 4, projected_revision=3, content_hash=7)]


def test_a_row_that_is_projected_already_waits_no_more() -> None:
    found = triage([Candidate(row(), Standing(3, 7, 4, attempts=2))])

    assert found == ([], [Settlement(REF, 4, projected_revision=3, content_hash=7)], [])


def test_a_row_somebody_is_at_is_left_to_them_for_as_long_as_their_write_may_come() -> None:
    found = triage([Candidate(row(), Standing(2, None, 4, claim_left=12.5))])

    assert found == ([], [], [(REF, 12.5)])


def test_of_a_row_nobody_ever_had_nothing_is_told() -> None:
    nothing = StateRow(REF, 0, None, 1)

    assert triage([Candidate(nothing, Standing())]) == ([], [], [])
    assert triage([Candidate(nothing, Standing(0, None, 1))]).settled == [Settlement(REF, 1)]


@pytest.mark.parametrize(
    ("now", "stale"),
    [(row(3, 7), False), (row(4, 8), True), (row(5, 7), False)],
    ids=["the same", "moved", "moved there and back"],
)
def test_a_row_is_told_again_while_it_says_something_else(now: StateRow, stale: bool) -> None:
    assert is_stale(row(), now) == stale


def test_done_is_projected_as_it_was_read_again() -> None:
    done = settlement(Candidate(row(), Standing(version=5, attempts=3)), landed(Landing.DONE), 4)

    assert done == Settlement(REF, 5, projected_revision=4, content_hash=7, external_id="guid")


def test_rejected_is_a_dead_letter_and_blocks_nothing() -> None:
    rejected = settlement(
        Candidate(row(), Standing(version=5)), landed(Landing.REJECTED, reason="too long"), 3
    )

    assert (rejected.is_rejected, rejected.projected_revision, rejected.retry_seconds) == (True, 3, None)


@pytest.mark.parametrize(("attempts", "seconds"), [(0, 5), (1, 15), (2, 45), (3, 135), (4, 300), (9, 300)])
def test_later_waits_longer_every_time(attempts: int, seconds: float) -> None:
    later = settlement(Candidate(row(), Standing(version=5, attempts=attempts)), landed(Landing.LATER), 3)

    assert (later.retry_seconds, later.attempts) == (seconds, attempts + 1)
    assert (later.projected_revision, later.content_hash) == (0, None)


def test_a_store_that_says_when_is_asked_then() -> None:
    later = settlement(Candidate(row(), Standing()), landed(Landing.LATER, retry_after=0.5), 3)

    assert later.retry_seconds == 0.5


def test_no_answer_is_written_again_after_a_minute() -> None:
    unknown = settlement(Candidate(row(), Standing(version=5, attempts=9)), landed(Landing.UNKNOWN), 3)

    assert (unknown.retry_seconds, unknown.projected_revision, unknown.content_hash) == (60.0, 0, None)


def test_what_was_not_sent_is_sent_as_soon_as_the_store_is_back() -> None:
    assert unsent(Candidate(row(), Standing(version=5, attempts=2))) == Settlement(
        REF, 5, attempts=2, retry_seconds=0.0
    )


def test_a_hash_is_of_the_content_alone_and_for_ever() -> None:
    values = {
        "title": "\u00fcber",
        "opened_at": datetime(2026, 11, 18, 11, 6, 40, 123456, tzinfo=UTC),
        "entity_ids": [UUID(int=1)],
        "owner": None,
    }

    assert content_hash(values) == content_hash(dict(reversed(values.items())))
    assert content_hash(values) != content_hash({**values, "owner": ""})
    assert content_hash(None) != content_hash({})
    assert content_hash({"title": "a"}) == HASH_OF_A


HASH_OF_A = -4149381381293393418


def test_a_dead_letter_names_the_row_and_none_of_its_values() -> None:
    rejected = settlement(
        Candidate(row(), Standing(version=5)), landed(Landing.REJECTED, reason="too long"), 3
    )

    topic, letter = dead_letter("atlas", rejected)

    assert (topic, letter.tenant_id, letter.stage, letter.reason) == (
        "meta.incident",
        "acme",
        "project",
        "too long",
    )
    assert letter.value == b'{"id":"inc-1","kind":"incident","revision":3,"tenant_id":"acme"}'
    assert 0 <= letter.offset < 1 << 63
    assert dead_letter("atlas", rejected._replace(projected_revision=4))[1].offset != letter.offset
