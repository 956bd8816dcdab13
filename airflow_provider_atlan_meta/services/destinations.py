"""The types of destinations there are: a row each, and a file of ``clients`` that only opening one imports."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_atlan_meta.config.connections import SLACK
from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.errors import ConfigurationError
from airflow_provider_atlan_meta.core.lanes import ClaimUse, LanePolicy
from airflow_provider_atlan_meta.core.routing import DestinationSpec, DestinationType
from airflow_provider_atlan_meta.core.sending import Capabilities, Destination
from airflow_provider_atlan_meta.core.webhook_message import check_source

# Public and private ones; people and groups of them cannot be searched with the scopes we ask for.
_CHANNEL = re.compile(r"[CG][A-Z0-9]{8,20}")


@dataclass(frozen=True, kw_only=True)
class DestinationRow(Capabilities):
    """:ivar open: the destination of a connection; raises ConfigurationError naming the connection."""

    open: Callable[[ConnectionInfo], Destination]


def _slack(info: ConnectionInfo) -> Destination:
    from airflow_provider_atlan_meta.clients.slack import SlackConfig
    from airflow_provider_atlan_meta.clients.slack_destination import SlackDestination

    return SlackDestination(SlackConfig.from_connection(info))


def _slack_problems(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    channel = options["channel"]
    if not isinstance(channel, str) or not _CHANNEL.fullmatch(channel):
        yield (
            "channel",
            "no id of a channel, such as C0123456789; Slack shows it at the end of a channel's details",
        )


def _webhook(info: ConnectionInfo) -> Destination:
    from airflow_provider_atlan_meta.clients.webhook import WebhookConfig
    from airflow_provider_atlan_meta.clients.webhook_destination import WebhookDestination

    return WebhookDestination(WebhookConfig.from_connection(info))


def _webhook_problems(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    source = options.get("source", "/")
    try:
        check_source(source if isinstance(source, str) else "")
    except ConfigurationError as error:
        yield "source", str(error)


DESTINATIONS: Mapping[str, DestinationRow] = {
    "slack": DestinationRow(
        type=DestinationType(conn_id=SLACK, required=("channel",), check=_slack_problems),
        # history shows a message some seconds after it was posted
        parts={
            "": LanePolicy(claims=ClaimUse.FIRST, lag=5.0),
            "thread": LanePolicy(claims=ClaimUse.EVERY, lag=5.0),
        },
        ops={"thread": ("updated", "deleted")},
        sends_state=True,
        calls_at_once=1,
        open=_slack,
    ),
    "webhook": DestinationRow(
        type=DestinationType(optional=("source",), check=_webhook_problems),
        parts={"": LanePolicy()},
        calls_at_once=16,
        open=_webhook,
    ),
}


def destination_types() -> Mapping[str, DestinationType]:
    """What subscriptions may say of destinations, for ``config.subscriptions.read_subscriptions``."""
    return {name: row.type for name, row in DESTINATIONS.items()}


def open_destination(spec: DestinationSpec, info: ConnectionInfo) -> Destination:
    """The other side of a connection, not entered yet.

    :raises ConfigurationError: there is no such type, or the connection cannot work; names it.
    """
    row = DESTINATIONS.get(spec.type)
    if row is None:
        raise ConfigurationError(
            f"no destination of type {spec.type!r}; there are: {', '.join(DESTINATIONS)}"
        )
    return row.open(info)
