"""Connection type ``atlan_meta_atlas``: a catalog that speaks Apache Atlas' REST API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import BaseHook

from airflow_provider_atlan_meta.config.connections import ATLAS
from airflow_provider_atlan_meta.core.errors import AtlanMetaError
from airflow_provider_atlan_meta.hooks.connections import connection_info

if TYPE_CHECKING:
    from airflow_provider_atlan_meta.clients.atlas import AtlasClient


class AtlasHook(BaseHook):
    """Entities and types of Apache Atlas or Atlan."""

    conn_name_attr = "atlas_conn_id"
    default_conn_name = ATLAS
    conn_type = "atlan_meta_atlas"
    hook_name = "Apache Atlas or Atlan (Atlan Meta)"

    def __init__(self, atlas_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.atlas_conn_id = atlas_conn_id

    def client(self) -> AtlasClient:
        """The caller closes it, e.g. by ``with``.

        :raises ConfigurationError: unknown connection, or one that cannot work.
        """
        from airflow_provider_atlan_meta.clients.atlas import AtlasClient
        from airflow_provider_atlan_meta.clients.atlas_config import AtlasConfig

        return AtlasClient(AtlasConfig.from_connection(connection_info(self.atlas_conn_id)))

    def test_connection(self) -> tuple[bool, str]:
        """Asks the catalog for its types, with the login."""
        try:
            with self.client() as client:
                return True, client.describe()
        except AtlanMetaError as error:
            return False, str(error)
