"""``atlan-meta propagate``: one bounded micro-batch to the subscribers, as the DAG runs it."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from airflow_provider_atlan_meta.cli.output import emit, owner_lines
from airflow_provider_atlan_meta.cli.verbs import add_batch_options
from airflow_provider_atlan_meta.config.connections import POSTGRES_CONSUMER, Connections
from airflow_provider_atlan_meta.config.settings import Settings
from airflow_provider_atlan_meta.core.messages import counted

if TYPE_CHECKING:
    from airflow_provider_atlan_meta.pipeline.outcomes import PartitionRange, PropagateOutcome


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "propagate",
        help="tell the subscribers what changed, once, and stop",
        epilog="example: atlan-meta propagate --max-records 5000 --json",
    )
    add_batch_options(
        parser,
        most=" changes",
        spared="take, send and write nothing",
        postgres_conn_id=POSTGRES_CONSUMER,
        role="meta_consumer",
    )
    parser.set_defaults(run=_propagate)


def _propagate(args: argparse.Namespace) -> int:
    from airflow_provider_atlan_meta.services.consumer import PropagateRequest, propagate_once
    from airflow_provider_atlan_meta.services.ingest import service_owner

    settings = Settings()
    connections = Connections(settings)
    outcome = propagate_once(
        kafka=connections.get(args.kafka_conn_id),
        postgres=connections.get(args.postgres_conn_id),
        connections=connections.get,
        request=PropagateRequest.from_settings(settings, max_records=args.max_records, dry_run=args.dry_run),
        owner=service_owner("propagate"),
        report=_report,
    )
    emit(outcome.to_dict(), as_json=args.json, text=_text(outcome))
    return 3 if outcome.rejected else 0


def _report(part: PartitionRange) -> None:
    where = f"{part.topic}/{part.partition} [{part.start}, {part.end})"
    told = f", deliveries: {counted(part.deliveries)}" if part.deliveries else ""
    print(f"{where} {part.records} changes{told}", file=sys.stderr)


def _text(outcome: PropagateOutcome) -> str:
    if outcome.dry_run:
        text = f"would read {outcome.records} changes of {outcome.topic}"
    else:
        text = (
            f"read {outcome.records} changes of {outcome.topic} (deliveries: {counted(outcome.deliveries)}), "
            f"{outcome.lag} left, {outcome.parked_lanes} lanes wait for another try"
        )
    return "\n".join([text, *owner_lines(outcome.owned_by)])
