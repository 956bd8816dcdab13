"""What every ``core.dead_letters.DeadLetterStore`` promises: inherit, and give a ``bench``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import pytest

from airflow_provider_atlan_meta.core.dead_letters import DeadLetterStore, LetterQuery, RedriveNote
from airflow_provider_atlan_meta.core.errors import RejectedError
from airflow_provider_atlan_meta.core.ports import StoredDeadLetter
from airflow_provider_atlan_meta.core.rows import DeadLetter
from airflow_provider_atlan_meta.pipeline.batches import dead_letter
from airflow_provider_atlan_meta.testing.records import webhook_record

NOTE = RedriveNote("dana@desk", "the mapping was applied")


class DeadLetterBench(Protocol):
    """A store without dead letters.

    :ivar topic: of a partition 0 under a lease, whose cursor is at 0.
    """

    topic: str

    def letters(self) -> DeadLetterStore: ...

    def set_aside(self, letters: Sequence[DeadLetter], *, end: int) -> None:
        """Committed with the cursor, which stands at ``end`` afterwards."""
        ...

    def audit(self) -> list[tuple[str, str, str, int]]:
        """actor, reason, fingerprint, letters."""
        ...


def letter(offset: int, reason: str = "not understood", *, tenant: str = "acme") -> DeadLetter:
    record = webhook_record("inc-1", offset=offset, tenant=tenant or "acme")
    if not tenant:
        record = record._replace(key=b"\xff", value=None, headers=(("none", None), ("odd", b"\xff\x00")))
    return dead_letter(record, "decode", RejectedError(reason, detail=f"at offset {offset}"))


def offsets(letters: Sequence[StoredDeadLetter]) -> list[int]:
    return [one.offset for one in letters]


class DeadLetterStoreContract:
    @pytest.fixture
    def bench(self) -> DeadLetterBench:
        raise NotImplementedError

    @pytest.fixture
    def letters(self, bench: DeadLetterBench) -> DeadLetterStore:
        """Two that fail alike, one of another tenant that fails otherwise, one that nobody can read."""
        aside = [letter(1), letter(4), letter(7, "bad time", tenant="zeta"), letter(9, "no key", tenant="")]
        bench.set_aside(aside, end=10)
        return bench.letters()

    def test_without_dead_letters_there_is_nothing_to_tell(self, bench: DeadLetterBench) -> None:
        store = bench.letters()

        assert (store.groups(LetterQuery()), store.shown(LetterQuery())) == ([], [])
        assert (store.count(LetterQuery()), store.page(LetterQuery(), None)) == (0, [])

    def test_letters_that_fail_alike_are_one_group_whatever_their_values(
        self, bench: DeadLetterBench, letters: DeadLetterStore
    ) -> None:
        groups = {one.reason: one for one in letters.groups(LetterQuery())}

        assert {reason: (one.letters, one.tenants) for reason, one in groups.items()} == {
            "not understood": (2, 1),
            "bad time": (1, 1),
            "no key": (1, 0),
        }
        alike = groups["not understood"]
        assert alike[1:6] == ("postgres", bench.topic, "decode", "not understood", "new")
        assert alike.fingerprint == letter(1).fingerprint
        assert alike.oldest <= alike.newest

    def test_a_letter_is_shown_whole_even_one_that_nobody_can_read(self, letters: DeadLetterStore) -> None:
        (shown,) = letters.shown(LetterQuery(fingerprint=letter(9, "no key", tenant="").fingerprint))

        assert (shown.tenant_id, shown.state) == ("", "new")
        assert (shown.letter.key, shown.letter.value) == (b"\xff", None)
        assert shown.letter.headers == [("none", None), ("odd", b"\xff\x00")]
        assert shown.letter.reason == "no key: at offset 9"

    @pytest.mark.parametrize(
        ("query", "found"),
        [
            (LetterQuery(tenant="zeta"), [7]),
            (LetterQuery(fingerprint=letter(1).fingerprint), [1, 4]),
            (LetterQuery(fingerprint=letter(1).fingerprint, tenant="zeta"), []),
            (LetterQuery(sink="postgres", state="new"), [1, 4, 7, 9]),
            (LetterQuery(sink="consumer"), []),
            (LetterQuery(topic="another"), []),
            (LetterQuery(state="redriven"), []),
        ],
    )
    def test_only_what_was_asked_for_is_found(
        self, letters: DeadLetterStore, query: LetterQuery, found: list[int]
    ) -> None:
        assert offsets(letters.page(query, None)) == found
        assert letters.count(query) == len(found)
        assert sorted(offsets([one.letter for one in letters.shown(query)])) == found
        assert sum(group.letters for group in letters.groups(query)) == len(found)

    def test_a_limit_bounds_what_is_told_and_not_what_is_counted(self, letters: DeadLetterStore) -> None:
        query = LetterQuery(limit=1)

        assert (len(letters.groups(query)), len(letters.shown(query)), letters.count(query)) == (1, 1, 4)

    def test_pages_come_by_origin_and_go_on_behind_the_last(self, letters: DeadLetterStore) -> None:
        first = letters.page(LetterQuery(limit=3), None)
        second = letters.page(LetterQuery(limit=3), first[-1])

        assert (offsets(first), offsets(second)) == ([1, 4, 7], [9])
        assert letters.page(LetterQuery(limit=3), second[-1]) == []

    def test_what_was_redriven_waits_no_more_and_is_audited_once(
        self, bench: DeadLetterBench, letters: DeadLetterStore
    ) -> None:
        waiting = LetterQuery(state="new")
        alike = letters.page(LetterQuery(fingerprint=letter(1).fingerprint), None)

        letters.mark_redriven(alike, NOTE)
        letters.mark_redriven(alike, NOTE)
        letters.mark_redriven([], NOTE)

        assert offsets(letters.page(waiting, None)) == [7, 9]
        assert offsets(letters.page(LetterQuery(state="redriven"), None)) == [1, 4]
        assert bench.audit() == [(*NOTE, letter(1).fingerprint, 2)]
        assert {one.state for one in letters.groups(LetterQuery(fingerprint=letter(1).fingerprint))} == {
            "redriven"
        }
