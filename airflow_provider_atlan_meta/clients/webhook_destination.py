"""Any HTTP endpoint as a destination: every change as a signed CloudEvent of its own, repeated under the same id."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from airflow_provider_atlan_meta.clients.webhook import WebhookClient, WebhookConfig
from airflow_provider_atlan_meta.core.errors import RejectedError
from airflow_provider_atlan_meta.core.sending import Outgoing, SendOutcome
from airflow_provider_atlan_meta.core.webhook_message import DEFAULT_SOURCE, webhook_message


class WebhookDestination:
    """A ``core.sending.Destination``. Options: ``source``, CloudEvents' of this deployment."""

    def __init__(self, config: WebhookConfig) -> None:
        self._client = WebhookClient(config)

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, trace)

    def limit_of(self, outgoing: Outgoing) -> str:  # noqa: ARG002 - an endpoint limits all calls together
        return ""

    async def send(self, outgoing: Outgoing) -> SendOutcome:
        source = outgoing.options.get("source") or DEFAULT_SOURCE
        try:
            message = webhook_message(outgoing.change, outgoing.delivery_id, source=source)
        except RejectedError as error:
            return SendOutcome(result="rejected", detail=str(error))
        return await self._client.send(message)
