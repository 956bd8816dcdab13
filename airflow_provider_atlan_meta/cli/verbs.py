"""Parsers that several commands build alike."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from airflow_provider_atlan_meta.cli.output import add_json_flag
from airflow_provider_atlan_meta.config.connections import KAFKA


def add_verbs(
    parser: argparse.ArgumentParser, dest: str, verbs: Iterable[tuple[str, str, str]]
) -> dict[str, argparse.ArgumentParser]:
    """A parser per verb.

    :param verbs: name, what it does, and an example without the program's name.
    """
    made = parser.add_subparsers(dest=dest, metavar="VERB", required=True)
    return {
        verb: made.add_parser(verb, help=does, description=does, epilog=f"example: atlan-meta {example}")
        for verb, does, example in verbs
    }


def add_batch_options(
    parser: argparse.ArgumentParser, *, most: str, spared: str, postgres_conn_id: str, role: str
) -> None:
    """What every bounded micro-batch takes.

    :param most: what ``--max-records`` counts. :param spared: what a dry run does not do.
    """
    parser.add_argument(
        "--max-records", type=int, default=10_000, help=f"stop after so many{most} (%(default)s)"
    )
    parser.add_argument("--runner", choices=("local",), default="local", help="where it runs (%(default)s)")
    parser.add_argument("--dry-run", action="store_true", help=f"say what would be read; {spared}")
    parser.add_argument("--kafka-conn-id", default=KAFKA, help="Kafka connection (%(default)s)")
    parser.add_argument(
        "--postgres-conn-id", default=postgres_conn_id, help=f"store connection, role {role} (%(default)s)"
    )
    add_json_flag(parser)
