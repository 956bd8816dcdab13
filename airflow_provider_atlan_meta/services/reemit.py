"""Changes told again: the present state of every row that changed since a time, and what was deleted since.

Each message bears the change_id of the revision it tells, so a reader that knows it already does nothing. What lies
between the last revision a reader has seen and the present one is gone; it is counted by the reader.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from airflow_provider_atlan_meta.clients.postgres import PostgresConfig
from airflow_provider_atlan_meta.clients.postgres_capture import TABLES, CaptureStore, Reemitted
from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.connector import SLOT
from airflow_provider_atlan_meta.core.errors import ConfigurationError, TransientError

# Longer than any transaction lives: a row bears the time of its change, not of its commit.
MARGIN = timedelta(minutes=10)
PAGE_ROWS = 500
_TRIES = 5
_AHEAD_BYTES = 64 << 20
_READER_SECONDS = 60.0
_POLL_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True)
class ReemitRequest:
    """:param since: until when changes were captured for certain; the margin is added here.
    :param page_rows: rows locked at a time.
    """

    since: datetime
    slot: str = SLOT
    page_rows: int = PAGE_ROWS
    dry_run: bool = False


@dataclass(frozen=True, kw_only=True)
class ReemitOutcome:
    """:param rows, deleted: by kind, how many were emitted, or with a dry run would be.
    :param since: with the margin.
    """

    since: datetime
    rows: dict[str, int]
    deleted: dict[str, int]
    dry_run: bool
    seconds: float

    @property
    def total(self) -> int:
        return sum(self.rows.values()) + sum(self.deleted.values())

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe."""
        return {
            "since": self.since.isoformat(),
            "rows": self.rows,
            "deleted": self.deleted,
            "dry_run": self.dry_run,
            "seconds": self.seconds,
        }


def reemit_changes(
    admin: ConnectionInfo, request: ReemitRequest, report: Callable[[str], None] | None = None
) -> ReemitOutcome:
    """Rows first, then what is gone: a row deleted meanwhile is told either way.

    :param admin: a superuser: row level security would hide rows from anybody else.
    :param report: takes one short line per page.
    :raises ConfigurationError: there is no sound slot, so nobody would hear.
    :raises TransientError: rows stayed locked by somebody else; the same again emits all.
    """
    begun, since = time.monotonic(), request.since - MARGIN
    found: dict[bool, dict[str, int]] = {False: {}, True: {}}
    with CaptureStore(PostgresConfig.from_connection(admin)) as store:
        _check(store, request.slot)
        for deleted in (False, True):
            for kind in TABLES:
                if request.dry_run:
                    found[deleted][kind] = store.count(kind, since, deleted=deleted)
                else:
                    pages = _pages(store, request, kind, deleted)
                    found[deleted][kind] = _emit(pages, kind, deleted, report or (lambda _text: None))
    return ReemitOutcome(
        since=since,
        rows=found[False],
        deleted=found[True],
        dry_run=request.dry_run,
        seconds=round(time.monotonic() - begun, 2),
    )


def _check(store: CaptureStore, name: str) -> None:
    store.check_sees_everything()
    slot = store.slot(name)
    if slot is None or slot.wal_status == "lost" or slot.invalidation_reason:
        state = "lost" if slot else "not there"
        raise ConfigurationError(
            f"replication slot {name!r} is {state}: nobody would hear what is emitted now. Make a new one first: "
            "`atlan-meta capture recover` does both. Nothing was emitted"
        )


def _emit(pages: Iterator[int], kind: str, deleted: bool, tell: Callable[[str], None]) -> int:
    total = 0
    for rows in pages:
        total += rows
        tell(f"{total} {'deleted ' if deleted else ''}{kind} rows emitted again")
    return total


def _pages(store: CaptureStore, request: ReemitRequest, kind: str, deleted: bool) -> Iterator[int]:
    after = ("", "")
    while True:
        _await_reader(store, request.slot)
        page = _page(store, request, kind, deleted, after)
        if page.rows == 0:
            return
        yield page.rows
        after = (page.tenant_id, page.id)


def _page(
    store: CaptureStore, request: ReemitRequest, kind: str, deleted: bool, after: tuple[str, str]
) -> Reemitted:
    """A row that somebody else holds is waited for, five seconds at a time."""
    since, limit = request.since - MARGIN, request.page_rows
    for _ in range(_TRIES - 1):
        with suppress(TransientError):
            return store.reemit(kind, since, deleted=deleted, after=after, limit=limit)
    return store.reemit(kind, since, deleted=deleted, after=after, limit=limit)


def _await_reader(store: CaptureStore, name: str) -> None:
    """A slot whose reader falls too far behind is lost; so we never run far ahead of it."""
    begun, confirmed = time.monotonic(), -1
    while True:
        slot = store.slot(name)
        if slot is None or slot.confirmed is None:
            raise TransientError(
                f"replication slot {name!r} was lost meanwhile; `atlan-meta capture recover`"
            )
        if slot.limit_bytes is None or slot.current - slot.confirmed < min(
            _AHEAD_BYTES, slot.limit_bytes // 4
        ):
            return
        if slot.confirmed != confirmed:
            begun, confirmed = time.monotonic(), slot.confirmed
        elif time.monotonic() - begun > _READER_SECONDS:
            raise TransientError(
                f"nothing reads replication slot {name!r}: to emit more would lose it. `atlan-meta capture status` "
                "says what is wrong; then run the same again"
            )
        time.sleep(_POLL_SECONDS)
