"""Entities of a catalog, written by a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_provider_atlan_meta.config.connections import ATLAS
from airflow_provider_atlan_meta.hooks.atlas import AtlasHook
from airflow_provider_atlan_meta.operators.task_try import task_defaults

if TYPE_CHECKING:
    from airflow.sdk import Context


class AtlasEntityOperator(BaseOperator):
    """Creates or updates entities, all or none; returns qualified name -> guid. Again changes nothing.

    :param entities: as Atlas' REST API takes them: ``typeName``, ``attributes`` with ``qualifiedName``,
        ``relationshipAttributes`` ... At most 100 in Atlas, 20 in Atlan: map the task over more.
    """

    template_fields: Sequence[str] = ("atlas_conn_id", "entities")

    def __init__(
        self, *, entities: Sequence[Mapping[str, Any]], atlas_conn_id: str = ATLAS, **kwargs: Any
    ) -> None:
        super().__init__(**task_defaults() | kwargs)
        self.entities = entities
        self.atlas_conn_id = atlas_conn_id

    def execute(self, context: Context) -> dict[str, str]:
        """:raises RejectedError: the catalog refuses one of them, and nothing was written.

        :raises TransientError, TerminalError: see ``operators.retry`` for what Airflow does with them.
        """
        del context
        with AtlasHook(self.atlas_conn_id).client() as client:
            return client.write_entities(self.entities)
