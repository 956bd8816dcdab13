"""What a refusal means is in its body."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airflow_provider_atlan_meta.core.atlas_errors import LANDINGS, Fault, classify
from airflow_provider_atlan_meta.core.stores import Landing

SAMPLES = json.loads((Path(__file__).parents[2] / "fixtures/atlas/errors.json").read_text())


@pytest.mark.parametrize(
    ("status", "code", "text", "fault"),
    [
        # one status, three meanings
        (404, "ATLAS-404-00-007", "", Fault.POISON),
        (404, "ATLAS-404-00-00A", "", Fault.MISSING),
        (404, "ATLAS-404-00-009", "", Fault.NOT_FOUND),
        (400, "ATLAS-400-00-014", "", Fault.POISON),
        (400, "ATLAS-400-00-01A", "invalid parameters: x", Fault.POISON),
        (409, "ATLAS-500-00-006", "", Fault.LOCKED),
        (409, "ATLAS-409-00-013", "", Fault.LOCKED),
        (500, "ATLAS-500-00-005", "", Fault.LOCKED),
        (500, "ATLAS-500-00-023", "", Fault.LOCKED),
        (406, "ATLAS-406-00-001", "", Fault.LOCKED),
        (423, "ATLAS-423-00-001", "", Fault.LOCKED),
        (500, "ATLAS-500-00-001", "org.janusgraph...PermanentLockingException: x", Fault.LOCKED),
        (500, "ATLAS-500-00-001", "java.lang.NullPointerException", Fault.INTERNAL),
        (429, "ATLAS-400-00-502", "", Fault.AWAY),
        (400, "ATLAS-400-00-FFF", "", Fault.POISON),
        (404, "ATLAS-404-00-FFF", "", Fault.POISON),
        (400, "", "", Fault.POISON),
        (401, "", "", Fault.REFUSED),
        (404, "", "<html>", Fault.REFUSED),
        (405, "", "", Fault.REFUSED),
        (413, "", "", Fault.TOO_LARGE),
        (429, "", "", Fault.AWAY),
        (500, "", "", Fault.INTERNAL),
        (501, "", "", Fault.INTERNAL),
        (502, "", "", Fault.AWAY),
        (503, "", "", Fault.AWAY),
        (504, "", "", Fault.AWAY),
    ],
)
def test_the_bodys_code_decides_and_then_the_status(status: int, code: str, text: str, fault: Fault) -> None:
    assert classify(status, code, text).fault is fault


def test_what_the_catalog_quotes_never_becomes_a_reason() -> None:
    for sample in SAMPLES:
        body = sample["body"]
        verdict = classify(sample["status"], body["errorCode"], body["errorMessage"])
        assert verdict.reason.startswith(f"{body['errorCode']}: ")
        assert "mc_alert" not in verdict.reason
        assert "prod" not in verdict.reason


def test_a_classification_that_is_there_already_is_done() -> None:
    sample = next(one["body"] for one in SAMPLES if one["body"]["errorCode"] == "ATLAS-400-00-01A")
    verdict = classify(400, sample["errorCode"], sample["errorMessage"])
    assert (verdict.fault, verdict.landing) == (Fault.EXISTS, Landing.DONE)


def test_a_dialects_own_passing_statuses_pass_whatever_they_say() -> None:
    assert classify(403, "ATLAS-403-00-001", passing={403}).fault is Fault.AWAY
    assert classify(403, "ATLAS-403-00-001").fault is Fault.REFUSED


def test_a_missing_reference_waits_and_poison_is_set_aside() -> None:
    assert classify(404, "ATLAS-404-00-00A").landing is Landing.LATER
    assert classify(404, "ATLAS-404-00-007").landing is Landing.REJECTED
    assert LANDINGS.keys() == set(Fault)
