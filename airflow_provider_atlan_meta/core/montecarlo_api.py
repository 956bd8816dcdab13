"""Monte Carlo's GraphQL API: the query for alerts, and an alert as a statement about its incident.

Unlike a webhook an alert carries its times and the ids of its tables: what it says is confirmed. Values the API gains
later are kept as they come; the spellings it shares with the webhook (``SEV_1``, ``NO_STATUS``) become one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, NamedTuple, Protocol

import msgspec
from msgspec import UNSET, UnsetType

from airflow_provider_atlan_meta.core.errors import RejectedError, TerminalError, TransientError
from airflow_provider_atlan_meta.core.mapping import NO_MAPPINGS, Mappings
from airflow_provider_atlan_meta.core.montecarlo import (
    MAX_TITLE,
    NAME,
    TERMINAL_STATUSES,
    normalise_severity,
    normalise_status,
)
from airflow_provider_atlan_meta.core.rows import Answer, EntityRow

# Sent to try an integration: no incident.
PSEUDO_TYPE = "PSEUDO_INTEGRATION_TEST"

# type of an event that holds an alert; a webhook of this type has no `time`
ALERT_TYPE = "alert"

# Variables: either ``ids``, or ``updated`` {after: first moment, before: behind the last one}; an absent one is none.
ALERTS_QUERY = """\
query AtlanMetaAlerts(
  $ids: [UUID!], $updated: DateTimeRangeInput, $filter: AlertsFilterInput, $first: Int!, $after: String
) {
  getAlerts(
    ids: $ids, updatedTime: $updated, filter: $filter, first: $first, after: $after, orderBy: "updatedTime"
  ) {
    pageInfo { hasNextPage endCursor }
    edges {
      node {
        id
        title
        type
        subTypes
        severity
        priority
        status
        owner { email fullName }
        tables { mcon tableId isKeyAsset }
        createdTime
        updatedTime
        url
      }
    }
  }
}
"""
ALERTS_FILTER: Mapping[str, object] = {"exclude": {"types": [PSEUDO_TYPE]}}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MAX_MESSAGE = 200
_NULL = msgspec.Raw(b"null")
# what an error that passes by itself says; Monte Carlo gives errors no codes
_PASSES = re.compile(r"rate.?limit|quota|throttl|too many|time(d )?.?out|unavailable|internal", re.IGNORECASE)


class Alert(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An alert in the incident row's words.

    :param status: None: nobody has looked at it. :param severity: ``SEV-1``; None: not declared an incident.
    :param created_at, updated_at: microseconds since 1970 UTC.
    :param tables: their MCONs; None: not told.
    :param node: the API's own JSON of it, as it goes onto the log.
    """

    id: str
    title: str | None
    type: str | None
    sub_types: tuple[str, ...]
    severity: str | None
    priority: str | None
    status: str | None
    owner: str | None
    url: str | None
    created_at: int
    updated_at: int
    tables: tuple[str, ...] | None
    node: bytes


class AlertRecord(NamedTuple):
    """What an event of ALERT_TYPE holds. :param seen: see ``core.rows.EventRow``."""

    alert: Alert
    seen: int


class AlertsPage(NamedTuple):
    """:param skipped: nodes that are no alert of their own: integration tests, merged ones, other shapes."""

    alerts: list[Alert]
    next_cursor: str | None
    has_next: bool
    skipped: int = 0


class AlertSource(Protocol):
    """Where alerts are asked for by id."""

    def by_ids(self, ids: Sequence[str], *, timeout_seconds: float) -> dict[str, Alert]:
        """The alerts there are, by id, in one call; what is missing in the answer is unknown there.

        :raises TransientError: no answer in time, or not now (``retry_after``).
        :raises TerminalError: it can never answer like this: key, role or query.
        """
        ...


class _Owner(msgspec.Struct, gc=False, rename="camel"):
    email: str | None = None
    full_name: str | None = None


class _Table(msgspec.Struct, gc=False):
    mcon: str | None = None


class _Node(msgspec.Struct, gc=False, rename="camel"):
    id: str
    created_time: datetime
    updated_time: datetime
    title: str | None = None
    type: str | None = None
    sub_types: list[str] | None = None
    severity: str | None = None
    priority: str | None = None
    status: str | None = None
    owner: _Owner | None = None
    url: str | None = None
    tables: list[_Table] | UnsetType | None = UNSET


class _Record(msgspec.Struct, gc=False):
    alert: msgspec.Raw
    seen: Annotated[int, msgspec.Meta(ge=-1, le=(1 << 63) - 1)]


class _PageInfo(msgspec.Struct, gc=False, rename="camel"):
    has_next_page: bool = False
    end_cursor: str | None = None


class _Edge(msgspec.Struct, gc=False):
    node: msgspec.Raw = _NULL


class _Connection(msgspec.Struct, gc=False, rename="camel"):
    page_info: _PageInfo
    edges: list[_Edge | None]


class _Data(msgspec.Struct, gc=False, rename="camel"):
    get_alerts: _Connection | None = None


class _Error(msgspec.Struct, gc=False):
    message: str = ""
    path: list[str | int] | None = None


class _Answer(msgspec.Struct, gc=False):
    data: msgspec.Raw = _NULL
    errors: list[_Error] | None = None


_decode_node = msgspec.json.Decoder(_Node).decode
_decode_record = msgspec.json.Decoder(_Record).decode
_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_data = msgspec.json.Decoder(_Data | None).decode


def parse_alerts(body: bytes) -> AlertsPage:
    """A page of ``ALERTS_QUERY``, read from an answer with HTTP 200.

    :raises TransientError: the API reports an error that may pass, or answers something else than alerts.
    :raises TerminalError: the API refuses the question itself.
    """
    try:
        answer = _decode_answer(body)
        if answer.errors:
            raise _told_error(answer.errors)
        data = _decode_data(answer.data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TransientError(
            f"Monte Carlo answered getAlerts in another form ({str(error)[:_MAX_MESSAGE]}); ask again"
        ) from None
    if data is None or data.get_alerts is None:
        raise TransientError("Monte Carlo answered getAlerts without alerts and without an error; ask again")
    found = data.get_alerts
    alerts: list[Alert] = []
    for edge in found.edges:
        try:
            alert = parse_alert(bytes(edge.node if edge is not None else _NULL))
        except RejectedError:
            continue
        if alert.type != PSEUDO_TYPE:
            alerts.append(alert)
    info = found.page_info
    return AlertsPage(alerts, info.end_cursor, info.has_next_page, len(found.edges) - len(alerts))


def parse_alert(node: bytes) -> Alert:
    """One alert from the API's own JSON of it.

    :raises RejectedError: it is none, e.g. one that was merged into another and has nothing but ids left.
    """
    try:
        told = _decode_node(node)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RejectedError("alert has another shape", detail=str(error)[:300]) from None
    owner = told.owner
    return Alert(
        id=told.id,
        title=told.title,
        type=told.type,
        sub_types=tuple(told.sub_types or ()),
        severity=normalise_severity(told.severity),
        priority=told.priority,
        status=normalise_status(told.status.lower()) if told.status is not None else None,
        owner=(owner.email or owner.full_name) if owner is not None else None,
        url=told.url,
        created_at=_microseconds(told.created_time),
        updated_at=_microseconds(told.updated_time),
        tables=_mcons(told.tables),
        node=node,
    )


def parse_alert_record(data: bytes) -> AlertRecord:
    """:param data: of an event of ALERT_TYPE.
    :raises RejectedError: it is none.
    """
    try:
        record = _decode_record(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RejectedError("alert record has another shape", detail=str(error)[:300]) from None
    return AlertRecord(parse_alert(bytes(record.alert)), record.seen)


def answer_of(alert: Alert, tenant: str, mappings: Mappings = NO_MAPPINGS) -> Answer:
    """What the alert says of its incident, and the entities its tables are.

    The tables are said only where every one has a name: of some of them nobody could tell which are missing. A table
    that is not mapped is the same provisional entity as in a webhook of the same account.
    """
    resolved_at = alert.updated_at if alert.status in TERMINAL_STATUSES else None
    entities: tuple[EntityRow, ...] = ()
    entity_ids: tuple[bytes, ...] | UnsetType = UNSET
    if alert.tables is not None:
        try:
            entities = tuple(
                [mappings.resolve_mcon(tenant, mcon).entity for mcon in dict.fromkeys(alert.tables)]
            )
            entity_ids = tuple(sorted({entity.entity_id for entity in entities}))
        except RejectedError:
            entities = ()
    title = alert.title[:MAX_TITLE] if alert.title is not None else UNSET
    # in the order of rows.INCIDENT_FIELDS
    statement = (
        NAME, UNSET if alert.type is None else alert.type, title, alert.severity, alert.priority, alert.status,
        alert.owner, UNSET if alert.url is None else alert.url, alert.created_at, alert.updated_at, resolved_at,
        entity_ids,
    )  # fmt: skip
    return Answer(statement, entities)


def _mcons(tables: list[_Table] | UnsetType | None) -> tuple[str, ...] | None:
    """A table without MCON stays as an empty text: it is there, and nobody can say which."""
    return None if tables is UNSET or tables is None else tuple([table.mcon or "" for table in tables])


def _microseconds(moment: datetime) -> int:
    """A time without zone is UTC."""
    return ((moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)) - _EPOCH) // _MICROSECOND


def _told_error(errors: Sequence[_Error]) -> TransientError | TerminalError:
    """Errors behind HTTP 200; the answer beside them may be partial and is not used."""
    told = "; ".join(error.message for error in errors)[:_MAX_MESSAGE]
    # by the specification an error of execution has a path, one of the request has none
    if _PASSES.search(told) or any(error.path for error in errors):
        return TransientError(f"Monte Carlo could not answer getAlerts: {told}")
    return TerminalError(
        f"Monte Carlo refuses getAlerts: {told}; check the role of its API key, and this package's version"
    )
