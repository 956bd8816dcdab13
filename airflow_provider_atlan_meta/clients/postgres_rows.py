"""Rows as arrays of composite values in PostgreSQL's binary format.

Why by hand: psycopg's own list and composite dumpers cost 15 times as much per row, and COPY is refused on tables
with row level security. Format: array = ndim, has-null flag, element oid, then (size, lower bound) per dimension;
composite = column count, then (oid, length, bytes) per column; length -1 is NULL (array_recv and record_recv of
PostgreSQL).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from psycopg import Connection, sql
from psycopg.abc import Buffer
from psycopg.adapt import Dumper, Loader
from psycopg.pq import Format

# microseconds from 1970-01-01 (ours) to 2000-01-01 (PostgreSQL's)
_EPOCH_US = 946_684_800_000_000
_int4 = struct.Struct("!i").pack
_sized_int4 = struct.Struct("!ii").pack
_sized_int8 = struct.Struct("!iq").pack
_NULL = _int4(-1)
_SIZE_16 = _int4(16)
_TRUE, _FALSE = _int4(1) + b"\1", _int4(1) + b"\0"
_UUID_OID, _INT8_OID = 2950, 20

Encoder = Callable[[Any], bytes]


def _text(value: str | None) -> bytes:
    if value is None:
        return _NULL
    encoded = value.encode()
    return _int4(len(encoded)) + encoded


def _bytes(value: bytes | None) -> bytes:
    return _NULL if value is None else _int4(len(value)) + value


def _uuid(value: bytes | None) -> bytes:
    return _NULL if value is None else _SIZE_16 + value


def _timestamp(value: int | None) -> bytes:
    return _NULL if value is None else _sized_int8(8, value - _EPOCH_US)


def _bigint(value: int) -> bytes:
    return _sized_int8(8, value)


def _boolean(value: bool) -> bytes:
    return _TRUE if value else _FALSE


def _uuids(values: Sequence[bytes]) -> bytes:
    if not values:
        return _int4(12) + struct.pack("!iii", 0, 0, _UUID_OID)
    body = b"".join([_SIZE_16 + value for value in values])
    return _int4(20 + len(body)) + struct.pack("!iiiii", 1, 0, _UUID_OID, len(values), 1) + body


def _bigints(values: Sequence[int]) -> bytes:
    count = len(values)
    return struct.pack(
        f"!iiiiii{count * 'iq'}",
        20 + 12 * count,
        1 if count else 0,
        0,
        _INT8_OID,
        count,
        1,
        *[part for value in values for part in (8, value)],
    )


# column type -> (its oid, its encoder)
_TYPES: dict[str, tuple[int, Encoder]] = {
    "uuid": (_UUID_OID, _uuid),
    "text": (25, _text),
    "bytea": (17, _bytes),
    "json": (114, _bytes),
    "timestamptz": (1184, _timestamp),
    "bigint": (_INT8_OID, _bigint),
    "boolean": (16, _boolean),
    "uuid[]": (2951, _uuids),
    "bigint[]": (1016, _bigints),
}

# Columns of the composite types of schema meta, in their order (a test compares them with the catalog).
COMPOSITES: dict[str, tuple[str, ...]] = {
    "staged_event": ("uuid", "text", "uuid", *("text",) * 3, *("timestamptz",) * 2, "json", "uuid"),
    "staged_incident": (
        *("text",) * 10,
        *("timestamptz",) * 3,
        *("uuid[]", "bigint[]", "bigint", "uuid", "boolean", "bigint"),
    ),
    "staged_entity": ("text", "uuid", *("text",) * 6, "bigint", "uuid"),
    "staged_link": ("text", "uuid", "text", "boolean"),
    "staged_dead_letter": ("bigint", "text", "bytea", "json", "bytea", "text", "text", "text"),
}


class PackedRows:
    """An array of one composite type, ready to be sent; made by ``RowPacker`` only."""

    __slots__ = ("content",)

    def __init__(self, content: bytes) -> None:
        self.content = content


class RowPacker:
    """Packs rows of one composite type for one connection."""

    def __init__(self, columns: Sequence[str], element_oid: int, packed: type[PackedRows]) -> None:
        self._element_oid = element_oid
        self._packed = packed
        self._head = _int4(len(columns))
        self._columns = [(_int4(_TYPES[name][0]), _TYPES[name][1]) for name in columns]

    def pack(self, rows: Iterable[Sequence[Any]]) -> PackedRows:
        columns, head = self._columns, self._head
        out = [b""]
        for row in rows:
            parts = [head]
            for (oid, encode), value in zip(columns, row, strict=True):
                parts += (oid, encode(value))
            body = b"".join(parts)
            out += (_int4(len(body)), body)
        count = (len(out) - 1) // 2
        if not count:
            return self._packed(struct.pack("!iii", 0, 0, self._element_oid))
        out[0] = struct.pack("!iiiii", 1, 0, self._element_oid, count, 1)
        return self._packed(b"".join(out))


def register_packers(connection: Connection[Any]) -> dict[str, RowPacker]:
    """A packer per composite type of schema ``meta``, sendable as a parameter on this connection only."""
    query = sql.SQL(
        "select typname, oid::int8, typarray::int8 from pg_type"
        " where typnamespace = 'meta'::regnamespace and typname = any (%s)"
    )
    packers = {}
    for name, oid, array_oid in connection.execute(query, (list(COMPOSITES),)).fetchall():
        packed = type(f"Packed_{name}", (PackedRows,), {"__slots__": ()})
        dumper = type("PackedDumper", (_PackedDumper,), {"oid": array_oid})
        connection.adapters.register_dumper(packed, dumper)
        packers[name] = RowPacker(COMPOSITES[name], oid, packed)
    return packers


def register_loaders(connection: Connection[Any]) -> None:
    """uuid as 16 bytes and timestamptz as microseconds, as core counts them; binary results only."""
    connection.adapters.register_loader("uuid", _BytesLoader)
    connection.adapters.register_loader("timestamptz", _MicrosecondsLoader)


class _PackedDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: PackedRows) -> Buffer | None:
        return obj.content


class _BytesLoader(Loader):
    format = Format.BINARY

    def load(self, data: Buffer) -> bytes:
        return bytes(data)


class _MicrosecondsLoader(Loader):
    format = Format.BINARY

    def load(self, data: Buffer) -> int:
        return int.from_bytes(data, "big", signed=True) + _EPOCH_US
