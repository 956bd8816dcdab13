"""Connection type ``atlan_meta_oauth2``: whose access tokens the producer takes."""

from __future__ import annotations

import asyncio

from airflow.sdk import BaseHook

from airflow_provider_atlan_meta.config.connections import OAUTH2
from airflow_provider_atlan_meta.core.errors import AtlanMetaError
from airflow_provider_atlan_meta.hooks.connections import connection_info


class OAuth2Hook(BaseHook):
    """Issuer, audience and keys of the tokens that come with CloudEvents."""

    conn_name_attr = "oauth2_conn_id"
    default_conn_name = OAUTH2
    conn_type = "atlan_meta_oauth2"
    hook_name = "OAuth2 tokens (Atlan Meta)"

    def __init__(self, oauth2_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.oauth2_conn_id = oauth2_conn_id

    def test_connection(self) -> tuple[bool, str]:
        """Fetches the issuer's keys."""
        from airflow_provider_atlan_meta.clients.oauth2 import OAuth2Config, TokenVerifier

        try:
            config = OAuth2Config.from_connection(connection_info(self.oauth2_conn_id))
            keys = asyncio.run(TokenVerifier(config).fetch())
        except AtlanMetaError as error:
            return False, str(error)
        return True, f"{len(keys)} signing keys at {config.jwks_uri}"
