"""Keys are the same for ever. The vectors were made from the rule's prose, not by this code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_atlan_meta.core import identity

VECTORS: dict[str, list[dict[str, Any]]] = json.loads(
    (Path(__file__).parents[2] / "fixtures" / "identity.json").read_text()
)
IDS = st.binary(min_size=16, max_size=16)
TIMES = st.integers(0, 2**48 - 1)
PARTS = st.lists(st.text(max_size=5), max_size=4)


@pytest.mark.parametrize("vector", VECTORS["hash128"])
def test_hash128_is_golden(vector: dict[str, Any]) -> None:
    assert UUID(bytes=identity.hash_bytes(128, *vector["parts"])) == UUID(vector["uuid"])


@pytest.mark.parametrize("vector", VECTORS["event_id"])
def test_event_id_is_golden(vector: dict[str, Any]) -> None:
    assert identity.event_id(vector["tenant"], vector["source"], vector["identity"]) == UUID(vector["uuid"])


@pytest.mark.parametrize("vector", VECTORS["event_key"])
def test_event_key_is_golden(vector: dict[str, Any]) -> None:
    key = identity.event_key(UUID(vector["event_id"]).bytes, vector["received_at_ms"])

    assert UUID(bytes=key) == UUID(vector["uuid"])


@pytest.mark.parametrize("vector", VECTORS["entity_id"])
def test_entity_id_is_golden(vector: dict[str, Any]) -> None:
    key = identity.entity_id(vector["tenant"], vector["platform"], vector["qualified_name"])

    assert UUID(bytes=key) == UUID(vector["uuid"])


@pytest.mark.parametrize("vector", VECTORS["change_id"])
def test_change_id_is_golden(vector: dict[str, Any]) -> None:
    arguments = (vector[name] for name in ("tenant", "kind", "row_id", "incarnation", "revision"))

    assert identity.change_id(*arguments) == UUID(vector["uuid"])


@pytest.mark.parametrize("vector", VECTORS["delivery_id"])
def test_delivery_id_is_golden(vector: dict[str, Any]) -> None:
    assert identity.delivery_id(vector["change_id"], vector["subscription"]) == UUID(vector["uuid"])


@pytest.mark.parametrize("vector", VECTORS["partition_key"])
def test_partition_key_is_golden(vector: dict[str, Any]) -> None:
    assert identity.partition_key(vector["tenant"], vector["subject"]) == vector["key"].encode()


@pytest.mark.parametrize("vector", VECTORS["fingerprint"])
def test_fingerprint_is_golden(vector: dict[str, Any]) -> None:
    assert identity.fingerprint(vector["stage"], vector["reason"]) == vector["hex"]


@given(PARTS, PARTS)
def test_parts_cannot_run_into_each_other(one: list[str], other: list[str]) -> None:
    same = identity.hash_bytes(128, *one) == identity.hash_bytes(128, *other)

    assert same == (one == other)


@given(IDS, IDS, TIMES, TIMES)
def test_event_keys_are_ordered_by_arrival(one: bytes, other: bytes, first: int, second: int) -> None:
    if first != second:
        assert (identity.event_key(one, first) < identity.event_key(other, second)) == (first < second)
    else:
        assert (identity.event_key(one, first) == identity.event_key(other, second)) == (one == other)


@pytest.mark.parametrize("outside", [-1, 2**48])
def test_a_time_outside_48_bits_is_refused(outside: int) -> None:
    with pytest.raises(ValueError, match="outside 48 bits"):
        identity.event_key(bytes(16), outside)


@given(st.text(), st.text())
def test_one_partition_key_names_one_subject(one: str, other: str) -> None:
    keys = identity.partition_key("acme", one), identity.partition_key("acme", other)

    assert (keys[0] == keys[1]) == (one == other)
    assert keys[0].count(b"|") == 1
    assert keys[0].isascii()
