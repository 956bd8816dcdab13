"""Connection type ``atlan_meta_montecarlo``: a tenant's Monte Carlo, the webhooks it sends and the API it answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import BaseHook

from airflow_provider_atlan_meta.config.connections import MONTECARLO
from airflow_provider_atlan_meta.core.errors import AtlanMetaError
from airflow_provider_atlan_meta.hooks.connections import connection_info

if TYPE_CHECKING:
    from airflow_provider_atlan_meta.clients.montecarlo import MonteCarloClient


class MonteCarloHook(BaseHook):
    """Webhook secrets are in ``atlan_meta_montecarlo_tenant_<tenant>`` and never fall back; the API's credentials may
    be there too, in the default connection, or in one of airflow-mcd (type ``mcd``).
    """

    conn_name_attr = "montecarlo_conn_id"
    default_conn_name = MONTECARLO
    conn_type = "atlan_meta_montecarlo"
    hook_name = "Monte Carlo (Atlan Meta)"

    def __init__(self, montecarlo_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.montecarlo_conn_id = montecarlo_conn_id

    def client(self) -> MonteCarloClient:
        """The API. The caller closes it, e.g. by ``with``.

        :raises ConfigurationError: unknown connection, or one without credentials.
        """
        from airflow_provider_atlan_meta.clients.montecarlo import MonteCarloClient, MonteCarloConfig

        return MonteCarloClient(MonteCarloConfig.from_connection(connection_info(self.montecarlo_conn_id)))

    def test_connection(self) -> tuple[bool, str]:
        """Looks at the webhook secrets, and asks the API where there are credentials for it."""
        from airflow_provider_atlan_meta.clients.montecarlo import has_api_credentials

        told = []
        try:
            info = connection_info(self.montecarlo_conn_id)
            secret = info.extra.get("webhook_secret")
            if secret and secret == info.extra.get("webhook_secret_previous"):
                return False, "both webhook secrets are the same; empty the previous one"
            if secret:
                told.append("webhook secret is set")
                told += ["the tenant is disabled: webhooks are answered 403"] * bool(
                    info.extra.get("disabled")
                )
            if has_api_credentials(info):
                with self.client() as client:
                    told.append(client.describe())
        except AtlanMetaError as error:
            return False, str(error)
        return bool(told), "; ".join(told) or "no API key, and no webhook secret: webhooks are answered 401"
