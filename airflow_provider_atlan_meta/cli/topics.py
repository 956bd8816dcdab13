"""``atlan-meta topics create|adopt``."""

from __future__ import annotations

import argparse
from typing import Any

from airflow_provider_atlan_meta.cli.output import add_json_flag, emit
from airflow_provider_atlan_meta.config.connections import KAFKA, POSTGRES_ADMIN, Connections
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
    adopt = verbs.add_parser(
        "adopt",
        help="go on with an events topic that was created again or moved to another cluster, from its first record",
        description="Ingest must be stopped and the DAG paused. Rows and revisions stay; cursors begin anew.",
        epilog="example: atlan-meta topics adopt --dry-run",
    )
    adopt.add_argument("--dry-run", action="store_true", help="say what would change; change nothing")
    adopt.add_argument("--kafka-conn-id", default=KAFKA, help="Kafka connection (%(default)s)")
    adopt.add_argument("--conn-id", default=POSTGRES_ADMIN, help="connection of a superuser (%(default)s)")
    add_json_flag(adopt)
    adopt.set_defaults(run=_adopt)


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


def _adopt(args: argparse.Namespace) -> int:
    from airflow_provider_atlan_meta.services.ingest import adopt_topic

    settings = Settings()
    connections = Connections(settings)
    topic = settings.topic("events")
    adopted = adopt_topic(
        kafka=connections.get(args.kafka_conn_id),
        admin=connections.get(args.conn_id),
        topic=topic,
        dry_run=args.dry_run,
    )
    verb = "would begin" if args.dry_run else "begin"
    text = (
        f"{adopted.partitions} partitions of {topic} {verb} anew; {adopted.incidents} incidents forget positions, "
        f"{adopted.dead_letters} dead letters keep their origin under the old topic's name"
    )
    emit({"topic": topic, "dry_run": args.dry_run, **adopted.to_dict()}, as_json=args.json, text=text)
    return 0
