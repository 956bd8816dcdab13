"""The report has the form that others read."""

from __future__ import annotations

from airflow_provider_atlan_meta.sandbox.demo.report import build_report
from airflow_provider_atlan_meta.sandbox.demo.stage import LaneWork
from airflow_provider_atlan_meta.sandbox.oracle import Verdict


def test_the_report_has_every_field_and_names_the_null_ones() -> None:
    verdict = Verdict(
        sent=340,
        accepted=326,
        answers={"401": 7, "202": 326, "400": 7},
        expected=326,
        found=325,
        lost=1,
        duplicated=2,
        changes=300,
        post_to_row_ms={"service": [10.0, 20.0, 30.0], "dag": [900.0]},
    )
    work = LaneWork(service_events=200, dag_events=126, dag_runs=9, dag_retries=3)
    assert build_report(verdict, work, {"kafka": 2.5}) == {
        "sent": 340,
        "accepted": 326,
        "answers": {"202": 326, "400": 7, "401": 7},
        "stores": {"postgres": {"expected": 326, "found": 325}, "cassandra": None, "atlas": None},
        "dead_letters": 0,
        "changes": 300,
        "deliveries": None,
        "lanes": {"service": {"events": 200}, "dag": {"runs": 9, "retries": 3, "events": 126}},
        "lost": 1,
        "duplicated": 2,
        "folded": None,
        "latency_ms": {"post_to_row": {"p50": 20.0, "p99": 30.0}, "post_to_delivery": None},
        "start_seconds": {"kafka": 2.5},
        "left_out": [
            "stores.cassandra",
            "stores.atlas",
            "deliveries",
            "folded",
            "latency_ms.post_to_delivery",
        ],
    }
