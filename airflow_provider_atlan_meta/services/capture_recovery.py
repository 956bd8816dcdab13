"""A lost replication slot: a new one, then every change the old one may have missed is emitted again.

Until the last change is emitted, the time since when they are owed stands in the connector's own configuration, so an
interrupted recovery is seen as such and goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from airflow_provider_atlan_meta.config.connections import POSTGRES_ADMIN
from airflow_provider_atlan_meta.core.capture_health import CaptureHealth, Observation, judge
from airflow_provider_atlan_meta.core.connector import OWED_SINCE
from airflow_provider_atlan_meta.core.errors import ConfigurationError, TransientError
from airflow_provider_atlan_meta.services.capture import (
    Capture,
    CaptureConnections,
    CaptureRequest,
    Report,
    health_document,
)
from airflow_provider_atlan_meta.services.reemit import ReemitOutcome, ReemitRequest, reemit_changes


@dataclass(frozen=True, kw_only=True)
class RecoverOutcome:
    """The new slot's state, and what was emitted again."""

    health: CaptureHealth
    emitted: ReemitOutcome

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe."""
        return {"health": health_document(self.health), "emitted": self.emitted.to_dict()}


def recover_change_capture(
    connections: CaptureConnections,
    request: CaptureRequest,
    *,
    since: datetime | None = None,
    report: Report | None = None,
) -> RecoverOutcome:
    """Ends with every final state on the topic. Harmless to repeat: what is known already has its change_id.

    :param since: until when changes were captured; None: what Connect stored last.
    :raises ConfigurationError: nothing is lost; or nobody knows since when; or there is no superuser's connection.
    """
    if connections.admin is None:
        raise ConfigurationError(f"{POSTGRES_ADMIN} is not defined; emitting again needs a superuser")
    with Capture(connections, request, report) as capture:
        seen = capture.observe()
        if seen.connect_error or seen.store_error:
            raise TransientError(seen.connect_error or seen.store_error)
        moment = _owed_since(seen, since)
        capture.report(f"changes were captured until {moment.isoformat()}")
        if not seen.owed_since or not _is_sound(seen):
            _renew_slot(capture, moment)
        capture.start()
        emitted = reemit_changes(
            connections.admin, ReemitRequest(since=moment, slot=request.slot), capture.report
        )
        capture.put(capture.profile())
        return RecoverOutcome(health=capture.await_healthy(), emitted=emitted)


def _owed_since(seen: Observation, since: datetime | None) -> datetime:
    if not judge(seen).is_lost:
        raise ConfigurationError(
            "the replication slot is not lost; `atlan-meta capture status` says what is wrong, and `atlan-meta db "
            "reemit --since T` emits changes again without touching the slot"
        )
    if since is not None:
        return since
    if seen.owed_since:
        return datetime.fromisoformat(seen.owed_since)
    if seen.captured_at is None:
        raise ConfigurationError(
            "Kafka Connect does not know until when changes were captured; give --since, a time before the loss"
        )
    return datetime.fromtimestamp(seen.captured_at, UTC)


def _is_sound(seen: Observation) -> bool:
    """Whether the slot an interrupted recovery made is still good."""
    lost = {finding.code for finding in judge(seen).findings if finding.severity == "lost"}
    return lost <= {"recovery_unfinished"}


def _renew_slot(capture: Capture, owed_since: datetime) -> None:
    """The debt is noted before anything is thrown away."""
    name, slot = capture.request.connector, capture.request.slot
    capture.put({**capture.profile(), OWED_SINCE: owed_since.isoformat()})
    capture.stop()
    capture.report("making a new replication slot")
    with capture.store() as store:
        store.drop_slot(slot)
        store.create_slot(slot)
    # offsets outlive everything; a connector without any starts where its slot does
    capture.patiently(lambda: capture.client.delete_offsets(name))
