"""A change found again by an id, and why who hears of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from airflow_provider_atlan_meta.core.changes import COLUMNS, ChangeEvent
from airflow_provider_atlan_meta.core.deliveries import Subject
from airflow_provider_atlan_meta.core.errors import ConfigurationError
from airflow_provider_atlan_meta.core.patterns import Pattern
from airflow_provider_atlan_meta.core.receipts import KnownRow
from airflow_provider_atlan_meta.core.routing import DestinationSpec, Subscription
from airflow_provider_atlan_meta.services.explain import change_in, explain_change, find_change

GOLDEN = Path(__file__).parents[2] / "fixtures" / "changes" / "golden_records.json"
SUBJECT = Subject("acme", "incident", "inc-1")
AT = "2026-11-25T01:18:43.26517+00:00"
IDS = {number: f"{number:08}-0000-0000-0000-000000000000" for number in range(1, 9)}


def row(revision: int, subject: Subject = SUBJECT, *, gone: bool = False, **columns: Any) -> KnownRow:
    whole = {**dict.fromkeys(COLUMNS[subject.kind]), **columns}
    return KnownRow(subject, revision, IDS[revision], AT, b"" if gone else json.dumps(whole).encode())


def change(revision: int, **fields: Any) -> ChangeEvent:
    after = {**dict.fromkeys(COLUMNS["incident"]), "severity": "SEV-1"}
    whole: dict[str, Any] = {
        "op": "updated",
        "changed": ["severity"],
        "before": {"severity": None},
        "after": after,
    }
    return ChangeEvent(
        **{
            **{"change_id": IDS[revision], "kind": "incident", "tenant_id": "acme", "id": "inc-1"},
            **{"revision": revision, "changed_at": AT},
            **whole,
            **fields,
        }
    )


@dataclass
class Archive:
    present: list[KnownRow] = field(default_factory=list)
    kept: list[ChangeEvent] = field(default_factory=list)
    delivered: dict[str, tuple[Subject, int]] = field(default_factory=dict)

    def changed(self, change_id: str) -> tuple[Subject, int] | None:
        return self.delivered.get(change_id)

    def rows(self, row_id: str) -> Sequence[KnownRow]:
        return [row for row in self.present if row.subject.id == row_id]

    def changes(self, subject: Subject) -> Sequence[bytes]:
        return [msgspec.json.encode(one) for one in self.kept if one.id == subject.id]


# ---- finding it ------------------------------------------------------------------------------------------------------


def test_a_delivered_change_is_found_by_its_id_as_it_was_told() -> None:
    archive = Archive([row(4)], [change(3), change(2)], {IDS[2]: (SUBJECT, 2)})

    found = find_change(archive, f" {IDS[2].upper()}\n")

    assert (found.change, found.origin) == (change(2), "as it was told")


def test_an_incident_s_last_change_is_the_one_that_is_kept() -> None:
    found = find_change(Archive([row(3)], [change(2), change(3)]), "inc-1")

    assert (found.change, found.origin) == (change(3), "as it was told")


def test_without_it_the_row_tells_what_it_is_but_not_what_changed() -> None:
    found = find_change(Archive([row(3, severity="SEV-2")], [change(2)]), "inc-1")

    assert found.change.op == "updated"
    assert (found.change.change_id, found.change.revision) == (IDS[3], 3)
    assert found.change.after == {**dict.fromkeys(COLUMNS["incident"]), "severity": "SEV-2"}
    assert (found.change.changed, found.change.before) == (None, None)
    assert "what changed is not kept" in found.origin


def test_a_row_at_its_first_revision_was_created_so() -> None:
    found = find_change(Archive([row(1, severity="SEV-1")]), "inc-1")

    assert found.change.op == "created"
    assert Pattern({"severity": {"to": ["SEV-1"]}}).matches(found.change)
    assert "not kept" not in found.origin


def test_of_a_deleted_row_only_that_it_is_deleted_is_known() -> None:
    found = find_change(Archive([row(5, gone=True)]), "inc-1")

    assert (found.change.op, found.change.row) == ("deleted", None)
    assert "deleted row" in found.origin


def test_a_change_that_is_not_kept_is_told_by_what_came_of_it() -> None:
    archive = Archive([row(5)], [], {IDS[2]: (SUBJECT, 2), IDS[5]: (SUBJECT, 5)})

    assert find_change(archive, IDS[5]).change.revision == 5
    older = find_change(archive, IDS[2])

    assert older.change.revision == 5
    assert f"change {IDS[2]} was revision 2, which is not kept; this is the newest" in older.origin


def test_of_a_change_of_which_nothing_is_left_that_is_said() -> None:
    with pytest.raises(ConfigurationError, match="revision 2 of incident inc-1, of which nothing is left"):
        find_change(Archive(delivered={IDS[2]: (SUBJECT, 2)}), IDS[2])


def test_a_thin_change_gets_the_columns_of_its_row_while_that_has_not_moved_on() -> None:
    thin = change(3, after=None, before=None, changed=None, truncated=True)

    whole = find_change(Archive([row(3, severity="SEV-1")], [thin]), "inc-1")
    assert whole.change.after is not None
    assert (whole.change.after["severity"], whole.change.truncated) == ("SEV-1", False)

    archive = Archive([row(4)], [thin], {IDS[3]: (SUBJECT, 3)})
    assert find_change(archive, IDS[3]).change == thin


def test_an_id_nobody_knows_is_an_error_that_says_what_can_be_asked() -> None:
    with pytest.raises(ConfigurationError, match="'inc-9' is no file, and no change that was delivered"):
        find_change(Archive([row(1)]), "inc-9")


def test_an_id_of_several_rows_wants_a_tenant() -> None:
    other = row(2, Subject("globex", "incident", "inc-1"))
    archive = Archive([row(1), other])

    with pytest.raises(
        ConfigurationError, match="incident of acme, incident of globex; name one by --tenant"
    ):
        find_change(archive, "inc-1")
    assert find_change(archive, "inc-1", "globex").change.tenant_id == "globex"
    with pytest.raises(ConfigurationError, match="no incident"):
        find_change(archive, "inc-1", "initech")


# ---- from a file -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "record", json.loads(GOLDEN.read_text())["records"], ids=lambda record: record["name"]
)
def test_a_record_of_the_topic_is_what_a_file_may_hold(record: dict[str, str]) -> None:
    found = change_in(record["value"].encode(), "change.json")

    assert found.origin.startswith("from change.json")


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'{"kind": 1}', b"\xff"])
def test_what_is_no_change_says_so_and_what_is_wanted(content: bytes) -> None:
    with pytest.raises(ConfigurationError, match=r"e\.json: .*--event takes one ChangeEvent as JSON"):
        change_in(content, "e.json")


# ---- explaining it ---------------------------------------------------------------------------------------------------


def test_each_subscription_of_the_tenant_is_told_with_what_decided() -> None:
    destination = DestinationSpec(type="webhook", conn_id="c")
    subscriptions = [
        Subscription(name="hears", tenant="*", match=Pattern({}), destination=destination),
        Subscription(
            name="misses", tenant="acme", match=Pattern({"severity": ["SEV-2"]}), destination=destination
        ),
        Subscription(name="foreign", tenant="globex", match=Pattern({}), destination=destination),
        Subscription(name="off", tenant="acme", match=Pattern({}), destination=destination, enabled=False),
    ]

    explained = explain_change(find_change(Archive([row(2)], [change(2)]), "inc-1"), subscriptions)
    told = json.loads(json.dumps(explained.to_dict()))

    assert told["change"]["change_id"] == IDS[2]
    assert told["origin"] == "as it was told"
    assert [(one["name"], one["outcome"]) for one in told["subscriptions"]] == [
        ("hears", "match"),
        ("misses", "no match"),
        ("off", "disabled"),
    ]
    assert told["subscriptions"][1]["leaves"] == [
        {"path": "match.severity", "wanted": '["SEV-2"]', "found": '"SEV-1"', "outcome": "no match"}
    ]
