"""``demo-report.json``: the figures of a checked demo."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_atlan_meta.sandbox.demo.evidence import Judged
from airflow_provider_atlan_meta.sandbox.demo.stage import LaneWork
from airflow_provider_atlan_meta.sandbox.expected_deliveries import SLACK, WEBHOOK

# Parts of the way that do not exist yet; their fields are null.
LEFT_OUT = ("stores.cassandra", "stores.atlas")
# The run whose latencies count: the DAG lane's passes contain a backlog and an outage.
MEASURED_RUN = "service"


def build_report(
    verdict: Judged, work: LaneWork, start_seconds: Mapping[str, float | None]
) -> dict[str, Any]:
    """Expected figures come from the manifest, found ones from SQL, the changes topic and receivers' calls.

    ``latency_ms`` is the service lane's. ``post_to_delivery`` is the webhook's, ``post_to_slack`` Slack's.
    """
    rows, deliveries = verdict.rows, verdict.deliveries
    return {
        "sent": rows.sent,
        "accepted": rows.accepted,
        "answers": dict(sorted(rows.answers.items())),
        "stores": {
            "postgres": {"expected": rows.expected, "found": rows.found},
            "cassandra": None,
            "atlas": None,
        },
        "dead_letters": rows.dead_letters,
        "changes": rows.changes,
        "deliveries": dict(sorted(deliveries.deliveries.items())),
        "lanes": {
            "service": {"events": work.service_events},
            "dag": {"runs": work.dag_runs, "retries": work.dag_retries, "events": work.dag_events},
        },
        "lost": verdict.lost,
        "duplicated": verdict.duplicated,
        "folded": deliveries.folded,
        "latency_ms": {
            "post_to_row": {
                "p50": rows.percentile(0.5, MEASURED_RUN),
                "p99": rows.percentile(0.99, MEASURED_RUN),
            },
            "post_to_delivery": _percentiles(verdict, WEBHOOK),
            "post_to_slack": _percentiles(verdict, SLACK),
        },
        "start_seconds": dict(start_seconds),
        "left_out": list(LEFT_OUT),
    }


def _percentiles(verdict: Judged, destination: str) -> dict[str, float | None]:
    return {
        "p50": verdict.percentile(0.5, destination, MEASURED_RUN),
        "p99": verdict.percentile(0.99, destination, MEASURED_RUN),
    }
