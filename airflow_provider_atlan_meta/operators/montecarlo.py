"""Monte Carlo set up from Airflow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_provider_atlan_meta.config.connections import MONTECARLO
from airflow_provider_atlan_meta.operators import task_values
from airflow_provider_atlan_meta.operators.task_try import task_defaults

if TYPE_CHECKING:
    from airflow.sdk import Context


class RegisterMonteCarloWebhookOperator(BaseOperator):
    """Has the alerts of one of Monte Carlo's audiences sent to a tenant's producer, signed with the secret in the
    tenant's connection.

    A webhook of the audience to the same address is changed, not doubled: run it again after the secret changed.

    :param tenant: whose producer path and whose ``webhook_secret``.
    :param producer_url: the producer's address as Monte Carlo reaches it, https.
    :param audience_id: from Monte Carlo's notification settings.
    :param dry_run: Monte Carlo sends a sample alert now and keeps nothing.
    :param montecarlo_conn_id: the API, when the tenant's own connection has no credentials of it.
    """

    template_fields: Sequence[str] = (
        "tenant",
        "producer_url",
        "audience_id",
        "is_dry_run",
        "montecarlo_conn_id",
    )

    def __init__(
        self,
        *,
        tenant: str,
        producer_url: str,
        audience_id: str,
        dry_run: bool | str = False,
        montecarlo_conn_id: str = MONTECARLO,
        **kwargs: Any,
    ) -> None:
        super().__init__(**task_defaults() | kwargs)
        self.tenant = tenant
        self.producer_url = producer_url
        self.audience_id = audience_id
        self.is_dry_run = dry_run  # BaseOperator has a method dry_run
        self.montecarlo_conn_id = montecarlo_conn_id

    def execute(self, context: Context) -> dict[str, Any]:  # noqa: ARG002 - as Airflow calls it
        """:raises TransientError, TerminalError: see ``operators.retry`` for what Airflow does with them."""
        from airflow_provider_atlan_meta.hooks.connections import find_connection
        from airflow_provider_atlan_meta.services.webhook_registration import (
            RegistrationRequest,
            register_webhook_once,
        )

        request = RegistrationRequest(
            tenant=str(self.tenant),
            producer_url=str(self.producer_url),
            audience_id=str(self.audience_id),
            montecarlo_conn_id=self.montecarlo_conn_id,
            dry_run=task_values.flag("dry_run", self.is_dry_run),
        )
        done = register_webhook_once(find=find_connection, request=request)
        if done.dry_run:
            self.log.info("Monte Carlo sends a sample alert to %s; nothing is registered", done.url)
        else:
            self.log.info("Monte Carlo sends alerts to %s (setting %s)", done.url, done.setting_id)
        return done.to_dict()
