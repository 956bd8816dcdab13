"""Dead letters in memory, those that ``MemoryStore`` committed. Implements ``core.dead_letters.DeadLetterStore``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from airflow_provider_atlan_meta.core.dead_letters import (
    LetterGroup,
    LetterQuery,
    LetterState,
    RedriveNote,
    ShownLetter,
)
from airflow_provider_atlan_meta.core.ports import StoredDeadLetter
from airflow_provider_atlan_meta.testing.memory_database import MemoryDatabase
from airflow_provider_atlan_meta.testing.memory_store import stored_letters

# this database keeps no time of a letter
_AT = datetime(1970, 1, 1, tzinfo=UTC)


class MemoryDeadLetters:
    """:ivar audit: what was redriven: actor, reason, fingerprint, how many."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database
        self.audit: list[tuple[str, str, str, int]] = []

    def groups(self, query: LetterQuery) -> list[LetterGroup]:
        alike: dict[tuple[str, str, str, str, LetterState], list[ShownLetter]] = {}
        for shown in self._found(query):
            one = shown.letter
            alike.setdefault((one.fingerprint, one.sink, one.topic, one.stage, shown.state), []).append(shown)
        return [
            LetterGroup(
                fingerprint=fingerprint,
                sink=sink,
                topic=topic,
                stage=stage,
                reason=letters[0].letter.reason.partition(":")[0],
                state=state,
                letters=len(letters),
                tenants=len({one.tenant_id for one in letters} - {""}),
                oldest=_AT,
                newest=_AT,
            )
            for (fingerprint, sink, topic, stage, state), letters in sorted(alike.items())[: query.limit]
        ]

    def shown(self, query: LetterQuery) -> list[ShownLetter]:
        return self._found(query)[: query.limit]

    def count(self, query: LetterQuery) -> int:
        return len(self._found(query))

    def page(self, query: LetterQuery, after: StoredDeadLetter | None) -> list[StoredDeadLetter]:
        letters = [shown.letter for shown in self._found(query)]
        behind = [one for one in letters if after is None or one[:5] > after[:5]]
        return behind[: query.limit]

    def mark_redriven(self, letters: Sequence[StoredDeadLetter], note: RedriveNote) -> None:
        self._database.check_up()
        counts: dict[str, int] = {}
        for letter in letters:
            if letter[:5] not in self._database.redriven:
                self._database.redriven.add(letter[:5])
                counts[letter.fingerprint] = counts.get(letter.fingerprint, 0) + 1
        self.audit += [(*note, fingerprint, number) for fingerprint, number in counts.items()]

    def _found(self, query: LetterQuery) -> list[ShownLetter]:
        """By origin."""
        self._database.check_up()
        found = [
            ShownLetter(letter, tenant, "redriven" if letter[:5] in self._database.redriven else "new")
            for letter, tenant in stored_letters(self._database)
        ]
        return sorted((one for one in found if _is_asked(one, query)), key=lambda one: one.letter[:5])


def _is_asked(one: ShownLetter, query: LetterQuery) -> bool:
    pairs = (
        (query.fingerprint, one.letter.fingerprint),
        (query.tenant, one.tenant_id),
        (query.topic, one.letter.topic),
        (query.sink, one.letter.sink),
        (query.state, one.state),
    )
    return all(not wanted or wanted == has for wanted, has in pairs)
