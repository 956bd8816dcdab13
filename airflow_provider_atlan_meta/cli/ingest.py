"""``atlan-meta ingest``: one bounded micro-batch, as the DAG runs it."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from airflow_provider_atlan_meta.cli.output import emit, owner_lines
from airflow_provider_atlan_meta.cli.verbs import add_batch_options
from airflow_provider_atlan_meta.config.connections import POSTGRES, Connections
from airflow_provider_atlan_meta.config.settings import Settings

if TYPE_CHECKING:
    from airflow_provider_atlan_meta.services.ingest import IngestOutcome, PartitionRange


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "ingest",
        help="read what is in the topic into the store, once, and stop",
        epilog="example: atlan-meta ingest --max-records 5000 --json",
    )
    add_batch_options(
        parser, most="", spared="take and write nothing", postgres_conn_id=POSTGRES, role="meta_ingest"
    )
    parser.set_defaults(run=_ingest)


def _ingest(args: argparse.Namespace) -> int:
    from airflow_provider_atlan_meta.services.ingest import IngestRequest, ingest_once, service_owner

    settings = Settings()
    connections = Connections(settings)
    outcome = ingest_once(
        kafka=connections.get(args.kafka_conn_id),
        postgres=connections.get(args.postgres_conn_id),
        request=IngestRequest.from_settings(settings, max_records=args.max_records, dry_run=args.dry_run),
        owner=service_owner("ingest"),
        report=_report,
    )
    emit(outcome.to_dict(), as_json=args.json, text=_text(outcome))
    return 3 if outcome.rejected else 0


def _report(part: PartitionRange) -> None:
    print(f"{part.topic}/{part.partition} [{part.start}, {part.end}) {part.records} records", file=sys.stderr)


def _text(outcome: IngestOutcome) -> str:
    verb = "would read" if outcome.dry_run else "stored"
    text = (
        f"{verb} {outcome.records} records of {outcome.topic} "
        f"({outcome.duplicates} duplicates, {outcome.rejected} to the dead letters), {outcome.lag} left"
    )
    return "\n".join([text, *owner_lines(outcome.owned_by)])
