"""``POST /v1/{tenant}/montecarlo``: from the first byte to the answer.

Everything refused is refused with a status of its own and leaves nothing behind. What an unknown tenant is
answered differs in nothing from what a known one with a wrong signature is.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from starlette.types import Receive, Scope, Send

from airflow_provider_atlan_meta.core.errors import RejectedError
from airflow_provider_atlan_meta.core.json_document import parse_document
from airflow_provider_atlan_meta.core.montecarlo_signature import HEADER, is_signed
from airflow_provider_atlan_meta.pipeline.publish import MONTECARLO, ReceivedWebhook, montecarlo_event
from airflow_provider_atlan_meta.services.answers import Answer, problem
from airflow_provider_atlan_meta.services.intake import DISABLED, Intake, RefusedError, check_body_headers
from airflow_provider_atlan_meta.services.tenant_secrets import InboundTenant, TenantSecrets, look_up

_UNAUTHORIZED = problem(
    401,
    "no valid signature for this tenant; send x-mcd-signature made with the shared secret of its webhook",
    headers=((b"www-authenticate", b'MonteCarlo-Signature realm="atlan-meta"'),),
)
_NOT_JSON = problem(415, "send application/json, not compressed").closing()


class WebhookReceiver:
    """Monte Carlo's webhooks, signed with the tenant's secret."""

    def __init__(self, intake: Intake, tenants: TenantSecrets) -> None:
        self._intake = intake
        self._tenants = tenants
        # nobody's secret: makes the work for an unknown tenant the same
        self._nobody = InboundTenant("", (secrets.token_bytes(32),))

    async def receive(self, tenant: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one webhook."""
        await self._intake.respond(self._answer(tenant, scope, receive), send)

    async def _answer(self, tenant_name: str, scope: Scope, receive: Receive) -> Answer:
        intake = self._intake
        intake.check_capacity()
        headers = dict(scope["headers"])
        _check_headers(headers)
        body = await intake.read_body(receive)
        try:
            document = parse_document(body)
            tenant = self._tenants.remembered(tenant_name) or await look_up(self._tenants, tenant_name)
            if not is_signed(document, headers[HEADER], (tenant or self._nobody).secrets) or tenant is None:
                return _UNAUTHORIZED
            if tenant.disabled:
                return DISABLED
            webhook = ReceivedWebhook(
                tenant=tenant.name,
                body=body,
                document=document,
                received_at_ms=intake.now_ms(),
                traceparent=headers.get(b"traceparent"),
            )
            event = montecarlo_event(webhook)
        except RejectedError as error:
            return problem(400, str(error))
        return await intake.publish(
            [event],
            received_at_ms=webhook.received_at_ms,
            traceparent=webhook.traceparent,
            kind=MONTECARLO,
        )


def _check_headers(headers: Mapping[bytes, bytes]) -> None:
    content_type = headers.get(b"content-type", b"")
    if (
        content_type != b"application/json"
        and content_type.split(b";")[0].strip().lower() != b"application/json"
    ):
        raise RefusedError(_NOT_JSON)
    check_body_headers(headers, _NOT_JSON)
    if not headers.get(HEADER):
        raise RefusedError(_UNAUTHORIZED)
