"""``demo-report.json``: the figures of a checked demo."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_atlan_meta.sandbox.demo.stage import LaneWork
from airflow_provider_atlan_meta.sandbox.oracle import Verdict

# Parts of the way that do not exist yet; their fields are null.
LEFT_OUT = ("stores.cassandra", "stores.atlas", "deliveries", "folded", "latency_ms.post_to_delivery")


def build_report(
    verdict: Verdict, work: LaneWork, start_seconds: Mapping[str, float | None]
) -> dict[str, Any]:
    """Expected figures come from the manifest, found ones from SQL and the change log.

    ``latency_ms`` is the service lane's: the DAG lane's passes contain a backlog and an outage.
    """
    return {
        "sent": verdict.sent,
        "accepted": verdict.accepted,
        "answers": dict(sorted(verdict.answers.items())),
        "stores": {
            "postgres": {"expected": verdict.expected, "found": verdict.found},
            "cassandra": None,
            "atlas": None,
        },
        "dead_letters": verdict.dead_letters,
        "changes": verdict.changes,
        "deliveries": None,
        "lanes": {
            "service": {"events": work.service_events},
            "dag": {"runs": work.dag_runs, "retries": work.dag_retries, "events": work.dag_events},
        },
        "lost": verdict.lost,
        "duplicated": verdict.duplicated,
        "folded": None,
        "latency_ms": {
            "post_to_row": {
                "p50": verdict.percentile(0.5, "service"),
                "p99": verdict.percentile(0.99, "service"),
            },
            "post_to_delivery": None,
        },
        "start_seconds": dict(start_seconds),
        "left_out": list(LEFT_OUT),
    }
