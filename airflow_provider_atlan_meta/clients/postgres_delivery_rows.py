"""Entries of the delivery ledger as columns for the functions of schema ``meta``, and its rows as values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from airflow_provider_atlan_meta.clients.postgres_rows import PackedRows, pack_columns
from airflow_provider_atlan_meta.core.deliveries import (
    DeliveryEntry,
    LaneKey,
    LaneRow,
    OpenClaim,
    ParkedDelivery,
    PartitionWrite,
    Subject,
)
from airflow_provider_atlan_meta.core.ports import Lease

Columns = list[PackedRows]
_KEY = ("text",) * 5

_LEASES = ("bigint", "bigint", "bigint")
_SUBJECTS = ("text", "text", "text")
_CLAIMS = (*_KEY, "uuid", "uuid", "bigint", "bigint", "json")
_WRITES = ("bigint",) * 5
_DELIVERIES = (
    *("bigint", *_KEY, "uuid", "uuid", "bigint"),
    *("text", "bigint", "bigint", "text", "text", "json", "float8", "bigint", "boolean"),
)
_LANES = ("bigint", *_KEY, "bigint", "text", "boolean", "bigint", "float8", "float8", "json")
_SEEN = ("bigint", "text", "text", "text", "bigint")
_LATE = (*_DELIVERIES[:9], "bigint", "bigint", "text", "text", "json", "float8")


_ROWS_OF = "select * from meta.{function}({marks})"
_RESULT_OF = "select meta.{function}({marks})"


def _call(form: str, function: str, parameters: int) -> str:
    return form.format(function=function, marks=", ".join(["%s"] * parameters))


BEGIN = _call(_ROWS_OF, "begin_deliveries", 4 + len(_LEASES) + len(_SUBJECTS) + 1)
CLAIM = _call(_ROWS_OF, "claim_deliveries", 5 + len(_CLAIMS))
SETTLE = _call(
    *(_RESULT_OF, "settle_deliveries"),
    parameters=4 + len(_WRITES) + len(_DELIVERIES) + len(_LANES) + len(_SEEN) + 2,
)
SETTLE_LATE = _call(_RESULT_OF, "settle_late", len(_LATE))


# ---- to the server -------------------------------------------------------------------------------------------------


def lease_columns(reach: Iterable[tuple[Lease, int]]) -> Columns:
    return pack_columns(_LEASES, [(lease.partition, lease.epoch, offset) for lease, offset in reach])


def subject_columns(subjects: Iterable[Subject]) -> Columns:
    return pack_columns(_SUBJECTS, subjects)


def claim_columns(claims: Iterable[DeliveryEntry]) -> Columns:
    return pack_columns(
        _CLAIMS,
        [
            (*one.key, *_ids(one), one.revision, one.attempts, one.change or None)
            for one in sorted(claims, key=_key)
        ],
    )


def write_columns(writes: Sequence[PartitionWrite]) -> Columns:
    """Everything but the dead letters. Rows in key order: the server sorts what is sorted in no time."""
    return [
        *pack_columns(
            _WRITES,
            [(one.lease.partition, one.lease.epoch, one.number, one.end, one.reach) for one in writes],
        ),
        *pack_columns(
            _DELIVERIES,
            [_delivery(one.lease.partition, entry) for one in writes for entry in one.deliveries],
        ),
        *pack_columns(
            _LANES,
            [
                (one.lease.partition, *lane.key, *lane[1:7], lane.last or None)
                for one in writes
                for lane in one.lanes
            ],
        ),
        *pack_columns(
            _SEEN,
            [(one.lease.partition, *subject, revision) for one in writes for subject, revision in one.seen],
        ),
    ]


def late_columns(delivered: Iterable[tuple[int, DeliveryEntry]]) -> Columns:
    rows = [_delivery(partition, entry) for partition, entry in delivered]
    return pack_columns(_LATE, [(*row[:9], *row[10:16]) for row in rows])


def _delivery(partition: int, entry: DeliveryEntry) -> tuple[Any, ...]:
    return (
        *(partition, *entry.key, *_ids(entry), entry.revision, entry.state, entry.attempts, entry.status),
        *(_text(entry.detail), _text(entry.external_id), entry.change or None, entry.scan_seconds),
        *(entry.folded, entry.claim_open),
    )


def _ids(entry: DeliveryEntry) -> tuple[bytes, bytes | None]:
    return entry.delivery_id.bytes, bytes.fromhex(entry.change_id.replace("-", "")) or None


def _text(value: str) -> str | None:
    """What other systems say may hold the one character that PostgreSQL's text may not."""
    return value.replace("\0", "") or None


def _key(entry: DeliveryEntry) -> LaneKey:
    return entry.key


# ---- from the server -----------------------------------------------------------------------------------------------


def lane_row(row: Sequence[Any]) -> LaneRow:
    """:param row: key, seen, external_id, is_parked, parks, unsure, last, claim (id, attempt, seconds), due."""
    claim = None if row[11] is None else OpenClaim(UUID(bytes=row[11]), row[12], row[13])
    return LaneRow(
        *(LaneKey(*row[:5]), row[5], row[6], row[7], row[8], row[9], (row[10] or "").encode(), claim, row[14])
    )


def parked_delivery(row: Sequence[Any]) -> ParkedDelivery:
    """:param row: delivery_id, revision, change, attempts."""
    return ParkedDelivery(UUID(bytes=row[0]), row[1], (row[2] or "").encode(), row[3])
