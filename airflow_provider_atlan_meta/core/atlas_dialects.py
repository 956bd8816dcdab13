"""What differs between catalogs that speak Atlas, as data."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from airflow_provider_atlan_meta.core.atlas_types import ALERT, ALERT_STATUSES, DATASET, TYPES, Definition


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """What differs between catalogs that speak Atlas.

    :param path: what the API's paths begin with.
    :param types: those we make; empty: the catalog has its own.
    :param first_batch: entities of a bulk to begin with. :param largest_batch: never more.
    :param bulk_query: flags of every bulk.
    :param oauth_path: where OAuth2 tokens come from unless the connection says; taken as JSON in camelCase.
    :param passing: statuses that pass by themselves.
    :param suffix: of our qualified names.
    :param incident_name: of an incident; ``connection`` is the connection's ``incident_connection``.
    :param incident_attributes: attribute -> field of the row; ``id``, ``tenant``: of its ref.
    :param entity_types: our type -> the catalog's; one that is not here is taken as the catalog's own.
    :param incident_links: the attribute of its entities, and the relationship's type where that must be said.
    :param enums: attribute -> the values its type knows; any other is left out.
    :param empty: attribute -> what is told where there is nothing; None where it is not here. Atlas keeps 0 for a time
        that is null, and takes every further null for a change.
    :param own_attributes: types of ours -> attribute -> field of an entity's row.
    :param takes_provisional: whether entities without a mapping are written.
    :param connector_attributes: whether the connector in a qualified name is an attribute as well.
    """

    name: str
    path: str
    types: Mapping[str, Sequence[Definition]]
    first_batch: int
    largest_batch: int
    bulk_query: Mapping[str, str]
    oauth_path: str
    passing: frozenset[int]
    suffix: str
    incident_type: str
    incident_name: str
    incident_attributes: Mapping[str, str]
    incident_links: tuple[str, str]
    enums: Mapping[str, Collection[str]]
    empty: Mapping[str, int]
    entity_types: Mapping[str, str]
    own_attributes: Mapping[str, Mapping[str, str]]
    takes_provisional: bool
    connector_attributes: bool


ATLAS = Dialect(
    name="atlas",
    path="/api/atlas/v2",
    types=TYPES,
    first_batch=50,
    largest_batch=100,
    bulk_query={},
    oauth_path="",
    passing=frozenset(),
    suffix="@{tenant}",
    incident_type=ALERT,
    incident_name="mc_alert://{id}",
    incident_attributes={
        "name": "title",
        "owner": "owner",
        "alertId": "id",
        "alertType": "type",
        "severity": "severity",
        "priority": "priority",
        "status": "status",
        "statusText": "status",
        "source": "source",
        "url": "url",
        "openedAt": "opened_at",
        "updatedAt": "updated_at",
        "resolvedAt": "resolved_at",
        "tenant": "tenant",
    },
    incident_links=("affectedDatasets", "mc_alert_datasets"),
    enums={"status": ALERT_STATUSES},
    empty={"openedAt": 0, "updatedAt": 0, "resolvedAt": 0},
    entity_types={"table": DATASET, "view": DATASET, "external": DATASET},
    own_attributes={
        ALERT: {},
        DATASET: {
            "entityId": "id",
            "entityType": "type_name",
            "platform": "platform",
            "databaseName": "database_name",
            "schemaName": "schema_name",
            "tenant": "tenant",
        },
    },
    takes_provisional=True,
    connector_attributes=False,
)
ATLAN = Dialect(
    name="atlan",
    path="/api/meta",
    types={},
    first_batch=20,
    largest_batch=20,
    bulk_query={},
    oauth_path="/api/service/oauth-clients/token",
    passing=frozenset({302, 403}),
    suffix="",
    incident_type="MCIncident",
    incident_name="{connection}/incident/{id}",
    incident_attributes={
        "name": "title",
        "mcIncidentId": "id",
        "mcIncidentType": "type",
        "mcIncidentSeverity": "severity",
        "mcIncidentPriority": "priority",
        "mcIncidentState": "status",
    },
    incident_links=("mcIncidentAssets", ""),
    enums={},
    empty={},
    entity_types={"table": "Table", "view": "View"},
    own_attributes={},
    takes_provisional=False,
    connector_attributes=True,
)
DIALECTS: Mapping[str, Dialect] = {dialect.name: dialect for dialect in (ATLAS, ATLAN)}
