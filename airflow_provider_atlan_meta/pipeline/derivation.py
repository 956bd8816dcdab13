"""Records to rows, under the mappings as they are stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from airflow_provider_atlan_meta.core.enrich import enrich
from airflow_provider_atlan_meta.core.mapping import Mappings
from airflow_provider_atlan_meta.core.ports import EventStore
from airflow_provider_atlan_meta.core.rows import EventRow, LogRecord


class Deriving(Protocol):
    def derive(self, record: LogRecord) -> EventRow:
        """:raises RejectedError: it is not an event, now or later."""
        ...

    def refresh(self) -> None:
        """The mappings have changed: derives under the new ones from now on."""
        ...


class _Unmapped:
    def derive(self, record: LogRecord) -> EventRow:
        return enrich(record)

    def refresh(self) -> None:
        return


UNMAPPED: Deriving = _Unmapped()


class Derivation:
    """Implements ``Deriving``: what records are under one revision of the mappings; the store writes under no other.

    :param store: of the same thread; told of the revision.
    :param load: the mappings as they are stored now; asked for when they are needed.
    """

    def __init__(self, store: EventStore, load: Callable[[], Mappings]) -> None:
        self._store = store
        self._load = load
        self._mappings: Mappings | None = None

    def derive(self, record: LogRecord) -> EventRow:
        if self._mappings is None:
            self._mappings = self._load()
            self._store.mapping_revision = self._mappings.revision
        return enrich(record, self._mappings)

    def refresh(self) -> None:
        self._mappings = None
