"""``atlan-meta replay``: read a range of the log again, safely."""

from __future__ import annotations

import argparse
from typing import Any

from airflow_provider_atlan_meta.cli.moments import moment
from airflow_provider_atlan_meta.cli.output import add_json_flag, emit
from airflow_provider_atlan_meta.config.connections import KAFKA, POSTGRES, Connections
from airflow_provider_atlan_meta.config.settings import Settings


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "replay",
        help="read a range of the events topic again; the live cursor neither moves nor is passed",
        epilog="example: atlan-meta replay --from 2026-11-24T00:00:00Z --to 2026-11-25T00:00:00Z --mode reapply",
    )
    parser.add_argument("--topic", default=None, help="default: <topic_prefix>.events.v1")
    parser.add_argument(
        "--from",
        dest="since",
        type=moment,
        help="first time of receipt (ISO 8601 with zone); default: oldest kept",
    )
    parser.add_argument(
        "--to", dest="until", type=moment, help="time of receipt to stop before; default: the cursor"
    )
    parser.add_argument(
        "--mode",
        choices=("verify", "reapply"),
        default="verify",
        help="verify: write what is missing (%(default)s). reapply: derive again, write what differs",
    )
    parser.add_argument(
        "--notify", action="store_true", help="tell subscribers what changes; else nobody hears of it"
    )
    parser.add_argument("--kafka-conn-id", default=KAFKA, help="Kafka connection (%(default)s)")
    parser.add_argument(
        "--postgres-conn-id", default=POSTGRES, help="store connection, role meta_ingest (%(default)s)"
    )
    add_json_flag(parser)
    parser.set_defaults(run=_replay)


def _replay(args: argparse.Namespace) -> int:
    from rich.console import Console

    from airflow_provider_atlan_meta.services.ingest import service_owner
    from airflow_provider_atlan_meta.services.replay import ReplayRequest, replay_once

    settings = Settings()
    connections = Connections(settings)
    request = ReplayRequest(
        topic=args.topic or settings.topic("events"),
        since=args.since,
        until=args.until,
        mode=args.mode,
        batch_records=settings.integer("batch_records"),
        notify=args.notify,
    )
    with Console(stderr=True).status("replaying") as status:
        done = replay_once(
            kafka=connections.get(args.kafka_conn_id),
            postgres=connections.get(args.postgres_conn_id),
            request=request,
            owner=service_owner("replay"),
            report=lambda sums: status.update(
                f"replaying: {sums.records} records, {sums.stored} were missing"
            ),
        )
    text = (
        f"read {done.records} records again: {done.known} were stored, {done.stored} were missing and are stored now, "
        f"{done.changes} changes, {done.rejected} are no events"
    )
    emit({"mode": args.mode, **done.to_dict()}, as_json=args.json, text=text)
    return 3 if done.rejected else 0
