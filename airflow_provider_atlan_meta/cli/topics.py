"""``atlan-meta topics create``."""

from __future__ import annotations

import argparse
from typing import Any

from airflow_provider_atlan_meta.cli.output import add_json_flag, emit
from airflow_provider_atlan_meta.config.connections import KAFKA, Connections
from airflow_provider_atlan_meta.config.settings import Settings


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "topics", help="the Kafka topics", epilog="example: atlan-meta topics create"
    )
    verbs = parser.add_subparsers(dest="topics_verb", metavar="VERB", required=True)
    create = verbs.add_parser(
        "create",
        help="create the topics that are missing, with partitions, retention and sizes as documented",
        epilog="example: atlan-meta topics create",
    )
    create.add_argument("--kafka-conn-id", default=KAFKA, help="Kafka connection (%(default)s)")
    add_json_flag(create)
    create.set_defaults(run=_create)


def _create(args: argparse.Namespace) -> int:
    from airflow_provider_atlan_meta.clients.kafka import KafkaConfig
    from airflow_provider_atlan_meta.clients.kafka_topics import create_topics

    settings = Settings()
    created = create_topics(
        KafkaConfig.from_connection(Connections(settings).get(args.kafka_conn_id)),
        prefix=settings.text("topic_prefix"),
        partitions=settings.integer("topic_partitions"),
        replication=settings.integer("topic_replication"),
    )
    text = "\n".join(f"{topic}  {'created' if new else 'is there'}" for topic, new in created.items())
    emit({"topics": created}, as_json=args.json, text=text)
    return 0
