"""The consumer of changes as one would write it: poll, route by kind, ``requests``, a row and two commits per message.

``ATLAN_META_BENCH_PEER`` is its job, as JSON: where from, where to, and how many changes.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import time
import uuid
from typing import Any

import psycopg
import requests
from confluent_kafka import Consumer

TABLE = """create table if not exists public.sent (webhook_id text primary key,
  tenant text, incident text, revision bigint, status int, at timestamptz default now())"""
_INSERT = (
    "insert into public.sent (webhook_id, tenant, incident, revision, status) values (%s, %s, %s, %s, %s)"
)


def main() -> None:
    job = json.loads(os.environ["ATLAN_META_BENCH_PEER"])
    key = base64.b64decode(job["secret"].removeprefix("whsec_"))
    consumer = Consumer(
        {
            **job["kafka"],
            "group.id": uuid.uuid4().hex,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([job["topic"]])
    session = requests.Session()
    with psycopg.connect(job["dsn"]) as ledger:
        left = job["count"]
        while left:
            message = consumer.poll(1.0)
            if message is None or message.error():
                continue
            change = json.loads(message.value() or b"")
            identity, status = _send(session, job["url"], key, change)
            ledger.execute(_INSERT, (identity, change["tenant_id"], change["id"], change["revision"], status))
            ledger.commit()
            consumer.commit(message=message, asynchronous=False)
            left -= 1
    consumer.close()


def _send(session: requests.Session, url: str, key: bytes, change: dict[str, Any]) -> tuple[str, int]:
    identity = str(uuid.uuid5(uuid.NAMESPACE_URL, change["change_id"]))
    body = json.dumps(
        {
            "specversion": "1.0",
            "id": change["change_id"],
            "source": "/bench",
            "type": f"com.example.{change['kind']}.{change['op']}",
            "subject": change["id"],
            "time": change["changed_at"],
            "datacontenttype": "application/json",
            "data": {name: change.get(name) for name in ("op", "revision", "changed", "before", "after")},
        }
    ).encode()
    stamp = str(int(time.time()))
    signed = b".".join((identity.encode(), stamp.encode(), body))
    signature = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    response = session.post(
        url,
        data=body,
        headers={
            "content-type": "application/cloudevents+json",
            "webhook-id": identity,
            "webhook-timestamp": stamp,
            "webhook-signature": f"v1,{signature}",
        },
        timeout=10,
    )
    response.raise_for_status()
    return identity, response.status_code


if __name__ == "__main__":
    main()
