"""Connection type ``atlan_meta_montecarlo``: what proves that a webhook comes from a tenant's Monte Carlo."""

from __future__ import annotations

from airflow.sdk import BaseHook

from airflow_provider_atlan_meta.core.errors import ConfigurationError
from airflow_provider_atlan_meta.hooks.connections import connection_info


class MonteCarloHook(BaseHook):
    """One connection per tenant, id ``atlan_meta_montecarlo_tenant_<tenant>``; there is no default: inbound
    secrets never fall back.
    """

    conn_name_attr = "montecarlo_conn_id"
    default_conn_name = "atlan_meta_montecarlo_default"
    conn_type = "atlan_meta_montecarlo"
    hook_name = "Monte Carlo (Atlan Meta)"

    def __init__(self, montecarlo_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.montecarlo_conn_id = montecarlo_conn_id

    def test_connection(self) -> tuple[bool, str]:
        """Looks at the fields only: Monte Carlo calls us, so there is nothing to call."""
        try:
            extra = connection_info(self.montecarlo_conn_id).extra
        except ConfigurationError as error:
            return False, str(error)
        if not extra.get("webhook_secret"):
            return False, "no webhook secret: every webhook of this tenant would be answered 401"
        if extra.get("webhook_secret") == extra.get("webhook_secret_previous"):
            return False, "both webhook secrets are the same; empty the previous one"
        if extra.get("disabled"):
            return True, "webhook secret is set; the tenant is disabled: webhooks are answered 403"
        return True, "webhook secret is set"
