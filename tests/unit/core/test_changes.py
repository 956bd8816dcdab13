"""What the triggers write is read whole; what they would never write is rejected, by field and without its values."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_atlan_meta.core.changes import (
    ABSENT,
    COLUMNS,
    MAX_CHANGE_BYTES,
    ChangeEvent,
    after_of,
    before_of,
    completed,
    decode_change,
    is_changed,
    transition,
)
from airflow_provider_atlan_meta.core.errors import RejectedError
from airflow_provider_atlan_meta.migrations import change_triggers

GOLDEN: dict[str, bytes] = {
    record["name"]: record["value"].encode()
    for record in json.loads(
        (Path(__file__).parents[2] / "fixtures" / "changes" / "golden_records.json").read_text()
    )["records"]
}
VALUE: dict[str, Any] = json.loads(GOLDEN["fixed"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=12,
)


def golden(name: str) -> ChangeEvent:
    return decode_change(GOLDEN[name])


def value(**fields: Any) -> bytes:
    return json.dumps({**VALUE, **fields}).encode()


@pytest.mark.parametrize("name", GOLDEN)
def test_a_message_of_the_triggers_is_read_whole(name: str) -> None:
    change, said = golden(name), json.loads(GOLDEN[name])
    assert {field: getattr(change, field) for field in said} == said
    assert change.truncated == ("thin" in name)


def test_the_columns_are_those_of_the_triggers() -> None:
    tables = (change_triggers.INCIDENT, change_triggers.ENTITY)
    assert {table.name: table.columns for table in tables} == COLUMNS


def test_fields_of_later_versions_are_ignored() -> None:
    assert decode_change(value(later={"a": [1]})) == golden("fixed")


@pytest.mark.parametrize(
    ("damaged", "place"),
    [
        (b"", "truncated"),
        (b"null", "object"),
        (GOLDEN["fixed"].replace(b'"SEV-2"', b"[" * 100_000), "deeper"),
        (GOLDEN["fixed"].replace(b"SEV-2", b"\xff"), "UTF-8"),
        (b"x" * (MAX_CHANGE_BYTES + 1), "1 MiB"),
        (value(op="renamed"), "$.op"),
        (value(op=None), "$.op"),
        (value(change_id="EAC9D351-45A2-7C3F-094D-25591C376F66"), "$.change_id"),
        (value(change_id=VALUE["change_id"] + "\n"), "$.change_id"),
        (value(tenant_id="Acme"), "$.tenant_id"),
        (value(tenant_id="acme\n"), "$.tenant_id"),
        (value(tenant_id="*"), "$.tenant_id"),
        (value(kind=""), "$.kind"),
        (value(id=""), "$.id"),
        (value(id="x" * 5000), "$.id"),
        (value(id=7), "$.id"),
        (value(id="inc\0"), "$.id"),
        (value(revision=0), "$.revision"),
        (value(revision=2**63), "$.revision"),
        (value(revision=True), "$.revision"),
        (value(changed="status"), "$.changed"),
        (value(changed=[7]), "$.changed[0]"),
        (value(before=[]), "$.before"),
        (value(after="x"), "$.after"),
        (value(after=None), "$.after"),
        (value(truncated=1), "$.truncated"),
        (value(after={"a": float("nan")}), "malformed"),
        (GOLDEN["fixed"].replace(b'"SEV-2"', b"9" * 5000), "$.after"),
        (value(after=json.loads('{"a":' * 32 + "1" + "}" * 32)), "deeper"),
    ],
)
def test_a_value_that_is_no_change_is_rejected_with_its_place(damaged: bytes, place: str) -> None:
    with pytest.raises(RejectedError) as caught:
        decode_change(damaged)

    assert place in str(caught.value)
    assert len(str(caught.value)) < 300
    for kept_back in ("renamed", "Acme", "EAC9", "xxxx"):
        assert kept_back not in str(caught.value)


def test_thirty_two_levels_are_read() -> None:
    assert decode_change(value(after=json.loads('{"a":' * 31 + "1" + "}" * 31))).after is not None


@given(st.binary(max_size=64) | JSON.map(lambda found: json.dumps(found).encode()))
def test_whatever_arrives_is_a_change_or_a_rejection(found: bytes) -> None:
    with pytest.raises(RejectedError):
        decode_change(found)


@given(st.sampled_from(sorted(VALUE)), JSON)
def test_any_field_may_be_anything_and_nothing_but_a_rejection_is_raised(field: str, found: object) -> None:
    with contextlib.suppress(RejectedError):
        decode_change(value(**{field: found}))


def test_a_column_that_did_not_change_was_what_it_is() -> None:
    change = golden("fixed")
    assert change.before is not None
    assert "severity" not in change.before
    assert transition(change, "severity") == ("SEV-2", "SEV-2", False)
    assert transition(change, "status") == ("ACKNOWLEDGED", "FIXED", True)
    assert transition(change, "resolved_at") == (None, "2026-11-24T23:31:17.843+00:00", True)


def test_a_row_that_is_not_there_has_null_in_every_column() -> None:
    created, deleted = golden("created"), golden("deleted")
    assert transition(created, "type") == (None, "open_anomaly_incident", True)
    assert transition(created, "severity") == (None, None, False)
    assert transition(deleted, "status") == ("FIXED", None, True)
    assert transition(deleted, "priority") == (None, None, False)


@pytest.mark.parametrize("name", ["thin", "thin and deleted"])
def test_a_thin_change_says_nothing_of_columns(name: str) -> None:
    assert transition(golden(name), "status") == (ABSENT, ABSENT, None)
    assert golden(name).row is None


def test_a_column_nobody_knows_is_absent_not_null() -> None:
    for name in ("created", "deleted"):
        assert transition(golden(name), "tier") == (ABSENT, ABSENT, None)
    assert transition(golden("fixed"), "tier") == (ABSENT, ABSENT, False)


def test_the_row_of_a_deleted_one_is_what_it_last_was() -> None:
    deleted, fixed = golden("deleted"), golden("fixed")
    assert deleted.row == fixed.after == fixed.row


def test_an_update_that_does_not_say_what_was_leaves_that_open() -> None:
    recovered = msgspec.structs.replace(golden("fixed"), changed=None, before=None)
    assert transition(recovered, "status") == (ABSENT, "FIXED", None)


@pytest.mark.parametrize("name", ["fixed", "deleted"])
def test_a_change_told_again_says_so_and_not_what_was(name: str) -> None:
    said = {**json.loads(GOLDEN[name]), "reemitted": True, "changed": None, "before": None}
    change = decode_change(json.dumps(said).encode())

    assert change.reemitted
    assert is_changed(change, "status") is None
    assert before_of(change, "status") is ABSENT


def test_a_recovered_change_starts_from_what_was_sent_last() -> None:
    recovered = msgspec.structs.replace(golden("fixed"), changed=None, before=None)

    change = completed(recovered, after=recovered.after, before=golden("created").after)

    assert change.changed == ["type", "severity", "status", "owner", "resolved_at"]
    assert transition(change, "status") == (None, "FIXED", True)
    assert transition(change, "title").changed is False


def test_a_row_nobody_has_heard_of_comes_from_nothing() -> None:
    change = completed(golden("fixed"), after=golden("fixed").after, before={})

    assert transition(change, "status") == (None, "FIXED", True)
    assert is_changed(change, "priority") is False


def test_a_thin_change_is_completed_with_the_row_and_keeps_its_identity() -> None:
    thin = golden("thin")

    change = completed(thin, after={"status": None, "title": "t"})

    assert not change.truncated
    assert (change.change_id, change.revision, change.op) == (thin.change_id, thin.revision, thin.op)
    assert transition(change, "title") == (None, "t", True)


def test_a_thin_deletion_is_completed_with_what_was_known() -> None:
    change = completed(golden("thin and deleted"), before={"title": "t", "owner": None})

    assert transition(change, "title") == ("t", None, True)
    assert (before_of(change, "owner"), after_of(change, "owner"), is_changed(change, "owner")) == (
        None,
        None,
        False,
    )
