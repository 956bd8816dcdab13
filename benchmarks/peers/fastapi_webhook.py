"""The producer as one would write it with FastAPI and pydantic: same signature check, same record, same acks.

The signature is the documented ``urlencode(json.loads(body))``. Records go through the very same Kafka client
and bridge to asyncio, so that the comparison is about receiving, checking and naming webhooks, not about Kafka.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any
from urllib.parse import quote, urlencode
from uuid import UUID

import uvicorn
from fastapi import FastAPI, Header, HTTPException, Request
from pydantic import BaseModel, ConfigDict

from airflow_provider_atlan_meta.clients.kafka import KafkaConfig
from airflow_provider_atlan_meta.clients.kafka_producer import KafkaPublisher
from airflow_provider_atlan_meta.config.connections import KAFKA, Connections
from airflow_provider_atlan_meta.config.settings import Settings
from airflow_provider_atlan_meta.core.ports import OutboundRecord

TOPIC = Settings().topic("events")


class Account(BaseModel):
    id: str


class Payload(BaseModel):
    model_config = ConfigDict(extra="allow")
    incident_id: str | None = None
    group_id: str | None = None
    url: str | None = None
    event_list: list[dict[str, Any]] = []


class Webhook(BaseModel):
    model_config = ConfigDict(extra="allow")
    account: Account
    type: str = "unknown"
    version: str
    payload: Payload


class Event(BaseModel):
    specversion: str = "1.0"
    id: str
    source: str = "montecarlo"
    type: str
    subject: str
    tenant: str
    data: dict[str, Any]


class Accepted(BaseModel):
    accepted: int
    ids: list[str]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    connections = Connections()
    app.state.secret = connections.get("atlan_meta_montecarlo_tenant_acme").extra["webhook_secret"].encode()
    app.state.publisher = KafkaPublisher(
        KafkaConfig.from_connection(connections.get(KAFKA)), delivery_timeout_seconds=30
    )
    yield
    await app.state.publisher.close(10)


app = FastAPI(lifespan=lifespan)


@app.get("/readyz")
async def readyz() -> dict[str, str]:
    return {"status": "ready"}


@app.post("/v1/{tenant}/montecarlo", status_code=202)
async def receive(tenant: str, request: Request, x_mcd_signature: Annotated[str, Header()]) -> Accepted:
    body = await request.body()
    document = json.loads(body)
    message = urlencode(document).encode("utf8")
    signature = hmac.new(request.app.state.secret, message, hashlib.sha512).hexdigest()
    if not hmac.compare_digest(signature, x_mcd_signature):
        raise HTTPException(401, "wrong signature")
    webhook = Webhook.model_validate(document)
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    event_id = str(UUID(bytes=hashlib.sha256(f"{tenant}|montecarlo|{canonical}".encode()).digest()[:16]))
    subject = webhook.payload.incident_id or f"event:{event_id}"
    event = Event(id=event_id, type=webhook.type, subject=subject, tenant=tenant, data=document)
    record = OutboundRecord(
        TOPIC,
        f"{quote(tenant, safe='')}|{quote(subject, safe='')}".encode(),
        event.model_dump_json().encode(),
        [
            ("received_at", str(time.time_ns() // 1_000_000).encode()),
            ("ce_specversion", event.specversion.encode()),
            ("ce_id", event.id.encode()),
            ("ce_source", event.source.encode()),
            ("ce_type", event.type.encode()),
            ("ce_subject", event.subject.encode()),
            ("ce_tenant", event.tenant.encode()),
            ("content-type", b"application/json"),
        ],
    )
    await request.app.state.publisher.publish([record])
    return Accepted(accepted=1, ids=[event_id])


if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        ws="none",
        access_log=False,
        server_header=False,
        log_level=os.environ.get("LOG_LEVEL", "warning"),
    )
