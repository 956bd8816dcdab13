"""What the stores that follow PostgreSQL are told: current rows, never changes, so that any order of writing ends
in the newest state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple, Protocol

from airflow_provider_atlan_meta.core.rows import EventRow

INCIDENT, ENTITY = "incident", "entity"


class RowRef(NamedTuple):
    """A row of ``meta.incident`` or ``meta.entity``.

    :param kind: INCIDENT or ENTITY. :param id: incident id, or the entity's UUID as text.
    """

    tenant_id: str
    kind: str
    id: str


class StateRow(NamedTuple):
    """A row as PostgreSQL has it now.

    :param values: effective columns by name, in PostgreSQL's types (aware UTC datetimes, UUIDs, lists);
        None: the row is deleted, ``revision`` is its tombstone's.
    :param content_hash: 64 bits over ``values``, signed: equal content has the same.
    """

    ref: RowRef
    revision: int
    values: Mapping[str, Any] | None
    content_hash: int


class Landing(Enum):
    """How a row's write ended."""

    DONE = "done"
    # never in this form: a dead letter, the rows beside it go on
    REJECTED = "rejected"
    # not now: the store said no, or something it refers to is not there yet
    LATER = "later"
    # no answer: it may have happened, or happen yet; written again after 60 s
    UNKNOWN = "unknown"


class Landed(NamedTuple):
    """:param reason: groups equal failures; never a value of the row.
    :param external_id: the store's own id of it, e.g. Atlas's guid; empty: it has none.
    :param retry_after: seconds, of LATER; None: the caller's policy.
    """

    ref: RowRef
    revision: int
    landing: Landing
    reason: str = ""
    external_id: str = ""
    retry_after: float | None = None


class StateSink(Protocol):
    """A store of current rows. Not thread-safe."""

    @property
    def name(self) -> str:
        """Its name in ``meta.projection``: ``cassandra``, ``atlas``."""
        ...

    def write(self, rows: Sequence[StateRow]) -> list[Landed]:
        """Each row once, answers in the rows' order. Writing a row again changes nothing.

        :raises TransientError: the store is away and nothing was sent: the rows are due as soon as it is back. What
            may have been sent is UNKNOWN.
        :raises TerminalError: it can never work like this (types missing and not creatable, no permission).
        """
        ...

    def close(self) -> None: ...


class HistorySink(Protocol):
    """A store of events that follows the log. Not thread-safe."""

    def append(self, events: Sequence[EventRow]) -> None:
        """Every event under each entity it names; an event written again changes nothing. Returns when all are in.

        :raises TransientError: not all are known to be in; write them again.
        """
        ...

    def close(self) -> None: ...
