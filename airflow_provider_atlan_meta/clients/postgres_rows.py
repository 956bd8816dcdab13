"""Rows as arrays of composite values in PostgreSQL's binary format.

Why by hand: psycopg's own list and composite dumpers cost 15 times as much per row, and COPY is refused on tables
with row level security. Format: array = ndim, has-null flag, element oid, then (size, lower bound) per dimension;
composite = column count, then (oid, length, bytes) per column; length -1 is NULL (array_recv and record_recv of
PostgreSQL).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import chain, repeat
from typing import Any

from psycopg import Connection, sql
from psycopg.abc import Buffer
from psycopg.adapt import Dumper, Loader
from psycopg.pq import Format

# microseconds from 1970-01-01 (ours) to 2000-01-01 (PostgreSQL's)
_EPOCH_US = 946_684_800_000_000
_int4 = struct.Struct("!i").pack
_head = struct.Struct("!ii").pack
_sized_int8 = struct.Struct("!iiq").pack
_UUID_OID, _INT8_OID = 2950, 20

# A column's values to what is sent of each: type, length, bytes; as one part per row, or as several.
Column = Callable[[Sequence[Any]], tuple[list[bytes], ...]]


def _each(encode: Callable[[Any], bytes]) -> Column:
    return lambda values: (list(map(encode, values)),)


def _text(oid: int) -> Column:
    """Cached: tenants, types and what is said of an incident come again and again."""

    @lru_cache(maxsize=8_192)
    def encode(value: str | None) -> bytes:
        if value is None:
            return _head(oid, -1)
        encoded = value.encode()
        return _head(oid, len(encoded)) + encoded

    return _each(encode)


def _blob(oid: int) -> Column:
    """Heads and values apart: values may be large and are copied only once."""
    null = _head(oid, -1)

    def parts(values: Sequence[bytes | None]) -> tuple[list[bytes], ...]:
        heads = [null if value is None else _head(oid, len(value)) for value in values]
        return heads, [value or b"" for value in values]

    return parts


def _uuid(oid: int) -> Column:
    head, null = _head(oid, 16), _head(oid, -1)
    return _each(lambda value: null if value is None else head + value)


def _timestamp(oid: int) -> Column:
    null = _head(oid, -1)
    return _each(lambda value: null if value is None else _sized_int8(oid, 8, value - _EPOCH_US))


def _bigint(oid: int) -> Column:
    return _each(lambda value: _sized_int8(oid, 8, value))


def _boolean(oid: int) -> Column:
    return _each({True: _head(oid, 1) + b"\1", False: _head(oid, 1) + b"\0"}.__getitem__)


def _uuids(oid: int) -> Column:
    """Cached: an incident names the same tables every time."""
    size = _int4(16)

    @lru_cache(maxsize=8_192)
    def encode(values: tuple[bytes, ...]) -> bytes:
        content = _array_head(_UUID_OID, len(values)) + b"".join([size + value for value in values])
        return _head(oid, len(content)) + content

    return _each(encode)


def _bigints(oid: int) -> Column:
    @lru_cache
    def layout(count: int) -> tuple[bytes, Callable[..., bytes]]:
        content, pack = _array_head(_INT8_OID, count), struct.Struct(f"!{count * 'iq'}")
        return _head(oid, len(content) + pack.size) + content, pack.pack

    def encode(values: Sequence[int]) -> bytes:
        head, pack = layout(len(values))
        sized = [8] * (2 * len(values))
        sized[1::2] = values
        return head + pack(*sized)

    return _each(encode)


def _array_head(element_oid: int, count: int) -> bytes:
    if not count:
        return struct.pack("!iii", 0, 0, element_oid)
    return struct.pack("!iiiii", 1, 0, element_oid, count, 1)


_COLUMNS: dict[str, Column] = {
    "uuid": _uuid(_UUID_OID),
    "text": _text(25),
    "bytea": _blob(17),
    "json": _blob(114),
    "timestamptz": _timestamp(1184),
    "bigint": _bigint(_INT8_OID),
    "boolean": _boolean(16),
    "uuid[]": _uuids(2951),
    "bigint[]": _bigints(1016),
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
    """Packs rows of one composite type for one connection; column by column, so that the loops run in C."""

    def __init__(self, columns: Sequence[str], element_oid: int, packed: type[PackedRows]) -> None:
        self._element_oid = element_oid
        self._packed = packed
        self._head = _int4(len(columns))
        self._columns = [_COLUMNS[name] for name in columns]

    def pack(self, rows: Iterable[Sequence[Any]]) -> PackedRows:
        columns = list(zip(*rows, strict=True))
        if not columns:
            return self._packed(_array_head(self._element_oid, 0))
        parts = [
            part for column, values in zip(self._columns, columns, strict=True) for part in column(values)
        ]
        lengths = map(sum, zip(repeat(len(self._head)), *[map(len, part) for part in parts], strict=False))
        rows_parts = zip(map(_int4, lengths), repeat(self._head), *parts, strict=False)
        head = _array_head(self._element_oid, len(parts[0]))
        return self._packed(b"".join(chain((head,), chain.from_iterable(rows_parts))))


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
