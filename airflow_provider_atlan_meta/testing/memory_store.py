"""Events, incidents, entities and dead letters in memory, of one process, over a database that all share.

Implements ``core.ports.EventStore`` and ``DeadLetterOutbox``.

    database = MemoryDatabase()
    store = MemoryStore(database)
    store.answer_next(Answer.LOST)   # the next apply takes effect, its client never hears of it
    database.refuses = lambda event: event.subject == "inc-2"

Held to the same contract suite as the real store (``tests/contract/event_store.py``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from enum import Enum

from airflow_provider_atlan_meta.core.errors import MappingMovedError, TransientError
from airflow_provider_atlan_meta.core.merging import BatchPlan, IncidentKey, IncidentState
from airflow_provider_atlan_meta.core.ports import Commit, StoredDeadLetter
from airflow_provider_atlan_meta.core.rows import DeadLetter
from airflow_provider_atlan_meta.testing.memory_database import LedgerKey, MemoryDatabase


class Answer(Enum):
    """How an ``apply`` is answered."""

    NORMAL = "effect and answer"
    NEVER = "no effect, TransientError"
    LOST = "effect, then TransientError"
    LATE = "TransientError; the effect comes with MemoryDatabase.run_late()"


class MemoryStore:
    """Values are kept as they are; only ``MemoryDatabase.refuses`` checks them."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database
        self._answers: deque[Answer] = deque()
        self.mapping_revision: int | None = None
        self.is_closed = False

    def answer_next(self, *answers: Answer) -> None:
        """The next calls of ``apply`` are answered so, one each; then normally again."""
        self._answers.extend(answers)

    def read_incidents(self, keys: Sequence[IncidentKey]) -> dict[IncidentKey, IncidentState]:
        self._database.check_up()
        tables = self._database.tables
        found = {
            key: IncidentState(revision=tables.tombstones[key]) for key in keys if key in tables.tombstones
        }
        found.update(
            {key: IncidentState(*tables.incidents[key][2:]) for key in keys if key in tables.incidents}
        )
        return found

    def known_events(self, keys: Sequence[bytes], tenants: Sequence[str]) -> dict[bytes, bool]:
        self._database.check_up()
        stored = self._database.tables.events
        return {
            key: stored[key].duplicate_of is not None
            for key in keys
            if key in stored and stored[key].row.tenant_id in tenants
        }

    def apply(
        self,
        plan: BatchPlan,
        *,
        commit: Commit | None,
        dead_letters: Sequence[DeadLetter] = (),
        held: bool = False,
    ) -> None:
        self._database.check_up()
        if self.mapping_revision not in (None, self._database.mapping_revision):
            raise MappingMovedError("the mappings have changed; nothing of this batch was written")
        answer = self._answers.popleft() if self._answers else Answer.NORMAL
        letters = tuple(dead_letters)
        if answer is Answer.LATE:
            self._database.later(lambda: self._database.apply_batch(plan, commit, letters, held=held))
        elif answer is not Answer.NEVER:
            self._database.apply_batch(plan, commit, letters, held=held)
        if answer is not Answer.NORMAL:
            raise TransientError(
                "the database did not answer; whether the batch is in is for the ledger to say"
            )

    def ensure_event_days(self) -> None:
        self._database.check_up()
        self._database.days_ensured += 1

    def unpublished(self, limit: int) -> list[StoredDeadLetter]:
        """In the order they were set aside."""
        self._database.check_up()
        published = self._database.tables.published
        letters = [letter for letter, _ in stored_letters(self._database)]
        return [one for one in letters if ((*one[:3], one.sink), one.offset) not in published][:limit]

    def mark_published(self, letters: Sequence[StoredDeadLetter]) -> None:
        self._database.check_up()
        for letter in letters:
            key = (letter.cluster_id, letter.topic, letter.partition, letter.sink)
            self._database.tables.published.add((key, letter.offset))

    def close(self) -> None:
        self.is_closed = True


def stored_letters(database: MemoryDatabase) -> list[tuple[StoredDeadLetter, str]]:
    """In the order they were set aside, each with its tenant; empty: it could not be read."""
    return [
        (_stored(key, letter), letter.tenant_id or "")
        for (key, _), letter in database.tables.dead_letters.items()
    ]


def _stored(key: LedgerKey, letter: DeadLetter) -> StoredDeadLetter:
    cluster_id, topic, partition, sink = key
    return StoredDeadLetter(
        *(cluster_id, topic, partition, letter.offset, sink, letter.key, list(letter.headers), letter.value),
        *(letter.stage, letter.reason, letter.fingerprint, "1970-01-01T00:00:00"),
    )
