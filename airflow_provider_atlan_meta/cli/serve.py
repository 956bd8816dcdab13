"""``atlan-meta serve producer|ingest|consumer``: the service lane, a process each; ``serve`` runs all of them."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from typing import Any

from airflow_provider_atlan_meta.cli.output import add_json_flag, emit
from airflow_provider_atlan_meta.config.connections import Connections
from airflow_provider_atlan_meta.config.settings import Settings
from airflow_provider_atlan_meta.core.errors import ConfigurationError

SERVICES = ("producer", "ingest", "consumer")
_PIP_LINE = "pip install 'airflow-provider-atlan-meta[services]'"


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "serve",
        help="run the service lane; SIGTERM drains, exit 0",
        description="Without a SERVICE: all of them, as child processes; when one ends, the others are drained.",
        epilog="example: atlan-meta serve producer --port 8088",
    )
    add_json_flag(parser)
    parser.set_defaults(run=_all)
    services = parser.add_subparsers(dest="service", metavar="SERVICE")
    producer = services.add_parser(
        "producer",
        help="receive signed webhooks, answer 202 once Kafka has them",
        epilog="example: atlan-meta serve producer --host 0.0.0.0 --port 8088",
    )
    producer.add_argument("--host", help="address to listen on (default: [atlan_meta] producer_host)")
    producer.add_argument("--port", type=int, help="port to listen on (default: [atlan_meta] producer_port)")
    add_json_flag(producer)
    producer.set_defaults(run=_producer)
    ingest = services.add_parser(
        "ingest",
        help="follow the events topic into PostgreSQL, milliseconds behind it",
        epilog="example: AIRFLOW__ATLAN_META__MAX_PARTITIONS=6 atlan-meta serve ingest",
    )
    add_json_flag(ingest)
    ingest.set_defaults(run=_ingest)
    consumer = services.add_parser(
        "consumer",
        help="follow the changes topic and tell the subscribers, milliseconds behind it",
        epilog="example: AIRFLOW__ATLAN_META__CONSUMER_METRICS_PORT=9091 atlan-meta serve consumer",
    )
    add_json_flag(consumer)
    consumer.set_defaults(run=_consumer)


def _all(args: argparse.Namespace) -> int:
    from airflow_provider_atlan_meta.services.children import run_children

    this = (sys.executable, "-m", "airflow_provider_atlan_meta.cli", "serve")
    code = run_children({name: (*this, name) for name in SERVICES}, quiet=args.json)
    text = "all services drained" if code == 0 else "a service failed; its log line says why"
    emit({"services": list(SERVICES), "exit_code": code}, as_json=args.json, text=text)
    return code


def _producer(args: argparse.Namespace) -> int:
    try:
        from airflow_provider_atlan_meta.services.producer import ProducerConfig, run_producer
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"`serve producer` needs {error.name}: {_PIP_LINE}") from None
    settings = Settings()
    config = ProducerConfig.from_settings(settings, host=args.host, port=args.port)
    outcome = run_producer(config, Connections(settings))
    emit({"service": "producer", **asdict(outcome)}, as_json=args.json, text=str(outcome))
    return 0


def _ingest(args: argparse.Namespace) -> int:
    try:
        from airflow_provider_atlan_meta.services.ingest_process import run_ingest
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"`serve ingest` needs {error.name}: {_PIP_LINE}") from None
    settings = Settings()
    code = run_ingest(settings, Connections(settings))
    emit({"service": "ingest", "exit_code": code}, as_json=args.json, text="ingest: every partition let go")
    return code


def _consumer(args: argparse.Namespace) -> int:
    try:
        from airflow_provider_atlan_meta.services.consumer_process import run_consumer
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"`serve consumer` needs {error.name}: {_PIP_LINE}") from None
    settings = Settings()
    code = run_consumer(settings, Connections(settings))
    emit(
        {"service": "consumer", "exit_code": code}, as_json=args.json, text="consumer: every partition let go"
    )
    return code
