"""Records to rows, under the mappings as they are stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from airflow_provider_atlan_meta.core.enrich import enrich, storable_answer
from airflow_provider_atlan_meta.core.mapping import Mappings
from airflow_provider_atlan_meta.core.merging import IncidentKey, IncidentState
from airflow_provider_atlan_meta.core.montecarlo_api import Alert
from airflow_provider_atlan_meta.core.ports import EventStore
from airflow_provider_atlan_meta.core.rows import Answer, EventRow, LogRecord
from airflow_provider_atlan_meta.pipeline.enrichment import Answers, Enrichment


class Deriving(Protocol):
    def derive(self, record: LogRecord) -> EventRow:
        """:raises RejectedError: it is not an event, now or later."""
        ...

    def answers(
        self,
        events: Sequence[EventRow],
        current: Mapping[IncidentKey, IncidentState],
        lease_left: Callable[[], float],
    ) -> Answers:
        """What the source's API says of their incidents, as far as it is asked; see ``Enrichment.answers``."""
        ...

    def refresh(self) -> None:
        """The mappings have changed: derives under the new ones from now on."""
        ...


class _Unmapped:
    def derive(self, record: LogRecord) -> EventRow:
        return enrich(record)

    def answers(self, *_: object) -> Answers:
        return {}

    def refresh(self) -> None:
        return


UNMAPPED: Deriving = _Unmapped()


class Derivation:
    """Implements ``Deriving``: what records are under one revision of the mappings; the store writes under no other.

    :param store: of the same thread; told of the revision.
    :param load: the mappings as they are stored now; asked for when they are needed.
    :param enrichment: asks the source's API; None: nobody is asked.
    """

    def __init__(
        self, store: EventStore, load: Callable[[], Mappings], enrichment: Enrichment | None = None
    ) -> None:
        self._store = store
        self._load = load
        self._enrichment = enrichment
        self._mappings: Mappings | None = None

    def derive(self, record: LogRecord) -> EventRow:
        return enrich(record, self._mappings or self._loaded())

    def answers(
        self,
        events: Sequence[EventRow],
        current: Mapping[IncidentKey, IncidentState],
        lease_left: Callable[[], float],
    ) -> Answers:
        if self._enrichment is None:
            return {}
        return self._enrichment.answers(events, current, derive=self._derive_answer, lease_left=lease_left)

    def _derive_answer(self, alert: Alert, tenant: str) -> Answer:
        return storable_answer(alert, tenant, self._mappings or self._loaded())

    def _loaded(self) -> Mappings:
        self._mappings = mappings = self._load()
        self._store.mapping_revision = mappings.revision
        return mappings

    def refresh(self) -> None:
        self._mappings = None
