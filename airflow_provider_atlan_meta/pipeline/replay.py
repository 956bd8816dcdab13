"""Reads a range of the log again, below the live cursor, which it neither moves nor passes.

``verify`` writes what is missing and changes nothing that is already so: no row version, no change message.
``reapply`` also derives the stored records again with today's code and writes what differs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from airflow_provider_atlan_meta.core.enrich import enrich
from airflow_provider_atlan_meta.core.errors import (
    MappingMovedError,
    RejectedError,
    RowsMovedError,
    TransientError,
)
from airflow_provider_atlan_meta.core.merging import BatchPlan, incident_keys, plan_replay
from airflow_provider_atlan_meta.core.ports import EventStore, RecordLog
from airflow_provider_atlan_meta.core.rows import EventRow, LogRecord

Mode = Literal["verify", "reapply"]
_MAX_PLANS = 5
_STALLED_POLLS = 15


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """What a replay found and did.

    :param known: records whose event was stored already. :param stored: events that were missing and are there now.
    :param changes: incidents' effective changes; each made one change message.
    :param rejected: records that are no events; they have their dead letter from the live lane.
    """

    records: int = 0
    known: int = 0
    stored: int = 0
    changes: int = 0
    rejected: int = 0

    def __add__(self, other: Replayed) -> Replayed:
        mine, theirs = asdict(self), asdict(other)
        return Replayed(**{name: mine[name] + theirs[name] for name in mine})

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class ReplayWriter:
    """Writes batches that were most likely written before. Each batch is one transaction, or none.

    :param notify: subscribers hear of what changes; else its changes are held.
    :param refresh: the mappings that ``decode`` derives under have changed: it derives under the new ones from now on.
    """

    def __init__(
        self,
        store: EventStore,
        *,
        notify: bool = False,
        decode: Callable[[LogRecord], EventRow] = enrich,
        refresh: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._notify = notify
        self._decode = decode
        self._refresh = refresh

    def write(self, records: Sequence[LogRecord], *, reapply: bool) -> Replayed:
        """:param records: of one partition, in offset order."""
        for _ in range(_MAX_PLANS):
            try:
                return self._derive_and_write(records, reapply=reapply)
            except MappingMovedError:
                self._refresh()
        raise TransientError("somebody keeps changing the mappings; nothing of this batch was written")

    def _derive_and_write(self, records: Sequence[LogRecord], *, reapply: bool) -> Replayed:
        events: list[EventRow] = []
        for record in records:
            try:
                events.append(self._decode(record))
            except RejectedError:
                continue
        tenants = sorted({event.tenant_id for event in events})
        known = self._store.known_events([event.event_key for event in events], tenants)
        plan = self._write(events, known, reapply=reapply)
        return Replayed(
            records=len(records),
            known=len(events) - len(plan.events),
            stored=len(plan.events),
            changes=plan.changes,
            rejected=len(records) - len(events),
        )

    def _write(self, events: Sequence[EventRow], known: Mapping[bytes, bool], *, reapply: bool) -> BatchPlan:
        relevant = events if reapply else [event for event in events if event.event_key not in known]
        if not relevant:
            return BatchPlan()
        for _ in range(_MAX_PLANS):
            current = self._store.read_incidents(incident_keys(relevant))
            plan = plan_replay(relevant, current, known, reapply=reapply)
            if plan.is_empty:
                return plan
            try:
                self._store.apply(plan, commit=None, held=not self._notify)
            except RowsMovedError:
                continue
            return plan
        raise TransientError(
            "the live lane keeps changing the same incidents; nothing of this batch was written"
        )


class Replay:
    """Runs ranges of one topic through a ``ReplayWriter``."""

    def __init__(
        self, *, log: RecordLog, writer: ReplayWriter, batch_records: int, report: Callable[[Replayed], None]
    ) -> None:
        self._log = log
        self._writer = writer
        self._batch_records = batch_records
        self._report = report

    def run(self, ranges: Mapping[int, tuple[int, int]], *, mode: Mode) -> Replayed:
        """:param ranges: partition -> [start, end)."""
        ends = {partition: end for partition, (start, end) in ranges.items() if start < end}
        total = Replayed()
        if not ends:
            return total
        self._log.assign({partition: ranges[partition][0] for partition in ends})
        silent = 0
        while ends:
            poll = self._log.poll(self._batch_records, 1.0)
            batches: dict[int, list[LogRecord]] = {}
            for record in poll.records:
                if record.offset < ends.get(record.partition, 0):
                    batches.setdefault(record.partition, []).append(record)
            for batch in batches.values():
                total += self._writer.write(batch, reapply=mode == "reapply")
                self._report(total)
            reached = {record.partition: record.offset + 1 for record in poll.records} | poll.ends
            ends = {partition: end for partition, end in ends.items() if reached.get(partition, 0) < end}
            silent = 0 if poll.records or poll.ends else silent + 1
            if silent > _STALLED_POLLS:
                raise TransientError(
                    f"no record for {silent} s although partitions {sorted(ends)} have some left"
                )
        return total
