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
_sized_int8 = struct.Struct("!iq").pack
_sized_float8 = struct.Struct("!id").pack
_NULL, _SIZE_16 = _int4(-1), _int4(16)
_UUID_OID, _INT8_OID = 2950, 20

# A column's values to what is sent of each, length and bytes: as one part per row, or as several.
Column = Callable[[Sequence[Any]], tuple[list[bytes], ...]]


def _each(encode: Callable[[Any], bytes]) -> Column:
    return lambda values: (list(map(encode, values)),)


@lru_cache(maxsize=8_192)
def _text(value: str | None) -> bytes:
    """Cached: tenants, types and what is said of an incident come again and again."""
    if value is None:
        return _NULL
    encoded = value.encode()
    return _int4(len(encoded)) + encoded


def _blobs(values: Sequence[bytes | None]) -> tuple[list[bytes], ...]:
    """Lengths and values apart: values may be large and are copied only once."""
    return [_NULL if value is None else _int4(len(value)) for value in values], [
        value or b"" for value in values
    ]


def _uuid(value: bytes | None) -> bytes:
    return _NULL if value is None else _SIZE_16 + value


def _timestamp(value: int | None) -> bytes:
    return _NULL if value is None else _sized_int8(8, value - _EPOCH_US)


def _bigint(value: int | None) -> bytes:
    return _NULL if value is None else _sized_int8(8, value)


def _float8(value: float | None) -> bytes:
    return _NULL if value is None else _sized_float8(8, value)


@lru_cache(maxsize=8_192)
def _uuids(values: tuple[bytes, ...]) -> bytes:
    """Cached: an incident names the same tables every time."""
    content = _array_head(_UUID_OID, len(values)) + b"".join([_SIZE_16 + value for value in values])
    return _int4(len(content)) + content


def _bigints(values: Sequence[int]) -> bytes:
    head, pack = _bigint_layout(len(values))
    sized = [8] * (2 * len(values))
    sized[1::2] = values
    return head + pack(*sized)


@lru_cache
def _bigint_layout(count: int) -> tuple[bytes, Callable[..., bytes]]:
    content, pack = _array_head(_INT8_OID, count), struct.Struct(f"!{count * 'iq'}")
    return _int4(len(content) + pack.size) + content, pack.pack


def _array_head(element_oid: int, count: int) -> bytes:
    if not count:
        return struct.pack("!iii", 0, 0, element_oid)
    return struct.pack("!iiiii", 1, 0, element_oid, count, 1)


# column type -> its oid, the oid of its array, its encoder
_TYPES: dict[str, tuple[int, int, Column]] = {
    "uuid": (_UUID_OID, 2951, _each(_uuid)),
    "text": (25, 1009, _each(_text)),
    "bytea": (17, 1001, _blobs),
    "json": (114, 199, _blobs),
    "timestamptz": (1184, 1185, _each(_timestamp)),
    "bigint": (_INT8_OID, 1016, _each(_bigint)),
    "float8": (701, 1022, _each(_float8)),
    "boolean": (16, 1000, _each({True: _int4(1) + b"\1", False: _int4(1) + b"\0"}.__getitem__)),
    "uuid[]": (2951, 0, _each(_uuids)),
    "bigint[]": (1016, 0, _each(_bigints)),
}

# Events travel column by column, as arrays of plain types: they are many and large, and this is cheaper to read.
EVENT_COLUMNS = ("uuid", "text", "uuid", *("text",) * 3, *("timestamptz",) * 2, "json", "uuid")

# Columns of the composite types of schema meta, in their order (a test compares them with the catalog).
COMPOSITES: dict[str, tuple[str, ...]] = {
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
    """An array, ready to be sent; made in this file only."""

    __slots__ = ("content",)

    def __init__(self, content: bytes) -> None:
        self.content = content


class RowPacker:
    """Packs rows of one composite type for one connection; column by column, so that the loops run in C."""

    def __init__(self, columns: Sequence[str], element_oid: int, packed: type[PackedRows]) -> None:
        self._element_oid = element_oid
        self._packed = packed
        self._head = _int4(len(columns))
        self._columns = [(_int4(_TYPES[name][0]), _TYPES[name][2]) for name in columns]

    def pack(self, rows: Iterable[Sequence[Any]]) -> PackedRows:
        columns = list(zip(*rows, strict=True))
        if not columns:
            return self._packed(_array_head(self._element_oid, 0))
        sent: list[Iterable[bytes]] = [repeat(self._head)]
        lengths: list[Iterable[int]] = [repeat(len(self._head) + 4 * len(columns))]
        for (oid, encode), values in zip(self._columns, columns, strict=True):
            parts = encode(values)
            sent += (repeat(oid), *parts)
            lengths += [map(len, part) for part in parts]
        sizes = map(_int4, map(sum, zip(*lengths, strict=False)))
        head = _array_head(self._element_oid, len(columns[0]))
        return self._packed(b"".join(chain((head,), chain.from_iterable(zip(sizes, *sent, strict=False)))))


def pack_columns(types: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[PackedRows]:
    """The rows as one array per column."""
    columns = list(zip(*rows, strict=True)) or [()] * len(types)
    packed = []
    for name, values in zip(types, columns, strict=True):
        element, _, encode = _TYPES[name]
        head = _array_head(element, len(values))
        # most columns of a ledger's rows say the same in every row
        is_repeated = len(values) > 1 and values.count(values[0]) == len(values)
        parts = encode(values[:1] if is_repeated else values)
        sized: Iterable[bytes] = (
            parts[0] if len(parts) == 1 else chain.from_iterable(zip(*parts, strict=True))
        )
        if is_repeated:
            sized = (b"".join(sized) * len(values),)
        packed.append(_PACKED_COLUMNS[name](b"".join(chain((head,), sized))))
    return packed


_PACKED_COLUMNS = {
    name: type(f"Packed_{name}", (PackedRows,), {"__slots__": ()})
    for name, (_, array, _) in _TYPES.items()
    if array
}


def register_packers(connection: Connection[Any]) -> dict[str, RowPacker]:
    """A packer per composite type of schema ``meta``, sendable as a parameter on this connection only."""
    query = sql.SQL(
        "select typname, oid::int8, typarray::int8 from pg_type"
        " where typnamespace = 'meta'::regnamespace and typname = any (%s)"
    )
    for name, packed in _PACKED_COLUMNS.items():
        dumper = type("PackedDumper", (_PackedDumper,), {"oid": _TYPES[name][1]})
        connection.adapters.register_dumper(packed, dumper)
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
