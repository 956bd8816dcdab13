"""What to open and what to try while the demo runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_atlan_meta.sandbox.home import HOME_VARIABLE, write_private
from airflow_provider_atlan_meta.testing.webhooks import SIGNATURE_HEADER, sign

if TYPE_CHECKING:
    from airflow_provider_atlan_meta.sandbox.demo.stage import Stage

_INCIDENT = "0b9d3c8e-2f67-4d0a-8c42-6f1f5f3a7e11"


def addresses(stage: Stage) -> str:
    """A line per thing to look at, then per thing to try."""
    fields, home = stage.fields, stage.sandbox.home
    login = f"user {fields['airflow_user']}, password {fields['airflow_password']}"
    recorder = f"{fields['recorder_url']}/_recorded?service="
    looks = (
        f"Airflow     {fields['airflow_url']}  {login}",
        f"            DAGs {' and '.join(stage.dags)}: runs, task logs with the offset ranges, Trigger with Params",
        f"PostgreSQL  psql '{fields['postgres_dsn']}'",
        "            select incident_id, status, severity, owner, revision from meta.incident limit 10;",
        "            select topic, partition, next_offset, owner_label from meta.ingest_offset order by 1, 2;",
        f"Kafka       {fields['kafka_bootstrap']}  topics {stage.topic} and {stage.changes_topic}",
        f"Connect     {fields['connect_url']}/connectors?expand=status",
        f"Slack       {recorder}slack    what Slack was told; the recorder stands for it",
        f"webhook     {recorder}webhook  what the webhook's receiver was told, with signatures",
        f"producer    {fields['producer_url']}/metrics",
        f"logs        {stage.logs}",
    )
    return "\n".join((*looks, "", *_tries(stage, home.path)))


def _tries(stage: Stage, home: Path) -> Iterator[str]:
    command = str(Path(sys.executable).with_name("atlan-meta"))
    yield f'first       eval "$({HOME_VARIABLE}={home} {command} sandbox env --format shell)"'
    yield f"say it      {_curl(stage, home, feedback='investigating', name='demo-webhook.json')}"
    yield f"            {_curl(stage, home, feedback='fixed', name='demo-webhook-fixed.json')}"
    yield f"receipts    {command} deliveries --incident {_INCIDENT}"
    yield f"why         {command} subscription explain --event {_INCIDENT}"
    yield f"            {command} subscription list"
    sandbox = f"{HOME_VARIABLE}={home} {command} sandbox"
    yield f"break it    {sandbox} kill consumer    the DAG takes over within the lease (30 s)"
    yield f"            {sandbox} stop postgres    nothing is lost; then: start postgres"
    script = json.dumps({"service": "slack", "mode": "status", "status": 503, "retry_after": 20, "times": 50})
    yield "            Slack is down for 50 calls: what it misses is parked, then told"
    yield f"            curl -X POST {stage.fields['recorder_url']}/_script -d '{script}'"


def _curl(stage: Stage, home: Path, *, feedback: str, name: str) -> str:
    """A signed webhook about an incident of our own, as a line to paste; a channel hears of it."""
    tenant, file = stage.tenants[0], home / name
    body = json.dumps(
        {
            "account": {"id": "3f1c1c2e-5a0b-4c55-9c1d-0a6b7e4f2a10"},
            "action": "incident",
            "type": stage.evidence.slack_types[0],
            "version": "v0.1",
            "payload": {
                "alert_feedback": feedback,
                "event_list": [{"event_details": "orders is 3 h late", "table_name": "orders"}],
                "group_id": "analytics:sales",
                "incident_id": _INCIDENT,
                "url": f"https://getmontecarlo.com/incidents/{_INCIDENT}",
            },
        }
    )
    write_private(file, body)
    signature = sign(tenant.secret, body.encode())
    url = f"{stage.fields['producer_url']}/v1/{tenant.id}/montecarlo"
    return (
        f"curl -X POST {url} -H 'content-type: application/json' "
        f"-H '{SIGNATURE_HEADER}: {signature}' --data-binary @{file}"
    )
