"""One partition's records into the store: decode, merge, write with the cursor, set aside what cannot be written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from airflow_provider_atlan_meta.core import identity
from airflow_provider_atlan_meta.core.enrich import enrich
from airflow_provider_atlan_meta.core.errors import (
    MappingMovedError,
    RejectedError,
    RowsMovedError,
    TransientError,
)
from airflow_provider_atlan_meta.core.merging import (
    BatchPlan,
    IncidentKey,
    IncidentState,
    incident_keys,
    plan_batch,
)
from airflow_provider_atlan_meta.core.ports import Commit, EventStore, Lease, LogIdentity
from airflow_provider_atlan_meta.core.rows import DeadLetter, EventRow, LogRecord
from airflow_provider_atlan_meta.core.tenancy import is_tenant
from airflow_provider_atlan_meta.pipeline.enrichment import Answers

Ask = Callable[[Sequence[EventRow], Mapping[IncidentKey, IncidentState]], Answers]

# A hand's update between our read and our write is rare; this many in a row is somebody rewriting the table.
_MAX_PLANS = 5


class Written(NamedTuple):
    """What one call stored; ``lease`` stands behind it."""

    lease: Lease
    events: int
    duplicates: int
    rejected: int
    changes: int

    def behind(self, earlier: Written) -> Written:
        """Both parts of a batch that was halved, as one."""
        return Written(self.lease, *(mine + other for mine, other in zip(self[1:], earlier[1:], strict=True)))


class BatchWriter:
    """Writes record batches of leased partitions. A call is one transaction, unless a poisoned value halves it.

    :param lease_seconds: every commit extends the lease by this much.
    :param refresh: the mappings that ``decode`` derives under have changed: it derives under the new ones from now on.
    :param ask: what the source's API says of the incidents of a batch, asked once before it is planned.
    :param told: hears of every event that was committed, with its partition.
    """

    def __init__(
        self,
        store: EventStore,
        *,
        sink: str,
        lease_seconds: float,
        decode: Callable[[LogRecord], EventRow] = enrich,
        refresh: Callable[[], None] = lambda: None,
        ask: Ask = lambda _, __: {},
        told: Callable[[EventRow, int], None] | None = None,
    ) -> None:
        self._store = store
        self._sink = sink
        self._lease_seconds = lease_seconds
        self._decode = decode
        self._refresh = refresh
        self._ask = ask
        self._told = told

    def write(self, log: LogIdentity, lease: Lease, records: Sequence[LogRecord], end: int) -> Written:
        """Stores ``records`` and moves the cursor from ``lease.next_offset`` to ``end``, or does neither.

        :param records: in offset order, all of the lease's partition, all at or behind its cursor.
        :raises LeaseLostError: the partition is somebody else's now.
        :raises TransientError: the store did not answer; whether the batch is in is for the ledger to say.
        """
        for _ in range(_MAX_PLANS):
            try:
                return self._derive_and_write(log, lease, records, end)
            except MappingMovedError:
                self._refresh()
        raise TransientError(
            f"{log.topic}/{lease.partition} at {lease.next_offset}: somebody keeps changing the mappings; nothing of "
            "the batch was written"
        )

    def _derive_and_write(
        self, log: LogIdentity, lease: Lease, records: Sequence[LogRecord], end: int
    ) -> Written:
        events, letters = self._sort_out(records)
        try:
            return self._apply(log, lease, events, letters, end)
        except RejectedError as error:
            if len(records) == 1:
                return self._apply(log, lease, [], [dead_letter(records[0], "store", error)], end)
        middle = len(records) // 2
        first = self.write(log, lease, records[:middle], records[middle].offset)
        return self.write(log, first.lease, records[middle:], end).behind(first)

    def _sort_out(self, records: Sequence[LogRecord]) -> tuple[list[EventRow], list[DeadLetter]]:
        events: list[EventRow] = []
        letters: list[DeadLetter] = []
        for record in records:
            try:
                events.append(self._decode(record))
            except RejectedError as error:
                letters.append(dead_letter(record, "decode", error))
        return events, letters

    def _apply(
        self, log: LogIdentity, lease: Lease, events: list[EventRow], letters: list[DeadLetter], end: int
    ) -> Written:
        commit = Commit(
            log.cluster_id,
            log.topic,
            lease.partition,
            self._sink,
            lease.epoch,
            lease.next_offset,
            end,
            self._lease_seconds,
        )
        plan = self._write(events, letters, commit)
        if self._told is not None:
            for event in events:
                self._told(event, lease.partition)
        return Written(
            lease._replace(next_offset=end), len(events), plan.duplicates, len(letters), plan.changes
        )

    def _write(self, events: list[EventRow], letters: list[DeadLetter], commit: Commit) -> BatchPlan:
        answers: Answers | None = None
        for _ in range(_MAX_PLANS):
            current = self._store.read_incidents(incident_keys(events))
            if answers is None:
                answers = self._ask(events, current)
            plan = plan_batch(events, current, answers)
            try:
                self._store.apply(plan, commit=commit, dead_letters=letters)
            except RowsMovedError:
                continue
            return plan
        raise TransientError(
            f"{commit.topic}/{commit.partition} at {commit.start}: somebody else keeps changing the same incidents; "
            "nothing of the batch was written"
        )


def dead_letter(record: LogRecord, stage: str, error: RejectedError) -> DeadLetter:
    """The record with its reason; its tenant only where the key still names one."""
    tenant = (record.key or b"").partition(b"|")[0].decode("ascii", "replace")
    return DeadLetter(
        record.offset,
        tenant if is_tenant(tenant) else None,
        record.key,
        record.headers,
        record.value,
        stage,
        str(error)[:1000].replace("\0", ""),
        identity.fingerprint(stage, error.reason),
    )
