"""The report has the form that others read."""

from __future__ import annotations

from airflow_provider_atlan_meta.sandbox.delivery_oracle import DeliveryVerdict
from airflow_provider_atlan_meta.sandbox.demo.evidence import Judged
from airflow_provider_atlan_meta.sandbox.demo.report import build_report
from airflow_provider_atlan_meta.sandbox.demo.stage import LaneWork
from airflow_provider_atlan_meta.sandbox.oracle import Verdict


def judged() -> Judged:
    rows = Verdict(
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
    deliveries = DeliveryVerdict(
        deliveries={"webhook": 299, "slack": 40},
        lost=1,
        duplicated=3,
        folded=4,
        latency_ms={
            "webhook": {"service": [40.0, 50.0, 60.0], "dag": [1000.0]},
            "slack": {"service": [70.0, 80.0]},
        },
    )
    return Judged(rows, deliveries)


def test_the_report_has_every_field_and_names_the_null_ones() -> None:
    work = LaneWork(service_events=200, dag_events=126, dag_runs=9, dag_retries=3)
    assert build_report(judged(), work, {"kafka": 2.5}) == {
        "sent": 340,
        "accepted": 326,
        "answers": {"202": 326, "400": 7, "401": 7},
        "stores": {"postgres": {"expected": 326, "found": 325}, "cassandra": None, "atlas": None},
        "dead_letters": 0,
        "changes": 300,
        "deliveries": {"slack": 40, "webhook": 299},
        "lanes": {"service": {"events": 200}, "dag": {"runs": 9, "retries": 3, "events": 126}},
        "lost": 2,
        "duplicated": 5,
        "folded": 4,
        "latency_ms": {
            "post_to_row": {"p50": 20.0, "p99": 30.0},
            "post_to_delivery": {"p50": 50.0, "p99": 60.0},
            "post_to_slack": {"p50": 80.0, "p99": 80.0},
        },
        "start_seconds": {"kafka": 2.5},
        "left_out": ["stores.cassandra", "stores.atlas"],
    }


def test_without_deliveries_their_latencies_are_null() -> None:
    report = build_report(Judged(Verdict(), DeliveryVerdict()), LaneWork(), {})
    assert report["latency_ms"]["post_to_delivery"] == {"p50": None, "p99": None}
    assert report["deliveries"] == {"slack": 0, "webhook": 0}


def test_a_fault_of_either_half_makes_the_whole_wrong() -> None:
    assert Judged(Verdict(), DeliveryVerdict()).ok
    assert not Judged(Verdict(lost=1), DeliveryVerdict()).ok
    assert not Judged(Verdict(), DeliveryVerdict(duplicated=1)).ok
    assert Judged(Verdict(findings=["a"]), DeliveryVerdict(findings=["b"])).findings == ["a", "b"]
