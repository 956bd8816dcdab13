"""``POST /v1/{tenant}/events``: CloudEvents in structured, binary and batched mode, with an OAuth2 bearer token.

The tenant is the token's; a path that names another one is a 403. The token is checked before the body is read. A
batch is taken whole or not at all: 202 is said when Kafka has every event of it.
"""

from __future__ import annotations

from collections.abc import Mapping

from starlette.types import Receive, Scope, Send

from airflow_provider_atlan_meta.core.cloudevents import metadata_event, mode_of, read_events
from airflow_provider_atlan_meta.core.errors import RejectedError
from airflow_provider_atlan_meta.services.answers import Answer, problem
from airflow_provider_atlan_meta.services.bearer_tenants import BearerTenants
from airflow_provider_atlan_meta.services.intake import (
    DISABLED,
    Intake,
    RefusedError,
    accepted,
    check_body_headers,
)
from airflow_provider_atlan_meta.services.logs import get_logger
from airflow_provider_atlan_meta.services.tenant_secrets import TenantSecrets, look_up

_log = get_logger(__name__)

KIND = "cloudevents"

_OTHER_TENANT = problem(403, "the access token is of another tenant than the path").closing()
_NO_EVENTS = problem(
    415,
    "send CloudEvents: application/cloudevents+json, application/cloudevents-batch+json, or ce- headers; in UTF-8, "
    "not compressed",
).closing()


class EventReceiver:
    """Events of every source that has no endpoint of its own.

    :param tenants: Monte Carlo's secrets: a tenant that is disabled there is disabled here.
    """

    def __init__(self, intake: Intake, bearers: BearerTenants, tenants: TenantSecrets) -> None:
        self._intake = intake
        self._bearers = bearers
        self._tenants = tenants

    async def receive(self, tenant: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        await self._intake.respond(self._answer(tenant, scope, receive), send)

    async def _answer(self, named: str, scope: Scope, receive: Receive) -> Answer:
        self._intake.check_capacity()
        raw: list[tuple[bytes, bytes]] = list(scope["headers"])
        headers = dict(raw)
        tenant = await self._admitted(named, headers)
        mode = mode_of(headers.get(b"content-type", b"").decode("latin-1"), raw)
        if mode is None:
            return _NO_EVENTS
        check_body_headers(headers, _NO_EVENTS)
        body = await self._intake.read_body(receive)
        try:
            events = [metadata_event(event, tenant) for event in read_events(mode, raw, body)]
        except RejectedError as error:
            return problem(400, str(error))
        if not events:
            return accepted([])
        return await self._intake.publish(
            events,
            received_at_ms=self._intake.now_ms(),
            traceparent=headers.get(b"traceparent"),
            kind=KIND,
        )

    async def _admitted(self, named: str, headers: Mapping[bytes, bytes]) -> str:
        """The token's tenant.

        :raises RefusedError: 401 without a valid token, 403 for another or a disabled tenant.
        """
        tenant = await self._bearers.tenant_of(headers.get(b"authorization", b""))
        if tenant != named:
            _log.warning("token of another tenant", stage="producer", tenant=tenant)
            raise RefusedError(_OTHER_TENANT)
        known = self._tenants.remembered(tenant) or await look_up(self._tenants, tenant)
        if known is not None and known.disabled:
            raise RefusedError(DISABLED.closing())
        return tenant
