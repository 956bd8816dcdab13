"""Records for tests: webhooks as the producer puts them on the events topic, changes as they are on theirs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from airflow_provider_atlan_meta.core import identity
from airflow_provider_atlan_meta.core.changes import ChangeEvent
from airflow_provider_atlan_meta.core.events import MetadataEvent, encode_event, event_headers
from airflow_provider_atlan_meta.core.rows import LogRecord

ACCOUNT = "3f1c1c2e-5a0b-4c55-9c1d-0a6b7e4f2a10"
# 2026-11-18T11:06:40Z
EPOCH_MS = 1_795_000_000_000


def webhook_body(incident: str | None, *, table: str | None = "orders", **payload: Any) -> dict[str, Any]:
    """An open-anomaly webhook; ``payload`` adds or replaces fields of its payload."""
    named: Mapping[str, Any] = {} if incident is None else {"incident_id": incident}
    return {
        "account": {"id": ACCOUNT},
        "action": "incident",
        "payload": {
            "event_list": [{"event_details": "Has 42 rows vs. 101 expected", "table_name": table}],
            "group_id": "analytics:sales",
            "url": f"https://getmontecarlo.com/incidents/{incident}",
            **named,
            **payload,
        },
        "type": "open_anomaly_incident",
        "version": "v0.1",
    }


def webhook_record(
    incident: str | None = "inc-1",
    *,
    tenant: str = "acme",
    partition: int = 0,
    offset: int = 0,
    received_at_ms: int | None = None,
    **payload: Any,
) -> LogRecord:
    """:param received_at_ms: default: one millisecond per offset. :param incident: None: an event of no incident."""
    body = json.dumps(webhook_body(incident, **payload), separators=(",", ":"), sort_keys=True)
    event_id = identity.event_id(tenant, "montecarlo", body)
    subject = incident if incident is not None else f"event:{event_id}"
    event = MetadataEvent(
        id=str(event_id),
        source="montecarlo",
        type="open_anomaly_incident",
        subject=subject,
        tenant=tenant,
        data=msgspec.Raw(body.encode()),
    )
    stamp = EPOCH_MS + offset if received_at_ms is None else received_at_ms
    headers: tuple[tuple[str, bytes | None], ...] = tuple(event_headers(event, stamp))
    return LogRecord(partition, offset, identity.partition_key(tenant, subject), encode_event(event), headers)


def change_of(incident: str, revision: int = 1, *, tenant: str = "acme", **row: Any) -> ChangeEvent:
    """An incident's change; ``row`` is what its columns are from now on."""
    is_new = revision == 1
    return ChangeEvent(
        change_id=str(identity.change_id(tenant, "incident", incident, 1, revision)),
        kind="incident",
        op="created" if is_new else "updated",
        tenant_id=tenant,
        id=incident,
        revision=revision,
        changed_at="2026-11-18T11:06:40+00:00",
        changed=None if is_new else sorted(row),
        before=None if is_new else dict.fromkeys(row),
        after={"title": f"incident {incident}", "status": None, **row},
    )


def change_record(change: ChangeEvent) -> LogRecord:
    key = identity.partition_key(change.tenant_id, change.id)
    return LogRecord(0, 0, key, msgspec.json.encode(change), ())


def produce(kafka: Mapping[str, Any], topic: str, records: Iterable[LogRecord]) -> int:
    """Puts the records on a real topic, the key deciding the partition; returns once all are acknowledged.

    :param kafka: librdkafka's configuration. :return: how many.
    """
    from confluent_kafka import Producer

    producer = Producer({**kafka, "acks": "all", "linger.ms": 5, "partitioner": "murmur2_random"})
    failures: list[str] = []
    count = 0
    for record in records:
        producer.produce(
            topic,
            key=record.key,
            value=record.value,
            headers=list(record.headers),
            on_delivery=lambda error, _: failures.append(str(error)) if error else None,
        )
        count += 1
        if count % 1000 == 0:
            producer.poll(0)
    left = producer.flush(30)
    if left or failures:
        raise RuntimeError(f"{left} of {count} records are not acknowledged: {failures[:1]}")
    return count
