"""Waits for an entity of a catalog."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator, PokeReturnValue

from airflow_provider_atlan_meta.config.connections import ATLAS
from airflow_provider_atlan_meta.core.errors import TerminalError, TransientError
from airflow_provider_atlan_meta.hooks.atlas import AtlasHook

if TYPE_CHECKING:
    from airflow.sdk import Context


class AtlasEntitySensor(BaseSensorOperator):
    """Succeeds when an entity is there with the wanted values; returns its guid.

    :param attributes: name -> value the entity must have; empty: that it is there.
    :param deferrable: waits in the triggerer instead of a worker.
    """

    template_fields: Sequence[str] = ("atlas_conn_id", "type_name", "qualified_name", "attributes")

    def __init__(
        self,
        *,
        type_name: str,
        qualified_name: str,
        attributes: Mapping[str, Any] | None = None,
        atlas_conn_id: str = ATLAS,
        deferrable: bool = True,
        poke_interval: float = 5.0,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("timeout", 3600.0)
        super().__init__(poke_interval=poke_interval, **kwargs)
        self.type_name = type_name
        self.qualified_name = qualified_name
        self.attributes = dict(attributes or {})
        self.atlas_conn_id = atlas_conn_id
        self.deferrable = deferrable

    def execute(self, context: Context) -> Any:
        """Looks once before it defers.

        :raises TerminalError: looking on is of no use.
        """
        if not self.deferrable:
            return super().execute(context)
        from airflow_provider_atlan_meta.triggers.atlas_entity import AtlasEntityTrigger

        looked = self.poke(context)
        if looked.is_done:
            return looked.xcom_value
        trigger = AtlasEntityTrigger(
            type_name=self.type_name,
            qualified_name=self.qualified_name,
            attributes=self.attributes,
            atlas_conn_id=self.atlas_conn_id,
            poll_seconds=float(self.poke_interval),
        )
        self.defer(
            trigger=trigger, method_name="execute_complete", timeout=timedelta(seconds=float(self.timeout))
        )

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> str:
        """The trigger's event: the guid, or why there will be none."""
        del context
        if "guid" not in event:
            raise TerminalError(str(event.get("error") or "the trigger ended without an entity"))
        return str(event["guid"])

    def poke(self, context: Context) -> PokeReturnValue:
        from airflow_provider_atlan_meta.core.atlas import has_attributes

        del context
        try:
            with AtlasHook(self.atlas_conn_id).client() as client:
                found = client.entity(self.type_name, self.qualified_name)
        except TransientError as error:
            self.log.warning("looking again: %s", error)
            return PokeReturnValue(False)
        is_there = found is not None and has_attributes(found, self.attributes)
        return PokeReturnValue(is_there, str(found["guid"]) if found is not None and is_there else None)
