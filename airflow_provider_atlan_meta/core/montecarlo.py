"""A Monte Carlo webhook (version v0.1) as a statement about its incident.

The webhook carries no time, no version and no table id: what it says is provisional until ``getAlerts`` confirms it.
Update fields (``alert_feedback``, ``declared_alert_severity``, ``owner``) are documented without their place; both
known ones are read: inside ``payload`` and beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated
from zlib import crc32

import msgspec
from msgspec import UNSET, UnsetType

from airflow_provider_atlan_meta.core import identity
from airflow_provider_atlan_meta.core.rows import EntityRow, Statement

if TYPE_CHECKING:
    from airflow_provider_atlan_meta.core.mapping import Mappings

NAME = "montecarlo"
UNKNOWN_TYPE = "unknown"
# An incident in one of these needs nobody any more.
TERMINAL_STATUSES = frozenset({"FIXED", "EXPECTED", "NO_ACTION_NEEDED", "FALSE_POSITIVE"})
MAX_TITLE = 1024
_CACHED_TABLES = 16

Stated = str | UnsetType | None


# Bounded, because what is made of them is remembered.
_Name = Annotated[str, msgspec.Meta(max_length=1024)]


class _Rule(msgspec.Struct, gc=False):
    description: str | None = None


class _Item(msgspec.Struct, gc=False):
    table_name: _Name | None = None
    event_details: str | None = None
    rule: _Rule | None = None


class _Payload(msgspec.Struct, gc=False):
    incident_id: str | None = None
    group_id: _Name | None = None
    url: Stated = UNSET
    event_list: list[_Item] | UnsetType | None = UNSET
    rule: _Rule | None = None
    alert_feedback: Stated = UNSET
    declared_alert_severity: Stated = UNSET
    owner: Stated = UNSET


class _Account(msgspec.Struct, gc=False):
    id: _Name = ""


class Webhook(msgspec.Struct, gc=False):
    """The mapped fields only; everything else is skipped unread and kept in the payload."""

    type: str = UNKNOWN_TYPE
    account: _Account | None = None
    payload: _Payload | None = None
    alert_feedback: Stated = UNSET
    declared_alert_severity: Stated = UNSET
    owner: Stated = UNSET


parse_webhook = msgspec.json.Decoder(Webhook).decode


def normalise_status(feedback: str | None) -> str | None:
    """``alert_feedback`` in the words of the API: ``investigating`` is its ``ACKNOWLEDGED``, no status is None."""
    if feedback is None or feedback == "no_status":
        return None
    return "ACKNOWLEDGED" if feedback == "investigating" else feedback.upper()


def normalise_severity(severity: str | None) -> str | None:
    """``SEV_1`` and ``SEV-1`` are one severity; unknown ones stay as they are."""
    return severity.replace("_", "-") if severity is not None and severity.startswith("SEV_") else severity


def statement_of(
    webhook: Webhook,
    payload: _Payload,
    tenant: str,
    received_at: int,
    mappings: Mappings | None = None,
) -> tuple[Statement, tuple[EntityRow, ...]]:
    """What the webhook says of its incident, and the entities it names.

    :param received_at: microseconds; stands for the times the webhook does not carry.
    :param mappings: what its tables are called; None: they are provisional.
    """
    items = payload.event_list
    entities: tuple[EntityRow, ...] = ()
    entity_ids: tuple[bytes, ...] | UnsetType = UNSET
    if items:
        entities, entity_ids = _named_by(webhook, payload.group_id, items, tenant, mappings)
    elif items is not UNSET:
        entity_ids = ()
    status = payload.alert_feedback
    if status is UNSET:
        status = webhook.alert_feedback
    resolved_at: int | UnsetType | None = UNSET
    if status is not UNSET:
        status = normalise_status(status)
        resolved_at = received_at if status in TERMINAL_STATUSES else None
    severity = payload.declared_alert_severity
    if severity is UNSET:
        severity = webhook.declared_alert_severity
    if severity is not UNSET:
        severity = normalise_severity(severity)
    owner = payload.owner
    if owner is UNSET:
        owner = webhook.owner
    kind, title, url = webhook.type, _title(webhook, payload, items or (), entities), payload.url
    # in the order of rows.INCIDENT_FIELDS; priority and updated_at are never said by a webhook
    statement = (
        NAME, kind, title, severity, UNSET, status, owner, url, received_at, UNSET, resolved_at, entity_ids
    )  # fmt: skip
    return statement, entities


def _named_by(
    webhook: Webhook, group_id: str | None, items: Sequence[_Item], tenant: str, mappings: Mappings | None
) -> tuple[tuple[EntityRow, ...], tuple[bytes, ...]]:
    account = webhook.account.id if webhook.account is not None else ""
    names = (items[0].table_name,) if len(items) == 1 else tuple([item.table_name for item in items])
    find = _tables if len(items) <= _CACHED_TABLES else _tables.__wrapped__
    return find(mappings, tenant, account, group_id, names)


@lru_cache(maxsize=2048)
def _tables(
    mappings: Mappings | None,
    tenant: str,
    account: str,
    group_id: str | None,
    names: tuple[str | None, ...],
) -> tuple[tuple[EntityRow, ...], tuple[bytes, ...]]:
    """The entities named, each once, and their ids in order. Cached: an incident names its tables every time."""
    named = [name for name in dict.fromkeys(names) if name is not None]
    if mappings is None:
        found = [provisional_entity(tenant, account, group_id, name) for name in named]
    else:
        found = [mappings.resolve(tenant, account, group_id, name).entity for name in named]
    # two names may be one table where the warehouse folds them
    entities = {entity.entity_id: entity for entity in found}
    return tuple(entities.values()), tuple(sorted(entities))


def _title(
    webhook: Webhook, payload: _Payload, items: Sequence[_Item], entities: tuple[EntityRow, ...]
) -> Stated:
    """A webhook that names neither rule nor finding keeps the title another one gave."""
    rule = payload.rule
    if rule is not None and rule.description is not None:
        return rule.description[:MAX_TITLE]
    for item in items:
        rule = item.rule
        if rule is not None and rule.description is not None:
            return rule.description[:MAX_TITLE]
    if items and (details := items[0].event_details) is not None:
        return details[:MAX_TITLE]
    if not items:
        return UNSET
    words = webhook.type.replace("_", " ")
    if entities:
        # as the webhook names it, whatever it is called
        name = next(item.table_name for item in items if item.table_name is not None)
        words = f"{words} on {payload.group_id or ''}.{name}"
    return words[:MAX_TITLE]


@lru_cache(maxsize=2048)
def provisional_entity(tenant: str, account: str, group_id: str | None, table_name: str) -> EntityRow:
    """A table known only by Monte Carlo's names; a mapping merges it with the real one later."""
    qualified_name = f"mc:{account}:{group_id or ''}.{table_name}"
    database, _, schema = (group_id or "").partition(":")
    described = (qualified_name, "table", table_name, NAME, database, schema)
    return EntityRow(
        tenant_id=tenant,
        entity_id=identity.entity_id(tenant, NAME, qualified_name),
        qualified_name=qualified_name,
        type_name="table",
        name=table_name,
        platform=NAME,
        database_name=database or None,
        schema_name=schema or None,
        content_hash=crc32("\0".join(described).encode()),
    )
