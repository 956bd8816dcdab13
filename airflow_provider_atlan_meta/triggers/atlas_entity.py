"""Wakes a task when a catalog has an entity."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_atlan_meta.config.connections import ATLAS

if TYPE_CHECKING:
    from airflow_provider_atlan_meta.core.connection import ConnectionInfo

_BACKOFF_MAX_SECONDS = 60.0


class AtlasEntityTrigger(BaseTrigger):
    """Looks for one entity until it is there with the wanted values.

    Its event is ``{"guid"}``, or ``{"error"}`` where looking on is of no use. A catalog that is away is looked at
    again, after up to a minute; when to give up is the deferral's timeout. The blocking look has a thread.

    :param attributes: name -> value the entity must have; empty: that it is there.
    """

    def __init__(
        self,
        *,
        type_name: str,
        qualified_name: str,
        attributes: Mapping[str, Any] | None = None,
        atlas_conn_id: str = ATLAS,
        poll_seconds: float = 5.0,
        **_ignored: Any,
    ) -> None:
        # arguments that are not ours come from rows that another version wrote
        super().__init__()  # type: ignore[no-untyped-call]
        self.type_name = type_name
        self.qualified_name = qualified_name
        self.attributes = dict(attributes or {})
        self.atlas_conn_id = atlas_conn_id
        self.poll_seconds = poll_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Connection ids, never values: Airflow stores this."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "type_name": self.type_name,
                "qualified_name": self.qualified_name,
                "attributes": self.attributes,
                "atlas_conn_id": self.atlas_conn_id,
                "poll_seconds": self.poll_seconds,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        from airflow_provider_atlan_meta.core.errors import AtlanMetaError, TransientError
        from airflow_provider_atlan_meta.hooks.connections import aconnection_info

        wait = self.poll_seconds
        while True:
            try:
                info = await aconnection_info(self.atlas_conn_id)
                guid = await asyncio.to_thread(self._look, info)
                wait = self.poll_seconds
            except TransientError as error:
                guid, wait = "", min(wait * 2, _BACKOFF_MAX_SECONDS)
                self.log.warning("looking again in %.0f s: %s", wait, error)
            except AtlanMetaError as error:
                yield TriggerEvent({"error": str(error)})  # type: ignore[no-untyped-call]
                return
            if guid:
                yield TriggerEvent({"guid": guid})  # type: ignore[no-untyped-call]
                return
            await asyncio.sleep(wait)

    def _look(self, info: ConnectionInfo) -> str:
        """In the thread, imports too: loading a client library holds an event loop for too long."""
        from airflow_provider_atlan_meta.clients.atlas import AtlasClient
        from airflow_provider_atlan_meta.clients.atlas_config import AtlasConfig
        from airflow_provider_atlan_meta.core.atlas import has_attributes

        with AtlasClient(AtlasConfig.from_connection(info)) as client:
            found = client.entity(self.type_name, self.qualified_name)
        return str(found["guid"]) if found is not None and has_attributes(found, self.attributes) else ""
