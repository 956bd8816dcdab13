"""What people ask of dead letters, and what becomes of one: it waits, or it was redriven."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple, Protocol

from airflow_provider_atlan_meta.core.ports import StoredDeadLetter

MAX_LETTERS = 10_000

# "new": nobody did anything about it yet. "redriven": its rows are stored.
LetterState = Literal["new", "redriven"]


@dataclass(frozen=True, kw_only=True)
class LetterQuery:
    """Which dead letters; every field that is not empty has to hold.

    :ivar sink: whose work it was: ``postgres`` (ingest), ``consumer``.
    :ivar topic: where the record came from.
    """

    fingerprint: str = ""
    tenant: str = ""
    topic: str = ""
    sink: str = ""
    state: LetterState | None = None
    limit: int = 50


class LetterGroup(NamedTuple):
    """Dead letters that fail alike, of one topic and state. :ivar tenants: how many, without the unreadable."""

    fingerprint: str
    sink: str
    topic: str
    stage: str
    reason: str
    state: LetterState
    letters: int
    tenants: int
    oldest: datetime
    newest: datetime

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe."""
        times = {name: getattr(self, name).isoformat() for name in ("oldest", "newest")}
        return {**self._asdict(), **times}


class ShownLetter(NamedTuple):
    """:ivar tenant_id: empty: it could not be read. :ivar state: LetterState."""

    letter: StoredDeadLetter
    tenant_id: str
    state: LetterState


class RedriveNote(NamedTuple):
    """For the audit: who asked for it and why."""

    actor: str
    reason: str


class DeadLetterStore(Protocol):
    """Dead letters where they were committed. Not thread-safe."""

    def groups(self, query: LetterQuery) -> list[LetterGroup]:
        """The one with the newest letter first."""
        ...

    def shown(self, query: LetterQuery) -> list[ShownLetter]:
        """The newest first."""
        ...

    def count(self, query: LetterQuery) -> int:
        """How many, whatever the query's limit."""
        ...

    def page(self, query: LetterQuery, after: StoredDeadLetter | None) -> list[StoredDeadLetter]:
        """At most ``query.limit``, by origin (cluster, topic, partition, offset), from behind ``after``."""
        ...

    def mark_redriven(self, letters: Sequence[StoredDeadLetter], note: RedriveNote) -> None:
        """Their rows are stored now. Once more changes nothing, and is audited no more."""
        ...
