"""``atlan-meta capture apply|status|recover``: changes of the store's rows, by Kafka Connect onto their topic."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from airflow_provider_atlan_meta.cli.moments import moment
from airflow_provider_atlan_meta.cli.output import add_json_flag, emit
from airflow_provider_atlan_meta.cli.verbs import add_verbs
from airflow_provider_atlan_meta.config.connections import CONNECT, POSTGRES_ADMIN, POSTGRES_CDC, Connections
from airflow_provider_atlan_meta.config.settings import Settings

if TYPE_CHECKING:
    from airflow_provider_atlan_meta.core.capture_health import CaptureHealth
    from airflow_provider_atlan_meta.services.capture import (
        CaptureConnections,
        CaptureOutcome,
        CaptureRequest,
    )

_VERBS = (
    (
        "apply",
        "create or change the connector, its publication and its slot, start it, wait until it is healthy",
        "capture apply --dry-run",
    ),
    ("status", "whether changes are captured; exit 1 where they are not", "capture status --json"),
    (
        "recover",
        "after a lost slot: make a new one and emit again what the old one missed",
        "capture recover --since 2026-11-24T22:00:00Z",
    ),
)


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "capture",
        help="changes of rows, by Kafka Connect and Debezium onto their topic",
        epilog="example: atlan-meta capture apply && atlan-meta capture status",
    )
    made = add_verbs(parser, "capture_verb", _VERBS)
    for verb, one in made.items():
        _add_connections(one)
        one.add_argument(
            "--timeout",
            type=float,
            default=10.0 if verb == "status" else 60.0,
            metavar="SECONDS",
            help="how long to wait until it is healthy (%(default)s)",
        )
        add_json_flag(one)
    made["apply"].add_argument(
        "--dry-run", action="store_true", help="say what would be changed; change nothing"
    )
    made["recover"].add_argument(
        "--since",
        type=moment,
        help="until when changes were captured (ISO 8601 with zone); default: what Connect stored last",
    )
    made["apply"].set_defaults(run=_apply)
    made["status"].set_defaults(run=_status)
    made["recover"].set_defaults(run=_recover)


def _add_connections(parser: Any) -> None:
    for flag, default, what in (
        ("--connect-conn-id", CONNECT, "Kafka Connect"),
        ("--cdc-conn-id", POSTGRES_CDC, "store connection, role meta_cdc"),
        (
            "--admin-conn-id",
            POSTGRES_ADMIN,
            "store connection of a superuser, used where something is missing",
        ),
    ):
        parser.add_argument(flag, default=default, help=f"{what} (%(default)s)")


def _apply(args: argparse.Namespace) -> int:
    from airflow_provider_atlan_meta.services.capture import Capture

    with Capture(*_inputs(args), _report) as capture:
        outcome = capture.plan() if args.dry_run else capture.apply()
    emit(outcome.to_dict(), as_json=args.json, text=_applied(outcome))
    return 0


def _status(args: argparse.Namespace) -> int:
    from airflow_provider_atlan_meta.services.capture import Capture, health_document

    with Capture(*_inputs(args)) as capture:
        health = capture.health(args.timeout)
    emit(health_document(health), as_json=args.json, text=_told(health))
    return 0 if health.is_healthy else 1


def _recover(args: argparse.Namespace) -> int:
    from airflow_provider_atlan_meta.services.capture_recovery import recover_change_capture

    outcome = recover_change_capture(*_inputs(args), since=args.since, report=_report)
    emitted = outcome.emitted
    text = f"a new slot captures changes; {emitted.total} rows changed since {emitted.since.isoformat()} were emitted"
    emit(outcome.to_dict(), as_json=args.json, text=text)
    return 0


def _inputs(args: argparse.Namespace) -> tuple[CaptureConnections, CaptureRequest]:
    from airflow_provider_atlan_meta.services.capture import CaptureConnections, CaptureRequest

    settings = Settings()
    known = Connections(settings)
    connections = CaptureConnections(
        connect=known.get(args.connect_conn_id),
        cdc=known.get(args.cdc_conn_id),
        admin=known.find(args.admin_conn_id),
    )
    return connections, CaptureRequest.from_settings(settings, seconds=args.timeout)


def _report(text: str) -> None:
    print(text, file=sys.stderr)


def _applied(outcome: CaptureOutcome) -> str:
    verb = "would change" if outcome.health is None else "changed"
    lines = [f"{verb}: {d.name}  {_shown(d.before)} -> {_shown(d.after)}" for d in outcome.changed]
    lines += [
        f"{'would run' if outcome.health is None else 'ran'}: {statement}" for statement in outcome.prepared
    ]
    if outcome.new_slot:
        lines.append("would make a replication slot" if outcome.health is None else "made a replication slot")
    if outcome.health is None:
        return "\n".join(lines or [f"connector {outcome.connector} is as it should be"])
    return "\n".join([*lines, f"connector {outcome.connector}: {_told(outcome.health)}"])


def _shown(value: str | None) -> str:
    return "(none)" if value is None else value


def _told(health: CaptureHealth) -> str:
    if health.lag_bytes is None or health.retained_bytes is None:
        return health.describe()
    behind = f"{health.lag_bytes:,} bytes of log behind, {health.retained_bytes:,} kept on disk for it"
    return f"{health.describe()}\n{behind}"
