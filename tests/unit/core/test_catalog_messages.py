"""Atlas' notifications, whoever brings them: dates in one spelling, subjects that fit, kinds as they were said."""

from __future__ import annotations

import pytest

from airflow_provider_atlan_meta.core.catalog_messages import (
    epoch_ms,
    guid_of,
    kind_of,
    rfc3339,
    subject_of,
)
from airflow_provider_atlan_meta.core.errors import RejectedError


@pytest.mark.parametrize(
    ("value", "milliseconds"),
    [
        (1795391882090, 1795391882090),
        ("1795391882090", 1795391882090),
        ("2026-11-22T23:58:02.090Z", 1795391882090),
        ("2026-11-23T01:58:02.090+02:00", 1795391882090),
        ("2026-11-23T01:58:02.090+0200", 1795391882090),
        ("2026-11-22 23:58:02.09", 1795391882090),
        ("2026-11-22T23:58:02.090999999Z", 1795391882090),
        ("1969-12-31T23:59:59.999Z", -1),
        (0, 0),
        (None, None),
        (True, None),
        (1.5, None),
        ("", None),
        ("soon", None),
        ("2026-13-01T00:00:00Z", None),
        ("0001-01-01T00:00:00+23:59", None),
        (10**20, None),
        ("9" * 5000, None),
        ("٢٠٢٦-01-01T00:00:00Z", None),
    ],
)
def test_a_date_is_read_in_either_form(value: object, milliseconds: int | None) -> None:
    assert epoch_ms(value) == milliseconds


@pytest.mark.parametrize("milliseconds", [-62_135_596_800_000, -1, 0, 1795391882090, 253_402_300_799_999])
def test_a_moment_has_one_spelling_and_is_read_back_from_it(milliseconds: int) -> None:
    assert epoch_ms(rfc3339(milliseconds)) == milliseconds
    assert len(rfc3339(milliseconds)) == len("2026-11-22T23:58:02.090Z")


@pytest.mark.parametrize(
    ("message", "subject"),
    [
        ({"entity": {"guid": "g", "attributes": {"qualifiedName": "a.b@c"}}}, "a.b@c"),
        ({"entity": {"guid": "g", "attributes": {"qualifiedName": ""}}}, "g"),
        ({"entity": {"guid": "g", "attributes": None}}, "g"),
        ({"entity": "g", "relationship": {"guid": "r"}}, "r"),
        ({"entity": {"guid": 5}}, None),
        ({}, None),
    ],
)
def test_the_subject_is_the_name_else_the_guid(message: dict[str, object], subject: str | None) -> None:
    assert subject_of(message) == subject


def test_a_name_that_is_too_long_is_told_by_its_digest_and_stays_the_same_subject() -> None:
    def subject(name: str) -> str | None:
        return subject_of({"entity": {"attributes": {"qualifiedName": name}}})

    assert subject("ü" * 512) == "ü" * 512
    digest = subject("ü" * 513)
    assert digest == subject("ü" * 513) != subject("ü" * 514)
    assert digest is not None
    assert digest.startswith("sha256:")
    assert len(digest) == 71


def test_unknown_operations_are_kept_and_too_long_ones_are_refused() -> None:
    assert kind_of({"operationType": "TERM_ADD", "type": "ENTITY_NOTIFICATION_V2"}) == "TERM_ADD"
    assert kind_of({"type": "WORKFLOW_RUN"}) == "WORKFLOW_RUN"
    assert kind_of({"operationType": 7}) == "unknown"
    with pytest.raises(RejectedError, match="operationType is longer than 512"):
        kind_of({"operationType": "x" * 513})


def test_the_guid_is_that_of_the_entity_or_of_the_relationship() -> None:
    assert guid_of({"relationship": {"guid": "r"}}) == "r"
    assert guid_of({"entity": {"guid": "g"}, "relationship": {"guid": "r"}}) == "g"
    assert guid_of({"entity": []}) is None
