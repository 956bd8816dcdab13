"""What is packed can be read back by PostgreSQL's own rules for arrays and composite values."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from airflow_provider_atlan_meta.clients.postgres_rows import (
    COMPOSITES,
    EVENT_COLUMNS,
    PackedRows,
    RowPacker,
    pack_columns,
)

KEY, OTHER = bytes(range(16)), bytes(range(16, 32))
# 2000-01-01T00:00:01Z
SECOND = 946_684_801_000_000


def array(content: bytes) -> tuple[int, list[bytes | None]]:
    """(element oid, the elements' bytes), as array_recv reads them."""
    dimensions, _, oid = struct.unpack_from("!iii", content)
    if not dimensions:
        assert len(content) == 12
        return oid, []
    count, lower = struct.unpack_from("!ii", content, 12)
    assert (dimensions, lower) == (1, 1)
    elements = list(sized(content, 20))
    assert len(elements) == count
    return oid, elements


def sized(content: bytes, at: int) -> Iterator[bytes | None]:
    while at < len(content):
        (length,) = struct.unpack_from("!i", content, at)
        at += 4
        yield None if length < 0 else content[at : at + length]
        at += max(length, 0)
    assert at == len(content)


def columns(row: bytes) -> list[tuple[int, bytes | None]]:
    """(oid, bytes) of every column, as record_recv reads them."""
    (count,) = struct.unpack_from("!i", row)
    found, at = [], 4
    for _ in range(count):
        oid, length = struct.unpack_from("!ii", row, at)
        at += 8
        found.append((oid, None if length < 0 else row[at : at + length]))
        at += max(length, 0)
    assert at == len(row)
    return found


def packed(name: str, rows: list[tuple[object, ...]]) -> list[list[tuple[int, bytes | None]]]:
    oid, elements = array(RowPacker(COMPOSITES[name], 4711, PackedRows).pack(rows).content)
    assert oid == 4711
    return [columns(element or b"") for element in elements]


def test_a_link_is_a_composite_of_its_columns() -> None:
    rows = packed("staged_link", [("acme", KEY, "inc-ä", True), ("globex", OTHER, "", False)])
    assert rows == [
        [(25, b"acme"), (2950, KEY), (25, "inc-ä".encode()), (16, b"\1")],
        [(25, b"globex"), (2950, OTHER), (25, b""), (16, b"\0")],
    ]


def test_null_has_no_bytes_and_empty_bytes_are_not_null() -> None:
    (row,) = packed("staged_dead_letter", [(7, None, None, b"[]", b"", "decode", "reason", "f")])
    assert [value for _, value in row][1:5] == [None, None, b"[]", b""]


def test_times_and_arrays_of_an_incident_are_postgresql_s() -> None:
    said = ("montecarlo", "t", "title", None, None, None, None, None)
    row = ("acme", "inc-1", *said, SECOND, None, None, (KEY, OTHER), (5, -1), 5, KEY, True, 1)
    ((*_, opened, _, _, entities, positions, _, _, _, revision),) = packed("staged_incident", [row])
    assert opened == (1184, struct.pack("!q", 1_000_000))
    assert array(entities[1] or b"") == (2950, [KEY, OTHER])
    assert array(positions[1] or b"") == (20, [struct.pack("!q", 5), struct.pack("!q", -1)])
    assert revision == (20, struct.pack("!q", 1))


def test_no_rows_are_an_empty_array() -> None:
    assert packed("staged_entity", []) == []


def test_events_are_one_array_per_column() -> None:
    rows = [
        (KEY, "acme", OTHER, "montecarlo", "t", "s", None, SECOND, b'{"a":1}', None),
        (OTHER, "acme", OTHER, "montecarlo", "t", "s", None, SECOND, b"{}", OTHER),
    ]
    arrays = [array(column.content) for column in pack_columns(EVENT_COLUMNS, rows)]
    assert arrays[0] == (2950, [KEY, OTHER])
    assert arrays[7][1] == [struct.pack("!q", 1_000_000)] * 2
    assert arrays[8] == (114, [b'{"a":1}', b"{}"])
    assert arrays[9] == (2950, [None, OTHER])


def test_no_events_are_empty_arrays_of_their_types() -> None:
    arrays = [array(column.content) for column in pack_columns(EVENT_COLUMNS, [])]
    assert [elements for _, elements in arrays] == [[]] * len(EVENT_COLUMNS)
    assert arrays[8][0] == 114
