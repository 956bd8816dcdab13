"""Monte Carlo told where a tenant's producer is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_atlan_meta.clients.montecarlo import MonteCarloClient, MonteCarloConfig
from airflow_provider_atlan_meta.core.errors import ConfigurationError
from airflow_provider_atlan_meta.core.tenancy import parse_tenant, tenant_conn_id
from airflow_provider_atlan_meta.services.montecarlo_access import FindConnection, api_connection
from airflow_provider_atlan_meta.services.tenant_secrets import inbound_tenant


@dataclass(frozen=True, kw_only=True)
class RegistrationRequest:
    """:param producer_url: the producer's address as Monte Carlo reaches it, https, without a path of ours.
    :param audience_id: whose alerts are sent.
    :param dry_run: Monte Carlo sends a sample alert and keeps nothing.
    """

    tenant: str
    producer_url: str
    audience_id: str
    montecarlo_conn_id: str
    dry_run: bool = False

    def __post_init__(self) -> None:
        parse_tenant(self.tenant)
        parts = urlsplit(self.producer_url)
        if parts.scheme != "https" or not parts.hostname or parts.query or parts.fragment:
            raise ConfigurationError(
                f"producer_url {self.producer_url[:200]!r} must be https://..., as Monte Carlo reaches the producer"
            )
        if not self.audience_id:
            raise ConfigurationError("audience_id is empty; copy it from Monte Carlo's notification settings")

    @property
    def url(self) -> str:
        return f"{self.producer_url.rstrip('/')}/v1/{self.tenant}/montecarlo"


@dataclass(frozen=True, kw_only=True)
class Registered:
    """:param setting_id: Monte Carlo's; empty after a dry run."""

    url: str
    setting_id: str
    dry_run: bool

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def register_webhook_once(*, find: FindConnection, request: RegistrationRequest) -> Registered:
    """Registers the webhook with the secret that the producer checks; the same again changes nothing.

    :raises ConfigurationError: the tenant has no webhook secret or no API key.
    """
    tenant = request.tenant
    info = find(tenant_conn_id("montecarlo", tenant))
    if info is None:
        raise ConfigurationError(
            f"connection {tenant_conn_id('montecarlo', tenant)!r} is not defined; it holds the webhook secret"
        )
    secret = inbound_tenant(tenant, info).secrets[0].decode()
    api = api_connection(tenant, find, request.montecarlo_conn_id)
    with MonteCarloClient(MonteCarloConfig.from_connection(api)) as client:
        setting_id = client.register_webhook(
            audience_id=request.audience_id, url=request.url, secret=secret, dry_run=request.dry_run
        )
    return Registered(url=request.url, setting_id=setting_id or "", dry_run=request.dry_run)
